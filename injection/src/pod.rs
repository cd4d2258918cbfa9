//! The objects, as far as the decision reads them: what isn't named here is skipped. Each field is an
//! `Option` where JSON may leave it out or say null.
//!
//! A list in a list can be as long as the body has room for, whatever bound each of them has, so what
//! stands in the inner one has to be small (see [`ContainerPort`]), or isn't kept at all ([`Folded`]).

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::bounded::{List, Map};
use crate::folded::{Entry, Folded};
use crate::keys;
use crate::quantity::Quantity;
use crate::sidecar::{CSI_DRIVER, HALF_VOLUME, Half, NAME, NO_TOKEN_VOLUME, is_sidecars_argument};

/// What Windows is called in `os.name` and in the labels of nodes.
const WINDOWS: &str = "windows";

/// A pod, or a workload's pod template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// The pod's metadata; a manifest's template may have none.
    pub metadata: Option<Metadata>,
    pub(crate) spec: Option<PodSpec>,
}

/// The metadata of any object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    pub(crate) labels: Option<Map<String>>,
    pub(crate) annotations: Option<Map<String>>,
    pub(crate) deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpec {
    containers: Option<List<Container>>,
    pub(crate) init_containers: Option<List<Container>>,
    pub(crate) volumes: Option<List<Volume>>,
    restart_policy: Option<String>,
    pub(crate) host_network: Option<bool>,
    os: Option<Os>,
    node_selector: Option<Map<String>>,
    affinity: Option<Affinity>,
    security_context: Option<SecurityContext>,
    /// Of the pod as a whole (KEP-2837).
    pub(crate) resources: Option<Resources>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    args: Option<Folded<Argument>>,
    ports: Option<List<ContainerPort>>,
    pub(crate) resources: Option<Resources>,
    restart_policy: Option<String>,
    security_context: Option<SecurityContext>,
}

#[derive(Debug, Deserialize)]
struct Argument(String);

impl Entry for Argument {
    fn says_yes(&self) -> bool {
        is_sidecars_argument(&self.0)
    }
}

/// 8 bytes, so that two million empty ones, which fill a body of 6 MiB, take 16 MiB.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerPort {
    container_port: i32,
    protocol: Option<Protocol>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
enum Protocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(other)]
    Other,
}

