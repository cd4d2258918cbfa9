//! A CA, and from it a certificate to serve with. The time and the keys are passed in.
//!
//! Keys are ECDSA P-256. Certificates carry what RFC 5280 asks for: basic constraints and key usage
//! (critical), extended key usage, subject and authority key identifiers. A serial number is the
//! SHA-256 of the public key, cut to 20 bytes: as random as the key, and as unique.

use std::net::IpAddr;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, DnsName};

use crate::inspect::{self, Fingerprint, Unreadable};
use crate::key::{KeyError, PrivateKey};
use crate::serving::ServingCertificate;
use crate::validity::Validity;

/// The most names that a certificate is issued for.
const MAX_NAMES: usize = 100;

/// The names that a serving certificate is good for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// DNS names; the first label may be `*`.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
}

impl Names {
    /// The names of a Service: `SERVICE.NAMESPACE.svc`, which is the one that an API server asks
    /// for, the same with the cluster's domain, and `SERVICE.NAMESPACE`.
    #[must_use]
    pub fn of_service(service: &str, namespace: &str, cluster_domain: &str) -> Self {
        let short = format!("{service}.{namespace}");
        Self {
            dns: vec![format!("{short}.svc"), format!("{short}.svc.{cluster_domain}"), short],
            ips: Vec::new(),
        }
    }
}

