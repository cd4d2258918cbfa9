use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

use super::{Cpu, Memory};

/// What the operator of the webhook decides for all pods; a pod's annotations adjust the rest.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The sidecar's image, as a container's `image` says it.
    pub image: String,
    /// When the kubelet pulls that image; `None` leaves it to the API server's default.
    pub pull_policy: Option<PullPolicy>,
    /// CPU of the sidecar where the pod's other containers set theirs; request and limit alike.
    pub cpu: Cpu,
    /// Memory of the sidecar where the pod's other containers set theirs; request and limit alike.
    pub memory: Memory,
    /// The sidecar's uid. `None` leaves it to the cluster, as OpenShift wants it.
    pub run_as_user: Option<u32>,
    /// Namespaces whose objects are never changed.
    pub excluded_namespaces: Vec<String>,
    /// The webhook's own namespace, never changed either; `None` if it runs outside a cluster.
    pub own_namespace: Option<String>,
}

impl Policy {
    /// Namespaces that belong to Kubernetes itself.
    pub const SYSTEM_NAMESPACES: [&'static str; 3] =
        ["kube-system", "kube-public", "kube-node-lease"];

    /// The sidecar's uid and gid in its image, and what `runAsUser` says by default.
    pub const RUN_AS_USER: u32 = 65532;

    /// Whether objects of this namespace are left as they are.
    #[must_use]
    pub fn excludes(&self, namespace: &str) -> bool {
        self.own_namespace.as_deref() == Some(namespace)
            || self.excluded_namespaces.iter().any(|excluded| excluded == namespace)
    }
}

impl Default for Policy {
    /// The sidecar's image of this very version, 50m and 12Mi, uid 65532, Kubernetes' own
    /// namespaces excluded.
    fn default() -> Self {
        Self {
            image: concat!("secret-handshake-sidecar:", env!("CARGO_PKG_VERSION")).to_owned(),
            pull_policy: None,
            cpu: Cpu::default(),
            memory: Memory::default(),
            run_as_user: Some(Self::RUN_AS_USER),
            excluded_namespaces: Self::SYSTEM_NAMESPACES.map(str::to_owned).into(),
            own_namespace: None,
        }
    }
}

/// A container's `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PullPolicy {
    /// Asks the registry at each start.
    Always,
    /// Pulls what the node doesn't have.
    IfNotPresent,
    /// Takes what the node has.
    Never,
}

/// Why a text is not an `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected Always, IfNotPresent or Never")]
pub struct InvalidPullPolicy;

impl FromStr for PullPolicy {
    type Err = InvalidPullPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Always" => Ok(Self::Always),
            "IfNotPresent" => Ok(Self::IfNotPresent),
            "Never" => Ok(Self::Never),
            _ => Err(InvalidPullPolicy),
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
