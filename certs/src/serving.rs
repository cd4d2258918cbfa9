//! A certificate chain and its key, ready to be served.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::{Zeroize, Zeroizing};

use crate::certificate::CertificateError;

/// A certificate chain, the serving certificate first, and the private key that belongs to it.
///
/// Cheap to clone: the parts are shared. Its `Debug` shows no key, and the key is overwritten when it
/// is dropped.
#[derive(Debug, Clone)]
pub struct ServingCertificate(
    Arc<(Vec<CertificateDer<'static>>, Zeroizing<PrivateKeyDer<'static>>)>,
);

impl ServingCertificate {
    /// A chain and its key as they are; the serving certificate is the chain's first.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self(Arc::new((chain, Zeroizing::new(key))))
    }

    /// A chain and a key from PEM, as in `tls.crt` and `tls.key`. They must belong together.
    ///
    /// # Errors
    /// [`CertificateError`] says which of the two is wrong.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::BadPem)?;
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        EndEntityCert::try_from(first).map_err(|_| CertificateError::NotX509)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let pair = Self::new(chain, key);
        pair.certified_key()?;
        Ok(pair)
    }

    /// The chain, the serving certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.0
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.0.1
    }

    /// The private key in PEM, for whoever has to store it.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        let label = match self.key() {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let block = pem::Pem::new(label, self.key().secret_der());
        let text = Zeroizing::new(pem::encode(&block));
        block.into_contents().zeroize();
        text
    }

    /// What a rustls server serves it from, signing with ring.
    ///
    /// # Errors
    /// [`CertificateError`] if key and certificate do not belong together or the key can't sign.
    pub fn certified_key(&self) -> Result<CertifiedKey, CertificateError> {
        let provider = rustls::crypto::ring::default_provider();
        let key = self.key().clone_key();
        CertifiedKey::from_der(self.chain().to_vec(), key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) | rustls::Error::InvalidCertificate(_) => {
                CertificateError::OtherKey
            }
            _ => CertificateError::UnsupportedKey,
        })
    }

    /// Asks a real verifier (webpki) whether a client that trusts `roots` and calls `name`, a DNS
    /// name or an IP address, would accept this at `now`.
    ///
    /// # Errors
    /// [`CertificateError::NotAccepted`] with the verifier's reason.
    pub fn verify(
        &self,
        roots: &[CertificateDer<'_>],
        name: &str,
        now: Timestamp,
    ) -> Result<(), CertificateError> {
        verify(self.chain(), roots, name, now)
    }
}

/// Asks a real verifier (webpki) whether a client that trusts `roots` and calls `name`, a DNS name or an
/// IP address, would accept this chain, the serving certificate first, at `now`.
///
/// # Errors
/// [`CertificateError::NotAccepted`] with the verifier's reason.
pub fn verify(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    name: &str,
    now: Timestamp,
) -> Result<(), CertificateError> {
    let refused = |error: webpki::Error| CertificateError::NotAccepted(error.to_string());
    let (leaf, intermediates) = chain.split_first().ok_or(CertificateError::NoCertificate)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(refused)?;
    let anchors: Vec<_> =
        roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let since_epoch = now.duration_since(Timestamp::UNIX_EPOCH).try_into().unwrap_or_default();
    leaf.verify_for_usage(
        rustls::crypto::ring::default_provider().signature_verification_algorithms.all,
        &anchors,
        intermediates,
        UnixTime::since_unix_epoch(since_epoch),
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(refused)?;
    let name =
        ServerName::try_from(name).map_err(|_| CertificateError::BadName(name.to_owned()))?;
    leaf.verify_is_valid_for_subject_name(&name).map_err(refused)
}
