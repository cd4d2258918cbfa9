//! A private key that can't be printed.

use std::fmt;

use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use crate::certificate::CertificateError;

/// A private key in DER: PKCS#8 for those made here, PKCS#1 or SEC1 too for those from files.
///
/// It has no `Display`, its `Debug` says nothing, and its memory is overwritten when it is dropped.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl PrivateKey {
    /// A new ECDSA P-256 key from the system's random source.
    ///
    /// # Errors
    /// [`CertificateError::NotMade`] if there is no randomness.
    pub fn generate() -> Result<Self, CertificateError> {
        let pair = Zeroizing::new(KeyPair::generate()?);
        Ok(Self(PrivatePkcs8KeyDer::from(pair.serialized_der().to_vec()).into()))
    }

    /// The first private key in a PEM text.
    ///
    /// # Errors
    /// [`CertificateError::NoKey`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        PrivateKeyDer::from_pem_slice(pem).map(Self).map_err(|_| CertificateError::NoKey)
    }

    /// The key as PEM, in memory that is overwritten when it is dropped.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let label = match self.0 {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let block = pem::Pem::new(label, self.0.secret_der());
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        let text = Zeroizing::new(pem::encode_config(&block, config));
        block.into_contents().zeroize();
        text
    }

    pub(crate) fn der(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }

    /// The pair that rcgen signs with, overwritten as soon as that is done.
    pub(crate) fn pair(&self) -> Result<Zeroizing<KeyPair>, CertificateError> {
        let pair = KeyPair::try_from(&self.0).map_err(|_| CertificateError::UnsupportedKey)?;
        Ok(Zeroizing::new(pair))
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self(self.0.clone_key())
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_pem_and_is_never_printed() {
        let key = PrivateKey::generate().unwrap();
        let again = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(key.der(), again.der());
        assert_eq!(format!("{key:?}"), "PrivateKey(hidden)");
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        for text in ["", "x", "-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----\n"] {
            let error = PrivateKey::from_pem(text.as_bytes()).unwrap_err();
            assert!(matches!(error, CertificateError::NoKey), "{error}");
        }
    }
}
