//! An API server, as far as certificates and versions go: one Secret, one configuration, a watch,
//! resourceVersions, and a token without which nothing is answered.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::certificate::certificates;
use futures_util::stream;
use http::StatusCode;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::sync::watch;
use webhook::tls::{Clients, Tls};

use crate::running::{Files, NAME, Server, metrics, serve_router};

pub(crate) const NAMESPACE: &str = "secret-handshake";
pub(crate) const ENTRIES: [&str; 3] =
    ["namespace.secret-handshake.dev", "pod.secret-handshake.dev", "workload.secret-handshake.dev"];
const CONFIGURATION: &str = "handshake.secret-handshake.dev";
const TOKEN: &str = "t0p";

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) secret: Value,
    pub(crate) configuration: Value,
    /// The annotations of the namespace `legacy`.
    pub(crate) annotations: Value,
    /// Answers everything with this.
    pub(crate) refuses: Option<StatusCode>,
    /// How often each thing was asked for.
    pub(crate) asked: Vec<String>,
    version: u64,
}

/// The server; cheap to clone.
#[derive(Clone)]
pub(crate) struct ApiServer {
    cluster: Arc<Mutex<Cluster>>,
    changes: watch::Sender<u64>,
    server: Arc<Server>,
    files: Arc<Files>,
}

#[derive(Clone)]
struct Shared {
    cluster: Arc<Mutex<Cluster>>,
    changes: watch::Sender<u64>,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        let files = Files::new();
        let tls = Tls::new(Clients::Anyone, metrics());
        let (certificate, key) = files.read();
        tls.install_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let webhooks = ENTRIES.map(|name| json!({ "name": name, "clientConfig": {} }));
        let cluster = Cluster {
            configuration: json!({
                "metadata": { "name": CONFIGURATION, "resourceVersion": "0", "generation": 1 },
                "webhooks": webhooks,
            }),
            secret: json!({ "metadata": { "name": "secret-handshake-ca", "resourceVersion": "0" } }),
            ..Cluster::default()
        };
        let shared =
            Shared { cluster: Arc::new(Mutex::new(cluster)), changes: watch::Sender::new(0) };
        let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
        let configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        let router = Router::new()
            .route("/version", get(async || Json(json!({ "major": "1", "minor": "33" }))))
            .route(&format!("{secrets}/secret-handshake-ca"), get(read).patch(update))
            .route("/api/v1/namespaces/legacy", get(namespace))
            .route(configurations, get(follow))
            .route(&format!("{configurations}/{CONFIGURATION}"), get(configuration).patch(publish))
            .layer(from_fn_with_state(shared.clone(), admit))
            .with_state(shared.clone());
        let server = Arc::new(serve_router(tls, router));
        Self { cluster: shared.cluster, changes: shared.changes, server, files: Arc::new(files) }
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    /// A kubeconfig with the right CA and token.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_with(&self.files.ca_pem(), TOKEN)
    }

    pub(crate) fn kubeconfig_with(&self, ca: &str, token: &str) -> PathBuf {
        let kubeconfig = json!({
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://{}", self.server.address),
                "tls-server-name": NAME,
                "certificate-authority-data": STANDARD.encode(ca),
            }}],
            "users": [{ "name": "u", "user": { "token": token } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "x",
        });
        let path = self.files.path("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }

    /// The caBundle of an entry as its certificates.
    pub(crate) fn bundle(&self, entry: usize) -> Vec<CertificateDer<'static>> {
        let cluster = self.cluster();
        let bundle = &cluster.configuration["webhooks"][entry]["clientConfig"]["caBundle"];
        let pem = STANDARD.decode(bundle.as_str().unwrap_or_default()).unwrap();
        certificates(&pem).unwrap_or_default()
    }

    /// What somebody else does to the configuration.
    pub(crate) fn vandalise(&self, change: impl FnOnce(&mut Value)) {
        let shared = Shared { cluster: Arc::clone(&self.cluster), changes: self.changes.clone() };
        shared.change(|cluster| change(&mut cluster.configuration));
    }

    /// What a person does who wants a new CA.
    pub(crate) fn ask_for_a_new_ca(&self, annotation: &str) {
        let shared = Shared { cluster: Arc::clone(&self.cluster), changes: self.changes.clone() };
        shared.change(|cluster| {
            let version = cluster.version.to_string();
            let metadata = &mut cluster.secret["metadata"];
            metadata["resourceVersion"] = json!(version);
            metadata["annotations"][annotation] = json!("now");
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }

    /// A change under a new resourceVersion, seen by all who watch.
    fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let mut cluster = self.lock();
        cluster.version += 1;
        let version = cluster.version;
        cluster.configuration["metadata"]["resourceVersion"] = json!(version.to_string());
        let done = change(&mut cluster);
        self.changes.send_replace(version);
        done
    }
}

