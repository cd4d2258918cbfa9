//! A certificate chain and its key, ready to be served.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName, IpAddr, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::issue::Names;
use crate::key::{KeyError, PrivateKey};

/// A certificate chain, the serving certificate first, and the private key that belongs to it.
///
/// Cheap to clone: the parts are shared. Its `Debug` shows no key.
#[derive(Debug, Clone)]
pub struct ServingCertificate(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
}

/// Why PEM files do not make a serving certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServingError {
    /// The certificate file holds no certificate, or one with broken base64.
    #[error("no certificate in PEM was found (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// The serving certificate is no X.509 certificate.
    #[error("the certificate is unreadable")]
    BadCertificate,
    /// The key is none, or another certificate's.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a client would not accept a serving certificate. The text is the verifier's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not accepted: {0}")]
pub struct NotAccepted(String);

impl ServingCertificate {
    /// A chain and its key, taken as they are; the serving certificate is the chain's first.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKey) -> Self {
        Self(Arc::new(Parts { chain, key }))
    }

    /// A chain and a key from PEM, as in `tls.crt` and `tls.key`. They must belong together.
    ///
    /// # Errors
    /// [`ServingError`] says which of the two is wrong, and never shows the key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, ServingError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| ServingError::NoCertificate)?;
        let first = chain.first().ok_or(ServingError::NoCertificate)?;
        EndEntityCert::try_from(first).map_err(|_| ServingError::BadCertificate)?;
        let key = PrivateKey::from_pem(key)?;
        key.fits(first)?;
        Ok(Self::new(chain, key))
    }

    /// The chain, the serving certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.chain
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.0.key
    }

    /// The form in which a rustls server serves it, signing with ring.
    ///
    /// # Errors
    /// [`KeyError`] if key and certificate do not belong together or the key cannot sign.
    pub fn certified_key(&self) -> Result<CertifiedKey, KeyError> {
        let provider = rustls::crypto::ring::default_provider();
        let key = self.key().der().clone_key();
        CertifiedKey::from_der(self.chain().to_vec(), key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => KeyError::DoesNotFit,
            _ => KeyError::Unsupported,
        })
    }

    /// Asks a real verifier (webpki, as a TLS server's certificate) whether a client that trusts
    /// `roots` and calls any of `names` at `now` would accept this.
    ///
    /// # Errors
    /// [`NotAccepted`] with the verifier's reason.
    pub fn verify(
        &self,
        roots: &[CertificateDer<'_>],
        names: &Names,
        now: Timestamp,
    ) -> Result<(), NotAccepted> {
        let refused = |error: webpki::Error| NotAccepted(error.to_string());
        let (leaf, intermediates) =
            self.chain().split_first().ok_or_else(|| NotAccepted("no certificate".to_owned()))?;
        let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
        let anchors: Vec<_> =
            roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let since_epoch = now.duration_since(Timestamp::UNIX_EPOCH).try_into().unwrap_or_default();
        leaf.verify_for_usage(
            algorithms.all,
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(since_epoch),
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(refused)?;
        let dns = names.dns.iter().map(|name| {
            let name = DnsName::try_from(name.replacen('*', "any", 1));
            name.map(ServerName::DnsName).map_err(|error| NotAccepted(error.to_string()))
        });
        let ips = names.ips.iter().map(|ip| Ok(ServerName::IpAddress(IpAddr::from(*ip))));
        for name in dns.chain(ips) {
            leaf.verify_is_valid_for_subject_name(&name?).map_err(refused)?;
        }
        Ok(())
    }
}
