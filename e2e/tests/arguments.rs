//! Webhook and sidecar meet in the container that the one writes and the other lives in: what the
//! webhook writes there is read by the sidecar's own parser.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use injection::Policy;
use serde_json::{Value, json};
use sidecar::args::{Args, Parsed};
use sidecar::log::Level;
use webhook::review::{Endpoint, answer};

/// The sidecar's container in a pod with these annotations and this restartPolicy.
fn container(annotations: &Value, restart_policy: &str) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "legacy", "namespace": "demo", "annotations": annotations},
        "spec": {
            "restartPolicy": restart_policy,
            "containers": [{"name": "legacy", "image": "legacy-mock"}],
        },
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "demo",
            "operation": "CREATE",
            "object": pod,
        },
    });
    let policy = Policy::default();
    let answer = answer(Endpoint::Pods, review.to_string().as_bytes(), None, &policy).unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let patch = answer["response"]["patch"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let patch = BASE64_STANDARD.decode(patch).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    json_patch::patch(&mut pod, &patch).unwrap();
    let spec = &pod["spec"];
    let lists = [&spec["containers"], &spec["initContainers"]];
    let mut containers = lists.into_iter().filter_map(Value::as_array).flatten();
    containers.find(|container| container["name"] == "secret-handshake").unwrap().clone()
}

/// The container's arguments as the sidecar understands them.
fn parsed(container: &Value) -> Args {
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    match Args::parse(&arguments) {
        Ok(Parsed::Run(args)) => args,
        other => panic!("{arguments:?} is {other:?}"),
    }
}

#[test]
fn without_annotations_all_is_as_the_sidecar_has_it_by_itself() {
    let container = container(&json!({}), "Always");
    let args = parsed(&container);
    let (secret, namespace) = (Some("secret-handshake".to_owned()), Some("demo".to_owned()));
    let wanted = Args { secret, namespace, ..Args::default() };
    assert_eq!(args, wanted);
    let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert_eq!(args.half_file.parent(), Some(Path::new(mounted)), "the file is in the volume");
}

#[test]
fn every_annotation_reaches_the_sidecar() {
    let annotations = json!({
        "secret-handshake/port": "4000",
        "secret-handshake/health-port": "14000",
        "secret-handshake/secret-name": "other.secret",
        "secret-handshake/secret-key": "operations-half",
        "secret-handshake/log-level": "debug",
    });
    let container = container(&annotations, "Always");
    let args = parsed(&container);
    assert_eq!(args.legacy_port, 4000);
    assert_eq!(args.listen.to_string(), ":14000");
    assert_eq!(args.secret.as_deref(), Some("other.secret"));
    assert_eq!(args.secret_key, "operations-half");
    assert_eq!(args.log_level, Level::Debug);
    assert_eq!(container["ports"][0]["containerPort"], 14000);
}

#[test]
fn a_half_from_elsewhere_is_no_secrets() {
    for (annotations, file) in [
        (json!({"secret-handshake/half-file": "/vault/secrets/half"}), "/vault/secrets/half"),
        (
            json!({"secret-handshake/secret-provider-class": "c", "secret-handshake/secret-key": "k"}),
            "/etc/secret-handshake/k",
        ),
    ] {
        let args = parsed(&container(&annotations, "Always"));
        assert_eq!((args.half_file.as_path(), args.secret), (Path::new(file), None));
    }
}

#[test]
fn every_log_level_of_the_webhook_is_one_of_the_sidecars() {
    for (name, level) in [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
    ] {
        let annotations = json!({"secret-handshake/log-level": name});
        assert_eq!(parsed(&container(&annotations, "Always")).log_level, level);
    }
}

#[test]
fn the_probe_waits_longer_than_the_sidecar_holds_it() {
    let container = container(&json!({}), "Always");
    let probe = &container["readinessProbe"];
    let timeout = probe["timeoutSeconds"].as_u64().unwrap();
    assert!(parsed(&container).hold.as_secs() < timeout, "{probe}");
    assert_eq!(probe["httpGet"]["path"], "/readyz");
}
