//! The caBundles of the webhook configuration: what is in them, who wrote them, and the patch that
//! puts them right. Pure.
//!
//! The patch is a strategic merge patch: it is keyed by each webhook's name, so it touches those
//! entries' caBundle and nothing else. It carries the resourceVersion that was read, so it is
//! refused with a conflict if anything has changed since. Server-side apply would do worse: its
//! co-ownership of an entry keeps others from removing or renaming it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::inspect::{self, Fingerprint, Section};
use crate::rotate::{Entry, Live};

/// The name under which this webhook's writes are listed in `managedFields`.
pub const FIELD_MANAGER: &str = "secret-handshake-webhook";

/// The configuration, as far as caBundles go. Of the rest nothing is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Configuration {
    metadata: Metadata,
    webhooks: Vec<Webhook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
    generation: i64,
    managed_fields: Vec<ManagedFields>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ManagedFields {
    manager: String,
    time: String,
    fields_v1: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: ClientConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClientConfig {
    ca_bundle: Option<String>,
}

impl Configuration {
    /// What the rotation needs to know of it.
    #[must_use]
    pub fn live(&self) -> Live {
        Live {
            exists: true,
            generation: self.metadata.generation,
            entries: self.webhooks.iter().map(|webhook| self.entry(webhook)).collect(),
        }
    }

    fn entry(&self, webhook: &Webhook) -> Entry {
        let encoded = webhook.client_config.ca_bundle.as_deref().unwrap_or_default();
        let (bundle, is_broken) = certificates(encoded);
        Entry {
            name: webhook.name.clone(),
            bundle,
            is_broken,
            foreign_writer: self.writer(&webhook.name),
        }
    }

    /// The field manager that set this entry's caBundle last, unless that was this webhook.
    fn writer(&self, entry: &str) -> Option<String> {
        let key = json!({ "name": entry }).to_string();
        let owns = |fields: &Value| {
            let webhook = &fields["f:webhooks"][format!("k:{key}")];
            webhook["f:clientConfig"].get("f:caBundle").is_some()
        };
        self.metadata
            .managed_fields
            .iter()
            .filter(|managed| owns(&managed.fields_v1))
            .max_by(|one, other| one.time.cmp(&other.time))
            .map(|managed| managed.manager.clone())
            .filter(|manager| manager != FIELD_MANAGER)
    }

    /// The strategic merge patch that puts `bundle` (PEM) into these entries, and is refused (409)
    /// if the configuration has changed since it was read.
    ///
    /// Entries are merged by their name. An entry that is gone by then would be an incomplete new
    /// one, which is refused as well (422).
    #[must_use]
    pub fn patch<'a>(&self, entries: impl Iterator<Item = &'a Entry>, bundle: &str) -> Value {
        let bundle = STANDARD.encode(bundle);
        let webhooks: Vec<_> = entries
            .map(|entry| json!({ "name": entry.name, "clientConfig": { "caBundle": bundle } }))
            .collect();
        json!({
            "metadata": { "resourceVersion": self.metadata.resource_version },
            "webhooks": webhooks,
        })
    }
}

