//! Which Kubernetes: the release that was asked for, and the kubelet that goes with it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};

/// The patch releases that this project is run against, newest first: what `--kubernetes 1.37` means,
/// and the first is the default. Any other can be asked for with its patch number.
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

/// A release of Kubernetes 1: of 1.37.2, the 37 and the 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub minor: u32,
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

impl Default for Version {
    fn default() -> Self {
        KNOWN[0]
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    /// Reads `1.37` or `1.37.2`, with or without a `v`.
    fn from_str(text: &str) -> Result<Self> {
        let unreadable = || format!("`{text}` is no release of Kubernetes: say 1.37 or 1.37.2");
        let parts = text.trim_start_matches('v').split('.').map(str::parse);
        match *parts.collect::<Result<Vec<u32>, _>>().with_context(unreadable)? {
            [1, minor, patch] => Ok(Self { minor, patch }),
            [1, minor] => {
                KNOWN.iter().find(|known| known.minor == minor).copied().with_context(|| {
                    format!("say which release of 1.{minor} with its patch number: 1.{minor}.1")
                })
            }
            _ => bail!(unreadable()),
        }
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
            assert_eq!(text.parse::<Version>().unwrap(), expected, "{text}");
        }
        for text in ["", "1", "2.1", "1.x", "1.30", "1.37.2.1", "1.37.2-rc.1", "latest"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        assert_eq!(Version::default(), KNOWN[0]);
    }

    #[test]
    fn the_kubelet_is_never_newer_and_never_too_old() {
        let kubelet = |minor| Version { minor, patch: 0 }.kubelet();
        assert_eq!(kubelet(33).unwrap().minor, 33);
        assert_eq!(kubelet(37).unwrap(), KUBELET);
        assert!(kubelet(38).unwrap_err().to_string().contains("1.35 or newer"));
    }
}
