//! The shipped `MutatingWebhookConfiguration`, and where the one of a cluster differs from it.

use std::sync::LazyLock;

use injection::Entry;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};

use super::facts::{Configuration, Difference};
use crate::cluster::Unreadable;
use crate::manifest::Parts;

const TEXT: &str = include_str!("../../../deploy/webhook/mutatingwebhookconfiguration.yaml");

/// `None` if it can't be read: a test holds that it can.
static SHIPPED: LazyLock<Option<MutatingWebhookConfiguration>> = LazyLock::new(|| {
    let document = Parts::of(TEXT).next()?.ok()?.read().ok()?;
    serde_json::from_value(document.value.to_json()).ok()
});

/// What of the configuration that was read has another text than the shipped one. Certificates,
/// addresses and time limits are the installation's business and don't choose.
pub(super) fn compare(
    found: &Result<Option<MutatingWebhookConfiguration>, Unreadable>,
) -> Configuration {
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Configuration::Absent,
        Err(error) => return Configuration::Unreadable(error.clone()),
    };
    let (mut differs, mut absent) = (Vec::new(), Vec::new());
    for entry in Entry::ALL {
        let shipped = SHIPPED.as_ref().and_then(|shipped| named(shipped, entry));
        match (named(found, entry), shipped) {
            (Some(found), Some(shipped)) => {
                let parts = differing_parts(found, shipped);
                differs.extend(parts.into_iter().map(|part| Difference { entry, part }));
            }
            (Some(_), None) => differs.push(Difference { entry, part: "rules" }),
            (None, _) => absent.push(entry),
        }
    }
    let created = found.metadata.creation_timestamp.as_ref().map(|time| time.0);
    Configuration::There { created, differs, absent }
}

fn named(configuration: &MutatingWebhookConfiguration, entry: Entry) -> Option<&MutatingWebhook> {
    configuration.webhooks.iter().flatten().find(|webhook| webhook.name == entry.name())
}

fn differing_parts(found: &MutatingWebhook, shipped: &MutatingWebhook) -> Vec<&'static str> {
    [
        ("rules", found.rules == shipped.rules),
        ("namespaceSelector", found.namespace_selector == shipped.namespace_selector),
        ("objectSelector", found.object_selector == shipped.object_selector),
        ("matchConditions", found.match_conditions == shipped.match_conditions),
    ]
    .into_iter()
    .filter_map(|(part, same)| (!same).then_some(part))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(change: impl FnOnce(&mut Vec<MutatingWebhook>)) -> (Vec<String>, Vec<Entry>) {
        let mut configuration = SHIPPED.clone().unwrap();
        change(configuration.webhooks.as_mut().unwrap());
        let Configuration::There { differs, absent, .. } = compare(&Ok(Some(configuration))) else {
            panic!("it is there");
        };
        let differs = differs.iter().map(|it| format!("{} {}", it.entry.name(), it.part)).collect();
        (differs, absent)
    }

    #[test]
    fn what_was_changed_is_named() {
        let none: Vec<String> = Vec::new();
        assert_eq!(differences(|_| ()), (none.clone(), Vec::new()));
        assert_eq!(differences(|entries| entries[0].timeout_seconds = Some(9)), (none, Vec::new()));
        let (differs, absent) = differences(|entries| {
            entries[0].namespace_selector = None;
            entries[1].match_conditions.as_mut().unwrap()[0].expression = "true".to_owned();
            entries[1].rules.as_mut().unwrap()[0].scope = Some("*".to_owned());
            entries.remove(2);
        });
        assert_eq!(
            differs,
            [
                "namespace.secret-handshake.dev namespaceSelector",
                "pod.secret-handshake.dev rules",
                "pod.secret-handshake.dev matchConditions",
            ]
        );
        assert_eq!(absent, [Entry::Workload]);
    }
}
