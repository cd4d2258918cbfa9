//! A CA, and from it a certificate to serve with. The time is passed in.
//!
//! Keys are ECDSA P-256. Certificates carry what RFC 5280 asks for: basic constraints and key usage
//! (critical), extended key usage, subject and authority key identifiers.

use std::net::IpAddr;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, DnsName};

use crate::certificate::{CertificateError, Fingerprint, Validity, certificates, facts};
use crate::key::PrivateKey;
use crate::serving::ServingCertificate;

/// The names that a serving certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names; the first label may be `*`.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
}

impl Names {
    /// The names of a Service: `SERVICE.NAMESPACE.svc`, which is the one that an API server calls,
    /// the same with the cluster's domain, and `SERVICE.NAMESPACE`.
    #[must_use]
    pub fn of_service(service: &str, namespace: &str, cluster_domain: &str) -> Self {
        let short = format!("{service}.{namespace}");
        Self {
            dns: vec![format!("{short}.svc"), format!("{short}.svc.{cluster_domain}"), short],
            ips: Vec::new(),
        }
    }
}

/// A CA: a certificate that signs others, and its key.
///
/// Its subject is unique (`secret-handshake CA` and eight digits of its key's identifier), so that
/// verifiers tell old and new apart while both are in a caBundle.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: PrivateKey,
    validity: Validity,
}

impl Authority {
    /// A new CA with a new key, signed by itself.
    ///
    /// # Errors
    /// [`CertificateError`] if no certificate can have this validity, or there is no randomness.
    pub fn new(validity: Validity) -> Result<Self, CertificateError> {
        let key = PrivateKey::generate()?;
        let pair = key.pair()?;
        let mut params = params(validity)?;
        let identifier = params.key_identifier(&*pair);
        let digits = identifier.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        params.distinguished_name = named(&format!("secret-handshake CA {digits:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&*pair)?.der().clone();
        Ok(Self { certificate, key, validity })
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
        let key = PrivateKey::from_pem(key)?;
        ServingCertificate::new(vec![certificate.clone()], key.clone()).certified_key()?;
        key.pair()?;
        Ok(Self { certificate, key, validity: facts.validity })
    }

    /// Issues a certificate to serve with, with a new key, for the part of `validity` in which this
    /// CA is valid. The chain is the certificate alone: verifiers have the CA already.
    ///
    /// # Errors
    /// [`CertificateError`] if one of them is not a name, or nothing is left of the validity.
    pub fn issue(
        &self,
        names: &Names,
        validity: Validity,
    ) -> Result<ServingCertificate, CertificateError> {
        let mut params = params(validity.within(self.validity))?;
        params.distinguished_name = named("secret-handshake webhook");
        params.subject_alt_names = alternative_names(names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let pair = self.key.pair()?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*pair)?;
        let key = PrivateKey::generate()?;
        let certificate = params.signed_by(&*key.pair()?, &issuer)?;
        Ok(ServingCertificate::new(vec![certificate.der().clone()], key))
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's key: for whoever has to store it.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
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

fn alternative_names(names: &Names) -> Result<Vec<SanType>, CertificateError> {
    let dns = names.dns.iter().map(|name| {
        let refused = || CertificateError::BadName(name.clone());
        let plain = name.strip_prefix("*.").unwrap_or(name);
        DnsName::try_from(plain).map_err(|_| refused())?;
        Ok(SanType::DnsName(name.as_str().try_into().map_err(|_| refused())?))
    });
    dns.chain(names.ips.iter().map(|ip| Ok(SanType::IpAddress(*ip)))).collect()
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

    fn service() -> Names {
        Names::of_service("hook", "ns", "cluster.local")
    }

    fn issue(ca: &Authority, names: &Names) -> Result<ServingCertificate, CertificateError> {
        ca.issue(names, Validity::starting(now(), DAY))
    }

    #[test]
    fn a_leaf_is_accepted_for_its_names_in_its_time_and_under_its_ca_alone() {
        let (ca, other) = (authority(365 * DAY), authority(365 * DAY));
        let ips = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let leaf = issue(&ca, &Names { ips, ..service() }).unwrap();
        let [good, foreign] = [&ca, &other].map(|ca| vec![ca.certificate().clone()]);
        let both = [good.clone(), foreign.clone()].concat();
        let turned = [foreign.clone(), good.clone()].concat();
        let (name, end) = ("hook.ns.svc", Validity::starting(now(), DAY).not_after);
        for (roots, name, at, expected) in [
            (&good, name, now(), true),
            (&good, "hook.ns.svc.cluster.local", now(), true),
            (&good, "hook.ns", now(), true),
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
    fn certificates_say_what_they_are_for() {
        let ca = authority(365 * DAY);
        let own = facts(ca.certificate()).unwrap();
        assert!(own.is_ca && own.issuer.starts_with("CN=secret-handshake CA "), "{own:?}");
        let leaf = facts(&issue(&ca, &service()).unwrap().chain()[0]).unwrap();
        assert!(!leaf.is_ca);
        assert_eq!(leaf.issuer, own.issuer);
        assert_eq!(leaf.dns, ["hook.ns.svc", "hook.ns.svc.cluster.local", "hook.ns"]);
        assert_eq!(leaf.validity, Validity::starting(now(), DAY));
    }

    #[test]
    fn a_leaf_does_not_outlive_its_ca() {
        let ca = authority(Duration::from_secs(3_600));
        let leaf = issue(&ca, &service()).unwrap();
        let facts = facts(&leaf.chain()[0]).unwrap();
        assert_eq!(facts.validity.not_after, ca.validity().not_after);
        let late = Validity::starting("2027-01-01T00:00:00Z".parse().unwrap(), DAY);
        assert!(matches!(ca.issue(&service(), late), Err(CertificateError::BadValidity(_))));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let ca = authority(DAY);
        let named = |dns: &str| Names { dns: vec![dns.to_owned()], ips: Vec::new() };
        issue(&ca, &named("*.example.org")).unwrap();
        for bad in ["", "a b", "a..b", "*", "*.*.org", "-", "x\ny", "é.org", &"a".repeat(300)] {
            let error = issue(&ca, &named(bad)).unwrap_err();
            assert!(matches!(error, CertificateError::BadName(_)), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_ca_is_read_only_from_parts_that_belong_together() {
        let (ca, other) = (authority(DAY), authority(DAY));
        let leaf = issue(&ca, &service()).unwrap();
        let pem = |certificates: &[&CertificateDer<'static>]| pem_of(certificates.iter().copied());
        let read = |certificate: String, key: &PrivateKey| {
            Authority::from_pem(certificate.as_bytes(), key.to_pem().as_bytes())
        };
        let again = read(pem(&[ca.certificate()]), ca.key()).unwrap();
        assert_eq!((again.id(), again.validity()), (ca.id(), ca.validity()));
        let wrong_key = read(pem(&[ca.certificate()]), other.key());
        assert!(matches!(wrong_key, Err(CertificateError::OtherKey)));
        let not_a_ca = read(pem(&[&leaf.chain()[0]]), leaf.key());
        assert!(matches!(not_a_ca, Err(CertificateError::NotACa)));
        let two = read(pem(&[ca.certificate(), other.certificate()]), ca.key());
        assert!(matches!(two, Err(CertificateError::NotACa)));
    }
}
