//! The keys in an object's metadata that this webhook reads or writes.

/// The label that asks for the sidecar, on a Namespace, a workload or a pod.
pub const LABEL: &str = "secret-handshake";

/// What every annotation of this webhook begins with.
pub const PREFIX: &str = "secret-handshake/";

/// Legacy's port.
pub const PORT: &str = "secret-handshake/port";
/// The sidecar's own port.
pub const HEALTH_PORT: &str = "secret-handshake/health-port";
/// The Secret with the operations half.
pub const SECRET_NAME: &str = "secret-handshake/secret-name";
/// The key in that Secret.
pub const SECRET_KEY: &str = "secret-handshake/secret-key";
/// A file with the operations half that somebody else brings into the sidecar's container.
pub const HALF_FILE: &str = "secret-handshake/half-file";
/// The `SecretProviderClass` of the Secrets Store CSI driver that has the operations half.
pub const SECRET_PROVIDER_CLASS: &str = "secret-handshake/secret-provider-class";
/// `auto`, `native` or `classic`.
pub const MODE: &str = "secret-handshake/mode";
/// How much the sidecar logs.
pub const LOG_LEVEL: &str = "secret-handshake/log-level";
/// The sidecar's CPU, request and limit.
pub const CPU: &str = "secret-handshake/cpu";
/// The sidecar's memory, request and limit.
pub const MEMORY: &str = "secret-handshake/memory";

/// What can be set, on a pod and on its Namespace.
pub const SETTINGS: [&str; 10] = [
    PORT,
    HEALTH_PORT,
    SECRET_NAME,
    SECRET_KEY,
    HALF_FILE,
    SECRET_PROVIDER_CLASS,
    MODE,
    LOG_LEVEL,
    CPU,
    MEMORY,
];

/// What the webhook did with a pod; its own.
pub const STATUS: &str = "secret-handshake/status";
/// The label's value that the webhook put on a workload's template; its own, on the workload.
pub const LABEL_COPIED: &str = "secret-handshake/label-copied";

/// Pods with this annotation had their handshake from the operator that came before.
pub const DONE: &str = "secret-handshake-done";
/// What the kubelet sets on the API's mirror of a static pod.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// The container that `kubectl logs`, `exec` and `attach` take without `-c` (KEP-2227).
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// The labels by which a node tells its operating system, the second one before Kubernetes 1.14.
pub const NODE_OS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
