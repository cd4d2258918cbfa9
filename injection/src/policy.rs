use std::fmt;

use clap::ValueEnum;

use crate::quantity::Quantity;

/// The sidecar's uid in its image.
pub(crate) const SIDECAR_UID: u32 = 65532;

const IMAGE: &str = concat!("secret-handshake-sidecar:", env!("CARGO_PKG_VERSION"));
const CPU: &str = "50m";
const MEMORY: &str = "12Mi";

/// What the operator decides for all pods, as flags; a pod's annotations adjust the rest.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The sidecar")]
pub struct Policy {
    /// The sidecar's image, as a container's `image` says it
    #[arg(long = "sidecar-image", value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,

    /// When the kubelet pulls it. Left out, Kubernetes decides by the image's tag
    #[arg(long = "sidecar-pull-policy", value_name = "POLICY")]
    pub pull_policy: Option<PullPolicy>,

    /// CPU for the sidecar, where all other containers of the pod set theirs: request and limit alike
    #[arg(
        long = "sidecar-cpu",
        value_name = "QUANTITY",
        default_value = CPU,
        value_parser = Quantity::cpu
    )]
    pub cpu: Quantity,

    /// Memory for the sidecar, where all other containers of the pod set theirs: request and limit
    /// alike
    #[arg(
        long = "sidecar-memory",
        value_name = "QUANTITY",
        default_value = MEMORY,
        value_parser = Quantity::memory
    )]
    pub memory: Quantity,

    /// The uid that the sidecar runs as, or `none` to leave it to the cluster (OpenShift)
    #[arg(
        long = "sidecar-run-as-user",
        value_name = "UID",
        default_value = "65532",
        value_parser = uid_or_none
    )]
    pub run_as_user: OptionalUid,

    /// A namespace whose pods are left as they are; kube-system, kube-public, kube-node-lease and the
    /// webhook's own always are. Can be given several times
    #[arg(long = "exclude-namespace", value_name = "NAMESPACE")]
    pub excluded_namespaces: Vec<String>,

    /// The webhook's own namespace; `None` outside a cluster.
    #[arg(skip)]
    pub own_namespace: Option<String>,
}

/// clap takes an `Option` by that name for a flag that may be left out; this one has a value for none.
type OptionalUid = Option<u32>;

/// A container's `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "Kubernetes' own values")]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl Policy {
    /// Namespaces that belong to Kubernetes itself: their objects are never changed.
    pub const SYSTEM_NAMESPACES: [&'static str; 3] =
        ["kube-system", "kube-public", "kube-node-lease"];

    /// Whether objects of this namespace are left as they are.
    #[must_use]
    pub fn excludes(&self, namespace: &str) -> bool {
        Self::SYSTEM_NAMESPACES.contains(&namespace)
            || self.own_namespace.as_deref() == Some(namespace)
            || self.excluded_namespaces.iter().any(|excluded| excluded == namespace)
    }
}

impl Default for Policy {
    /// What the flags say by default.
    fn default() -> Self {
        Self {
            image: IMAGE.to_owned(),
            pull_policy: None,
            cpu: Quantity::unchecked(CPU),
            memory: Quantity::unchecked(MEMORY),
            run_as_user: Some(SIDECAR_UID),
            excluded_namespaces: Vec::new(),
            own_namespace: None,
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn uid_or_none(text: &str) -> Result<OptionalUid, &'static str> {
    match (text, text.parse()) {
        ("none", _) => Ok(None),
        // Kubernetes takes uids up to 2^31-1, and the sidecar says runAsNonRoot.
        (_, Ok(uid @ 1..=0x7fff_ffff)) => Ok(Some(uid)),
        _ => Err("expected a uid from 1 to 2147483647, or none"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn parse(flags: &str) -> Result<Policy, clap::Error> {
        let command = Policy::augment_args(clap::Command::new("test"));
        let words = std::iter::once("test").chain(flags.split_whitespace());
        Policy::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    #[test]
    fn the_policy_is_what_the_flags_say() {
        let policy = parse(
            "--sidecar-image r/i:1 --sidecar-pull-policy Never --sidecar-cpu 5m \
             --sidecar-memory 9Mi --sidecar-run-as-user none --exclude-namespace a \
             --exclude-namespace b",
        )
        .unwrap();
        let policy = Policy { own_namespace: Some("own".to_owned()), ..policy };
        assert_eq!(policy.image, "r/i:1");
        assert_eq!(policy.pull_policy, Some(PullPolicy::Never));
        assert_eq!((policy.cpu.as_str(), policy.memory.as_str()), ("5m", "9Mi"));
        assert_eq!(policy.run_as_user, None);
        for excluded in ["kube-system", "kube-public", "kube-node-lease", "a", "b", "own"] {
            assert!(policy.excludes(excluded), "{excluded}");
        }
        assert!(!policy.excludes("default"));
    }

    #[test]
    fn without_flags_it_is_the_default() {
        assert_eq!(format!("{:?}", parse("").unwrap()), format!("{:?}", Policy::default()));
    }

    #[test]
    fn bad_values_are_refused() {
        for flags in [
            "--sidecar-run-as-user 0",
            "--sidecar-run-as-user 2147483648",
            "--sidecar-run-as-user -1",
            "--sidecar-run-as-user root",
            "--sidecar-pull-policy always",
            "--sidecar-memory 12m",
            "--sidecar-cpu 17",
        ] {
            assert!(parse(flags).is_err(), "{flags}");
        }
        assert_eq!(
            parse("--sidecar-run-as-user 2147483647").unwrap().run_as_user,
            Some(i32::MAX as u32)
        );
    }
}
