//! The caBundles of the webhook configuration: what is in them, who wrote them, and the patch that
//! puts them right. Pure.
//!
//! The patch is a strategic merge patch: it is keyed by each webhook's name, so it touches those
//! entries' caBundle and nothing else. It carries the resourceVersion that was read, so it is
//! refused with a conflict if anything has changed since. Server-side apply would not do: owning a
//! part of an entry keeps others from removing or renaming that entry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::certificate::{self, Fingerprint};

/// The name under which this webhook's writes are listed in `managedFields`.
pub const FIELD_MANAGER: &str = "secret-handshake-webhook";

/// One webhook of the configuration, as far as its caBundle goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The webhook's name.
    pub name: String,
    /// The CAs in its caBundle.
    pub bundle: Vec<Fingerprint>,
    /// Whether there is something in the caBundle that is not a certificate.
    pub is_broken: bool,
    /// Who wrote the caBundle last, if it was not this webhook: the field manager's name.
    pub foreign_writer: Option<String>,
}

impl Entry {
    /// Whether the caBundle holds all of `cas` and nothing else, in whatever order.
    pub(crate) fn holds_exactly(&self, cas: &[Fingerprint]) -> bool {
        !self.is_broken
            && self.bundle.iter().all(|id| cas.contains(id))
            && cas.iter().all(|id| self.bundle.contains(id))
    }
}

/// A `MutatingWebhookConfiguration` as it was read; only what is needed of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Configuration {
    metadata: Metadata,
    webhooks: Vec<Webhook>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
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
    pub(crate) fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |webhook: &Webhook| {
            let encoded = webhook.client_config.ca_bundle.as_deref().unwrap_or_default();
            let (bundle, is_broken) = certificates(encoded);
            let foreign_writer = self.foreign_writer(&webhook.name);
            Entry { name: webhook.name.clone(), bundle, is_broken, foreign_writer }
        };
        self.webhooks.iter().map(entry).collect()
    }

    /// The field manager that set this entry's caBundle last, unless that was this webhook.
    fn foreign_writer(&self, entry: &str) -> Option<String> {
        let key = format!("k:{}", json!({ "name": entry }));
        let owns = |fields: &Value| {
            fields["f:webhooks"][&key]["f:clientConfig"].get("f:caBundle").is_some()
        };
        let last = self
            .metadata
            .managed_fields
            .iter()
            .filter(|managed| owns(&managed.fields_v1))
            .max_by(|one, other| one.time.cmp(&other.time))?;
        (last.manager != FIELD_MANAGER).then(|| last.manager.clone())
    }

    /// The strategic merge patch that puts `pem`, the certificates of `cas`, into the entries that
    /// do not hold exactly those; `None` if all do. An entry that is gone by the time the patch
    /// arrives would be an incomplete new one, which is refused (422).
    pub(crate) fn patch(&self, cas: &[Fingerprint], pem: &str) -> Option<Value> {
        let bundle = STANDARD.encode(pem);
        let webhooks: Vec<_> = self
            .entries()
            .iter()
            .filter(|entry| !entry.holds_exactly(cas))
            .map(|entry| json!({ "name": entry.name, "clientConfig": { "caBundle": bundle } }))
            .collect();
        let metadata = json!({ "resourceVersion": self.resource_version() });
        (!webhooks.is_empty()).then(|| json!({ "metadata": metadata, "webhooks": webhooks }))
    }
}

/// The certificates of a caBundle, and whether there is anything else in it. API servers skip what
/// they can't read (Go's `AppendCertsFromPEM`), so what can be read counts.
fn certificates(encoded: &str) -> (Vec<Fingerprint>, bool) {
    if encoded.is_empty() {
        return (Vec::new(), false);
    }
    let blocks = STANDARD.decode(encoded).ok().and_then(|pem| certificate::blocks(&pem).ok());
    let blocks = blocks.unwrap_or_default();
    let readable = blocks.iter().flatten().filter(|der| certificate::facts(der).is_ok());
    let bundle: Vec<_> = readable.map(Fingerprint::of).collect();
    let is_broken = bundle.len() != blocks.len() || bundle.is_empty();
    (bundle, is_broken)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ca::Authority;
    use crate::certificate::{Validity, pem_of};

    fn authority() -> Authority {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        Authority::new(Validity::starting(now, Duration::from_secs(86_400))).unwrap()
    }

    fn pem(cas: &[&Authority]) -> String {
        pem_of(cas.iter().map(|ca| ca.certificate()))
    }

    fn ids(cas: &[&Authority]) -> Vec<Fingerprint> {
        cas.iter().map(|ca| ca.id()).collect()
    }

    fn configuration(bundles: &[(&str, Value)]) -> Configuration {
        let webhooks: Vec<_> = bundles
            .iter()
            .map(|(name, bundle)| json!({"name": name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        let fields = |entry: &str| {
            json!({"f:webhooks": {format!("k:{{\"name\":\"{entry}\"}}"): {
                ".": {}, "f:clientConfig": {".": {}, "f:caBundle": {}}}}})
        };
        serde_json::from_value(json!({
            "metadata": {"name": "x", "resourceVersion": "42", "managedFields": [
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
        let encoded = |text: String| json!(STANDARD.encode(text));
        let with_key = format!("{}{}", pem(&[&one]), *two.key().to_pem());
        for (bundle, expected, is_broken) in [
            (Value::Null, ids(&[]), false),
            (json!(""), ids(&[]), false),
            (encoded(pem(&[&one])), ids(&[&one]), false),
            (encoded(pem(&[&one, &two])), ids(&[&one, &two]), false),
            (json!("!"), ids(&[]), true),
            (encoded("\n".to_owned()), ids(&[]), true),
            (encoded("-----BEGIN CERTIFICATE-----\n!".to_owned()), ids(&[]), true),
            (encoded(with_key), ids(&[&one]), true),
        ] {
            let entry = &configuration(&[("a", bundle.clone())]).entries()[0];
            assert_eq!((&entry.bundle, entry.is_broken), (&expected, is_broken), "{bundle}");
        }
    }

    #[test]
    fn the_last_writer_is_named_unless_it_was_this_webhook() {
        let names = ["a", "b", "c"].map(|name| (name, Value::Null));
        let entries = configuration(&names).entries();
        let writers: Vec<_> = entries.iter().map(|entry| entry.foreign_writer.as_deref()).collect();
        assert_eq!(writers, [Some("kubectl-edit"), None, None]);
    }

    #[test]
    fn the_patch_names_only_what_differs_and_what_was_read() {
        let ca = authority();
        let right = json!(STANDARD.encode(pem(&[&ca])));
        let live = configuration(&[("a", right.clone()), ("b", Value::Null), ("c", json!("!"))]);
        let expected = json!({
            "metadata": { "resourceVersion": "42" },
            "webhooks": [
                { "name": "b", "clientConfig": { "caBundle": "UEVN" } },
                { "name": "c", "clientConfig": { "caBundle": "UEVN" } },
            ],
        });
        assert_eq!(live.patch(&ids(&[&ca]), "PEM"), Some(expected));
        assert_eq!(configuration(&[("a", right)]).patch(&ids(&[&ca]), "PEM"), None);
    }
}
