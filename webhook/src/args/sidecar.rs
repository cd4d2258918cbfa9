//! What the operator decides about the sidecar of every pod.

use std::str::FromStr;

use crate::decision::{Cpu, Memory, Policy, PullPolicy};

/// Flags about the sidecar that pods get; the same for `serve` and `inject`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The sidecar")]
pub struct SidecarArgs {
    /// The sidecar's image, as a container's `image` says it
    #[arg(long, value_name = "IMAGE", default_value_t = Policy::default().image)]
    sidecar_image: String,

    /// When the kubelet pulls it: Always, `IfNotPresent` or Never. Left out, Kubernetes decides by
    /// the image's tag
    #[arg(long, value_name = "POLICY")]
    sidecar_pull_policy: Option<PullPolicy>,

    /// CPU for the sidecar, where all other containers of the pod say theirs: request and limit alike
    #[arg(long, value_name = "QUANTITY", default_value_t)]
    sidecar_cpu: Cpu,

    /// Memory for the sidecar, where all other containers of the pod say theirs: request and limit
    /// alike
    #[arg(long, value_name = "QUANTITY", default_value_t)]
    sidecar_memory: Memory,

    /// The uid that the sidecar runs as, or `none` to leave it to the cluster (OpenShift)
    #[arg(long, value_name = "UID", default_value = "65532")]
    sidecar_run_as_user: RunAsUser,

    /// A namespace whose pods are left as they are; kube-system, kube-public, kube-node-lease and the
    /// webhook's own always are. Can be given several times
    #[arg(long, value_name = "NAMESPACE")]
    exclude_namespace: Vec<String>,
}

impl SidecarArgs {
    /// The policy that these flags make.
    #[must_use]
    pub fn policy(self, own_namespace: Option<String>) -> Policy {
        let Self {
            sidecar_image,
            sidecar_pull_policy,
            sidecar_cpu,
            sidecar_memory,
            sidecar_run_as_user,
            exclude_namespace,
        } = self;
        let system = Policy::SYSTEM_NAMESPACES.map(str::to_owned);
        Policy {
            image: sidecar_image,
            pull_policy: sidecar_pull_policy,
            cpu: sidecar_cpu,
            memory: sidecar_memory,
            run_as_user: sidecar_run_as_user.0,
            excluded_namespaces: system.into_iter().chain(exclude_namespace).collect(),
            own_namespace,
        }
    }
}

/// A uid, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunAsUser(pub Option<u32>);

impl FromStr for RunAsUser {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.parse()) {
            ("none", _) => Ok(Self(None)),
            // Kubernetes takes uids up to 2^31-1, and the sidecar says runAsNonRoot.
            (_, Ok(uid @ 1..=0x7fff_ffff)) => Ok(Self(Some(uid))),
            _ => Err("expected a uid from 1 to 2147483647, or none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_no_uid_for_the_sidecar() {
        for (text, expected) in [
            ("none", Some(None)),
            ("1", Some(Some(1))),
            ("2147483647", Some(Some(2_147_483_647))),
            ("0", None),
            ("2147483648", None),
            ("-1", None),
            ("root", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<RunAsUser>().ok().map(|user| user.0), expected, "{text}");
        }
    }
}
