//! Every mode with every restartPolicy on both sides of Kubernetes 1.32.

use serde_json::{Value, json};

use crate::exchange::{Exchange, policy};

/// Where the sidecar stands, and whether it exits after the handshake.
fn sidecar(
    mode: Option<&str>,
    restart_policy: Option<&str>,
    version: Option<(u32, u32)>,
) -> String {
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
    let exchange = Exchange::of_pod(&pod, &policy(version));
    if !exchange.allowed() {
        return "denied".to_owned();
    }
    let (list, container) = exchange.sidecar().expect("a sidecar");
    let at_the_end = exchange.object["spec"][list].as_array().and_then(|list| list.last());
    assert_eq!(at_the_end, Some(container), "the sidecar is the last");
    let restarts = container.get("restartPolicy").and_then(Value::as_str).unwrap_or_default();
    assert_eq!(restarts, if list == "initContainers" { "Always" } else { "" });
    let once = container["args"].as_array().unwrap().last() == Some(&json!("--once"));
    format!("{list}{}", if once { " once" } else { "" })
}

#[test]
fn mode_restart_policy_and_version_decide_where_the_sidecar_stands() {
    const CLASSIC: &str = "containers";
    const ONCE: &str = "containers once";
    const NATIVE: &str = "initContainers";
    const VERSIONS: [Option<(u32, u32)>; 5] =
        [None, Some((1, 28)), Some((1, 31)), Some((1, 32)), Some((1, 37))];
    for (mode, restart_policy, expected) in [
        (None, None, [CLASSIC; 5]),
        (None, Some("Always"), [CLASSIC; 5]),
        (None, Some("OnFailure"), [ONCE, ONCE, ONCE, NATIVE, NATIVE]),
        (None, Some("Never"), [ONCE, ONCE, ONCE, NATIVE, NATIVE]),
        (Some("auto"), Some("Always"), [CLASSIC; 5]),
        (Some("auto"), Some("OnFailure"), [ONCE, ONCE, ONCE, NATIVE, NATIVE]),
        (Some("auto"), Some("Never"), [ONCE, ONCE, ONCE, NATIVE, NATIVE]),
        (Some("classic"), None, [CLASSIC; 5]),
        (Some("classic"), Some("Always"), [CLASSIC; 5]),
        (Some("classic"), Some("OnFailure"), [ONCE; 5]),
        (Some("classic"), Some("Never"), [ONCE; 5]),
        (Some("native"), None, [NATIVE, "denied", NATIVE, NATIVE, NATIVE]),
        (Some("native"), Some("Always"), [NATIVE, "denied", NATIVE, NATIVE, NATIVE]),
        (Some("native"), Some("OnFailure"), [NATIVE, "denied", NATIVE, NATIVE, NATIVE]),
        (Some("native"), Some("Never"), [NATIVE, "denied", NATIVE, NATIVE, NATIVE]),
    ] {
        let actual = VERSIONS.map(|version| sidecar(mode, restart_policy, version));
        assert_eq!(actual, expected, "{mode:?}, {restart_policy:?}");
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
        let exchange = Exchange::of_pod(&pod, &policy(None));
        assert_eq!(exchange.sidecar().is_some(), expected, "{label:?}");
        assert!(expected || exchange.patch.is_none(), "who opts out is left alone");
    }
}
