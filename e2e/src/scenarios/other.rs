//! Somebody else's mutating webhook, which marks every pod it sees.

use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use lab::cluster::pki::Authority;

/// A webhook that adds the annotation `other.example.com/was-here`.
pub(super) struct OtherWebhook {
    address: SocketAddr,
    ca: String,
    calls: AtomicU64,
    task: std::sync::OnceLock<JoinHandle<()>>,
}

impl OtherWebhook {
    /// Starts one; its certificates are kept in `folder`.
    ///
    /// # Errors
    ///
    /// The folder can't be written.
    pub(super) async fn start(folder: &Path) -> Result<Arc<Self>> {
        let authority = Authority::new(folder, "other-webhook")?;
        let pair = authority.issue("other-webhook-leaf", "other-webhook", &[], &["127.0.0.1"])?;
        let chain = CertificateDer::pem_slice_iter(&fs::read(pair.certificate)?)
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&fs::read(pair.key)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let other = Arc::new(Self {
            address: listener.local_addr()?,
            ca: authority.pem(),
            calls: AtomicU64::new(0),
            task: std::sync::OnceLock::new(),
        });
        let weak = Arc::downgrade(&other);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(other) = weak.upgrade() else { return };
                tokio::spawn(serve(acceptor.clone(), stream, other));
            }
        });
        let _ = other.task.set(task);
        Ok(other)
    }

    /// Where it is called.
    #[must_use]
    pub(super) fn url(&self) -> String {
        format!("https://{}/mutate", self.address)
    }

    /// What its configuration says as `caBundle`.
    #[must_use]
    pub(super) fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.ca)
    }

    /// How often it has been called.
    #[must_use]
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Vec<u8>> {
        let body = request.into_body().collect().await?.to_bytes();
        let review: Value = serde_json::from_slice(&body)?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let annotations = &review["request"]["object"]["metadata"]["annotations"];
        let mut patch = Vec::new();
        if annotations.is_null() {
            patch.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
        }
        patch.push(json!({
            "op": "add", "path": "/metadata/annotations/other.example.com~1was-here", "value": "true",
        }));
        Ok(serde_json::to_vec(&json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": review["request"]["uid"].as_str().context("no uid")?,
                "allowed": true,
                "patchType": "JSONPatch",
                "patch": STANDARD.encode(serde_json::to_vec(&patch)?),
            },
        }))?)
    }
}

impl Drop for OtherWebhook {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, other: Arc<OtherWebhook>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let other = Arc::clone(&other);
        async move {
            let (status, body) = match other.answer(request).await {
                Ok(body) => (200, body),
                Err(error) => (500, error.to_string().into_bytes()),
            };
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
            response.headers_mut().insert(
                hyper::header::CONTENT_TYPE,
                hyper::header::HeaderValue::from_static("application/json"),
            );
            Ok::<_, Infallible>(response)
        }
    });
    // A client that goes away is not our business.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
