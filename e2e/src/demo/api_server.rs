//! The API server's side of an admission: an AdmissionReview over HTTPS, and its answer applied.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::Request;
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::replica_set::UID;
use super::selection::Entry;

/// What knows the caBundle, and where the webhook's Service leads.
pub(crate) struct ApiServer {
    client: Client,
}

#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) pod: Value,
    pub(crate) operations: usize,
    pub(crate) warnings: Vec<String>,
    /// With the TLS handshake, which an API server does once for many reviews.
    pub(crate) took: Duration,
}

impl ApiServer {
    /// Trusts the CAs in the PEM file `ca_bundle`, and them alone. The Service `host` is at `webhook`.
    pub(crate) fn new(ca_bundle: &Path, host: &str, webhook: SocketAddr) -> Result<Self> {
        let pem = std::fs::read(ca_bundle)
            .with_context(|| format!("can't read {}", ca_bundle.display()))?;
        let cas = CertificateDer::pem_slice_iter(&pem).map(|ca| Ok(ca?.to_vec()));
        // kube's client speaks TLS as this needs it; that it is made for the other direction is no matter.
        let mut config = Config::new(format!("https://{webhook}").parse()?);
        config.root_cert = Some(cas.collect::<Result<_>>()?);
        config.tls_server_name = Some(host.to_owned());
        config.default_retry = false;
        Ok(Self { client: Client::try_from(config)? })
    }

    /// Asks the webhook about a pod that is being created, and applies what it answers.
    pub(crate) async fn admit(&self, entry: &Entry, pod: &Value) -> Result<Admitted> {
        let review = review(pod);
        let limit = Duration::from_secs(u64::try_from(entry.timeout)?);
        let request = Request::post(format!("{}?timeout={}s", entry.path, entry.timeout))
            .header("accept", "application/json, */*")
            .header("content-type", "application/json")
            .body(review.to_string().into_bytes())?;
        let began = Instant::now();
        let answer = timeout(limit, self.client.request(request)).await;
        let answer = answer.with_context(|| format!("no answer within {} s", entry.timeout));
        let answer = answer.and_then(|answer| Ok(answer?));
        let answer = answer.with_context(|| format!("failed calling webhook {}", entry.name))?;
        apply(&review, &answer, began.elapsed())
    }
}

fn review(pod: &Value) -> Value {
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
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
