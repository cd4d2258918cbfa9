//! The Secret that holds the CAs: its content as facts, and back again. Pure.
//!
//! ```text
//!   ca.crt, ca.key          the CA that signs
//!   next.crt, next.key      the one that will, while it is being made known
//!   previous.crt            those that did, while leaves of them may be in use, and
//!   previous.json           until when each is trusted: {"FINGERPRINT": "2026-01-01T00:00:00Z"}
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::inspect::{self, Fingerprint};
use crate::issue::Authority;
use crate::key::PrivateKey;
use crate::rotate::{Authorities, Ca};
use crate::write::pem_of;

/// The annotation by which a person asks for a new CA; any value will do. It is gone as soon as the
/// new CA is introduced.
pub const ROTATE: &str = "secret-handshake/rotate-ca";

const SIGNING: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const PREVIOUS: &str = "previous.crt";
const UNTIL: &str = "previous.json";
/// The most CAs that signed before; more would be nobody's doing but a vandal's.
const MOST_PREVIOUS: usize = 16;
const OURS: [&str; 6] = [SIGNING[0], SIGNING[1], NEXT[0], NEXT[1], PREVIOUS, UNTIL];

/// A Secret as the API server has it. In the place of k8s-openapi's type, which prints its data: this
/// one has no `Debug`, and its data is overwritten when it goes.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    api_version: String,
    kind: String,
    metadata: Map<String, Value>,
    #[serde(rename = "type", default = "opaque")]
    kind_of_secret: String,
    #[serde(default)]
    data: BTreeMap<String, Hidden>,
}

/// Base64 of something that must not be printed.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Hidden(Zeroizing<String>);

fn opaque() -> String {
    "Opaque".to_owned()
}

/// The CAs that this process knows: those with keys can sign, the others are only trusted.
#[derive(Debug, Default)]
pub struct Keyring {
    signers: BTreeMap<Fingerprint, Authority>,
    trusted: BTreeMap<Fingerprint, CertificateDer<'static>>,
}

impl Keyring {
    /// Takes in a CA that can sign, and says which it is.
    pub fn add(&mut self, authority: Authority) -> Ca {
        let id = authority.fingerprint();
        let ca = Ca { id, validity: authority.validity() };
        self.signers.insert(id, authority);
        ca
    }

    /// The CA with its key.
    ///
    /// # Errors
    /// [`NotAtHand`] if there is no key of it.
    pub fn authority(&self, id: Fingerprint) -> Result<&Authority, NotAtHand> {
        self.signers.get(&id).ok_or(NotAtHand(id))
    }

    /// The certificate of a CA.
    ///
    /// # Errors
    /// [`NotAtHand`] if it is unknown.
    pub fn certificate(&self, id: Fingerprint) -> Result<&CertificateDer<'static>, NotAtHand> {
        let own = self.signers.get(&id).map(Authority::certificate);
        own.or_else(|| self.trusted.get(&id)).ok_or(NotAtHand(id))
    }

    /// Forgets all that are not needed; their keys are overwritten.
    pub fn retain(&mut self, needed: impl Fn(Fingerprint) -> bool) {
        self.signers.retain(|id, _| needed(*id));
        self.trusted.retain(|id, _| needed(*id));
    }

    /// The caBundle that holds these CAs: PEM, the one that signs first.
    ///
    /// # Errors
    /// [`NotAtHand`] if a certificate is unknown.
    pub fn bundle(&self, cas: &Authorities) -> Result<String, NotAtHand> {
        let certificates: Result<Vec<_>, _> =
            cas.ids().map(|id| self.certificate(id).cloned()).collect();
        Ok(pem_of(&certificates?))
    }
}

/// A CA that should be at hand and is not: a mistake in this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the CA {0} is not at hand")]
pub struct NotAtHand(Fingerprint);

