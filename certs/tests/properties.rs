//! Invariants of what is issued and read, for whatever names, times and bytes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::net::IpAddr;
use std::time::Duration;

use certs::ca::Authority;
use certs::certificate::{Validity, after, blocks, certificates, facts, pem_of};
use certs::serving::ServingCertificate;
use jiff::Timestamp;
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;

fn names() -> impl Strategy<Value = (Vec<String>, Vec<IpAddr>)> {
    let label = "[a-z]([a-z0-9-]{0,20}[a-z0-9])?";
    let dns = prop::collection::vec(label, 1..5).prop_map(|labels| labels.join("."));
    let ips = prop::collection::vec(any::<IpAddr>(), 0..4);
    (prop::collection::vec(dns, 1..6), ips)
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
        (dns, ips) in names(), now in moment(), ca_life in life(), life in life(),
    ) {
        let ca = Authority::new(Validity::starting(now, ca_life)).unwrap();
        let asked = Validity::starting(now, life);
        let ips = ips.iter().map(ToString::to_string);
        let names: Vec<_> = dns.iter().cloned().chain(ips).collect();
        let leaf = ca.issue(&names, asked).unwrap();
        let facts = facts(&leaf.chain()[0]).unwrap();
        prop_assert_eq!(&facts.dns, &dns);
        prop_assert_eq!(facts.validity, asked.within(ca.validity()));
        prop_assert!(!facts.is_ca);
        let root = std::slice::from_ref(ca.certificate());
        for name in names {
            for time in [facts.validity.not_before, now, facts.validity.not_after] {
                leaf.verify(root, &name, time).unwrap();
            }
            let second = Duration::from_secs(1);
            leaf.verify(root, &name, after(facts.validity.not_after, second)).unwrap_err();
            leaf.verify(root, &name, facts.validity.not_before - second).unwrap_err();
        }
    }

    #[test]
    fn certificates_survive_pem_in_their_order(count in 1_usize..5, now in moment(), life in life()) {
        let certificate = |_| {
            Authority::new(Validity::starting(now, life)).unwrap().certificate().clone()
        };
        let all: Vec<_> = (0..count).map(certificate).collect();
        prop_assert_eq!(certificates(pem_of(&all).as_bytes()).unwrap(), all);
    }

    #[test]
    fn a_certificate_with_one_changed_byte_is_not_a_panic_and_never_accepted(
        place in any::<prop::sample::Index>(), change in 1_u8..,
    ) {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let validity = Validity::starting(now, Duration::from_secs(86_400));
        let ca = Authority::new(validity).unwrap();
        let leaf = ca.issue(&["a.b.svc".to_owned()], validity).unwrap();
        let mut bytes = leaf.chain()[0].to_vec();
        bytes[place.index(leaf.chain()[0].len())] ^= change;
        let changed = CertificateDer::from(bytes);
        let _ = facts(&changed);
        let forged = ServingCertificate::new(vec![changed], leaf.key().clone_key());
        let root = std::slice::from_ref(ca.certificate());
        prop_assert!(forged.verify(root, "a.b.svc", now).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = facts(&CertificateDer::from(bytes.as_slice()));
        let _ = blocks(&bytes);
        let _ = ServingCertificate::from_pem(&bytes, &bytes);
        let _ = Authority::from_pem(&bytes, &bytes);
    }

    #[test]
    fn any_text_between_pem_lines_is_not_a_panic(text in "\\PC{0,200}") {
        for label in ["CERTIFICATE", "PRIVATE KEY", "EC PRIVATE KEY"] {
            let pem = format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
            let _ = certificates(pem.as_bytes());
            let _ = ServingCertificate::from_pem(pem.as_bytes(), pem.as_bytes());
        }
    }
}
