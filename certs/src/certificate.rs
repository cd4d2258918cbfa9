//! Certificates as they come: PEM and DER in, facts out.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The most bytes that are read as PEM: a certificate is a kilobyte or two.
pub const MAX_PEM: usize = 1024 * 1024;

/// How far two clocks may be apart. Certificates are valid from so long before they are first used
/// until so long after they are last used, so that verifiers whose clocks are slow or fast accept them.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of `certificate`.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    /// The first eight bytes in hexadecimal: enough to tell two certificates apart by eye.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A certificate's `notBefore` and `notAfter`, both inclusive (RFC 5280, section 4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment at which the certificate is valid.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
}

impl Validity {
    /// What a certificate says that is used from `now` on for as long as `life`.
    #[must_use]
    pub fn starting(now: Timestamp, life: Duration) -> Self {
        // X.509 has whole seconds.
        let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time);
        let not_before = now.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
        let not_after = after(now, life.saturating_add(CLOCK_SKEW));
        Self { not_before: whole(not_before), not_after: whole(not_after) }
    }

    /// The time in which a certificate with this validity is used.
    #[must_use]
    pub fn in_use(self) -> Self {
        let not_after = self.not_after.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
        Self { not_after, ..self }
    }

    /// The part of this that lies within `other`: a certificate must not outlive its CA.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// Whether a verifier whose clock shows `now` accepts it.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// `duration` later, or the end of time.
#[must_use]
pub fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// Why a certificate or a key can't be read, issued or used. None of these carries any of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The PEM text holds no certificate.
    #[error("no certificate in PEM was found (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// The PEM text holds no private key, or one with broken base64.
    #[error(
        "no private key in PEM was found (BEGIN PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY)"
    )]
    NoKey,
    /// A PEM block is cut off, or its base64 is broken.
    #[error("a PEM block is broken: cut off, or not base64")]
    BadPem,
    /// The text is longer than [`MAX_PEM`].
    #[error("{0} bytes are too many for PEM, {MAX_PEM} is the most")]
    TooLong(usize),
    /// The bytes are not an X.509 certificate.
    #[error("it is not an X.509 certificate")]
    NotX509,
    /// There is not exactly one certificate, or it must not sign others.
    #[error("it is not the certificate of a CA")]
    NotACa,
    /// The certificate belongs to another key.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// The key is of a kind that can't sign here.
    #[error("the private key is of a kind or an encoding that is not supported")]
    UnsupportedKey,
    /// It would end before it starts, or start before 1970.
    #[error("a certificate can't be valid from {} to {}: the CA has ended, or a clock is far off", .0.not_before, .0.not_after)]
    BadValidity(Validity),
    /// A name is not a DNS name.
    #[error("{0:?} is not a DNS name")]
    BadName(String),
    /// There is no randomness, or the library that encodes certificates refused.
    #[error("the certificate could not be made: {0}")]
    NotMade(#[from] rcgen::Error),
    /// A client would not accept it; the text is the verifier's own.
    #[error("not accepted: {0}")]
    NotAccepted(String),
}

/// What a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who signed it.
    pub issuer: String,
    /// From when until when it is valid.
    pub validity: Validity,
    /// The DNS names that it is for.
    pub dns: Vec<String>,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
}

/// Reads a certificate.
///
/// # Errors
/// [`CertificateError::NotX509`], also if anything follows the certificate.
pub fn facts(der: &CertificateDer<'_>) -> Result<Facts, CertificateError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| CertificateError::NotX509)?;
    if !rest.is_empty() {
        return Err(CertificateError::NotX509);
    }
    let time = |second| Timestamp::from_second(second).map_err(|_| CertificateError::NotX509);
    let names = certificate.subject_alternative_name().map_err(|_| CertificateError::NotX509)?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    Ok(Facts {
        issuer: certificate.issuer().to_string(),
        validity: Validity {
            not_before: time(certificate.validity().not_before.timestamp())?,
            not_after: time(certificate.validity().not_after.timestamp())?,
        },
        dns: names
            .filter_map(|name| match name {
                GeneralName::DNSName(dns) => Some((*dns).to_owned()),
                _ => None,
            })
            .collect(),
        is_ca: certificate.is_ca(),
    })
}

/// What a PEM text holds, block by block: a certificate, or `None` for anything else.
///
/// # Errors
/// [`CertificateError::BadPem`] if a block is broken, [`CertificateError::TooLong`] past [`MAX_PEM`].
pub fn blocks(pem: &[u8]) -> Result<Vec<Option<CertificateDer<'static>>>, CertificateError> {
    if pem.len() > MAX_PEM {
        return Err(CertificateError::TooLong(pem.len()));
    }
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .map(|block| match block.map_err(|_| CertificateError::BadPem)? {
            (SectionKind::Certificate, der) => Ok(Some(der.into())),
            (_, mut other) => {
                // It may be a key.
                zeroize::Zeroize::zeroize(&mut other);
                Ok(None)
            }
        })
        .collect()
}

/// The certificates of a PEM text such as a caBundle, in its order; other blocks are skipped.
///
/// # Errors
/// [`CertificateError`] if there is none, or any block is broken.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Vec<_> = blocks(pem)?.into_iter().flatten().collect();
    if found.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(found) }
}

/// Certificates as PEM, one after the other: what a caBundle holds.
#[must_use]
pub fn pem_of<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    let blocks: Vec<_> =
        certificates.into_iter().map(|der| pem::Pem::new("CERTIFICATE", der.as_ref())).collect();
    pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn both_ends_belong_to_a_validity() {
        let validity = Validity { not_before: at(100), not_after: at(400) };
        let contained = [99, 100, 400, 401].map(|second| validity.contains(at(second)));
        assert_eq!(contained, [false, true, true, false]);
    }

    #[test]
    fn it_is_longer_than_the_time_of_use_and_ends_within_its_ca() {
        let validity = Validity::starting(at(1_000), Duration::from_secs(60));
        assert_eq!(validity, Validity { not_before: at(700), not_after: at(1_360) });
        assert_eq!(validity.in_use().not_after, at(1_060));
        let ca = Validity { not_before: at(900), not_after: at(1_030) };
        assert_eq!(validity.within(ca), ca);
    }

    #[test]
    fn the_end_of_time_is_not_a_panic() {
        let longest = Duration::from_secs(u64::MAX);
        assert_eq!(after(at(0), longest), Timestamp::MAX);
        assert!(Validity::starting(Timestamp::MAX, longest).in_use().not_before > at(0));
    }
}
