//! Every mode with every restartPolicy, and every value of the label.

use serde_json::{Value, json};

use crate::exchange::{Exchange, policy};

/// Where the sidecar stands, or that the pod is refused.
fn sidecar(mode: Option<&str>, restart_policy: Option<&str>) -> &'static str {
    let mut pod = json!({
        "metadata": {"labels": {"secret-handshake": "true"}, "annotations": {}},
        "spec": {"containers": [{"name": "legacy"}], "initContainers": [{"name": "prepare"}]},
    });
    if let Some(mode) = mode {
        pod["metadata"]["annotations"]["secret-handshake/mode"] = json!(mode);
    }
    if let Some(policy) = restart_policy {
        pod["spec"]["restartPolicy"] = json!(policy);
    }
    let exchange = Exchange::of_pod(&pod, &policy());
    if !exchange.allowed() {
        return "denied";
    }
    let (list, container) = exchange.sidecar().expect("a sidecar");
    let at_the_end = exchange.object["spec"][list].as_array().and_then(|list| list.last());
    assert_eq!(at_the_end, Some(container), "the sidecar is the last");
    let restarts = container.get("restartPolicy").and_then(Value::as_str).unwrap_or_default();
    assert_eq!(restarts, if list == "initContainers" { "Always" } else { "" });
    list
}

#[test]
fn mode_and_restart_policy_decide_where_the_sidecar_stands() {
    const CLASSIC: &str = "containers";
    const NATIVE: &str = "initContainers";
    for (mode, restart_policy, expected) in [
        (None, None, CLASSIC),
        (None, Some("Always"), CLASSIC),
        (None, Some("OnFailure"), NATIVE),
        (None, Some("Never"), NATIVE),
        (Some("auto"), Some("Always"), CLASSIC),
        (Some("auto"), Some("OnFailure"), NATIVE),
        (Some("auto"), Some("Never"), NATIVE),
        (Some("classic"), None, CLASSIC),
        (Some("classic"), Some("Always"), CLASSIC),
        (Some("classic"), Some("OnFailure"), "denied"),
        (Some("classic"), Some("Never"), "denied"),
        (Some("native"), None, NATIVE),
        (Some("native"), Some("Always"), NATIVE),
        (Some("native"), Some("OnFailure"), NATIVE),
        (Some("native"), Some("Never"), NATIVE),
    ] {
        assert_eq!(sidecar(mode, restart_policy), expected, "{mode:?}, {restart_policy:?}");
    }
}

#[test]
fn the_nearest_label_decides_and_only_three_values_say_no() {
    for (label, expected) in [
        (None, true),
        (Some("true"), true),
        (Some(""), true),
        (Some("no"), true),
        (Some("False"), true),
        (Some("0"), true),
        (Some("false"), false),
        (Some("disabled"), false),
        (Some("off"), false),
    ] {
        let pod = json!({
            "metadata": {"labels": label.map(|label| json!({"secret-handshake": label}))},
            "spec": {"containers": [{"name": "legacy"}]},
        });
        let exchange = Exchange::of_pod(&pod, &policy());
        assert_eq!(exchange.sidecar().is_some(), expected, "{label:?}");
        assert!(expected || exchange.patch.is_none(), "who opts out is left alone");
    }
}
