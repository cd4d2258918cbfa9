//! The API server's side of an admission: an AdmissionReview over HTTPS, and its answer applied.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::replica_set::uid;
use super::selection::Entry;

/// What knows the caBundle, and where the webhook's Service leads.
pub(crate) struct ApiServer {
    tls: TlsConnector,
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
    /// Trusts the CAs in the PEM file `ca_bundle`, and them alone. Every Service is at `webhook`.
    pub(crate) fn new(ca_bundle: &Path, webhook: SocketAddr) -> Result<Self> {
        let pem = std::fs::read(ca_bundle)
            .with_context(|| format!("can't read {}", ca_bundle.display()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Arc::new(config).into(), webhook })
    }

    /// Asks the webhook about a pod that is being created, and applies what it answers.
    pub(crate) async fn admit(&self, entry: &Entry, pod: &Value) -> Result<Admitted> {
        let review = review(pod);
        let limit = Duration::from_secs(u64::try_from(entry.timeout)?);
        let path = format!("{}?timeout={}s", entry.path, entry.timeout);
        let began = Instant::now();
        let (status, text) = timeout(limit, self.post(&entry.host, &path, review.to_string()))
            .await
            .unwrap_or_else(|_| bail!("no answer within {} s", entry.timeout))
            .with_context(|| format!("failed calling webhook {:?}", entry.name))?;
        let took = began.elapsed();
        ensure!(status == StatusCode::OK, "it answered {status}: {text}");
        let answer = serde_json::from_str(&text).context("its answer is not JSON")?;
        apply(&review, &answer, took)
    }

    /// One request over a connection of its own.
    async fn post(&self, host: &str, path: &str, body: String) -> Result<(StatusCode, String)> {
        let tcp = TcpStream::connect(self.webhook).await?;
        let tls = self.tls.connect(ServerName::try_from(host.to_owned())?, tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        // It ends with the sender.
        tokio::spawn(connection);
        let request = Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, "kube-apiserver-admission")
            .header(ACCEPT, "application/json, */*")
            .header(CONTENT_TYPE, "application/json")
            .body(body)?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
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
