//! The caBundles of the webhook configuration: what is in them, who wrote them, and the patch that
//! puts them right. Pure.
//!
//! The patch is a strategic merge patch: it is keyed by each webhook's name, so it touches those
//! entries' caBundle and nothing else. It carries the resourceVersion that was read, so it is
//! refused with a conflict if anything has changed since. Server-side apply would not do: owning a
//! part of an entry keeps others from removing or renaming that entry.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
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
    /// Those of a configuration, in its order.
    #[must_use]
    pub fn all_of(configuration: &MutatingWebhookConfiguration) -> Vec<Self> {
        let managed = configuration.metadata.managed_fields.as_deref().unwrap_or_default();
        let webhooks = configuration.webhooks.iter().flatten();
        let entry = |webhook: &MutatingWebhook| {
            let (bundle, is_broken) = match &webhook.client_config.ca_bundle {
                Some(ByteString(pem)) if !pem.is_empty() => certificates(pem),
                _ => (Vec::new(), false),
            };
            let foreign_writer = foreign_writer(managed, &webhook.name);
            Self { name: webhook.name.clone(), bundle, is_broken, foreign_writer }
        };
        webhooks.map(entry).collect()
    }

    /// Whether the caBundle holds all of `cas` and nothing else, in whatever order.
    #[must_use]
    pub fn holds_exactly(&self, cas: &[Fingerprint]) -> bool {
        !self.is_broken
            && self.bundle.iter().all(|id| cas.contains(id))
            && cas.iter().all(|id| self.bundle.contains(id))
    }
}

/// The certificates of a caBundle, and whether there is anything else in it. API servers skip what
/// they can't read (Go's `AppendCertsFromPEM`), so what can be read counts.
fn certificates(pem: &[u8]) -> (Vec<Fingerprint>, bool) {
    let blocks = certificate::blocks(pem).unwrap_or_default();
    let readable = blocks.iter().flatten().filter(|der| certificate::facts(der).is_ok());
    let bundle: Vec<_> = readable.map(Fingerprint::of).collect();
    let is_broken = bundle.len() != blocks.len() || bundle.is_empty();
    (bundle, is_broken)
}

/// The field manager that set an entry's caBundle last, unless that was this webhook.
fn foreign_writer(managed: &[ManagedFieldsEntry], entry: &str) -> Option<String> {
    let key = format!("k:{}", json!({ "name": entry }));
    let owns = |managed: &&ManagedFieldsEntry| {
        let webhook = managed.fields_v1.as_ref().map(|fields| &fields.0["f:webhooks"][&key]);
        webhook.is_some_and(|webhook| webhook["f:clientConfig"].get("f:caBundle").is_some())
    };
    let last = managed.iter().filter(owns).max_by_key(|managed| managed.time.clone())?;
    last.manager.clone().filter(|manager| manager != FIELD_MANAGER)
}

/// The strategic merge patch that puts `pem`, the certificates of `cas`, into the entries that do not
/// hold exactly those; `None` if all do. An entry that is gone by the time the patch arrives would be
/// an incomplete new one, which is refused (422).
pub(crate) fn patch(
    configuration: &MutatingWebhookConfiguration,
    cas: &[Fingerprint],
    pem: &str,
) -> Option<Value> {
    let bundle = ByteString(pem.into());
    let webhooks: Vec<_> = Entry::all_of(configuration)
        .iter()
        .filter(|entry| !entry.holds_exactly(cas))
        .map(|entry| json!({ "name": entry.name, "clientConfig": { "caBundle": bundle } }))
        .collect();
    let metadata = json!({ "resourceVersion": configuration.metadata.resource_version });
    (!webhooks.is_empty()).then(|| json!({ "metadata": metadata, "webhooks": webhooks }))
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

    fn configuration(bundles: &[(&str, &str)]) -> MutatingWebhookConfiguration {
        let webhook = |(name, bundle): &(&str, &str)| {
            json!({ "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": { "caBundle": ByteString((*bundle).into()) } })
        };
        let webhooks: Vec<_> = bundles.iter().map(webhook).collect();
        let managed = |manager: &str, time: &str, entry: &str| {
            let key = format!("k:{{\"name\":\"{entry}\"}}");
            json!({ "manager": manager, "time": time, "fieldsV1": { "f:webhooks": { key: {
                ".": {}, "f:clientConfig": { ".": {}, "f:caBundle": {} } } } } })
        };
        serde_json::from_value(json!({
            "metadata": { "name": "x", "resourceVersion": "42", "managedFields": [
                managed(FIELD_MANAGER, "2026-03-01T12:00:00Z", "b"),
                managed("kubectl-edit", "2026-03-01T12:00:05Z", "a"),
                managed("other", "2026-03-01T11:00:00Z", "a"),
            ]},
            "webhooks": webhooks,
        }))
        .unwrap()
    }

    #[test]
    fn bundles_are_read_by_their_certificates() {
        let (one, two) = (authority(), authority());
        let with_key = format!("{}{}", pem(&[&one]), *two.key_pem());
        for (bundle, cas, is_broken) in [
            ("", &[][..], false),
            (&pem(&[&one]), &[&one], false),
            (&pem(&[&one, &two]), &[&one, &two], false),
            ("\n", &[], true),
            ("-----BEGIN CERTIFICATE-----\n!", &[], true),
            (&with_key, &[&one], true),
        ] {
            let entry = &Entry::all_of(&configuration(&[("a", bundle)]))[0];
            let expected: Vec<_> = cas.iter().map(|ca| ca.id()).collect();
            assert_eq!((&entry.bundle, entry.is_broken), (&expected, is_broken), "{bundle}");
        }
    }

    #[test]
    fn the_last_writer_is_named_unless_it_was_this_webhook() {
        let entries = Entry::all_of(&configuration(&[("a", ""), ("b", ""), ("c", "")]));
        let writers: Vec<_> = entries.iter().map(|entry| entry.foreign_writer.as_deref()).collect();
        assert_eq!(writers, [Some("kubectl-edit"), None, None]);
    }

    #[test]
    fn the_patch_names_only_what_differs_and_what_was_read() {
        let ca = authority();
        let right = pem(&[&ca]);
        let live = configuration(&[("a", &right), ("b", ""), ("c", "!")]);
        let expected = json!({
            "metadata": { "resourceVersion": "42" },
            "webhooks": [
                { "name": "b", "clientConfig": { "caBundle": "UEVN" } },
                { "name": "c", "clientConfig": { "caBundle": "UEVN" } },
            ],
        });
        assert_eq!(patch(&live, &[ca.id()], "PEM"), Some(expected));
        assert_eq!(patch(&configuration(&[("a", &right)]), &[ca.id()], "PEM"), None);
    }
}
