//! What rustls is told: ring, TLS 1.2 and 1.3, http/1.1 alone, no resumption.

use std::sync::Arc;

use certs::certificate::CertificateError;
use certs::serving::ServingCertificate;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;

/// Why a certificate, or a CA for clients, is not taken into use.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It can't be read, or the two do not belong together.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It can't be a CA for clients.
    #[error("it can't be used to verify clients: {0}")]
    ClientCa(#[from] VerifierBuilderError),
    /// rustls does not take it.
    #[error("it can't be used: {0}")]
    Config(#[from] rustls::Error),
}

pub(super) fn verifier(
    roots: Vec<CertificateDer<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, Refused> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let provider = Arc::new(ring::default_provider());
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build()?)
}

pub(super) fn config(
    certificate: &ServingCertificate,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, Refused> {
    let shown = SingleCertAndKey::from(certificate.certified_key()?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(shown));
    // What an API server asks for where the webhook is a Service. Not h2: its PING and SETTINGS
    // floods and its unfinished streams have no bound in today's Rust server stack.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session shows no certificate and asks for none: neither a swap of ours nor a change
    // of the client CA would reach it. Go's client doesn't resume by itself anyway.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}