/// Of a container, or of a pod as a whole.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) requests: Option<Amounts>,
    pub(crate) limits: Option<Amounts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Amounts {
    pub(crate) cpu: Option<Quantity>,
    pub(crate) memory: Option<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Volume {
    pub(crate) name: String,
    secret: Option<SecretSource>,
    #[serde(rename = "downwardAPI")]
    downward_api: Option<IgnoredAny>,
    csi: Option<CsiSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecretSource {
    secret_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CsiSource {
    driver: String,
    volume_attributes: Option<CsiAttributes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CsiAttributes {
    secret_provider_class: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Os {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Affinity {
    node_affinity: Option<NodeAffinity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<NodeSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSelector {
    /// A node has to meet one of them.
    node_selector_terms: Option<Folded<NodeSelectorTerm>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSelectorTerm {
    /// A node has to meet all of them.
    match_expressions: Option<Folded<NodeRequirement>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeRequirement {
    key: String,
    operator: String,
    values: Option<Folded<NodeOs>>,
}

#[derive(Debug, Deserialize)]
struct NodeOs(String);

/// Of a pod or of a container.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecurityContext {
    run_as_user: Option<i64>,
    windows_options: Option<IgnoredAny>,
}

/// An object with a pod template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// The workload's own metadata, not its template's.
    pub metadata: Option<Metadata>,
    spec: Option<WorkloadSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WorkloadSpec {
    template: Option<Pod>,
    /// A CronJob's.
    job_template: Option<JobTemplate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    spec: Option<JobSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JobSpec {
    template: Option<Pod>,
}

impl Metadata {
    /// The name, or what it will begin with; the empty one if neither is there.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.or(self.generate_name.as_deref()).unwrap_or_default()
    }

    /// The namespace, if one is named.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }

    /// The value of the label that asks for the sidecar, or refuses it.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.labels.as_ref()?.get(keys::LABEL).map(String::as_str)
    }

    pub(crate) fn has_label(&self, key: &str) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(key))
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn annotation_keys(&self) -> impl Iterator<Item = &str> {
        self.annotations.iter().flat_map(|annotations| annotations.keys()).map(String::as_str)
    }
}

impl Pod {
    pub(crate) fn label(&self) -> Option<&str> {
        self.metadata.as_ref()?.label()
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.annotation(key)
    }
}

impl PodSpec {
    pub(crate) fn containers(&self) -> &[Container] {
        self.containers.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Native sidecars among them.
    pub(crate) fn init_containers(&self) -> &[Container] {
        self.init_containers.as_deref().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn volumes(&self) -> &[Volume] {
        self.volumes.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Whether the pod can run on Windows alone, said in whichever way. With `windowsOptions` the API
    /// server takes no other `os`.
    pub(crate) fn is_for_windows(&self) -> bool {
        let containers = self.containers().iter().chain(self.init_containers());
        let mut contexts = containers
            .map(|container| &container.security_context)
            .chain([&self.security_context])
            .flatten();
        self.os.as_ref().is_some_and(|os| os.name == WINDOWS)
            || self.selects_windows()
            || self.affinity.as_ref().is_some_and(Affinity::requires_windows)
            || contexts.any(|context| context.windows_options.is_some())
    }

    fn selects_windows(&self) -> bool {
        let value = |key| self.node_selector.as_ref()?.get(key).map(String::as_str);
        keys::NODE_OS.into_iter().any(|key| value(key) == Some(WINDOWS))
    }

    /// The user that containers have which name none.
    pub(crate) fn run_as_user(&self) -> Option<i64> {
        self.security_context.as_ref()?.run_as_user
    }

    /// Whether the pod ends by itself once its containers have ended: any restartPolicy but Always,
    /// the default.
    pub(crate) fn ends(&self) -> bool {
        self.restart_policy.as_deref().is_some_and(|policy| !matches!(policy, "" | "Always"))
    }
}

impl Affinity {
    fn requires_windows(&self) -> bool {
        let required = self.node_affinity.as_ref().and_then(|nodes| nodes.required.as_ref());
        let terms = required.and_then(|required| required.node_selector_terms.as_ref());
        terms.is_some_and(|terms| terms.all)
    }
}

impl Entry for NodeSelectorTerm {
    fn says_yes(&self) -> bool {
        self.match_expressions.as_ref().is_some_and(|all| all.any)
    }
}

impl Entry for NodeRequirement {
    fn says_yes(&self) -> bool {
        keys::NODE_OS.contains(&self.key.as_str())
            && self.operator == "In"
            && self.values.as_ref().is_some_and(|values| values.all)
    }
}

impl Entry for NodeOs {
    fn says_yes(&self) -> bool {
        self.0 == WINDOWS
    }
}

impl Container {
    /// Whether it is the sidecar, and not another container of its name.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.name == NAME && self.args.as_ref().is_some_and(|args| args.any)
    }

    /// Whether an init container runs on beside the pod's containers (KEP-753).
    pub(crate) fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    /// Whether it declares a TCP port, TCP being the default.
    pub(crate) fn declares(&self, port: u16) -> bool {
        self.ports.iter().flat_map(|ports| ports.iter()).any(|declared| {
            declared.container_port == i32::from(port) && declared.protocol != Some(Protocol::Other)
        })
    }
}

impl Volume {
    /// Whether it holds what the sidecar's own volume of this name would.
    pub(crate) fn is_sidecars(&self, half: Half<'_>) -> bool {
        match (self.name.as_str(), half) {
            (HALF_VOLUME, Half::Secret { name, .. }) => {
                let secret = self.secret.as_ref().and_then(|it| it.secret_name.as_deref());
                secret == Some(name)
            }
            (HALF_VOLUME, Half::Provider { class, .. }) => {
                let csi = self.csi.as_ref().filter(|csi| csi.driver == CSI_DRIVER);
                let attributes = csi.and_then(|csi| csi.volume_attributes.as_ref());
                attributes.and_then(|it| it.secret_provider_class.as_deref()) == Some(class)
            }
            (NO_TOKEN_VOLUME, _) => self.downward_api.is_some(),
            _ => false,
        }
    }
}

impl Workload {
    /// The pod template, if there is one.
    #[must_use]
    pub fn template(&self) -> Option<&Pod> {
        let spec = self.spec.as_ref()?;
        let of_job = || spec.job_template.as_ref()?.spec.as_ref()?.template.as_ref();
        spec.template.as_ref().or_else(of_job)
    }
}
