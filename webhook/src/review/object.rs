//! The objects that come for review, as far as the decision reads them. Each field is optional
//! where JSON may leave it out or say null; what isn't named here is skipped unread.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::borrowed::{Amount, Entries, Text};
use crate::decision::keys;

/// A pod, or a workload's pod template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    pub(crate) spec: Option<PodSpec<'a>>,
}

/// The metadata of any object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) generate_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) labels: Entries<'a>,
    #[serde(borrow)]
    pub(crate) annotations: Entries<'a>,
    pub(crate) deletion_timestamp: Option<IgnoredAny>,
}

impl Metadata<'_> {
    /// The value of the label that asks for the sidecar, or refuses it.
    pub(crate) fn label(&self) -> Option<&str> {
        self.labels.get(keys::LABEL)
    }

    /// The object's name, or what its name will begin with.
    pub(crate) fn any_name(&self) -> Option<&str> {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.or(self.generate_name.as_deref())
    }
}

impl Pod<'_> {
    /// The value of the label that asks for the sidecar, or refuses it.
    pub(crate) fn label(&self) -> Option<&str> {
        self.metadata.as_ref()?.label()
    }

    /// The value of an annotation that matters here.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.annotations.get(key)
    }
}

/// A pod's spec.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec<'a> {
    #[serde(borrow)]
    pub(crate) containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub(crate) init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub(crate) volumes: Option<Vec<Volume<'a>>>,
    #[serde(borrow)]
    pub(crate) restart_policy: Option<Text<'a>>,
    pub(crate) host_network: Option<bool>,
    #[serde(borrow)]
    pub(crate) os: Option<Os<'a>>,
    #[serde(borrow)]
    pub(crate) node_selector: Entries<'a>,
    pub(crate) security_context: Option<PodSecurityContext>,
    #[serde(borrow)]
    pub(crate) resources: Option<PodResources<'a>>,
}

impl PodSpec<'_> {
    /// The containers that make up the pod.
    pub(crate) fn containers(&self) -> &[Container<'_>] {
        self.containers.as_deref().unwrap_or_default()
    }

    /// The init containers, native sidecars among them.
    pub(crate) fn init_containers(&self) -> &[Container<'_>] {
        self.init_containers.as_deref().unwrap_or_default()
    }

    /// The volumes.
    pub(crate) fn volumes(&self) -> &[Volume<'_>] {
        self.volumes.as_deref().unwrap_or_default()
    }

    /// Whether the kubelet restarts the pod's containers for ever: restartPolicy Always, the
    /// default.
    pub(crate) fn runs_for_ever(&self) -> bool {
        self.restart_policy.as_deref().is_none_or(|policy| policy.is_empty() || policy == "Always")
    }
}

/// A container or an init container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Container<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow)]
    pub(crate) ports: Option<Vec<ContainerPort<'a>>>,
    pub(crate) resources: Option<ContainerResources>,
    #[serde(borrow)]
    pub(crate) restart_policy: Option<Text<'a>>,
}

impl Container<'_> {
    /// Whether an init container goes on beside the pod's containers (KEP-753).
    pub(crate) fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// A port that a container declares.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerPort<'a> {
    pub(crate) container_port: i64,
    #[serde(borrow)]
    pub(crate) protocol: Option<Text<'a>>,
}

/// A container's resources.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerResources {
    pub(crate) requests: Option<Amounts>,
    pub(crate) limits: Option<Amounts>,
}

/// The requests, or the limits, of a container.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Amounts {
    pub(crate) cpu: Option<Amount>,
    pub(crate) memory: Option<Amount>,
}

/// A volume; what it holds doesn't matter.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Volume<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
}

/// The operating system that a pod says it is for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Os<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
}

/// What a pod's securityContext hands down to containers that say nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSecurityContext {
    pub(crate) run_as_user: Option<i64>,
}

/// Resources of the pod as a whole (KEP-2837).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodResources<'a> {
    #[serde(borrow)]
    pub(crate) requests: Entries<'a>,
    #[serde(borrow)]
    pub(crate) limits: Entries<'a>,
}

/// A workload: an object with a pod template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Workload<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    pub(crate) spec: Option<WorkloadSpec<'a>>,
}

/// A workload's spec, whichever of the two ways it holds its template.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct WorkloadSpec<'a> {
    #[serde(borrow)]
    pub(crate) template: Option<Pod<'a>>,
    #[serde(borrow)]
    pub(crate) job_template: Option<JobTemplate<'a>>,
}

/// What a CronJob makes its Jobs from.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobTemplate<'a> {
    #[serde(borrow)]
    pub(crate) spec: Option<JobSpec<'a>>,
}

/// The spec of a CronJob's Jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct JobSpec<'a> {
    #[serde(borrow)]
    pub(crate) template: Option<Pod<'a>>,
}

impl<'a> Workload<'a> {
    /// The pod template, if there is one.
    pub(crate) fn template(&self) -> Option<&Pod<'a>> {
        let spec = self.spec.as_ref()?;
        let from_job = || spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref();
        spec.template.as_ref().or_else(from_job)
    }
}
