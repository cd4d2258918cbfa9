//! A CA, and from it a certificate to serve with. The time is passed in.
//!
//! Keys are ECDSA P-256. Certificates carry what RFC 5280 asks for: basic constraints and key usage
//! (critical), extended key usage, subject and authority key identifiers.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, DnsName, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::certificate::{CertificateError, Fingerprint, Validity, certificates, facts};
use crate::serving::ServingCertificate;

/// A CA: a certificate that signs others, and its key. Its `Debug` shows no key, and the key is
/// overwritten when it is dropped.
///
/// Its subject is unique (`secret-handshake CA` and eight digits of its key's identifier), so that
/// verifiers tell old and new apart while both are in a caBundle.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: Arc<Zeroizing<KeyPair>>,
    validity: Validity,
}

impl Authority {
    /// A new CA with a new key, signed by itself.
    ///
    /// # Errors
    /// [`CertificateError`] if no certificate can have this validity, or there is no randomness.
    pub fn new(validity: Validity) -> Result<Self, CertificateError> {
        let key = Zeroizing::new(KeyPair::generate()?);
        let mut params = params(validity)?;
        let identifier = params.key_identifier(&*key);
        let digits = identifier.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        params.distinguished_name = named(&format!("secret-handshake CA {digits:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&*key)?.der().clone();
        Ok(Self { certificate, key: Arc::new(key), validity })
    }

    /// The CA that a certificate and a key in PEM make up.
    ///
    /// # Errors
    /// [`CertificateError`] if there is not exactly one certificate, it is not a CA's, or the key is not
    /// the certificate's or of a kind that this program does not make.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let [certificate] =
            <[_; 1]>::try_from(certificates(certificate)?).map_err(|_| CertificateError::NotACa)?;
        let facts = facts(&certificate)?;
        if !facts.is_ca {
            return Err(CertificateError::NotACa);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let both = ServingCertificate::new(vec![certificate.clone()], key);
        both.certified_key()?;
        let key = KeyPair::try_from(both.key()).map_err(|_| CertificateError::UnsupportedKey)?;
        Ok(Self { certificate, key: Arc::new(Zeroizing::new(key)), validity: facts.validity })
    }

    /// Issues a certificate to serve with, with a new key, for DNS names (the first label may be `*`)
    /// and IP addresses, and for the part of `validity` in which this CA is valid. The chain is the certificate alone: verifiers have the CA already.
    ///
    /// # Errors
    /// [`CertificateError`] if one of them is not a name, or nothing is left of the validity.
    pub fn issue(
        &self,
        names: &[String],
        validity: Validity,
    ) -> Result<ServingCertificate, CertificateError> {
        let mut params = params(validity.within(self.validity))?;
        params.distinguished_name = named("secret-handshake webhook");
        params.subject_alt_names =
            names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &**self.key)?;
        let key = Zeroizing::new(KeyPair::generate()?);
        let certificate = params.signed_by(&*key, &issuer)?;
        let key = PrivatePkcs8KeyDer::from(key.serialized_der().to_vec());
        Ok(ServingCertificate::new(vec![certificate.der().clone()], key.into()))
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's key in PEM, for whoever has to store it.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// The fingerprint of the CA's certificate.
    #[must_use]
    pub fn id(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// From when until when the CA is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

fn params(validity: Validity) -> Result<CertificateParams, CertificateError> {
    // X.509 has no years before 0, and nobody's clock shows a time before 1970.
    if validity.not_before < Timestamp::UNIX_EPOCH || validity.not_after <= validity.not_before {
        return Err(CertificateError::BadValidity(validity));
    }
    let mut params = CertificateParams::default();
    params.not_before = std::time::SystemTime::from(validity.not_before).into();
    params.not_after = std::time::SystemTime::from(validity.not_after).into();
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn alternative_name(name: &str) -> Result<SanType, CertificateError> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let refused = || CertificateError::BadName(name.to_owned());
    let plain = name.strip_prefix("*.").unwrap_or(name);
    DnsName::try_from(plain).map_err(|_| refused())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::certificate::{after, pem_of};

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn authority(life: Duration) -> Authority {
        Authority::new(Validity::starting(now(), life)).unwrap()
    }

    fn issue(ca: &Authority, names: &[&str]) -> Result<ServingCertificate, CertificateError> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        ca.issue(&names, Validity::starting(now(), DAY))
    }

    #[test]
    fn a_leaf_is_accepted_for_its_names_in_its_time_and_under_its_ca_alone() {
        let (ca, other) = (authority(365 * DAY), authority(365 * DAY));
        let names = ["hook.ns.svc", "*.example.org", "127.0.0.1", "::1"];
        let leaf = issue(&ca, &names).unwrap();
        let [good, foreign] = [&ca, &other].map(|ca| vec![ca.certificate().clone()]);
        let both = [good.clone(), foreign.clone()].concat();
        let turned = [foreign.clone(), good.clone()].concat();
        let (name, end) = ("hook.ns.svc", Validity::starting(now(), DAY).not_after);
        for (roots, name, at, expected) in [
            (&good, name, now(), true),
            (&good, "a.example.org", now(), true),
            (&good, "127.0.0.1", now(), true),
            (&good, "::1", now(), true),
            (&good, name, end, true),
            (&both, name, now(), true),
            (&turned, name, now(), true),
            (&foreign, name, now(), false),
            (&vec![], name, now(), false),
            (&good, name, after(end, Duration::from_secs(1)), false),
            (&good, "other.ns.svc", now(), false),
            (&good, "127.0.0.2", now(), false),
        ] {
            assert_eq!(leaf.verify(roots, name, at).is_ok(), expected, "{name} at {at}");
        }
    }

    #[test]
    fn what_is_not_a_name_and_a_time_without_the_ca_are_refused() {
        let ca = authority(DAY);
        let late = Validity::starting(after(now(), 365 * DAY), DAY);
        let refused = ca.issue(&[], late);
        assert!(matches!(refused, Err(CertificateError::BadValidity(_))), "{refused:?}");
        for bad in ["", "a b", "a..b", "*", "*.*.org", "-", "x\ny", "é.org", &"a".repeat(300)] {
            let error = issue(&ca, &[bad]).unwrap_err();
            assert!(matches!(error, CertificateError::BadName(_)), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_ca_is_read_only_from_parts_that_belong_together() {
        let (ca, other) = (authority(DAY), authority(DAY));
        let leaf = issue(&ca, &["a"]).unwrap();
        let read = |certificates: &[&CertificateDer<'static>], key: &str| {
            let certificates = pem_of(certificates.iter().copied());
            Authority::from_pem(certificates.as_bytes(), key.as_bytes())
        };
        let again = read(&[ca.certificate()], &ca.key_pem()).unwrap();
        assert_eq!((again.id(), again.validity()), (ca.id(), ca.validity()));
        assert_eq!(again.key_pem(), ca.key_pem());
        let wrong_key = read(&[ca.certificate()], &other.key_pem());
        assert!(matches!(wrong_key, Err(CertificateError::OtherKey)));
        let no_key = read(&[ca.certificate()], "-----BEGIN PRIVATE KEY-----\n!!\n");
        assert!(matches!(no_key, Err(CertificateError::NoKey)));
        let not_a_ca = read(&[&leaf.chain()[0]], &leaf.key_pem());
        assert!(matches!(not_a_ca, Err(CertificateError::NotACa)));
        let two = read(&[ca.certificate(), other.certificate()], &ca.key_pem());
        assert!(matches!(two, Err(CertificateError::NotACa)));
    }

    #[test]
    fn a_key_is_not_printed() {
        let ca = authority(DAY);
        let leaf = issue(&ca, &["a"]).unwrap();
        let shown = format!("{ca:?} {leaf:?}");
        for key in [ca.key_pem(), leaf.key_pem()] {
            let der = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            // As bytes, and as text.
            let bytes = format!("{:?}", der.secret_der());
            assert!(!shown.contains(&bytes[1..bytes.len() - 1]) && !shown.contains(&key[40..80]));
        }
        assert_eq!(shown.matches("Zeroizing { .. }").count(), 2, "{shown}");
    }
}
