//! The pod that a Deployment comes to, as the API server sends it to webhooks: made by the ReplicaSet
//! controller from the template, completed with the API's defaults and with what the ServiceAccount
//! admission plugin adds.

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

/// Where tokens are mounted.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Makes the pod. It has no name yet: the API server makes one from `generateName` only afterwards.
pub(crate) fn pod(deployment: &Deployment) -> Result<Value> {
    let name = deployment.metadata.name.as_deref().context("the Deployment has no name")?;
    let template = serde_json::to_value(&deployment.spec.template)?;
    let hash = hash(&template);
    let replica_set = format!("{name}-{hash}");

    let mut metadata = object(&template["metadata"]);
    metadata.insert("generateName".to_owned(), json!(format!("{replica_set}-")));
    metadata.insert("namespace".to_owned(), json!(deployment.metadata.namespace));
    let mut labels = object(&template["metadata"]["labels"]);
    labels.insert("pod-template-hash".to_owned(), json!(hash));
    metadata.insert("labels".to_owned(), Value::Object(labels));
    metadata.insert(
        "ownerReferences".to_owned(),
        json!([{
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": replica_set,
            "uid": uid(&replica_set),
            "controller": true,
            "blockOwnerDeletion": true,
        }]),
    );

    let access = format!("kube-api-access-{}", &hash[..5]);
    let mut spec = object(&template["spec"]);
    let mut volumes = spec.remove("volumes").unwrap_or_else(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(token_volume(&access));
    }
    let mut containers = spec.remove("containers").unwrap_or_default();
    for container in containers.as_array_mut().into_iter().flatten() {
        complete(container, &access);
    }
    let mut whole = Map::new();
    whole.insert("volumes".to_owned(), volumes);
    whole.insert("containers".to_owned(), containers);
    for (field, default) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("serviceAccountName", json!("default")),
        ("serviceAccount", json!("default")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
        ("priority", json!(0)),
        ("enableServiceLinks", json!(true)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        whole.insert(field.to_owned(), spec.remove(field).unwrap_or(default));
    }
    whole.append(&mut spec);
    Ok(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole, "status": {}}),
    )
}

/// A container's defaults, and the token that it gets.
fn complete(container: &mut Value, access: &str) {
    let Some(container) = container.as_object_mut() else {
        return;
    };
    let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
    if let Some(mounts) = mounts.as_array_mut() {
        mounts.push(json!({"name": access, "readOnly": true, "mountPath": TOKEN}));
    }
    for (field, default) in [
        ("resources", json!({})),
        ("terminationMessagePath", json!("/dev/termination-log")),
        ("terminationMessagePolicy", json!("File")),
        ("imagePullPolicy", json!("IfNotPresent")),
    ] {
        container.entry(field).or_insert(default);
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
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

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// A hash of the template. The controller's own is another one, which nobody may rely on.
fn hash(template: &Value) -> String {
    hex(&Sha256::digest(template.to_string()))[..10].to_owned()
}

/// A uid that stays the same for the same name.
pub(crate) fn uid(name: &str) -> String {
    let hex = hex(&Sha256::digest(name));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
