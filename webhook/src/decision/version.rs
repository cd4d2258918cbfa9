use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The minor version of Kubernetes that an API server reports, such as 1.32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    major: u32,
    minor: u32,
}

impl KubernetesVersion {
    /// The first version whose kubelets and API server know native sidecars without being told to
    /// (KEP-753: beta, on by default).
    pub const NATIVE_SIDECARS: Self = Self::new(1, 29);

    /// The first API server that a kubelet without native sidecars can't join: a kubelet may be
    /// three minor versions older than its API server (Kubernetes' version skew policy).
    pub const NATIVE_SIDECARS_EVERYWHERE: Self = Self::new(1, 32);

    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

/// Why a text is not a version of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a Kubernetes version: expected MAJOR.MINOR, such as 1.32 or v1.32.4")]
pub struct InvalidVersion(String);

impl FromStr for KubernetesVersion {
    type Err = InvalidVersion;

    /// Reads what `/version` and people say: `1.32`, `v1.32.4`, `1.32+` (a cloud's own build),
    /// `v1.32.4-gke.1`. What follows the minor version doesn't matter here.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (major, rest) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (minor, rest) = rest.split_at(digits);
            let known_end = rest.is_empty() || rest.starts_with(['.', '+', '-']);
            let all_digits = major.bytes().all(|byte| byte.is_ascii_digit());
            (known_end && all_digits).then_some(())?;
            Some(Self::new(major.parse().ok()?, minor.parse().ok()?))
        };
        parse().ok_or_else(|| InvalidVersion(text.chars().take(64).collect()))
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_and_people_write_them() {
        for (text, expected) in [
            ("1.32", Some((1, 32))),
            ("v1.32.4", Some((1, 32))),
            ("1.31+", Some((1, 31))),
            ("v1.30.5-gke.1014001", Some((1, 30))),
            ("v2.0.0-alpha.1", Some((2, 0))),
            ("1", None),
            ("", None),
            ("v", None),
            ("1.", None),
            (".32", None),
            ("+1.32", None),
            ("1.x", None),
            ("1.32beta", None),
            ("1.99999999999", None),
            ("latest", None),
        ] {
            let version = text.parse::<KubernetesVersion>().ok();
            assert_eq!(
                version,
                expected.map(|(major, minor)| KubernetesVersion::new(major, minor)),
                "{text}"
            );
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(KubernetesVersion::new(1, 9) < KubernetesVersion::NATIVE_SIDECARS_EVERYWHERE);
        assert!(KubernetesVersion::new(2, 0) > KubernetesVersion::NATIVE_SIDECARS_EVERYWHERE);
    }

    #[test]
    fn an_invalid_version_says_what_is_expected() {
        let error = "newest".parse::<KubernetesVersion>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`newest` is not a Kubernetes version: expected MAJOR.MINOR, such as 1.32 or v1.32.4"
        );
    }
}
