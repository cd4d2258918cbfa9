//! Invariants of `issue` and `inspect`, for whatever names, times and bytes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::net::IpAddr;
use std::time::Duration;

use certs::inspect;
use certs::issue::{Authority, Names};
use certs::key::PrivateKey;
use certs::validity::{CLOCK_SKEW, Validity, after};
use certs::write::pem_of;
use jiff::Timestamp;
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;

fn names() -> impl Strategy<Value = Names> {
    let label = "[a-z]([a-z0-9-]{0,20}[a-z0-9])?";
    let dns = prop::collection::vec(label, 1..5).prop_map(|labels| labels.join("."));
    let ips = prop::collection::vec(any::<IpAddr>(), 0..4);
    (prop::collection::vec(dns, 1..6), ips).prop_map(|(dns, ips)| Names { dns, ips })
}

/// Between 1971 and 9000.
fn moment() -> impl Strategy<Value = Timestamp> {
    (31_536_000_i64..221_845_392_000).prop_map(|second| Timestamp::from_second(second).unwrap())
}

/// Between a minute and a hundred years.
fn life() -> impl Strategy<Value = Duration> {
    (60_u64..3_155_760_000).prop_map(Duration::from_secs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_leaf_says_what_was_asked_and_is_accepted_in_its_time_alone(
        names in names(), now in moment(), ca_life in life(), life in life(),
    ) {
        let ca_validity = Validity::starting(now, ca_life, CLOCK_SKEW);
        let ca = Authority::new(PrivateKey::generate().unwrap(), ca_validity).unwrap();
        let asked = Validity::starting(now, life, CLOCK_SKEW);
        let leaf = ca.issue(PrivateKey::generate().unwrap(), &names, asked).unwrap();
        let facts = inspect::certificate(&leaf.chain()[0]).unwrap();
        prop_assert_eq!(&facts.dns, &names.dns);
        prop_assert_eq!(&facts.ips, &names.ips);
        prop_assert_eq!(facts.validity, asked.within(ca_validity));
        prop_assert!(!facts.is_ca);
        let root = std::slice::from_ref(ca.certificate());
        for moment in [facts.validity.not_before, now, facts.validity.not_after] {
            leaf.verify(root, &names, moment).unwrap();
        }
        let second = Duration::from_secs(1);
        leaf.verify(root, &names, after(facts.validity.not_after, second)).unwrap_err();
        leaf.verify(root, &names, facts.validity.not_before - second).unwrap_err();
    }

    #[test]
    fn certificates_survive_pem_in_their_order(count in 1_usize..5, now in moment(), life in life()) {
        let validity = Validity::starting(now, life, CLOCK_SKEW);
        let certificates: Vec<_> = (0..count)
            .map(|_| Authority::new(PrivateKey::generate().unwrap(), validity).unwrap())
            .map(|ca| ca.certificate().clone())
            .collect();
        prop_assert_eq!(inspect::certificates(pem_of(&certificates).as_bytes()).unwrap(), certificates);
    }

    #[test]
    fn a_certificate_with_one_changed_byte_is_no_panic_and_never_accepted(
        place in any::<prop::sample::Index>(), change in 1_u8..,
    ) {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let validity = Validity::starting(now, Duration::from_secs(86_400), CLOCK_SKEW);
        let ca = Authority::new(PrivateKey::generate().unwrap(), validity).unwrap();
        let names = Names::of_service("a", "b", "cluster.local");
        let leaf = ca.issue(PrivateKey::generate().unwrap(), &names, validity).unwrap();
        let mut bytes = leaf.chain()[0].to_vec();
        bytes[place.index(leaf.chain()[0].len())] ^= change;
        let changed = CertificateDer::from(bytes);
        let _ = inspect::certificate(&changed);
        let forged = certs::serving::ServingCertificate::new(vec![changed], leaf.key().clone());
        prop_assert!(forged.verify(std::slice::from_ref(ca.certificate()), &names, now).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = inspect::certificate(&CertificateDer::from(bytes.as_slice()));
        let _ = inspect::sections(&bytes);
        let _ = PrivateKey::from_pem(&bytes);
        let _ = certs::serving::ServingCertificate::from_pem(&bytes, &bytes);
    }

    #[test]
    fn any_text_between_pem_lines_is_no_panic(text in "\\PC{0,200}") {
        for label in ["CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY"] {
            let pem = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
            let _ = inspect::certificates(pem.as_bytes());
            let _ = certs::serving::ServingCertificate::from_pem(pem.as_bytes(), pem.as_bytes());
        }
    }
}
