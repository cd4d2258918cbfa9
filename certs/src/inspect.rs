//! What is in a certificate, and in a PEM file. Pure: bytes in, facts out.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::validity::Validity;

/// The most bytes that are looked at as PEM: certificates are a kilobyte or two.
pub const MAX_PEM: usize = 1024 * 1024;

/// The SHA-256 of a certificate in DER: what tells one certificate from all others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    /// The first eight bytes in hexadecimal: enough to tell two certificates apart by eye. The
    /// alternate form (`{:#}`) has all of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if f.alternate() { &self.0[..] } else { &self.0[..8] };
        shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why bytes are not the certificate that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is no certificate in the PEM text at all.
    #[error("no certificate in PEM was found (BEGIN CERTIFICATE)")]
    NoCertificate,
    /// A PEM block is cut off, or its base64 is broken.
    #[error("a PEM block is broken: cut off, or not base64")]
    BadPem,
    /// The text is longer than [`MAX_PEM`].
    #[error("{0} bytes are too many for PEM, {MAX_PEM} is the most")]
    TooLong(usize),
    /// It is not an X.509 certificate.
    #[error("it is not an X.509 certificate")]
    NotX509,
    /// A certificate that may not sign others stands where a CA's should.
    #[error("it is not the certificate of a CA")]
    NotACa,
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// From when until when it is valid.
    pub validity: Validity,
    /// The DNS names it is good for.
    pub dns: Vec<String>,
    /// The IP addresses it is good for.
    pub ips: Vec<IpAddr>,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
    /// The kind of its key, such as `ECDSA P-256`.
    pub key: String,
    /// What the key may be used for, in words.
    pub uses: Vec<&'static str>,
    /// The identifier of its key.
    pub subject_key_id: Option<Vec<u8>>,
    /// The identifier of the key that signed it.
    pub authority_key_id: Option<Vec<u8>>,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

impl CertificateFacts {
    /// How the certificate stands at `now`: `valid, 23 h left`, `ended 2 days ago`, …
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> String {
        let Validity { not_before, not_after } = self.validity;
        if now < not_before {
            format!("NOT YET VALID: it starts in {}", crate::duration::between(now, not_before))
        } else if now > not_after {
            format!("ENDED {} ago", crate::duration::between(not_after, now))
        } else {
            format!("valid, {} left", crate::duration::between(now, not_after))
        }
    }
}

/// What a PEM file holds, in its order.
#[derive(Debug)]
pub enum Section {
    /// A certificate.
    Certificate(CertificateDer<'static>),
    /// A private key; what it is called, and nothing of it.
    PrivateKey(&'static str),
    /// Something else that PEM can hold.
    Other,
}

/// Reads a certificate.
///
/// # Errors
/// [`Unreadable::NotX509`] if it is none, or something follows it.
pub fn certificate(der: &CertificateDer<'_>) -> Result<CertificateFacts, Unreadable> {
    let (rest, cert) = X509Certificate::from_der(der).map_err(|_| Unreadable::NotX509)?;
    if !rest.is_empty() {
        return Err(Unreadable::NotX509);
    }
    let moment = |second| Timestamp::from_second(second).map_err(|_| Unreadable::NotX509);
    let mut facts = CertificateFacts {
        subject: cert.subject().to_string(),
        issuer: cert.issuer().to_string(),
        serial: cert.raw_serial_as_string(),
        validity: Validity {
            not_before: moment(cert.validity().not_before.timestamp())?,
            not_after: moment(cert.validity().not_after.timestamp())?,
        },
        dns: Vec::new(),
        ips: Vec::new(),
        is_ca: false,
        key: key_kind(&cert),
        uses: Vec::new(),
        subject_key_id: None,
        authority_key_id: None,
        fingerprint: Fingerprint::of(der),
    };
    for extension in cert.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => facts.is_ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() => {
                facts.uses.push("signs certificates");
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let named = [
                    (usage.any, "anything"),
                    (usage.server_auth, "TLS server"),
                    (usage.client_auth, "TLS client"),
                ];
                facts.uses.extend(named.iter().filter(|(set, _)| *set).map(|(_, name)| *name));
            }
            ParsedExtension::SubjectKeyIdentifier(id) => {
                facts.subject_key_id = Some(id.0.to_vec());
            }
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                facts.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(dns) => facts.dns.push((*dns).to_owned()),
                        GeneralName::IPAddress(bytes) => facts.ips.extend(address(bytes)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(facts)
}

/// All the certificates of a PEM text such as a caBundle, in its order; other blocks are passed over.
///
/// # Errors
/// [`Unreadable`] if there is none, or any block is broken.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unreadable> {
    let found: Vec<_> = sections(pem)?
        .into_iter()
        .filter_map(|section| match section {
            Section::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() { Err(Unreadable::NoCertificate) } else { Ok(found) }
}

/// What a PEM file holds, in its order.
///
/// # Errors
/// [`Unreadable::BadPem`] if a block is broken, [`Unreadable::TooLong`] past [`MAX_PEM`].
pub fn sections(pem: &[u8]) -> Result<Vec<Section>, Unreadable> {
    if pem.len() > MAX_PEM {
        return Err(Unreadable::TooLong(pem.len()));
    }
    let section = |(kind, mut der): (SectionKind, Vec<u8>)| match kind {
        SectionKind::Certificate => Section::Certificate(der.into()),
        SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey => {
            zeroize::Zeroize::zeroize(&mut der);
            Section::PrivateKey(match kind {
                SectionKind::PrivateKey => "PKCS#8",
                SectionKind::EcPrivateKey => "SEC1",
                _ => "PKCS#1",
            })
        }
        _ => Section::Other,
    };
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .map(|block| block.map(section).map_err(|_| Unreadable::BadPem))
        .collect()
}

fn key_kind(cert: &X509Certificate<'_>) -> String {
    match cert.public_key().parsed() {
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        _ if cert.public_key().algorithm.algorithm.to_id_string() == "1.3.101.112" => {
            "Ed25519".to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