/// Why a certificate could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no name at all.
    #[error("a serving certificate needs at least one DNS name or IP address")]
    NoNames,
    /// There are too many.
    #[error("{0} names are too many for one certificate, {MAX_NAMES} is the most")]
    TooManyNames(usize),
    /// A DNS name is not one.
    #[error("{0:?} is not a DNS name")]
    BadName(String),
    /// The moment of issue is not one that a certificate can carry, or it ends before it starts.
    #[error("a certificate cannot be valid from {} to {}: the CA has ended, or a clock is far off", .0.not_before, .0.not_after)]
    BadValidity(Validity),
    /// The key cannot sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The CA's own certificate is unreadable.
    #[error("the CA's certificate is unreadable: {0}")]
    Ca(#[from] Unreadable),
    /// The library that encodes certificates refused.
    #[error("the certificate could not be encoded: {0}")]
    Encode(#[from] rcgen::Error),
}

/// A CA: a certificate that signs others, and its key.
///
/// Its subject is unique (`secret-handshake CA` and eight hexadecimal digits of its key's
/// identifier), so that old and new never get in each other's way where both are in a caBundle.
#[derive(Debug, Clone)]
pub struct Authority {
    certificate: CertificateDer<'static>,
    key: PrivateKey,
    fingerprint: Fingerprint,
    validity: Validity,
}

impl Authority {
    /// A new CA that signs itself.
    ///
    /// # Errors
    /// [`IssueError`] if the validity is none or the key cannot sign.
    pub fn new(key: PrivateKey, validity: Validity) -> Result<Self, IssueError> {
        let pair = key.pair()?;
        let mut params = params(validity)?;
        let identifier = params.key_identifier(&*pair);
        let digits = identifier.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        params.distinguished_name = named(&format!("secret-handshake CA {digits:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&*pair)?.der().clone();
        Ok(Self { fingerprint: Fingerprint::of(&certificate), certificate, key, validity })
    }

    /// The CA that a certificate and a key make up, as they come out of a file or a Secret.
    ///
    /// # Errors
    /// [`IssueError`] if the certificate is unreadable or no CA's, or the key is another's.
    pub fn from_parts(
        certificate: CertificateDer<'static>,
        key: PrivateKey,
    ) -> Result<Self, IssueError> {
        let facts = inspect::certificate(&certificate)?;
        if !facts.is_ca {
            return Err(Unreadable::NotACa.into());
        }
        key.fits(&certificate)?;
        // Ours are P-256; a key that rcgen can't sign with would be found out too late otherwise.
        key.pair()?;
        let fingerprint = facts.fingerprint;
        Ok(Self { certificate, key, fingerprint, validity: facts.validity })
    }

    /// Issues a certificate to serve with, for as long as `validity` says but not longer than this
    /// CA lives. The chain is the certificate alone: the CA is what a verifier has already.
    ///
    /// # Errors
    /// [`IssueError`] if there are no names, a name is none, or nothing is left of the validity.
    pub fn issue(
        &self,
        key: PrivateKey,
        names: &Names,
        validity: Validity,
    ) -> Result<ServingCertificate, IssueError> {
        let validity = validity.within(self.validity);
        let mut params = params(validity)?;
        params.distinguished_name = named("secret-handshake webhook");
        params.subject_alt_names = alternative_names(names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let pair = self.key.pair()?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*pair)?;
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

    /// The certificate's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// From when until when the CA is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

fn params(validity: Validity) -> Result<CertificateParams, IssueError> {
    // X.509 has no years before 0 or after 9999, and nobody's clock shows a time before 1970.
    if validity.not_before < Timestamp::UNIX_EPOCH || validity.not_after <= validity.not_before {
        return Err(IssueError::BadValidity(validity));
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

fn alternative_names(names: &Names) -> Result<Vec<SanType>, IssueError> {
    match names.dns.len() + names.ips.len() {
        0 => return Err(IssueError::NoNames),
        count if count > MAX_NAMES => return Err(IssueError::TooManyNames(count)),
        _ => {}
    }
    let dns = names.dns.iter().map(|name| {
        let refused = || IssueError::BadName(name.clone());
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
    use crate::validity::CLOCK_SKEW;

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn authority(life: Duration) -> Authority {
        let validity = Validity::starting(now(), life, CLOCK_SKEW);
        Authority::new(PrivateKey::generate().unwrap(), validity).unwrap()
    }

    fn issue(ca: &Authority, names: &Names) -> Result<ServingCertificate, IssueError> {
        let validity = Validity::starting(now(), DAY, CLOCK_SKEW);
        ca.issue(PrivateKey::generate().unwrap(), names, validity)
    }

    #[test]
    fn a_leaf_is_accepted_for_its_names_in_its_time_and_under_its_ca_alone() {
        let (ca, other) = (authority(365 * DAY), authority(365 * DAY));
        let names = Names {
            ips: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
            ..Names::of_service("hook", "ns", "cluster.local")
        };
        let leaf = issue(&ca, &names).unwrap();
        let (good, foreign) = (vec![ca.certificate().clone()], vec![other.certificate().clone()]);
        leaf.verify(&good, &names, now()).unwrap();
        leaf.verify(&good, &names, crate::validity::after(now(), DAY)).unwrap();
        leaf.verify(&foreign, &names, now()).unwrap_err();
        leaf.verify(&[], &names, now()).unwrap_err();
        leaf.verify(&good, &names, crate::validity::after(now(), DAY + Duration::from_secs(1)))
            .unwrap_err();
        leaf.verify(&good, &Names { dns: vec!["other.ns.svc".into()], ips: vec![] }, now())
            .unwrap_err();
        // Both in one bundle, in either order.
        for pair in [[&ca, &other], [&other, &ca]] {
            let both: Vec<_> = pair.map(|ca| ca.certificate().clone()).into();
            leaf.verify(&both, &names, now()).unwrap();
        }
    }

    #[test]
    fn certificates_say_what_they_are_for() {
        let ca = authority(365 * DAY);
        let leaf = issue(&ca, &Names::of_service("hook", "ns", "cluster.local")).unwrap();
        let ca_facts = inspect::certificate(ca.certificate()).unwrap();
        assert!(ca_facts.is_ca);
        assert!(ca_facts.subject.starts_with("CN=secret-handshake CA "), "{}", ca_facts.subject);
        assert_eq!(ca_facts.subject, ca_facts.issuer);
        assert_eq!(ca_facts.uses, ["signs certificates"]);
        let facts = inspect::certificate(&leaf.chain()[0]).unwrap();
        assert!(!facts.is_ca);
        assert_eq!(facts.dns, ["hook.ns.svc", "hook.ns.svc.cluster.local", "hook.ns"]);
        assert_eq!(facts.issuer, ca_facts.subject);
        assert_eq!(facts.authority_key_id, ca_facts.subject_key_id);
        assert!(facts.subject_key_id.is_some());
        assert_eq!(facts.key, "ECDSA P-256");
        assert_eq!(facts.uses, ["TLS server"]);
        assert_eq!(facts.validity, Validity::starting(now(), DAY, CLOCK_SKEW));
    }

    #[test]
    fn a_leaf_does_not_outlive_its_ca() {
        let ca = authority(Duration::from_secs(3_600));
        let leaf = issue(&ca, &Names::of_service("hook", "ns", "cluster.local")).unwrap();
        let facts = inspect::certificate(&leaf.chain()[0]).unwrap();
        assert_eq!(facts.validity.not_after, ca.validity().not_after);
        let late = Validity::starting("2027-01-01T00:00:00Z".parse().unwrap(), DAY, CLOCK_SKEW);
        let names = Names::of_service("hook", "ns", "cluster.local");
        let error = ca.issue(PrivateKey::generate().unwrap(), &names, late).unwrap_err();
        assert!(matches!(error, IssueError::BadValidity(_)), "{error}");
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let ca = authority(DAY);
        let named = |dns: &str| Names { dns: vec![dns.to_owned()], ips: Vec::new() };
        issue(&ca, &named("*.example.org")).unwrap();
        for bad in ["", "a b", "a..b", "*", "*.*.org", "-", "x\ny", "é.org", &"a".repeat(300)] {
            let error = issue(&ca, &named(bad)).unwrap_err();
            assert!(matches!(error, IssueError::BadName(_)), "{bad:?}: {error}");
        }
        assert!(matches!(issue(&ca, &Names::default()), Err(IssueError::NoNames)));
        let many = Names { dns: vec!["a.b".into(); 101], ips: Vec::new() };
        assert!(matches!(issue(&ca, &many), Err(IssueError::TooManyNames(101))));
    }

    #[test]
    fn a_ca_is_put_together_again_only_from_parts_that_fit() {
        let (ca, other) = (authority(DAY), authority(DAY));
        let again = Authority::from_parts(ca.certificate().clone(), ca.key().clone()).unwrap();
        assert_eq!(again.fingerprint(), ca.fingerprint());
        assert_eq!(again.validity(), ca.validity());
        let wrong = Authority::from_parts(ca.certificate().clone(), other.key().clone());
        assert!(matches!(wrong, Err(IssueError::Key(KeyError::DoesNotFit))));
        let leaf = issue(&ca, &Names::of_service("hook", "ns", "cluster.local")).unwrap();
        let no_ca = Authority::from_parts(leaf.chain()[0].clone(), leaf.key().clone());
        assert!(matches!(no_ca, Err(IssueError::Ca(Unreadable::NotACa))));
    }
}
