//! A private key that can't be printed.

use std::fmt;

use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

/// A private key in DER: PKCS#8 for those made here, PKCS#1 or SEC1 too for those from files.
///
/// It has no `Display`, its `Debug` says nothing, and its memory is overwritten when it is dropped.
pub struct PrivateKey(PrivateKeyDer<'static>);

/// Why bytes are not the private key that they should be. None of these carries any of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block of a private key was found, or its base64 is broken.
    #[error(
        "no private key in PEM was found (BEGIN PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY)"
    )]
    NotPem,
    /// The key is of a kind that can't sign here.
    #[error("the private key is of a kind or an encoding that is not supported")]
    Unsupported,
    /// The certificate belongs to another key.
    #[error("the private key does not belong to the certificate")]
    DoesNotFit,
    /// The system gave no randomness.
    #[error("no key could be generated: the system's random source failed")]
    NotGenerated,
}

impl PrivateKey {
    /// A new ECDSA P-256 key from the system's random source.
    ///
    /// # Errors
    /// [`KeyError::NotGenerated`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair = Zeroizing::new(KeyPair::generate().map_err(|_| KeyError::NotGenerated)?);
        Ok(Self(PrivatePkcs8KeyDer::from(pair.serialized_der().to_vec()).into()))
    }

    /// The first private key in a PEM text.
    ///
    /// # Errors
    /// [`KeyError::NotPem`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        PrivateKeyDer::from_pem_slice(pem).map(Self).map_err(|_| KeyError::NotPem)
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
    pub(crate) fn pair(&self) -> Result<Zeroizing<KeyPair>, KeyError> {
        KeyPair::try_from(&self.0).map(Zeroizing::new).map_err(|_| KeyError::Unsupported)
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
            assert_eq!(PrivateKey::from_pem(text.as_bytes()).unwrap_err(), KeyError::NotPem);
        }
    }
}