fn status(code: StatusCode) -> Response {
    let body = json!({ "kind": "Status", "code": code.as_u16(), "message": code.to_string() });
    (code, Json(body)).into_response()
}

async fn admit(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let asked = format!("{} {}", request.method(), request.uri());
    shared.lock().asked.push(asked);
    let refuses = shared.lock().refuses;
    let token = request.headers().get("authorization");
    if token.is_none_or(|token| *token != format!("Bearer {TOKEN}")) {
        return status(StatusCode::UNAUTHORIZED);
    }
    match refuses {
        Some(code) => status(code),
        None => next.run(request).await,
    }
}

async fn read(State(shared): State<Shared>) -> Response {
    Json(shared.lock().secret.clone()).into_response()
}

/// A JSON merge patch of the Secret's data.
async fn update(State(shared): State<Shared>, body: axum::body::Bytes) -> Response {
    let patch: Value = serde_json::from_slice(&body).unwrap();
    shared.change(|cluster| {
        let version = &mut cluster.secret["metadata"]["resourceVersion"];
        if *version != patch["metadata"]["resourceVersion"] {
            return status(StatusCode::CONFLICT);
        }
        *version = json!(cluster.version.to_string());
        cluster.secret["data"]["cas.json"] = patch["data"]["cas.json"].clone();
        if patch["metadata"].get("annotations").is_some() {
            cluster.secret["metadata"]["annotations"] = json!({});
        }
        Json(cluster.secret.clone()).into_response()
    })
}

async fn namespace(State(shared): State<Shared>) -> Response {
    let annotations = shared.lock().annotations.clone();
    Json(json!({ "metadata": { "name": "legacy", "annotations": annotations } })).into_response()
}

async fn configuration(State(shared): State<Shared>) -> Response {
    Json(shared.lock().configuration.clone()).into_response()
}

/// A strategic merge patch: entries by name, and of them the caBundle.
async fn publish(State(shared): State<Shared>, body: axum::body::Bytes) -> Response {
    let patch: Value = serde_json::from_slice(&body).unwrap();
    let read = patch["metadata"]["resourceVersion"].clone();
    if shared.lock().configuration["metadata"]["resourceVersion"] != read {
        return status(StatusCode::CONFLICT);
    }
    shared.change(|cluster| {
        for patched in patch["webhooks"].as_array().unwrap() {
            let entries = cluster.configuration["webhooks"].as_array_mut().unwrap();
            let entry = entries.iter_mut().find(|entry| entry["name"] == patched["name"]).unwrap();
            entry["clientConfig"]["caBundle"] = patched["clientConfig"]["caBundle"].clone();
        }
        Json(cluster.configuration.clone()).into_response()
    })
}

/// A watch: an event at once, and one for each change.
async fn follow(State(shared): State<Shared>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    assert!(
        query.contains("watch=true")
            && query.contains(&format!("fieldSelector=metadata.name%3D{CONFIGURATION}")),
        "{query}"
    );
    let changes = shared.changes.subscribe();
    let events = stream::unfold((changes, true), |(mut changes, first)| async move {
        if !first {
            changes.changed().await.ok()?;
        }
        let version = *changes.borrow_and_update();
        let event = json!({ "type": if first { "ADDED" } else { "MODIFIED" }, "object": {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": { "name": CONFIGURATION, "resourceVersion": version.to_string() },
        }});
        Some((Ok::<_, Infallible>(format!("{event}\n")), (changes, false)))
    });
    Response::new(Body::from_stream(events))
}
