use std::fmt;

use clap::ValueEnum;
use thiserror::Error;

use crate::quantity::Quantity;
use crate::setting;
use crate::sidecar::Mode;

/// The sidecar's uid in its image.
pub(crate) const SIDECAR_UID: u32 = 65532;

const IMAGE: &str = concat!("secret-handshake-sidecar:", env!("CARGO_PKG_VERSION"));
const CPU: &str = "50m";
const MEMORY: &str = "12Mi";
const PORT: u16 = 3000;
const HEALTH_PORT: u16 = 13300;
const SECRET_NAME: &str = "secret-handshake";
const SECRET_KEY: &str = "half";
const LOG_LEVEL: &str = "info";

/// What the operator decides for all pods, as flags; a pod's annotations adjust the rest.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The sidecar")]
pub struct Policy {
    /// The sidecar's image, as a container's `image` says it
    #[arg(
        long = "sidecar-image",
        value_name = "IMAGE",
        default_value = IMAGE,
        value_parser = owned(setting::image)
    )]
    pub image: String,

    /// When the kubelet pulls it. Left out, Kubernetes decides by the image's tag
    #[arg(long = "sidecar-pull-policy", value_name = "POLICY")]
    pub pull_policy: Option<PullPolicy>,

    /// CPU for the sidecar, where all other containers of the pod set theirs: request and limit alike
    #[arg(
        long = "sidecar-cpu",
        value_name = "QUANTITY",
        default_value = CPU,
        value_parser = expected(Quantity::cpu)
    )]
    pub cpu: Quantity,

    /// Memory for the sidecar, where all other containers of the pod set theirs: request and limit
    /// alike
    #[arg(
        long = "sidecar-memory",
        value_name = "QUANTITY",
        default_value = MEMORY,
        value_parser = expected(Quantity::memory)
    )]
    pub memory: Quantity,

    /// Legacy's port, where neither the pod nor its namespace has the annotation secret-handshake/port
    #[arg(
        long = "sidecar-port",
        value_name = "PORT",
        default_value_t = PORT,
        value_parser = expected(setting::port)
    )]
    pub port: u16,

    /// The sidecar's own port, where no annotation secret-handshake/health-port says another
    #[arg(
        long = "sidecar-health-port",
        value_name = "PORT",
        default_value_t = HEALTH_PORT,
        value_parser = expected(setting::health_port)
    )]
    pub health_port: u16,

    /// The Secret with the operations half, where no annotation secret-handshake/secret-name says
    /// another
    #[arg(
        long = "sidecar-secret-name",
        value_name = "NAME",
        default_value = SECRET_NAME,
        value_parser = owned(setting::object_name)
    )]
    pub secret_name: String,

    /// The key in that Secret, where no annotation secret-handshake/secret-key says another
    #[arg(
        long = "sidecar-secret-key",
        value_name = "KEY",
        default_value = SECRET_KEY,
        value_parser = owned(setting::secret_key)
    )]
    pub secret_key: String,

    /// A file with the operations half that something else brings into the sidecar's container, instead
    /// of the Secret: the annotation secret-handshake/half-file for all
    #[arg(
        long = "sidecar-half-file",
        value_name = "FILE",
        value_parser = owned(setting::half_file),
        conflicts_with_all = ["secret_provider_class", "secret_name"]
    )]
    pub half_file: Option<String>,

    /// The `SecretProviderClass` of the Secrets Store CSI driver that has the operations half, instead of
    /// the Secret: the annotation secret-handshake/secret-provider-class for all
    #[arg(
        long = "sidecar-secret-provider-class",
        value_name = "NAME",
        value_parser = owned(setting::object_name),
        conflicts_with = "secret_name"
    )]
    pub secret_provider_class: Option<String>,

    /// As which kind of container the sidecar joins a pod, where no annotation secret-handshake/mode
    /// says another: native, classic or auto, which is native for pods that end by themselves
    #[arg(
        long = "sidecar-mode",
        value_name = "MODE",
        default_value = "auto",
        value_parser = expected(setting::mode)
    )]
    pub mode: OptionalMode,

    /// How much the sidecar logs, where no annotation secret-handshake/log-level says another: error,
    /// warn, info or debug
    #[arg(
        id = "sidecar_log_level",
        long = "sidecar-log-level",
        value_name = "LEVEL",
        default_value = LOG_LEVEL,
        value_parser = owned(setting::log_level)
    )]
    pub log_level: String,

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

