//! The way to the API server: a stand-in for it that is as strict as a real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::sync::watch;
use webhook::cluster::client;
use webhook::listen::{ListenAddress, Port, Stage, Times};
use webhook::metrics::{self, Metrics};
use webhook::tls::{Clients, Tls};

use crate::running::{DEADLINE, Files, within};

/// Serves `/version`, to those with the token `t0p` alone, and counts how often it was asked.
async fn api_server(files: &Files, asked: Arc<AtomicUsize>) -> (u16, watch::Sender<Stage>) {
    let tls = Tls::new(Clients::Anyone, Metrics::new()).unwrap();
    let (certificate, key) = files.read();
    tls.install_pem(certificate.as_bytes(), key.as_bytes())
        .unwrap();
    let version = async move |headers: HeaderMap| {
        asked.fetch_add(1, Ordering::Relaxed);
        match headers.get("authorization") {
            Some(token) if token == "Bearer t0p" => Ok(r#"{"major":"1","minor":"33"}"#),
            _ => Err(StatusCode::UNAUTHORIZED),
        }
    };
    let times = Times {
        handshake: DEADLINE,
        first_byte: DEADLINE,
        head: DEADLINE,
        idle: DEADLINE,
        write: DEADLINE,
    };
    let port = Port {
        listener: ListenAddress::At(([127, 0, 0, 1], 0).into())
            .bind()
            .unwrap(),
        handshake: tls,
        router: Router::new().route("/version", get(version)),
        connections: 10,
        times,
        metrics: Metrics::new().port(metrics::Port::Webhook),
    };
    let number = port.listener.local_addr().unwrap().port();
    let (stage, stages) = watch::channel(Stage::Serving);
    tokio::spawn(port.serve(stages));
    (number, stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_asked_with_the_kubeconfigs_token_and_ca() {
    let (files, others) = (Files::new(), Files::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let (port, _stage) = api_server(&files, Arc::clone(&asked)).await;
    for (ca, token, expected) in [
        (&files, "t0p", true),
        (&files, "other", false),
        (&others, "t0p", false),
    ] {
        let kubeconfig = json!({
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "tls-server-name": crate::running::NAME,
                "certificate-authority-data": STANDARD.encode(ca.ca_pem()),
            }}],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        });
        let file = files.path("kubeconfig");
        std::fs::write(&file, kubeconfig.to_string()).unwrap();
        let version = within(client(Some(&file)).await.unwrap().apiserver_version()).await;
        assert_eq!(version.is_ok(), expected, "{version:?}");
        assert!(version.is_err() || version.is_ok_and(|version| version.minor == "33"));
    }
    // The one with the wrong CA hung up before it said anything.
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}
