//! Which Kubernetes: the release that was asked for, and the kubelet that goes with it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

use super::go;

/// The patch releases that this project is run against, newest first: what `--kubernetes 1.37` means,
/// and the first is the default. Any other release can be asked for too.
pub const KNOWN: &[Version] = &[Version { minor: 37, patch: 2 }, Version { minor: 34, patch: 4 }];

/// The newest kubelet that runs on what stable distributions have: from 1.35 on the kubelet wants
/// cgroup v2, and 1.36 wants containerd 2.
/// <https://kubernetes.io/docs/concepts/architecture/cgroups/>
const KUBELET: Version = Version { minor: 34, patch: 4 };

/// A kubelet may be this many minor releases older than its API server, and none newer.
/// <https://kubernetes.io/releases/version-skew-policy/#kubelet>
const KUBELET_SKEW: u32 = 3;

/// The etcd that goes with every one of them.
pub const ETCD: &str = "3.7.3";

/// A release of Kubernetes 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The 37 of 1.37.2.
    pub minor: u32,
    /// The 2 of 1.37.2.
    pub patch: u32,
}

impl Version {
    /// The kubelet that joins an API server of this version.
    ///
    /// # Errors
    ///
    /// The API server is too new for the newest kubelet that this project knows how to run.
    pub fn kubelet(self) -> Result<Self> {
        let kubelet = self.min(KUBELET);
        if self.minor - kubelet.minor > KUBELET_SKEW {
            bail!(
                "Kubernetes {self} needs a kubelet of 1.{} or newer, and the one that runs on every \
                 machine here is {KUBELET}: ask for an older release, or run the control-plane level \
                 alone",
                self.minor - KUBELET_SKEW
            );
        }
        Ok(kubelet)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}.{}", self.minor, self.patch)
    }
}

/// A release as a person asks for it: `1.37` or `1.37.2`, with or without a `v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    minor: u32,
    patch: Option<u32>,
}

impl Wanted {
    /// The release to use, with its patch number: the one this project knows, else the newest that the
    /// Go module proxy has.
    ///
    /// # Errors
    ///
    /// The release is none that is known here, and Go can't say which patch releases there are.
    pub fn resolve(self) -> Result<Version> {
        let Self { minor, patch } = self;
        if let Some(patch) = patch {
            return Ok(Version { minor, patch });
        }
        if let Some(known) = KNOWN.iter().find(|known| known.minor == minor) {
            return Ok(*known);
        }
        let listed = go::versions_of("k8s.io/kubernetes")?;
        listed
            .iter()
            .filter_map(|version| version.parse::<Self>().ok())
            .filter(|listed| listed.minor == minor)
            .filter_map(|listed| listed.patch)
            .max()
            .map(|patch| Version { minor, patch })
            .with_context(|| format!("there is no release of Kubernetes 1.{minor}"))
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Self { minor: KNOWN[0].minor, patch: Some(KNOWN[0].patch) }
    }
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let unreadable = || format!("`{text}` is no release of Kubernetes: say 1.37 or 1.37.2");
        let mut parts = text.trim_start_matches('v').split('.');
        let mut number = || parts.next().map(str::parse::<u32>).transpose();
        let (major, minor, patch) = (
            number().with_context(unreadable)?,
            number().with_context(unreadable)?,
            number().with_context(unreadable)?,
        );
        let (Some(1), Some(minor), None) = (major, minor, parts.next()) else {
            bail!(unreadable());
        };
        Ok(Self { minor, patch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_asked_for_as_people_write_it() {
        for (text, expected) in [
            ("1.37", Version { minor: 37, patch: 2 }),
            ("v1.37", Version { minor: 37, patch: 2 }),
            ("1.34", Version { minor: 34, patch: 4 }),
            ("1.36.1", Version { minor: 36, patch: 1 }),
        ] {
            assert_eq!(text.parse::<Wanted>().unwrap().resolve().unwrap(), expected, "{text}");
        }
        for text in ["", "1", "2.1", "1.x", "1.37.2.1", "1.37.2-rc.1", "latest"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
        assert_eq!(Wanted::default().resolve().unwrap(), KNOWN[0]);
    }

    #[test]
    fn the_kubelet_is_never_newer_and_never_too_old() {
        let kubelet = |minor| Version { minor, patch: 0 }.kubelet();
        assert_eq!(kubelet(33).unwrap().minor, 33);
        assert_eq!(kubelet(37).unwrap(), KUBELET);
        assert!(kubelet(38).unwrap_err().to_string().contains("1.35 or newer"));
    }
}
