//! Pods with every kind of value of each setting, and of resources.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::objects::{NAME, annotated, labelled, pod};

/// Each setting with values at the edges of what is allowed, on either side.
const VALUES: [(&str, &[&str]); 10] = [
    (
        "port",
        &["1", "080", "65535", "0", "65536", "-1", "+1", "", " 80", "3e3", "99999999999999999999"],
    ),
    ("health-port", &["1024", "65535", "1023", "3000", "00001024", ""]),
    ("secret-name", &["a", "0", "a-b.c", "", "A", "a_b", "-a", "a-", "a..b", "a/b", "ä", "../x"]),
    (
        "secret-key",
        &["half", ".half", "A_b-c.d", "a..b", "", ".", "..", "..half", "a/b", "ä", "a b", "a\n"],
    ),
    (
        "half-file",
        &[
            "/half",
            "/a/..data/b_c-d.e",
            "",
            "/",
            "half",
            "/a/",
            "//a",
            "/a/..",
            "/a/./b",
            "/$(HOME)/half",
            "/a\n",
        ],
    ),
    ("secret-provider-class", &["a", "vault.half-1", "", "A", "a/b"]),
    ("mode", &["auto", "native", "classic", "", "Native", "auto "]),
    ("log-level", &["error", "warn", "info", "debug", "", "INFO", "trace"]),
    (
        "cpu",
        &[
            "1m",
            "50m",
            "1",
            "0.1",
            "16",
            "1e-3",
            "",
            "0",
            "-1",
            "17",
            "50 m",
            "fast",
            "\"quoted\" \\ and more than forty-eight characters of it",
        ],
    ),
    (
        "memory",
        &["6Mi", "12Mi", "1Gi", "16Gi", "6291456", "6e6", "7e6", "", "0", "12m", "17Gi", "12MB"],
    ),
];

/// Resources of the pod as a whole, and of each of its containers.
fn resources_of_pods() -> Vec<(Value, Vec<Value>)> {
    let all = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "2", "memory": "2Gi" } });
    let zero = json!({ "requests": { "cpu": "0", "memory": "0" } });
    vec![
        (json!({}), vec![all.clone()]),
        (json!({}), vec![all.clone(), all.clone()]),
        (json!({}), vec![all.clone(), json!({})]),
        (json!({}), vec![json!({ "requests": { "cpu": "1" } })]),
        (json!({}), vec![json!({ "limits": { "memory": "1Gi" } })]),
        (
            json!({}),
            vec![all.clone(), json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": 1 } })],
        ),
        (json!({}), vec![zero.clone()]),
        (json!({}), vec![zero, json!({ "requests": { "cpu": 0.5 } })]),
        (json!({}), vec![json!({ "requests": { "ephemeral-storage": "1Gi" } })]),
        (json!({ "requests": { "cpu": "3" } }), vec![all.clone()]),
        (json!({ "requests": { "cpu": "3" }, "limits": { "cpu": "3" } }), vec![json!({})]),
        (json!({ "limits": { "cpu": "0.02", "memory": "8Mi" } }), vec![json!({})]),
        (json!({ "limits": { "cpu": "3", "memory": "3Gi" } }), vec![all]),
        (
            json!({ "requests": { "memory": "3Gi" }, "limits": { "memory": "3Gi" } }),
            vec![json!({ "limits": { "cpu": "1" } })],
        ),
    ]
}

/// By what is said of them.
pub(crate) fn pods(namespace: &str) -> BTreeMap<String, Value> {
    let mut pods = BTreeMap::new();
    for (setting, values) in VALUES {
        for value in values {
            let own = annotated(pod(namespace, "legacy"), &format!("{NAME}/{setting}"), value);
            pods.insert(format!("{setting} {value:?}, inherited"), own.clone());
            pods.insert(format!("{setting} {value:?}"), labelled(own, "true"));
        }
    }
    for (number, (whole, containers)) in resources_of_pods().into_iter().enumerate() {
        let mut pod = pod(namespace, "legacy");
        pod["spec"]["resources"] = whole;
        let containers = (1..).zip(containers).map(|(number, resources)| {
            json!({ "name": format!("legacy-{number}"), "image": "legacy-mock", "resources": resources })
        });
        pod["spec"]["containers"] = containers.collect();
        pods.insert(format!("resources {number}"), pod);
    }
    let mut root = pod(namespace, "legacy");
    root["spec"]["securityContext"]["runAsUser"] = json!(0);
    pods.insert("root".to_owned(), root);
    pods
}
