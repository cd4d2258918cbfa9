//! Settings on Namespaces, which the webhook reads from the API server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::client::Client;
use crate::running::{Files, Running, within};

/// The review of a pod in the namespace `legacy`.
fn review(metadata: &Value) -> String {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "u",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "namespace": "legacy",
            "operation": "CREATE",
            "object": { "metadata": metadata, "spec": { "containers": [{ "name": "legacy" }] } },
        },
    })
    .to_string()
}

/// The status of the answer, and the patch, or what else the body says.
async fn ask(files: &Files, running: &Running, metadata: &Value) -> (StatusCode, String) {
    let client = Client::new(running.webhook, &files.ca);
    let answer = within(client.connect().await.unwrap().post(review(metadata))).await.unwrap();
    let patch = serde_json::from_slice::<Value>(&answer.body).ok().and_then(|body| {
        let patch = STANDARD.decode(body["response"]["patch"].as_str()?).unwrap();
        Some(String::from_utf8(patch).unwrap())
    });
    let other = || String::from_utf8(answer.body.to_vec()).unwrap();
    (answer.status, patch.unwrap_or_else(other))
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_the_pods_then_the_namespaces_then_the_flags() {
    let (files, api_server) = (Files::new(), ApiServer::start());
    let kubeconfig = format!("--kubeconfig={}", api_server.kubeconfig().display());
    let flags = [&*kubeconfig, "--sidecar-port=81", "--sidecar-log-level=warn"];
    let running = Running::start_answering(&files, &flags).await;
    api_server.cluster().annotations = json!({ "secret-handshake/port": "82" });
    let pod = json!({ "annotations": { "secret-handshake/port": "83" } });
    for (metadata, port) in [(&json!({}), "82"), (&pod, "83")] {
        let (status, patch) = ask(&files, &running, metadata).await;
        assert_eq!(status, StatusCode::OK, "{patch}");
        assert!(patch.contains(&format!("--legacy-port={port}\"")), "{patch}");
        assert!(patch.contains("--log-level=warn"), "{patch}");
    }
    api_server.cluster().annotations = Value::Null;
    let (_, patch) = ask(&files, &running, &json!({})).await;
    assert!(patch.contains("--legacy-port=81\""), "{patch}");
    api_server.cluster().annotations = json!({ "secret-handshake/port": "http" });
    let (_, patch) = ask(&files, &running, &json!({})).await;
    assert!(patch.contains("the namespace's annotation secret-handshake/port"), "{patch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_about_the_namespace_the_pod_has_to_come_again() {
    let (files, api_server) = (Files::new(), ApiServer::start());
    let kubeconfig = format!("--kubeconfig={}", api_server.kubeconfig().display());
    let running = Running::start_answering(&files, &[&kubeconfig]).await;
    api_server.cluster().refuses = Some(StatusCode::FORBIDDEN);
    let (status, reason) = ask(&files, &running, &json!({})).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reason.starts_with("can't read the Namespace legacy, "), "{reason}");
    assert!(reason.contains("403 Forbidden"), "{reason}");
    assert_eq!(running.metric("http_refusals_total{status=\"500\"}").await, 1);
    api_server.cluster().refuses = None;
    assert_eq!(ask(&files, &running, &json!({})).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_read_for_pods_that_ask_alone() {
    let (files, api_server) = (Files::new(), ApiServer::start());
    let kubeconfig = format!("--kubeconfig={}", api_server.kubeconfig().display());
    let asked = || {
        let cluster = api_server.cluster();
        cluster.asked.iter().filter(|asked| asked.contains("/namespaces/legacy")).count()
    };
    let running = Running::start_answering(&files, &[&kubeconfig]).await;
    for metadata in [
        json!({ "labels": { "secret-handshake": "No" } }),
        json!({ "annotations": { "secret-handshake-done": "" } }),
        json!({ "annotations": { "kubernetes.io/config.mirror": "x" } }),
    ] {
        let (_, answer) = ask(&files, &running, &metadata).await;
        assert_eq!(asked(), 0, "{metadata}: {answer}");
    }
    ask(&files, &running, &json!({ "labels": { "secret-handshake": "" } })).await;
    assert_eq!(asked(), 1);

    let outside = ["--no-namespace-settings", &kubeconfig];
    let running = Running::start_answering(&files, &outside).await;
    let (status, patch) = ask(&files, &running, &json!({})).await;
    assert_eq!((status, asked()), (StatusCode::OK, 1), "{patch}");
}
