//! Another mutating webhook, which annotates every pod that it is called for.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use lab::cluster::pki::Authority;
use lab::network::localhost;
use listen::{Address, Limits, bind};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A webhook that adds the annotation `other.example.com/was-here`.
pub(super) struct OtherWebhook {
    pub(super) url: String,
    pub(super) ca_bundle: String,
    calls: Arc<AtomicU64>,
    task: JoinHandle<std::io::Result<()>>,
}

impl OtherWebhook {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let authority = Authority::new(folder, "other-webhook")?;
        let pair = authority.issue("other-webhook-leaf", "other-webhook", &[], &["127.0.0.1"])?;
        let chain = CertificateDer::pem_slice_iter(&fs::read(pair.certificate)?)
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&fs::read(pair.key)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let config = Arc::new(config);
        let megabytes = 4 << 20;
        let limits =
            Limits { body_bytes: megabytes, all_body_bytes: 4 * megabytes, ..Limits::default() };
        let bound = bind(Address::At(localhost(0)), limits)?;
        let url = format!("https://{}/mutate", bound.local_addr());
        let calls = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&calls);
        let service = move |request: Request<Bytes>| {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = answer(request.body()).unwrap_or_else(|error| error.to_string().into());
            async move { Response::new(answer) }
        };
        let config = move || Some(Arc::clone(&config));
        let task = tokio::spawn(bound.serve_tls(config, service, std::future::pending()));
        Ok(Self { url, ca_bundle: STANDARD.encode(authority.pem()), calls, task })
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for OtherWebhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(review: &Bytes) -> Result<Bytes> {
    let review: Value = serde_json::from_slice(review)?;
    let annotations = &review["request"]["object"]["metadata"]["annotations"];
    let mut patch = Vec::new();
    if annotations.is_null() {
        patch.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
    }
    patch.push(json!({
        "op": "add", "path": "/metadata/annotations/other.example.com~1was-here", "value": "true",
    }));
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"].as_str().context("no uid")?,
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": STANDARD.encode(serde_json::to_vec(&patch)?),
        },
    });
    Ok(answer.to_string().into())
}
