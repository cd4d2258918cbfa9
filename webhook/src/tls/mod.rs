//! The serving certificate, swapped while the server runs, and the clients that are let in.
//!
//! ```text
//! PEM files, or certs' loop ─▶ install ─▶ certificate in use ─▶ shown in each new handshake
//! --client-ca ─▶ demand ─▶ configuration in use ─────────────▶ checked in each new handshake
//! ```
//!
//! Connections that are open go on with what they were opened with.

mod config;
mod failure;
pub(crate) mod files;
pub(crate) mod kept;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use certs::certificate::{CertificateError, Facts, Fingerprint, Validity, certificates, facts};
use certs::serving::ServingCertificate;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;

use crate::metrics::{HandshakeFailure, Metrics};
pub use config::Refused;

/// Which clients may speak to the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Whoever can reach the port.
    Anyone,
    /// Those with a certificate of a CA that [`Tls::demand`] names; until it has, nobody.
    WithCertificate,
}

/// TLS for the webhook's port. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Tls {
    parts: Arc<Mutex<Parts>>,
    /// What the parts make up, when all are there.
    config: Arc<ArcSwapOption<ServerConfig>>,
    distrust_logged: Arc<Mutex<Option<Instant>>>,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Debug)]
struct Parts {
    serving: Option<ServingCertificate>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    /// Without a certificate yet: until one is installed, handshakes fail.
    #[must_use]
    pub fn new(clients: Clients, metrics: Arc<Metrics>) -> Self {
        let clients: Option<Arc<dyn ClientCertVerifier>> = match clients {
            Clients::Anyone => Some(Arc::new(NoClientAuth)),
            Clients::WithCertificate => None,
        };
        Self {
            parts: Arc::new(Mutex::new(Parts { serving: None, clients })),
            config: Arc::default(),
            distrust_logged: Arc::default(),
            metrics,
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) -> Result<(), Refused> {
        let mut parts = self.parts();
        let mut changed = parts.clone();
        change(&mut changed);
        if let Parts { serving: Some(serving), clients: Some(clients) } = &changed {
            let config = config::config(serving, Arc::clone(clients))?;
            self.config.store(Some(Arc::new(config)));
        }
        *parts = changed;
        Ok(())
    }

    /// Shows this certificate from the next handshake on. Says how long it is valid, which nothing
    /// here depends on: whether to show a certificate that has ended is the caller's to decide.
    ///
    /// # Errors
    /// [`Refused`], and then the one before stays in use.
    pub fn install(&self, certificate: &ServingCertificate) -> Result<Validity, Refused> {
        self.try_install(certificate).inspect_err(|_| self.metrics.certificate_refused())
    }

    /// The same with a pair in PEM.
    ///
    /// # Errors
    /// [`Refused`], and then the one before stays in use.
    pub fn install_pem(&self, certificate: &[u8], key: &[u8]) -> Result<Validity, Refused> {
        ServingCertificate::from_pem(certificate, key)
            .map_err(Refused::from)
            .and_then(|pair| self.try_install(&pair))
            .inspect_err(|_| self.metrics.certificate_refused())
    }

    fn try_install(&self, certificate: &ServingCertificate) -> Result<Validity, Refused> {
        let first = certificate.chain().first().ok_or(CertificateError::NoCertificate)?;
        let Facts { issuer, validity, dns, .. } = facts(first)?;
        self.change(|parts| parts.serving = Some(certificate.clone()))?;
        self.metrics.certificate_installed(validity.not_after);
        tracing::info!(
            fingerprint = %Fingerprint::of(first),
            issuer,
            names = dns.join(","),
            not_after = %validity.not_after,
            "serving certificate in use"
        );
        Ok(validity)
    }

    /// The certificate in use.
    #[must_use]
    pub fn serving(&self) -> Option<ServingCertificate> {
        self.parts().serving.clone()
    }

    /// From the next handshake on, lets in only clients with a certificate of a CA in `pem`. How long the
    /// CA itself is valid is not looked at.
    ///
    /// # Errors
    /// [`Refused`], and then what held before still holds.
    pub fn demand(&self, pem: &[u8]) -> Result<Validity, Refused> {
        certificates(pem)
            .map_err(Refused::from)
            .and_then(config::verifier)
            .and_then(|clients| self.change(|parts| parts.clients = Some(clients)))
            .inspect_err(|_| self.metrics.certificate_refused())?;
        tracing::info!("client CA in use");
        Ok(Validity { not_before: Timestamp::MIN, not_after: Timestamp::MAX })
    }

    /// What a handshake goes by; `None` until there is a certificate, and a client CA if one is named.
    #[must_use]
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        let config = self.config.load_full();
        if config.is_none() {
            self.metrics.handshake_failed(HandshakeFailure::NotReady);
        }
        config
    }

    /// Counts a handshake that failed, and says so aloud if pods are being refused because of it.
    pub(crate) fn handshake_failed(&self, error: &io::Error) {
        let cause = failure::cause(error);
        self.metrics.handshake_failed(cause);
        tracing::debug!(?cause, %error, "TLS handshake failed");
        if cause == HandshakeFailure::Distrusted {
            failure::warn_of_distrust(&self.distrust_logged, error);
        }
    }
}
