//! The API server's side of an admission: an AdmissionReview over HTTPS, and its answer applied.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::http::send;
use super::replica_set::uid;
use super::selection::Entry;

/// What knows the caBundle and where the webhook's Service leads.
pub(crate) struct ApiServer {
    connector: TlsConnector,
    webhook: SocketAddr,
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
    /// Trusts the CA in the PEM file `ca_bundle`, and it alone.
    pub(crate) fn new(ca_bundle: &Path, webhook: SocketAddr) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca_bundle)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            webhook,
        })
    }

    /// Asks the webhook about a pod that is being created, and applies what it answers.
    pub(crate) async fn admit(&self, entry: &Entry, pod: &Value) -> Result<Admitted> {
        let review = review(pod);
        let host = ServerName::try_from(entry.host.clone())?;
        let request = Request::post(format!("{}?timeout={}s", entry.path, entry.timeout))
            .header("Host", format!("{}:443", entry.host))
            .header("User-Agent", "kube-apiserver-admission")
            .header("Accept", "application/json, */*")
            .header("Content-Type", "application/json")
            .body(Full::new(Bytes::from(review.to_string())))?;
        let began = Instant::now();
        let asking = async {
            let stream = TcpStream::connect(self.webhook).await?;
            let stream = self.connector.connect(host, stream).await.context("TLS")?;
            send(stream, request).await
        };
        let limit = Duration::from_secs(u64::try_from(entry.timeout)?);
        let answer = tokio::time::timeout(limit, asking)
            .await
            .with_context(|| format!("no answer within {limit:?}"))?
            .with_context(|| format!("failed calling webhook {:?}", entry.name))?;
        let took = began.elapsed();
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(
            answer.status == StatusCode::OK,
            "it answered {}: {text}",
            answer.status
        );
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
    ensure!(
        answer["kind"] == "AdmissionReview",
        "it answered something else: {answer}"
    );
    ensure!(
        response["uid"] == request["uid"],
        "it answered another review: {}",
        response["uid"]
    );
    ensure!(
        response["allowed"] == true,
        "it denied the pod: {}",
        response["status"]["message"]
    );
    ensure!(
        response["patchType"] == "JSONPatch",
        "it left the pod as it is: {response}"
    );
    let patch = response["patch"]
        .as_str()
        .context("the patch is no string")?;
    let patch = BASE64_STANDARD
        .decode(patch)
        .context("the patch is not base64")?;
    let patch: json_patch::Patch =
        serde_json::from_slice(&patch).context("the patch is no JSON Patch")?;
    let mut pod = request["object"].clone();
    json_patch::patch(&mut pod, &patch).context("the patch does not fit the pod")?;
    let warnings = response["warnings"].as_array().into_iter().flatten();
    Ok(Admitted {
        pod,
        operations: patch.0.len(),
        warnings: warnings
            .filter_map(|warning| warning.as_str().map(str::to_owned))
            .collect(),
        took,
    })
}