/// clap takes an `Option` by that name for a flag that may be left out; these have a value for none.
type OptionalUid = Option<u32>;
type OptionalMode = Option<Mode>;

/// Two flags name the same port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "--sidecar-port and --sidecar-health-port are both {0}: Legacy and the sidecar can't share a port"
)]
pub struct SamePort(u16);

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

    /// Checks what no flag can be told alone.
    ///
    /// # Errors
    /// If Legacy's port is the sidecar's own.
    pub fn check(&self) -> Result<(), SamePort> {
        if self.port == self.health_port { Err(SamePort(self.port)) } else { Ok(()) }
    }

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
            port: PORT,
            health_port: HEALTH_PORT,
            secret_name: SECRET_NAME.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            half_file: None,
            secret_provider_class: None,
            mode: None,
            log_level: LOG_LEVEL.to_owned(),
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

fn expected<T>(
    read: fn(&str) -> Result<T, &'static str>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| read(text).map_err(|allowed| format!("expected {allowed}"))
}

fn owned(
    read: fn(&str) -> Result<&str, &'static str>,
) -> impl Fn(&str) -> Result<String, String> + Clone {
    move |text| read(text).map(str::to_owned).map_err(|allowed| format!("expected {allowed}"))
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
             --sidecar-memory 9Mi --sidecar-port 8080 --sidecar-health-port 18080 \
             --sidecar-secret-name s --sidecar-secret-key k --sidecar-mode native --sidecar-log-level debug --sidecar-run-as-user none \
             --exclude-namespace a --exclude-namespace b",
        )
        .unwrap();
        let policy = Policy { own_namespace: Some("own".to_owned()), ..policy };
        assert_eq!(policy.image, "r/i:1");
        assert_eq!(policy.pull_policy, Some(PullPolicy::Never));
        assert_eq!((policy.cpu.as_str(), policy.memory.as_str()), ("5m", "9Mi"));
        assert_eq!((policy.port, policy.health_port), (8080, 18080));
        assert_eq!((policy.secret_name.as_str(), policy.secret_key.as_str()), ("s", "k"));
        assert_eq!((policy.mode, policy.log_level.as_str()), (Some(Mode::Native), "debug"));
        assert_eq!(policy.run_as_user, None);
        let file = parse("--sidecar-half-file /vault/half").unwrap().half_file;
        assert_eq!(file.as_deref(), Some("/vault/half"));
        let class = parse("--sidecar-secret-provider-class c").unwrap().secret_provider_class;
        assert_eq!(class.as_deref(), Some("c"));
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
    fn legacy_and_the_sidecar_cannot_share_a_port() {
        for (flags, same) in [
            ("", false),
            ("--sidecar-port 8080 --sidecar-health-port 8081", false),
            ("--sidecar-port 8080 --sidecar-health-port 8080", true),
            ("--sidecar-port 13300", true),
            ("--sidecar-health-port 3000", true),
        ] {
            let checked = parse(flags).unwrap().check();
            assert_eq!(checked.is_err(), same, "{flags}");
            let names = ["--sidecar-port", "--sidecar-health-port"];
            let error = checked.err().map(|error| error.to_string());
            assert!(error.is_none_or(|error| names.iter().all(|name| error.contains(name))));
        }
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
            "--sidecar-port 0",
            "--sidecar-health-port 80",
            "--sidecar-secret-name A",
            "--sidecar-secret-key a/b",
            "--sidecar-half-file half",
            "--sidecar-mode Native",
            "--sidecar-log-level trace",
            "--sidecar-half-file /half --sidecar-secret-provider-class c",
            "--sidecar-half-file /half --sidecar-secret-name s",
            "--sidecar-secret-provider-class c --sidecar-secret-name s",
            "--sidecar-image=",
        ] {
            assert!(parse(flags).is_err(), "{flags}");
        }
        assert_eq!(
            parse("--sidecar-run-as-user 2147483647").unwrap().run_as_user,
            Some(i32::MAX as u32)
        );
    }
}
