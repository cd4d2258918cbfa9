//! The objects that scenarios create, and what they look for in those that come back.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// The label, the container and the Secret.
pub(crate) const NAME: &str = "secret-handshake";

/// An object of a kind, which is in `api` (`v1`, `apps/v1`).
pub(crate) fn object(api: &str, kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({ "namespace": namespace, "name": name });
    json!({ "apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec })
}

pub(crate) fn pod(namespace: &str, name: &str) -> Value {
    let spec = json!({ "containers": [{ "name": "legacy", "image": "legacy-mock" }] });
    object("v1", "Pod", namespace, name, &spec)
}

/// A pod that the `restricted` Pod Security Standard lets in.
pub(crate) fn restricted_pod(namespace: &str, name: &str) -> Value {
    let mut pod = pod(namespace, name);
    pod["spec"]["securityContext"] = json!({
        "runAsNonRoot": true,
        "runAsUser": 1005,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    pod["spec"]["containers"][0]["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
    });
    pod
}

/// A workload with Legacy's template. What its kind needs besides is there too.
pub(crate) fn workload(kind: &str, namespace: &str, name: &str) -> Value {
    let template = json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{ "name": "legacy", "image": "legacy-mock" }] },
    });
    let selector = json!({ "matchLabels": { "app": name } });
    let mut ending = template.clone();
    ending["spec"]["restartPolicy"] = json!("Never");
    let (api, spec) = match kind {
        "StatefulSet" => {
            ("apps/v1", json!({ "serviceName": "x", "selector": selector, "template": template }))
        }
        "Job" => ("batch/v1", json!({ "template": ending })),
        "CronJob" => (
            "batch/v1",
            json!({ "schedule": "0 0 1 1 *", "jobTemplate": { "spec": { "template": ending } } }),
        ),
        _ => ("apps/v1", json!({ "selector": selector, "template": template })),
    };
    object(api, kind, namespace, name, &spec)
}

/// A LimitRange for each container of a namespace.
pub(crate) fn limit_range(namespace: &str, limits: &Value) -> Value {
    let mut limits = limits.clone();
    limits["type"] = json!("Container");
    object("v1", "LimitRange", namespace, "range", &json!({ "limits": [limits] }))
}

pub(crate) fn labelled(mut object: Value, value: &str) -> Value {
    object["metadata"]["labels"][NAME] = json!(value);
    object
}

pub(crate) fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    object
}

/// The pod with the sidecar's mode: `classic`, `native` or `auto`.
pub(crate) fn in_mode(pod: Value, mode: &str) -> Value {
    annotated(pod, "secret-handshake/mode", mode)
}

pub(crate) fn template(workload: &Value) -> &Value {
    match workload["kind"].as_str() {
        Some("CronJob") => &workload["spec"]["jobTemplate"]["spec"]["template"],
        _ => &workload["spec"]["template"],
    }
}

pub(crate) fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let containers = pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
    containers.iter().filter_map(|container| container["name"].as_str()).collect()
}

pub(crate) fn sidecar(pod: &Value) -> Option<&Value> {
    ["containers", "initContainers"]
        .iter()
        .filter_map(|list| pod["spec"][list].as_array())
        .flatten()
        .find(|container| container["name"] == NAME)
}

/// Makes sure that a pod has one sidecar exactly, and gives it.
pub(crate) fn the_sidecar(pod: &Value) -> Result<&Value> {
    let all = [names(pod, "containers"), names(pod, "initContainers")].concat();
    let count = all.iter().filter(|name| **name == NAME).count();
    ensure!(count == 1, "the pod has {count} sidecars: its containers are {}", all.join(", "));
    sidecar(pod).context("it was there a moment ago")
}

pub(crate) fn no_sidecar(pod: &Value) -> Result<()> {
    ensure!(sidecar(pod).is_none(), "the pod {} has a sidecar", pod["metadata"]["name"]);
    Ok(())
}

/// Makes sure that everything of `sent` is in `stored` as it was, in the same order, with nothing in
/// between: what was added came after it. Fields that the API server fills in by itself may be more.
pub(crate) fn kept(sent: &Value, stored: &Value, at: &str) -> Result<()> {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(stored)) => {
            for (key, value) in sent {
                kept(value, stored.get(key).unwrap_or(&Value::Null), &format!("{at}.{key}"))?;
            }
        }
        (Value::Array(sent), Value::Array(stored)) => {
            ensure!(
                sent.len() <= stored.len(),
                "{at} has lost some of its {} elements",
                sent.len()
            );
            for (place, (sent, stored)) in sent.iter().zip(stored).enumerate() {
                kept(sent, stored, &format!("{at}[{place}]"))?;
            }
        }
        _ => ensure!(sent == stored, "{at} was {sent} and is {stored}"),
    }
    Ok(())
}