/// The certificates of a caBundle, and whether there is anything else in it. API servers skip what
/// they cannot read (Go's `AppendCertsFromPEM`), so what can be read counts.
fn certificates(encoded: &str) -> (Vec<Fingerprint>, bool) {
    if encoded.is_empty() {
        return (Vec::new(), false);
    }
    let Ok(pem) = STANDARD.decode(encoded) else {
        return (Vec::new(), true);
    };
    let Ok(sections) = inspect::sections(&pem) else {
        return (Vec::new(), true);
    };
    let mut bundle = Vec::new();
    for section in &sections {
        if let Section::Certificate(certificate) = section
            && inspect::certificate(certificate).is_ok()
        {
            bundle.push(Fingerprint::of(certificate));
        }
    }
    let is_broken = bundle.len() != sections.len() || bundle.is_empty();
    (bundle, is_broken)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::issue::Authority;
    use crate::key::PrivateKey;
    use crate::validity::{CLOCK_SKEW, Validity};
    use crate::write::pem_of;

    fn authority() -> Authority {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let validity = Validity::starting(now, Duration::from_secs(86_400), CLOCK_SKEW);
        Authority::new(PrivateKey::generate().unwrap(), validity).unwrap()
    }

    fn read(bundles: &[(&str, Value)]) -> Configuration {
        let webhooks: Vec<_> = bundles
            .iter()
            .map(|(name, bundle)| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        let fields = |entry: &str| {
            json!({"f:webhooks": {format!("k:{{\"name\":\"{entry}\"}}"): {
                ".": {}, "f:clientConfig": {".": {}, "f:caBundle": {}}}}})
        };
        serde_json::from_value(json!({
            "metadata": {"name": "x", "resourceVersion": "42", "generation": 3, "managedFields": [
                {"manager": FIELD_MANAGER, "time": "2026-03-01T12:00:00Z", "fieldsV1": fields("b")},
                {"manager": "kubectl-edit", "time": "2026-03-01T12:00:05Z", "fieldsV1": fields("a")},
                {"manager": "old", "time": "2026-03-01T11:00:00Z", "fieldsV1": fields("a")},
            ]},
            "webhooks": webhooks,
        }))
        .unwrap()
    }

    #[test]
    fn bundles_are_read_by_their_certificates() {
        let (one, two) = (authority(), authority());
        let pem = |cas: &[&Authority]| {
            let certificates: Vec<_> = cas.iter().map(|ca| ca.certificate().clone()).collect();
            pem_of(&certificates)
        };
        let encoded = |text: String| json!(STANDARD.encode(text));
        let ids = |cas: &[&Authority]| cas.iter().map(|ca| ca.fingerprint()).collect::<Vec<_>>();
        let with_key = format!("{}{}", pem(&[&one]), *two.key().to_pem());
        for (bundle, expected, is_broken) in [
            (Value::Null, ids(&[]), false),
            (json!(""), ids(&[]), false),
            (encoded(pem(&[&one])), ids(&[&one]), false),
            (encoded(pem(&[&one, &two])), ids(&[&one, &two]), false),
            (json!("!"), ids(&[]), true),
            (encoded("\n".to_owned()), ids(&[]), true),
            (encoded(with_key), ids(&[&one]), true),
        ] {
            let live = read(&[("a", bundle.clone())]).live();
            let entry = &live.entries[0];
            assert_eq!((&entry.bundle, entry.is_broken), (&expected, is_broken), "{bundle}");
        }
    }

    #[test]
    fn the_last_writer_is_named_unless_it_was_this_webhook() {
        let live = read(&[("a", Value::Null), ("b", Value::Null), ("c", Value::Null)]).live();
        let writers: Vec<_> = live.entries.iter().map(|e| e.foreign_writer.as_deref()).collect();
        assert_eq!(writers, [Some("kubectl-edit"), None, None]);
        assert_eq!((live.exists, live.generation), (true, 3));
    }

    #[test]
    fn the_patch_names_only_what_differs_and_what_was_read() {
        let ca = authority();
        let right = json!(STANDARD.encode(pem_of(std::slice::from_ref(ca.certificate()))));
        let configuration = read(&[("a", right), ("b", Value::Null), ("c", json!("!"))]);
        let live = configuration.live();
        let differing = live.differing(std::iter::once(ca.fingerprint()));
        let patch = configuration.patch(differing, "PEM");
        let expected = json!({
            "metadata": { "resourceVersion": "42" },
            "webhooks": [
                { "name": "b", "clientConfig": { "caBundle": "UEVN" } },
                { "name": "c", "clientConfig": { "caBundle": "UEVN" } },
            ],
        });
        assert_eq!(patch, expected);
    }
}
