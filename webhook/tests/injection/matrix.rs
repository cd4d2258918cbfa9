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
fn the_nearest_label_decides_and_only_five_values_say_no() {
    for (label, expected) in [
        (None, true),
        (Some("true"), true),
        (Some(""), true),
        (Some("1"), true),
        (Some("none"), true),
        (Some("n"), true),
        (Some("00"), true),
        (Some("false"), false),
        (Some("False"), false),
        (Some("FALSE"), false),
        (Some("fAlSe"), false),
        (Some("disabled"), false),
        (Some("Disabled"), false),
        (Some("off"), false),
        (Some("OFF"), false),
        (Some("no"), false),
        (Some("No"), false),
        (Some("0"), false),
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

#[test]
fn windows_is_known_in_whichever_way_it_is_said() {
    let terms = |terms: Value| {
        let required = json!({"nodeSelectorTerms": terms});
        let node = json!({"requiredDuringSchedulingIgnoredDuringExecution": required});
        json!({"affinity": {"nodeAffinity": node}})
    };
    let term = |key: &str, operator: &str, values: Value| {
        json!({"matchExpressions": [
            {"key": "disk", "operator": "Exists"},
            {"key": key, "operator": operator, "values": values},
        ]})
    };
    let os = "kubernetes.io/os";
    let windows = || term(os, "In", json!(["windows"]));
    let fields =
        json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["windows"]}]});
    let preferred = json!([{"weight": 1, "preference": windows()}]);
    let options = json!({"windowsOptions": {"runAsUserName": "ContainerUser"}});
    for (spec, expected) in [
        (json!({"os": {"name": "windows"}}), true),
        (json!({"os": {"name": "linux"}}), false),
        (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), true),
        (json!({"nodeSelector": {"beta.kubernetes.io/os": "windows"}}), true),
        (json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), false),
        (json!({"nodeSelector": {"example.com/os": "windows"}}), false),
        (terms(json!([windows()])), true),
        (terms(json!([term("beta.kubernetes.io/os", "In", json!(["windows"]))])), true),
        (terms(json!([windows(), windows()])), true),
        // One of them is enough for a node, so that these may run on Linux.
        (
            terms(
                json!([windows(), {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]),
            ),
            false,
        ),
        (terms(json!([term(os, "In", json!(["linux"])), windows()])), false),
        (terms(json!([term(os, "In", json!(["windows", "linux"]))])), false),
        (terms(json!([term(os, "In", json!([]))])), false),
        (terms(json!([term(os, "NotIn", json!(["windows"]))])), false),
        (terms(json!([term(os, "Exists", Value::Null)])), false),
        (terms(json!([term("example.com/os", "In", json!(["windows"]))])), false),
        (terms(json!([fields])), false),
        (terms(json!([])), false),
        (terms(Value::Null), false),
        (
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}),
            false,
        ),
        (json!({"securityContext": options}), true),
        (json!({"securityContext": {"windowsOptions": null, "runAsUser": 1000}}), false),
        (json!({"containers": [{"name": "a"}, {"name": "b", "securityContext": options}]}), true),
        (json!({"initContainers": [{"name": "i", "securityContext": options}]}), true),
    ] {
        let mut pod = json!({
            "metadata": {"labels": {"secret-handshake": "true"}},
            "spec": {"containers": [{"name": "legacy"}]},
        });
        let members = spec.as_object().unwrap().clone();
        pod["spec"].as_object_mut().unwrap().extend(members);
        let exchange = Exchange::of_pod(&pod, &policy());
        let reason = exchange.answer.outcome.reason();
        assert_eq!(reason, if expected { "windows" } else { "classic" }, "{spec}");
        assert_eq!(exchange.allowed(), !expected, "{spec}");
    }
}