impl Object {
    /// A Secret that does not exist yet.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        let labels = json!({
            "app.kubernetes.io/name": "secret-handshake",
            "app.kubernetes.io/managed-by": "secret-handshake-webhook",
        });
        let metadata = [("namespace", namespace.into()), ("name", name.into()), ("labels", labels)];
        Self {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(),
            kind_of_secret: opaque(),
            data: BTreeMap::new(),
        }
    }

    /// Reads what is in the Secret, and puts its CAs on the keyring.
    ///
    /// # Errors
    /// A sentence about the first thing that is wrong, which shows no key.
    pub fn read(&self, keyring: &mut Keyring) -> Result<Authorities, String> {
        let signing = self.signer(SIGNING)?;
        let has_next = NEXT.iter().any(|file| self.data.contains_key(*file));
        let next = if has_next { Some(self.signer(NEXT)?) } else { None };
        let mut authorities = Authorities::only(keyring.add(signing));
        authorities.next = next.map(|next| keyring.add(next));
        authorities.previous = self.previous(keyring)?;
        authorities.asked = self.annotations().is_some_and(|all| all.contains_key(ROTATE));
        Ok(authorities)
    }

    /// Writes `authorities` into the Secret in the place of what was there; what others have put
    /// beside it stays.
    ///
    /// # Errors
    /// [`NotAtHand`] if a key is not at hand; nothing is changed then.
    pub fn write(&mut self, authorities: &Authorities, keyring: &Keyring) -> Result<(), NotAtHand> {
        let mut data = BTreeMap::new();
        let both = [(SIGNING, Some(authorities.signing)), (NEXT, authorities.next)];
        for ([certificate, key], ca) in both {
            let Some(ca) = ca else { continue };
            let signer = keyring.authority(ca.id)?;
            let pem = pem_of(std::slice::from_ref(signer.certificate()));
            data.insert(certificate, hidden(pem.as_bytes()));
            data.insert(key, hidden(signer.key().to_pem().as_bytes()));
        }
        if !authorities.previous.is_empty() {
            let mut certificates = Vec::new();
            let mut until = Map::new();
            for (ca, over) in &authorities.previous {
                let certificate = keyring.certificate(ca.id)?;
                certificates.push(certificate.clone());
                until.insert(format!("{:#}", ca.id), Value::from(over.to_string()));
            }
            data.insert(PREVIOUS, hidden(pem_of(&certificates).as_bytes()));
            data.insert(UNTIL, hidden(Value::Object(until).to_string().as_bytes()));
        }
        self.data.retain(|file, _| !OURS.contains(&file.as_str()));
        self.data.extend(data.into_iter().map(|(file, content)| (file.to_owned(), content)));
        if !authorities.asked
            && let Some(annotations) = self.metadata.get_mut("annotations")
            && let Some(annotations) = annotations.as_object_mut()
        {
            annotations.remove(ROTATE);
        }
        Ok(())
    }

    fn annotations(&self) -> Option<&Map<String, Value>> {
        self.metadata.get("annotations")?.as_object()
    }

    fn file(&self, file: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let hidden = self.data.get(file).ok_or_else(|| format!("{file} is missing"))?;
        let decoded = STANDARD.decode(hidden.0.as_bytes());
        decoded.map(Zeroizing::new).map_err(|_| format!("{file} is not base64"))
    }

    fn signer(&self, [certificate, key]: [&str; 2]) -> Result<Authority, String> {
        let chain = inspect::certificates(&self.file(certificate)?)
            .map_err(|error| format!("{certificate}: {error}"))?;
        let [only] = <[_; 1]>::try_from(chain).map_err(|chain| {
            format!("{certificate} holds {} certificates, not one", chain.len())
        })?;
        let key_read = PrivateKey::from_pem(&self.file(key)?);
        let key_read = key_read.map_err(|error| format!("{key}: {error}"))?;
        Authority::from_parts(only, key_read)
            .map_err(|error| format!("{certificate} and {key}: {error}"))
    }

    fn previous(&self, keyring: &mut Keyring) -> Result<Vec<(Ca, Timestamp)>, String> {
        if !self.data.contains_key(PREVIOUS) {
            return Ok(Vec::new());
        }
        let until: BTreeMap<String, Timestamp> = serde_json::from_slice(&self.file(UNTIL)?)
            .map_err(|_| format!("{UNTIL} is not a map of fingerprints to times"))?;
        let certificates = inspect::certificates(&self.file(PREVIOUS)?)
            .map_err(|error| format!("{PREVIOUS}: {error}"))?;
        if certificates.len() > MOST_PREVIOUS {
            return Err(format!("{PREVIOUS} holds {} certificates, too many", certificates.len()));
        }
        certificates
            .into_iter()
            .map(|certificate| {
                let facts = inspect::certificate(&certificate)
                    .map_err(|error| format!("{PREVIOUS}: {error}"))?;
                let id = facts.fingerprint;
                let over = until
                    .get(&format!("{id:#}"))
                    .ok_or_else(|| format!("{UNTIL} does not have {id:#}"))?;
                keyring.trusted.insert(id, certificate);
                Ok((Ca { id, validity: facts.validity }, *over))
            })
            .collect()
    }
}

