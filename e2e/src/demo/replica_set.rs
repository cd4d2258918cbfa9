//! The pod that a Deployment comes to, as the API server sends it to webhooks: made by the ReplicaSet
//! controller from the template, completed with the API's defaults and with what the ServiceAccount
//! admission plugin adds.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodStatus, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// In a cluster this is a hash of the template.
const HASH: &str = "7d4b9c8f6d";
/// Any uid will do for what is asked once.
pub(crate) const UID: &str = "5f4c9a0e-6d1b-4b7e-9c52-0a8e3d7f6b21";

/// Makes the pod. It has no name yet: the API server makes one from `generateName` only afterwards.
pub(crate) fn pod(deployment: &Deployment) -> Result<Value> {
    let name = deployment.metadata.name.as_deref().context("the Deployment has no name")?;
    let template = deployment.spec.template.clone();
    let replica_set = format!("{name}-{HASH}");

    let mut metadata = template.metadata.unwrap_or_default();
    metadata.generate_name = Some(format!("{replica_set}-"));
    metadata.namespace.clone_from(&deployment.metadata.namespace);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert("pod-template-hash".to_owned(), HASH.to_owned());
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: replica_set,
        uid: UID.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }]);

    let mut spec = template.spec.context("the template has no spec")?;
    let default = |field: &mut Option<String>, value: &str| {
        field.get_or_insert_with(|| value.to_owned());
    };
    let token = token_volume();
    for container in &mut spec.containers {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: token["name"].as_str().unwrap_or_default().to_owned(),
            read_only: Some(true),
            mount_path: TOKEN.to_owned(),
            ..VolumeMount::default()
        });
        container.resources.get_or_insert_default();
        default(&mut container.termination_message_path, "/dev/termination-log");
        default(&mut container.termination_message_policy, "File");
        default(&mut container.image_pull_policy, "IfNotPresent");
    }
    spec.volumes.get_or_insert_default().push(serde_json::from_value(token)?);
    default(&mut spec.restart_policy, "Always");
    default(&mut spec.dns_policy, "ClusterFirst");
    default(&mut spec.service_account_name, "default");
    default(&mut spec.service_account, "default");
    default(&mut spec.scheduler_name, "default-scheduler");
    default(&mut spec.preemption_policy, "PreemptLowerPriority");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.security_context.get_or_insert_default();
    spec.priority.get_or_insert(0);
    spec.enable_service_links.get_or_insert(true);
    let pod = Pod { metadata, spec: Some(spec), status: Some(PodStatus::default()) };
    Ok(serde_json::to_value(pod)?)
}

fn token_volume() -> Value {
    json!({
        "name": "kube-api-access-x7k2p",
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
            "defaultMode": 420,
        },
    })
}
