//! Settings on Namespaces, which the webhook reads from the API server.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use webhook::namespace::Namespaces;

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

const SHOP: &str = r#"{"metadata": {"name": "shop", "labels": {"secret-handshake": "yes"}}}"#;

/// An API server without a socket, which answers when it is told to, and how often it was asked.
fn fake(
    status: u16,
    body: &'static str,
    go: watch::Receiver<bool>,
) -> (Namespaces, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move |request: Request<Body>| {
        let accept = request.headers()["accept"].to_str().unwrap();
        assert!(accept.contains("PartialObjectMetadata"), "{accept}");
        assert_eq!(request.uri(), "/api/v1/namespaces/shop");
        count.fetch_add(1, Ordering::Relaxed);
        let mut go = go.clone();
        async move {
            go.wait_for(|go| *go).await.unwrap();
            let response = Response::builder().status(status);
            Ok::<_, Infallible>(response.body(Body::from(body.as_bytes().to_vec())).unwrap())
        }
    };
    (Namespaces::new(kube::Client::new(tower::service_fn(answer), "default")), asked)
}

fn at_once(status: u16, body: &'static str) -> (Namespaces, Arc<AtomicUsize>) {
    fake(status, body, watch::Sender::new(true).subscribe())
}

#[tokio::test]
async fn identical_gets_at_the_same_time_are_one() {
    let (answers, go) = watch::channel(false);
    let (namespaces, asked) = fake(200, SHOP, go);
    let get = || {
        let namespaces = namespaces.clone();
        async move { namespaces.get("shop").await.map(|found| found.label() == Some("yes")) }
    };
    let first = tokio::spawn(get());
    while asked.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let others: tokio::task::JoinSet<_> = (0..10).map(|_| get()).collect();
    tokio::task::yield_now().await;
    // The one who asked leaves, and the others still get their answer.
    first.abort();
    answers.send(true).unwrap();
    assert!(others.join_all().await.into_iter().all(|found| found.unwrap()));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // Nothing is kept: what is annotated now counts for the next pod.
    assert!(get().await.unwrap());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_namespace_that_cannot_be_read_is_named_with_the_reason() {
    let large = format!(r#"{{"metadata": {{}}, "padding": "{}"}}"#, "x".repeat(1 << 19));
    let forbidden = r#"{"message": "namespaces \"shop\" is forbidden"}"#;
    for (status, body, expected) in [
        (403, forbidden, "403 Forbidden: namespaces \"shop\" is forbidden"),
        (404, "", "404 Not Found"),
        (200, "[]", "not as expected"),
        (200, r#"{"metadata": {"annotations": {"a": 1}}}"#, "not as expected"),
        (200, large.leak(), "broke off: length limit exceeded"),
    ] {
        let error = at_once(status, body).0.get("shop").await.unwrap_err().to_string();
        assert!(error.starts_with("can't read the Namespace shop, whose annotations"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    // Somebody who is no API server.
    for name in ["", "../secrets/x", "a/b", "a?b", "A", "ä", &"x".repeat(64)] {
        let (namespaces, asked) = at_once(200, SHOP);
        assert!(namespaces.get(name).await.is_err(), "{name}");
        assert_eq!(asked.load(Ordering::Relaxed), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_is_given_up() {
    let (_answers, go) = watch::channel(false);
    let (namespaces, _) = fake(200, SHOP, go);
    let start = Instant::now();
    let error = namespaces.get("shop").await.unwrap_err().to_string();
    assert!(error.ends_with("no answer within 2 s"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 2);
}
