//! Another mutating webhook.

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

/// What it makes of a pod: the operations of a JSON Patch.
pub(super) type Change = fn(&Value) -> Vec<Value>;

/// A webhook that changes every pod it sees.
pub(super) struct OtherWebhook {
    url: String,
    ca_bundle: String,
    calls: Arc<AtomicU64>,
    task: JoinHandle<std::io::Result<()>>,
}

impl OtherWebhook {
    pub(super) fn start(folder: &Path, change: Change) -> Result<Self> {
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
            let answer =
                answer(request.body(), change).unwrap_or_else(|error| error.to_string().into());
            async move { Response::new(answer) }
        };
        let config = move || Some(Arc::clone(&config));
        let task = tokio::spawn(bound.serve_tls(config, service, std::future::pending()));
        Ok(Self { url, ca_bundle: STANDARD.encode(authority.pem()), calls, task })
    }

    /// A configuration with which it is called for pods in namespaces with this label.
    pub(super) fn configuration(&self, name: &str, (key, value): (&str, &str)) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": name },
            "webhooks": [{
                "name": "other.example.com",
                "admissionReviewVersions": ["v1"],
                "clientConfig": { "url": self.url, "caBundle": self.ca_bundle },
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"],
                }],
                "namespaceSelector": { "matchLabels": { key: value } },
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
            }],
        })
    }

    /// How often it has been called.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for OtherWebhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Adds the annotation `other.example.com/was-here`.
pub(super) fn mark(pod: &Value) -> Vec<Value> {
    let mut patch = Vec::new();
    if pod["metadata"]["annotations"].is_null() {
        patch.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
    }
    patch.push(json!({
        "op": "add", "path": "/metadata/annotations/other.example.com~1was-here", "value": "true",
    }));
    patch
}

/// Points the HTTP probes of all containers at a proxy, as Istio's injector does.
pub(super) fn rewrite_probes(pod: &Value) -> Vec<Value> {
    let mut patch = mark(pod);
    for list in ["containers", "initContainers"] {
        let containers = pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        for (place, container) in containers.iter().enumerate() {
            if container["readinessProbe"]["httpGet"].is_object() {
                let port = format!("/spec/{list}/{place}/readinessProbe/httpGet/port");
                patch.push(json!({ "op": "replace", "path": port, "value": PROXY_PORT }));
            }
        }
    }
    patch
}

/// The port to which [`rewrite_probes`] points them.
pub(super) const PROXY_PORT: u16 = 15020;

fn answer(review: &Bytes, change: Change) -> Result<Bytes> {
    let review: Value = serde_json::from_slice(review)?;
    let patch = change(&review["request"]["object"]);
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
