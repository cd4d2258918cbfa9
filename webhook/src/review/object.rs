//! The objects that come for review, as far as the decision reads them. Each field is optional
//! where JSON may leave it out or say null; what isn't named here is skipped unread.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::borrowed::{Amount, Entries, Text};
use crate::decision::keys;

/// A pod, or a workload's pod template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod<'a> {
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    pub spec: Option<PodSpec<'a>>,
}

/// The metadata of any object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    #[serde(borrow)]
    pub generate_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub labels: Entries<'a>,
    #[serde(borrow)]
    pub annotations: Entries<'a>,
    pub deletion_timestamp: Option<IgnoredAny>,
}

impl Metadata<'_> {
    /// The value of the label that asks for the sidecar, or refuses it.
    pub fn label(&self) -> Option<&str> {
        self.labels.get(keys::LABEL)
    }

    /// The object's name, or what its name will begin with.
    pub fn any_name(&self) -> Option<&str> {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.or(self.generate_name.as_deref())
    }
}

impl Pod<'_> {
    /// The value of the label that asks for the sidecar, or refuses it.
    pub fn label(&self) -> Option<&str> {
        self.metadata.as_ref()?.label()
    }

    /// The value of an annotation that matters here.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.annotations.get(key)
    }
}

/// A pod's spec.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec<'a> {
    #[serde(borrow)]
    pub containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub volumes: Option<Vec<Volume<'a>>>,
    #[serde(borrow)]
    pub restart_policy: Option<Text<'a>>,
    pub host_network: Option<bool>,
    #[serde(borrow)]
    pub os: Option<Os<'a>>,
    #[serde(borrow)]
    pub node_selector: Entries<'a>,
    pub security_context: Option<PodSecurityContext>,
    #[serde(borrow)]
    pub resources: Option<PodResources<'a>>,
}

impl PodSpec<'_> {
    /// The containers that make up the pod.
    pub fn containers(&self) -> &[Container<'_>] {
        self.containers.as_deref().unwrap_or_default()
    }

    /// The init containers, native sidecars among them.
    pub fn init_containers(&self) -> &[Container<'_>] {
        self.init_containers.as_deref().unwrap_or_default()
    }

    /// The volumes.
    pub fn volumes(&self) -> &[Volume<'_>] {
        self.volumes.as_deref().unwrap_or_default()
    }

    /// Whether the kubelet restarts the pod's containers for ever: restartPolicy Always, the
    /// default.
    pub fn runs_for_ever(&self) -> bool {
        self.restart_policy.as_deref().is_none_or(|policy| policy.is_empty() || policy == "Always")
    }
}

/// A container or an init container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub ports: Option<Vec<ContainerPort<'a>>>,
    pub resources: Option<ContainerResources>,
    #[serde(borrow)]
    pub restart_policy: Option<Text<'a>>,
}

impl Container<'_> {
    /// Whether an init container goes on beside the pod's containers (KEP-753).
    pub fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// A port that a container declares.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort<'a> {
    pub container_port: i64,
    #[serde(borrow)]
    pub protocol: Option<Text<'a>>,
}

/// A container's resources.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerResources {
    pub requests: Option<Amounts>,
    pub limits: Option<Amounts>,
}

/// The requests, or the limits, of a container.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Amounts {
    pub cpu: Option<Amount>,
    pub memory: Option<Amount>,
}

/// A volume; what it holds doesn't matter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Volume<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// The operating system that a pod says it is for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Os<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// What a pod's securityContext hands down to containers that say nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSecurityContext {
    pub run_as_user: Option<i64>,
}

/// Resources of the pod as a whole (KEP-2837).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodResources<'a> {
    #[serde(borrow)]
    pub requests: Entries<'a>,
    #[serde(borrow)]
    pub limits: Entries<'a>,
}

/// A workload: an object with a pod template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Workload<'a> {
    #[serde(borrow)]
    pub metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    pub spec: Option<WorkloadSpec<'a>>,
}

/// A workload's spec, whichever of the two ways it holds its template.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadSpec<'a> {
    #[serde(borrow)]
    pub template: Option<Pod<'a>>,
    #[serde(borrow)]
    pub job_template: Option<JobTemplate<'a>>,
}

/// What a CronJob makes its Jobs from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobTemplate<'a> {
    #[serde(borrow)]
    pub spec: Option<JobSpec<'a>>,
}

/// The spec of a CronJob's Jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobSpec<'a> {
    #[serde(borrow)]
    pub template: Option<Pod<'a>>,
}

impl<'a> Workload<'a> {
    /// The pod template, if there is one.
    pub fn template(&self) -> Option<&Pod<'a>> {
        let spec = self.spec.as_ref()?;
        let from_job = || spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref();
        spec.template.as_ref().or_else(from_job)
    }
}
