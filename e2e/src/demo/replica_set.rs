//! The pod that a Deployment comes to, as the API server sends it to webhooks: made by the ReplicaSet
//! controller from the template, completed with the API's defaults and with what the ServiceAccount
//! admission plugin adds.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// In a cluster this is a hash of the template.
const HASH: &str = "7d4b9c8f6d";
/// Any uid will do for what is asked once.
pub(crate) const UID: &str = "5f4c9a0e-6d1b-4b7e-9c52-0a8e3d7f6b21";

/// Makes the pod. It has no name yet: the API server makes one from `generateName` only afterwards.
pub(crate) fn pod(deployment: &Value) -> Result<Value> {
    let defaults: Value = serde_saphyr::from_str(include_str!("pod-defaults.yaml"))?;
    let name = deployment["metadata"]["name"].as_str().context("the Deployment has no name")?;
    let replica_set = format!("{name}-{HASH}");
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod" });
    complete(&mut pod, &deployment["spec"]["template"]);
    complete(&mut pod, &defaults["pod"]);
    let metadata = &mut pod["metadata"];
    metadata["generateName"] = json!(format!("{replica_set}-"));
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    metadata["labels"]["pod-template-hash"] = json!(HASH);
    metadata["ownerReferences"] = json!([{
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": replica_set,
        "uid": UID,
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    append(&mut pod["spec"]["volumes"], &defaults["volume"]);
    let containers = pod["spec"]["containers"].as_array_mut();
    for container in containers.context("the template has no container")? {
        append(&mut container["volumeMounts"], &defaults["mount"]);
        complete(container, &defaults["container"]);
    }
    Ok(pod)
}

/// Adds what `value` does not have of `defaults`.
fn complete(value: &mut Value, defaults: &Value) {
    match (value, defaults) {
        (Value::Object(value), Value::Object(defaults)) => {
            for (key, default) in defaults {
                complete(value.entry(key).or_insert(Value::Null), default);
            }
        }
        (value @ Value::Null, defaults) => *value = defaults.clone(),
        _ => {}
    }
}

fn append(list: &mut Value, element: &Value) {
    match list {
        Value::Array(list) => list.push(element.clone()),
        _ => *list = json!([element]),
    }
}
