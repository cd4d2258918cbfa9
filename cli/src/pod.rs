//! What several commands ask of a pod.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// A Deployment's label on its pods. The `ReplicaSet` between them is named by both.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// Whether it has ended or is being deleted.
pub(crate) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some()
}

/// Whether its condition Ready says so.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// The one of its owners that made it.
pub(crate) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The name of the Deployment whose `ReplicaSet` made it.
pub(crate) fn deployment(metadata: &ObjectMeta) -> Option<&str> {
    let owner = controller(metadata).filter(|owner| owner.kind == "ReplicaSet")?;
    let hash = metadata.labels.as_ref()?.get(TEMPLATE_HASH)?;
    let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    (!name.is_empty()).then_some(name)
}
