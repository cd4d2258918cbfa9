//! The Secret that holds the CAs and their keys: read into facts, and the patch that changes it. Pure.
//!
//! ```text
//!   data:
//!     cas.json: [{"certificate": PEM, "key": PEM, "seen": "2026-01-01T00:00:00Z"}, …]
//! ```
//!
//! The oldest CA is first. The Secret is part of the installation and empty at first. The patch is a
//! JSON merge patch with the resourceVersion that was read, so it is refused with a conflict if
//! anything has changed since, and what others put beside it stays.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::ca::Authority;
use crate::certificate::{Fingerprint, Validity, pem_of};

/// The annotation by which a person asks for a new CA; any value will do. It is removed by the write
/// that adds the CA.
pub const ROTATE: &str = "secret-handshake/rotate-ca";

/// Where in the Secret's data the CAs are.
const CAS: &str = "cas.json";

/// The most CAs that are read; a rotation needs two, and a person who asks again and again a few more.
const MAX_CAS: usize = 16;

/// A CA in the Secret, without its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ca {
    /// The fingerprint of its certificate.
    pub id: Fingerprint,
    /// From when until when it is used.
    pub validity: Validity,
    /// When a replica first saw it in the caBundle of every entry.
    pub seen: Option<Timestamp>,
}

/// What was found in the Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The CAs that can be used, the oldest first.
    pub cas: Vec<Ca>,
    /// Whether a person has asked for a new CA.
    pub asked: bool,
    /// What can't be used, and is gone with the next write. It shows no key.
    pub problem: Option<String>,
}

/// The Secret as it was read. It has no `Debug`, and its keys are overwritten when it is dropped.
#[derive(Default)]
pub(crate) struct CaSecret {
    resource_version: String,
    content: Content,
    authorities: Vec<Authority>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, Zeroizing<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A JSON merge patch of the Secret; what it holds is overwritten when it is dropped.
#[derive(Serialize)]
pub(crate) struct SecretPatch {
    metadata: Value,
    data: BTreeMap<&'static str, Zeroizing<String>>,
}

#[derive(Serialize, Deserialize)]
struct StoredCa {
    certificate: String,
    key: Zeroizing<String>,
    #[serde(default)]
    seen: Option<Timestamp>,
}

impl Content {
    /// Reads a Secret as the API server sends it, for somebody who only looks: the keys are overwritten
    /// before this returns.
    ///
    /// # Errors
    /// If it is not a Secret in JSON; the text shows nothing of it.
    pub fn parse(json: &[u8]) -> Result<Self, &'static str> {
        CaSecret::parse(json).map(|secret| secret.content)
    }
}

impl CaSecret {
    /// Reads a Secret as the API server sends it. CAs that can't be used are a [`Content::problem`].
    ///
    /// # Errors
    /// If it is not a Secret in JSON; the text shows nothing of it.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, &'static str> {
        let Object { metadata, data } =
            serde_json::from_slice(json).map_err(|_| "the answer is not a Secret")?;
        let asked = metadata.annotations.contains_key(ROTATE);
        let mut content = Content { asked, ..Content::default() };
        let mut authorities = Vec::new();
        let stored = data.get(CAS).map_or(Ok(Vec::new()), |encoded| stored(encoded));
        let stored = stored.unwrap_or_else(|problem| {
            content.problem = Some(problem);
            Vec::new()
        });
        for (index, StoredCa { certificate, key, seen }) in stored.into_iter().enumerate() {
            match Authority::from_pem(certificate.as_bytes(), key.as_bytes()) {
                Ok(authority) => {
                    let validity = authority.validity().in_use();
                    content.cas.push(Ca { id: authority.id(), validity, seen });
                    authorities.push(authority);
                }
                Err(error) => content.problem = Some(format!("CA {} in {CAS}: {error}", index + 1)),
            }
        }
        Ok(Self { resource_version: metadata.resource_version, content, authorities })
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The CA with its key, if it is in the Secret.
    pub(crate) fn authority(&self, id: Fingerprint) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.id() == id)
    }

    /// All certificates as PEM: what every caBundle has to hold.
    pub(crate) fn bundle(&self) -> String {
        pem_of(self.authorities.iter().map(Authority::certificate))
    }

    /// The patch after which the Secret holds `cas`, with their records, and `new`. With a new one, a
    /// person's request is answered and its annotation removed.
    pub(crate) fn patch(&self, cas: &[Ca], new: Option<&Authority>) -> SecretPatch {
        let kept = cas.iter().filter_map(|ca| Some((self.authority(ca.id)?, ca.seen)));
        let stored: Vec<_> = kept
            .chain(new.map(|authority| (authority, None)))
            .map(|(authority, seen)| StoredCa {
                certificate: pem_of([authority.certificate()]),
                key: authority.key_pem(),
                seen,
            })
            .collect();
        let mut metadata = json!({ "resourceVersion": self.resource_version });
        if new.is_some() {
            metadata["annotations"] = json!({ ROTATE: Value::Null });
        }
        let text = Zeroizing::new(serde_json::to_vec(&stored).unwrap_or_default());
        let data = BTreeMap::from([(CAS, Zeroizing::new(STANDARD.encode(&*text)))]);
        SecretPatch { metadata, data }
    }
}

