//! The API server's side of an admission: an AdmissionReview over HTTPS, and its answer applied.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Certificate, Client, StatusCode};
use serde_json::{Value, json};

use super::replica_set::uid;
use super::selection::Entry;

/// What knows the caBundle and where the webhook's Service leads.
pub(crate) struct ApiServer {
    client: Client,
    port: u16,
}

/// A pod as it was admitted.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) pod: Value,
    pub(crate) operations: usize,
    pub(crate) warnings: Vec<String>,
    /// With the TLS handshake, which an API server does once for many reviews.
    pub(crate) took: Duration,
}

impl ApiServer {
    /// Trusts the CAs in the PEM file `ca_bundle`, and them alone; the Service `host` is at `webhook`.
    pub(crate) fn new(ca_bundle: &Path, host: &str, webhook: SocketAddr) -> Result<Self> {
        let pem = std::fs::read(ca_bundle)
            .with_context(|| format!("can't read {}", ca_bundle.display()))?;
        // reqwest asks the process for its provider; it may be there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&pem)?)
            .https_only(true)
            .no_proxy()
            .http1_only()
            .resolve(host, webhook)
            .user_agent("kube-apiserver-admission")
            .build()?;
        Ok(Self { client, port: webhook.port() })
    }

    /// Asks the webhook about a pod that is being created, and applies what it answers.
    pub(crate) async fn admit(&self, entry: &Entry, pod: &Value) -> Result<Admitted> {
        let review = review(pod);
        let limit = Duration::from_secs(u64::try_from(entry.timeout)?);
        let Self { client, port } = self;
        let url = format!("https://{}:{port}{}?timeout={}s", entry.host, entry.path, entry.timeout);
        let began = Instant::now();
        let asking = async {
            let request = client
                .post(url)
                .header(ACCEPT, "application/json, */*")
                .header(CONTENT_TYPE, "application/json")
                .timeout(limit)
                .body(review.to_string());
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        let (status, text) =
            asking.await.with_context(|| format!("failed calling webhook {:?}", entry.name))?;
        let took = began.elapsed();
        ensure!(status == StatusCode::OK, "it answered {status}: {text}");
        let answer = serde_json::from_str(&text).context("its answer is not JSON")?;
        apply(&review, &answer, took)
    }
}

fn review(pod: &Value) -> Value {
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid(&format!("{:?} {}", Instant::now(), std::process::id())),
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "groups": ["system:serviceaccounts", "system:authenticated"],
            },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

/// Checks the answer as an API server does, and applies its JSON Patch.
fn apply(review: &Value, answer: &Value, took: Duration) -> Result<Admitted> {
    let response = &answer["response"];
    let request = &review["request"];
    ensure!(answer["kind"] == "AdmissionReview", "it answered something else: {answer}");
    ensure!(response["uid"] == request["uid"], "it answered another review: {}", response["uid"]);
    ensure!(response["allowed"] == true, "it denied the pod: {}", response["status"]["message"]);
    ensure!(response["patchType"] == "JSONPatch", "it left the pod as it is: {response}");
    let patch = response["patch"].as_str().context("the patch is no string")?;
    let patch = BASE64_STANDARD.decode(patch).context("the patch is not base64")?;
    let patch: json_patch::Patch =
        serde_json::from_slice(&patch).context("the patch is no JSON Patch")?;
    let mut pod = request["object"].clone();
    json_patch::patch(&mut pod, &patch).context("the patch does not fit the pod")?;
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Ok(Admitted {
        pod,
        operations: patch.0.len(),
        warnings: warnings.filter_map(|warning| warning.as_str().map(str::to_owned)).collect(),
        took,
    })
}
