//! What rustls is told: ring, TLS 1.2 and 1.3, http/1.1 alone, no resumption.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::Refused;

/// The certificate that handshakes show, whatever name the client asks for.
#[derive(Debug, Default)]
pub(super) struct CertificateInUse(ArcSwapOption<CertifiedKey>);

impl CertificateInUse {
    pub(super) fn replace(&self, key: CertifiedKey) {
        self.0.store(Some(Arc::new(key)));
    }

    pub(super) fn is_there(&self) -> bool {
        self.0.load().is_some()
    }
}

impl ResolvesServerCert for CertificateInUse {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

pub(super) fn for_anyone(certificate: &Arc<CertificateInUse>) -> Result<ServerConfig, Refused> {
    config(Arc::new(NoClientAuth), certificate)
}

pub(super) fn for_clients_of(
    roots: Vec<CertificateDer<'static>>,
    certificate: &Arc<CertificateInUse>,
) -> Result<ServerConfig, Refused> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root)?;
    }
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build()?;
    config(verifier, certificate)
}

fn config(
    verifier: Arc<dyn ClientCertVerifier>,
    certificate: &Arc<CertificateInUse>,
) -> Result<ServerConfig, Refused> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(certificate) as Arc<dyn ResolvesServerCert>);
    // What an API server asks for where the webhook is a Service. Not h2: its PING and SETTINGS
    // floods and its unfinished streams have no bound in today's Rust server stack.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session shows no certificate and asks for none: neither a swap of ours nor a change
    // of the client CA would reach it. Go's client doesn't resume by itself anyway.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}