fn stored(encoded: &str) -> Result<Vec<StoredCa>, String> {
    let decoded = STANDARD.decode(encoded).map_err(|_| format!("{CAS} is not base64"))?;
    let stored: Vec<StoredCa> = serde_json::from_slice(&Zeroizing::new(decoded))
        .map_err(|_| format!("{CAS} is not a list of CAs in JSON"))?;
    if stored.len() > MAX_CAS {
        return Err(format!("{CAS} holds {} CAs, {MAX_CAS} is the most", stored.len()));
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn authority() -> Authority {
        Authority::new(Validity::starting(now(), Duration::from_secs(86_400))).unwrap()
    }

    fn parse(object: &Value) -> CaSecret {
        CaSecret::parse(object.to_string().as_bytes()).unwrap()
    }

    /// The Secret after the patch, as the API server merges it.
    fn patched(mut object: Value, patch: &SecretPatch) -> Value {
        let patch = serde_json::to_value(patch).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
        object["data"][CAS] = patch["data"][CAS].clone();
        if patch["metadata"]["annotations"].get(ROTATE) == Some(&Value::Null) {
            object["metadata"]["annotations"].as_object_mut().unwrap().remove(ROTATE);
        }
        object
    }

    fn empty() -> Value {
        json!({ "metadata": { "resourceVersion": "7", "annotations": { ROTATE: "now", "a": "b" } } })
    }

    #[test]
    fn cas_survive_the_secret_with_their_records_and_their_order() {
        assert_eq!(*parse(&empty()).content(), Content { asked: true, ..Content::default() });
        let (one, two) = (authority(), authority());
        let object = patched(empty(), &parse(&empty()).patch(&[], Some(&one)));
        assert_eq!(object["metadata"]["annotations"], json!({ "a": "b" }));
        let secret = parse(&object);
        let mut first = secret.content().cas[0];
        assert_eq!(
            (first.id, first.validity, first.seen),
            (one.id(), one.validity().in_use(), None)
        );
        first.seen = Some(now());
        let object = patched(object, &secret.patch(&[first], Some(&two)));
        let secret = parse(&object);
        let second = Ca { id: two.id(), validity: two.validity().in_use(), seen: None };
        assert_eq!(secret.content().cas, [first, second]);
        assert_eq!(secret.bundle(), pem_of([one.certificate(), two.certificate()]));
        // A CA that is dropped leaves no key behind.
        let object = patched(object, &secret.patch(&[second], None));
        let secret = parse(&object);
        assert_eq!(secret.content().cas, [second]);
        assert!(secret.authority(one.id()).is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_never_shown_and_the_rest_is_used() {
        let (one, two) = (authority(), authority());
        let certificate = |ca: &Authority| pem_of([ca.certificate()]);
        let good = json!({ "certificate": certificate(&two), "key": *two.key_pem() });
        let with = |first: Value| json!([first, good.clone()]).to_string();
        for (text, usable, expected) in [
            ("garbage".to_owned(), 0, "cas.json is not a list of CAs in JSON"),
            ("[1]".to_owned(), 0, "cas.json is not a list of CAs in JSON"),
            (json!(vec![good.clone(); 17]).to_string(), 0, "17 CAs, 16 is the most"),
            (with(json!({ "certificate": "garbage", "key": "" })), 1, "no certificate in PEM"),
            (
                with(json!({ "certificate": certificate(&one), "key": "garbage" })),
                1,
                "no private key in PEM",
            ),
            (
                with(json!({ "certificate": certificate(&one), "key": *two.key_pem() })),
                1,
                "does not belong to the certificate",
            ),
        ] {
            let mut object = empty();
            object["data"] = json!({ CAS: STANDARD.encode(text) });
            let content = parse(&object).content;
            assert_eq!(content.cas.len(), usable, "{expected}");
            let problem = content.problem.unwrap();
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains("garbage") && !problem.contains("-----BEGIN"), "{problem}");
        }
        let mut object = empty();
        object["data"] = json!({ CAS: "!" });
        assert_eq!(parse(&object).content.problem.unwrap(), "cas.json is not base64");
        assert!(CaSecret::parse(b"{}").is_err());
    }
}
