//! The sidecar's container and its volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIVolumeSource, Capabilities, Container, ContainerPort, DownwardAPIVolumeSource,
    HTTPGetAction, KeyToPath, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::policy::PullPolicy;

/// The name of the container, by which an injected pod is known.
pub const NAME: &str = "secret-handshake";
/// The name of the volume with the operations half.
pub const HALF_VOLUME: &str = "secret-handshake";
/// The name of the empty volume that keeps a service-account token out of the sidecar.
pub const NO_TOKEN_VOLUME: &str = "secret-handshake-no-token";

/// What one argument of each sidecar begins with; no other program is likely to have it.
const PORT_FLAG: &str = "--legacy-port=";

const HALF_DIRECTORY: &str = "/etc/secret-handshake";
const HALF_FILE: &str = "half";
/// The Secrets Store CSI driver, and the attribute by which it knows what to bring.
pub(crate) const CSI_DRIVER: &str = "secrets-store.csi.k8s.io";
const PROVIDER_CLASS_ATTRIBUTE: &str = "secretProviderClass";
/// Where the API server's ServiceAccount plugin mounts a token, unless something is there.
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whether an argument is one that the sidecar has: a container of its name with none is another's.
#[must_use]
pub fn is_sidecars_argument(argument: &str) -> bool {
    argument.starts_with(PORT_FLAG)
}

/// As which kind of container the sidecar joins the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The last of `initContainers`, with `restartPolicy: Always` (KEP-753): the kubelet ends it
    /// when the pod's own containers have ended.
    Native,
    /// The last of `containers`.
    Classic,
}

impl Mode {
    /// `native` or `classic`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Classic => "classic",
        }
    }
}

/// Where the operations half comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half<'a> {
    /// A Secret.
    Secret { name: &'a str, key: &'a str },
    /// The Secrets Store CSI driver, which makes files of what a `SecretProviderClass` lists.
    Provider { class: &'a str, file: &'a str },
    /// A file that somebody else brings into the container.
    File(&'a str),
}

/// What differs from one pod's sidecar to another's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sidecar<'a> {
    pub(crate) mode: Mode,
    pub(crate) image: &'a str,
    pub(crate) pull_policy: Option<PullPolicy>,
    pub(crate) legacy_port: u16,
    pub(crate) health_port: u16,
    pub(crate) half: Half<'a>,
    /// For the log. A manifest may leave the namespace to `kubectl apply -n`.
    pub(crate) namespace: Option<&'a str>,
    pub(crate) log_level: &'a str,
    pub(crate) resources: Option<ResourceRequirements>,
    pub(crate) run_as_user: Option<u32>,
    /// The container of the pod that kubectl is told to take without `-c`, where it needs telling.
    pub(crate) default_container: Option<&'a str>,
}

impl Sidecar<'_> {
    pub(crate) fn container(&self) -> Container {
        Container {
            name: NAME.to_owned(),
            image: Some(self.image.to_owned()),
            image_pull_policy: self.pull_policy.map(|policy| policy.to_string()),
            restart_policy: (self.mode == Mode::Native).then(|| "Always".to_owned()),
            args: Some(self.args()),
            ports: Some(vec![ContainerPort {
                name: Some("handshake".to_owned()),
                container_port: self.health_port.into(),
                ..ContainerPort::default()
            }]),
            resources: self.resources.clone(),
            volume_mounts: Some(self.mounts()),
            readiness_probe: Some(self.readiness_probe()),
            // The last lines of the log, which name the cause, show up in `kubectl describe pod`.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            security_context: Some(self.security_context()),
            ..Container::default()
        }
    }

    fn args(&self) -> Vec<String> {
        let half_file = match self.half {
            Half::Secret { .. } => format!("{HALF_DIRECTORY}/{HALF_FILE}"),
            Half::Provider { file, .. } => format!("{HALF_DIRECTORY}/{file}"),
            Half::File(path) => path.to_owned(),
        };
        let mut args = vec![
            format!("{PORT_FLAG}{}", self.legacy_port),
            format!("--half-file={half_file}"),
            format!("--listen=:{}", self.health_port),
        ];
        if let Half::Secret { name, key } = self.half {
            args.extend([format!("--secret={name}"), format!("--secret-key={key}")]);
        }
        args.extend(self.namespace.map(|namespace| format!("--namespace={namespace}")));
        args.push(format!("--log-level={}", self.log_level));
        args
    }

    fn mounts(&self) -> Vec<VolumeMount> {
        let no_token = mount(NO_TOKEN_VOLUME, TOKEN_DIRECTORY);
        match self.half {
            Half::File(_) => vec![no_token],
            _ => vec![mount(HALF_VOLUME, HALF_DIRECTORY), no_token],
        }
    }

    /// A readinessProbe alone: with a startupProbe or a postStart hook Legacy could not start while
    /// the sidecar waits for it. The sidecar holds an answer for up to four seconds, which the
    /// timeout leaves room for. One answer that is lost on its way is no reason to leave the Service,
    /// hence two; the sidecar gives both at once when Legacy has died.
    fn readiness_probe(&self) -> Probe {
        Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/readyz".to_owned()),
                port: IntOrString::Int(self.health_port.into()),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(1),
            timeout_seconds: Some(5),
            failure_threshold: Some(2),
            ..Probe::default()
        }
    }

    /// What the `restricted` Pod Security Standard demands, and a read-only root file system: said
    /// in full, so that it holds whatever the pod says.
    fn security_context(&self) -> SecurityContext {
        SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            run_as_user: self.run_as_user.map(i64::from),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..SecurityContext::default()
        }
    }

    pub(crate) fn volumes(&self) -> Vec<Volume> {
        // The ServiceAccount plugin runs again after a webhook changed the pod, and mounts a token
        // into each container that has nothing at that path. No emptyDir: `kubectl drain` would
        // refuse the pod.
        let no_token = Volume {
            name: NO_TOKEN_VOLUME.to_owned(),
            downward_api: Some(DownwardAPIVolumeSource::default()),
            ..Volume::default()
        };
        self.half.volume().into_iter().chain([no_token]).collect()
    }
}

impl Half<'_> {
    fn volume(self) -> Option<Volume> {
        let volume = Volume { name: HALF_VOLUME.to_owned(), ..Volume::default() };
        match self {
            Self::Secret { name, key } => {
                Some(Volume { secret: Some(secret(name, key)), ..volume })
            }
            Self::Provider { class, .. } => Some(Volume { csi: Some(csi(class)), ..volume }),
            Self::File(_) => None,
        }
    }
}

fn secret(name: &str, key: &str) -> SecretVolumeSource {
    SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        items: Some(vec![KeyToPath {
            key: key.to_owned(),
            path: HALF_FILE.to_owned(),
            ..KeyToPath::default()
        }]),
        // The sidecar is not root, and without an fsGroup the file belongs to root.
        default_mode: Some(0o444),
        // Without the Secret the pod starts all the same, and the sidecar's log says what to create.
        optional: Some(true),
        ..SecretVolumeSource::default()
    }
}

/// There is no `optional` here: the pod waits for the provider.
fn csi(class: &str) -> CSIVolumeSource {
    let class = (PROVIDER_CLASS_ATTRIBUTE.to_owned(), class.to_owned());
    CSIVolumeSource {
        driver: CSI_DRIVER.to_owned(),
        read_only: Some(true),
        volume_attributes: Some(BTreeMap::from([class])),
        ..CSIVolumeSource::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