fn hidden(content: &[u8]) -> Hidden {
    Hidden(Zeroizing::new(STANDARD.encode(content)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::Settings;
    use crate::validity::{CLOCK_SKEW, Validity, after};

    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn authority() -> Authority {
        let validity = Validity::starting(now(), 365 * DAY, CLOCK_SKEW);
        Authority::new(PrivateKey::generate().unwrap(), validity).unwrap()
    }

    /// The Secret after a trip to the API server and back.
    fn stored(object: &Object) -> Object {
        serde_json::from_slice(&serde_json::to_vec(object).unwrap()).unwrap()
    }

    /// In each of the phases of a rotation.
    fn phases(keyring: &mut Keyring) -> Vec<Authorities> {
        let steady = Authorities::only(keyring.add(authority()));
        let publishing = steady.introduced(keyring.add(authority()));
        let retiring = publishing.switched(now(), &Settings::default());
        let dropped = retiring.dropped(after(now(), 365 * DAY));
        vec![steady, publishing, retiring, dropped]
    }

    #[test]
    fn every_phase_survives_the_trip_through_the_secret() {
        let mut keyring = Keyring::default();
        let mut object = Object::new("ns", "ca");
        for cas in phases(&mut keyring) {
            object.write(&cas, &keyring).unwrap();
            object = stored(&object);
            let mut fresh = Keyring::default();
            assert_eq!(object.read(&mut fresh), Ok(cas.clone()));
            assert_eq!(fresh.bundle(&cas), keyring.bundle(&cas));
            assert!(fresh.authority(cas.signing.id).is_ok());
            let former = cas.previous.iter().all(|(ca, _)| fresh.authority(ca.id).is_err());
            assert!(former, "the keys of former CAs are gone");
        }
    }

    #[test]
    fn what_others_put_beside_it_stays_and_the_question_is_taken_away_with_the_answer() {
        let mut keyring = Keyring::default();
        let cas = Authorities::only(keyring.add(authority()));
        let mut object = Object::new("ns", "ca");
        object.write(&cas, &keyring).unwrap();
        let mut json = serde_json::to_value(&object).unwrap();
        json["data"]["note"] = json!("eA==");
        json["metadata"]["resourceVersion"] = json!("7");
        json["metadata"]["annotations"] = json!({ ROTATE: "", "other": "x" });
        let mut object: Object = serde_json::from_value(json).unwrap();
        let asked = object.read(&mut Keyring::default()).unwrap();
        assert!(asked.asked);
        object.write(&Authorities { asked: false, ..asked }, &keyring).unwrap();
        let json = serde_json::to_value(&object).unwrap();
        assert_eq!(json["data"]["note"], "eA==");
        assert_eq!(json["metadata"]["resourceVersion"], "7");
        assert_eq!(json["metadata"]["annotations"], json!({"other": "x"}));
    }

    #[test]
    fn what_cannot_be_used_is_told_by_its_file_and_never_shown() {
        let mut keyring = Keyring::default();
        let cas = phases(&mut keyring)[2].clone();
        let mut object = Object::new("ns", "ca");
        object.write(&cas, &keyring).unwrap();
        let other = hidden(authority().key().to_pem().as_bytes()).0;
        let base64 = |text: &str| STANDARD.encode(text);
        for (file, content, expected) in [
            ("ca.crt", None, "ca.crt is missing"),
            ("ca.key", None, "ca.key is missing"),
            ("ca.crt", Some("!"), "ca.crt is not base64"),
            ("ca.crt", Some(&*base64("garbage")), "ca.crt: no certificate in PEM"),
            ("ca.key", Some(&*base64("garbage")), "ca.key: no private key in PEM"),
            ("ca.key", Some(other.as_str()), "does not belong to the certificate"),
            ("next.key", Some(&*base64("x")), "next.crt is missing"),
            ("previous.json", Some(&*base64("[]")), "previous.json is not a map"),
            ("previous.json", Some(&*base64("{}")), "previous.json does not have"),
            ("previous.crt", Some(&*base64("x")), "previous.crt: no certificate"),
        ] {
            let mut json = serde_json::to_value(&object).unwrap();
            match content {
                Some(content) => json["data"][file] = json!(content),
                None => drop(json["data"].as_object_mut().unwrap().remove(file)),
            }
            let broken: Object = serde_json::from_value(json).unwrap();
            let error = broken.read(&mut Keyring::default()).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
            assert!(!error.contains("garbage") && !error.contains("-----BEGIN"), "{error}");
        }
        let empty = Object::new("ns", "ca").read(&mut Keyring::default());
        assert_eq!(empty, Err("ca.crt is missing".to_owned()));
    }

    #[test]
    fn a_key_that_is_gone_is_not_written_as_nothing() {
        let mut keyring = Keyring::default();
        let cas = Authorities::only(keyring.add(authority()));
        let mut object = Object::new("ns", "ca");
        object.write(&cas, &keyring).unwrap();
        keyring.retain(|_| false);
        assert_eq!(object.write(&cas, &keyring), Err(NotAtHand(cas.signing.id)));
        assert!(object.read(&mut Keyring::default()).is_ok(), "what was there is still there");
    }
}
