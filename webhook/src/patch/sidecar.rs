//! What the sidecar's container and its volumes look like in a pod.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::decision::plan::Injection;
use crate::decision::resources::Resources;
use crate::decision::{Mode, NO_TOKEN_VOLUME, PullPolicy, SECRET_VOLUME, SIDECAR};

/// Where the sidecar finds the operations half.
const HALF_DIRECTORY: &str = "/etc/secret-handshake";
/// The file in it.
const HALF_FILE: &str = "half";
/// Where the API server's ServiceAccount plugin mounts a token, unless something is there.
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container<'a> {
    name: &'static str,
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_pull_policy: Option<PullPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_policy: Option<&'static str>,
    args: Args<'a>,
    ports: [ContainerPort; 1],
    #[serde(skip_serializing_if = "Resources::are_empty")]
    resources: Resources<'a>,
    volume_mounts: [VolumeMount; 2],
    readiness_probe: Probe,
    /// The last lines of the log, which name the cause, show up in `kubectl describe pod`.
    termination_message_policy: &'static str,
    security_context: SecurityContext,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    name: &'static str,
    container_port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VolumeMount {
    name: &'static str,
    mount_path: &'static str,
    read_only: bool,
}

/// A readinessProbe alone: with a startupProbe or a postStart hook Legacy could not start while
/// the sidecar waits for it. The sidecar holds an answer for up to four seconds, which the timeout
/// leaves room for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: HttpGet,
    period_seconds: u8,
    timeout_seconds: u8,
    failure_threshold: u8,
}

#[derive(Serialize)]
struct HttpGet {
    path: &'static str,
    port: u16,
}

/// What the `restricted` Pod Security Standard demands, and a read-only root file system: said in
/// full, so that it holds whatever the pod says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    allow_privilege_escalation: bool,
    capabilities: Capabilities,
    read_only_root_filesystem: bool,
    run_as_non_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_user: Option<u32>,
    seccomp_profile: SeccompProfile,
}

#[derive(Serialize)]
struct Capabilities {
    drop: [&'static str; 1],
}

#[derive(Serialize)]
struct SeccompProfile {
    r#type: &'static str,
}

impl<'a> Container<'a> {
    pub(super) fn new(plan: &'a Injection<'a>) -> Self {
        Self {
            name: SIDECAR,
            image: plan.image,
            image_pull_policy: plan.pull_policy,
            restart_policy: (plan.mode == Mode::Native).then_some("Always"),
            args: Args(plan),
            ports: [ContainerPort { name: "handshake", container_port: plan.health_port }],
            resources: plan.resources,
            volume_mounts: [
                VolumeMount { name: SECRET_VOLUME, mount_path: HALF_DIRECTORY, read_only: true },
                VolumeMount { name: NO_TOKEN_VOLUME, mount_path: TOKEN_DIRECTORY, read_only: true },
            ],
            readiness_probe: Probe {
                http_get: HttpGet { path: "/readyz", port: plan.health_port },
                period_seconds: 1,
                timeout_seconds: 5,
                failure_threshold: 1,
            },
            termination_message_policy: "FallbackToLogsOnError",
            security_context: SecurityContext {
                allow_privilege_escalation: false,
                capabilities: Capabilities { drop: ["ALL"] },
                read_only_root_filesystem: true,
                run_as_non_root: true,
                run_as_user: plan.run_as_user,
                seccomp_profile: SeccompProfile { r#type: "RuntimeDefault" },
            },
        }
    }
}

/// The sidecar's command line.
struct Args<'a>(&'a Injection<'a>);

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plan = self.0;
        let mut args = serializer.serialize_seq(None)?;
        args.serialize_element(&format_args!("--legacy-port={}", plan.legacy_port))?;
        args.serialize_element(&format_args!("--half-file={HALF_DIRECTORY}/{HALF_FILE}"))?;
        args.serialize_element(&format_args!("--listen=:{}", plan.health_port))?;
        args.serialize_element(&format_args!("--secret={}", plan.secret_name))?;
        args.serialize_element(&format_args!("--secret-key={}", plan.secret_key))?;
        if let Some(namespace) = plan.namespace {
            args.serialize_element(&format_args!("--namespace={namespace}"))?;
        }
        args.serialize_element(&format_args!("--log-level={}", plan.log_level.as_str()))?;
        args.end()
    }
}

/// The volume with the operations half. It is optional: without the Secret the pod starts all the
/// same, and the sidecar's log says what to create.
#[derive(Serialize)]
pub(super) struct SecretVolume<'a> {
    name: &'static str,
    secret: SecretSource<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecretSource<'a> {
    secret_name: &'a str,
    items: [KeyToPath<'a>; 1],
    default_mode: u32,
    optional: bool,
}

#[derive(Serialize)]
struct KeyToPath<'a> {
    key: &'a str,
    path: &'static str,
}

impl<'a> SecretVolume<'a> {
    pub(super) fn new(plan: &Injection<'a>) -> Self {
        Self {
            name: SECRET_VOLUME,
            secret: SecretSource {
                secret_name: plan.secret_name,
                items: [KeyToPath { key: plan.secret_key, path: HALF_FILE }],
                // The sidecar is not root, and without an fsGroup the file belongs to root.
                default_mode: 0o444,
                optional: true,
            },
        }
    }
}

/// An empty volume, mounted where the service-account token would be: the ServiceAccount plugin
/// runs again after a webhook changed the pod, and mounts a token into each container that has
/// nothing there. No emptyDir, for `kubectl drain` would refuse the pod.
#[derive(Serialize)]
pub(super) struct NoTokenVolume {
    name: &'static str,
    #[serde(rename = "downwardAPI")]
    downward_api: Empty,
}

#[derive(Serialize)]
struct Empty {}

impl NoTokenVolume {
    pub(super) const fn new() -> Self {
        Self { name: NO_TOKEN_VOLUME, downward_api: Empty {} }
    }
}
