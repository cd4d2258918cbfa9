//! What is kept of the cluster's Namespaces: those with a label or a setting of ours.

use std::collections::{BTreeMap, BTreeSet};

use injection::{Metadata, Policy, keys, says_yes};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

/// The most Namespaces that are kept.
const MOST: usize = 10_000;

/// Namespaces by their names.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    pub(crate) all: BTreeMap<String, Namespace>,
    /// Those that are being deleted: they take no more pods, and what is in them goes.
    pub(crate) going: BTreeSet<String>,
}

/// What a Namespace says about sidecars.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    /// The label's value, if it has the label.
    pub(crate) label: Option<String>,
    /// Those annotations and labels of it that look like ours.
    pub(crate) metadata: Metadata,
    /// The annotations that set CPU and memory of the sidecar.
    pub(crate) cpu: Option<String>,
    pub(crate) memory: Option<String>,
}

impl Namespaces {
    pub(crate) fn add(&mut self, metadata: &ObjectMeta) {
        let name = metadata.name.clone().unwrap_or_default();
        if metadata.deletion_timestamp.is_some() {
            if self.going.len() < MOST {
                self.going.insert(name);
            }
        } else if self.all.len() < MOST
            && let Some(namespace) = Namespace::of(metadata)
        {
            self.all.insert(name, namespace);
        }
    }

    /// Those whose pods get a sidecar if they say nothing themselves.
    pub(crate) fn asking<'a>(
        &'a self,
        policy: &'a Policy,
    ) -> impl Iterator<Item = (&'a str, &'a Namespace)> {
        let asks = |(name, namespace): &(&String, &Namespace)| {
            namespace.label.as_deref().is_some_and(says_yes) && !policy.excludes(name)
        };
        self.all.iter().filter(asks).map(|(name, namespace)| (name.as_str(), namespace))
    }
}

impl Namespace {
    fn of(metadata: &ObjectMeta) -> Option<Self> {
        let own = ours(metadata)?;
        let annotation = |key| metadata.annotations.as_ref()?.get(key).cloned();
        let label = metadata.labels.as_ref().and_then(|labels| labels.get(keys::LABEL)).cloned();
        let (cpu, memory) = (annotation(keys::CPU), annotation(keys::MEMORY));
        Some(Self { label, metadata: own, cpu, memory })
    }
}

/// Of an object's metadata the labels and annotations that are ours or look like it; `None` if there are
/// none.
pub(crate) fn ours(metadata: &ObjectMeta) -> Option<Metadata> {
    let is_ours =
        |key: &str| key == keys::LABEL || key == keys::DONE || key.starts_with(keys::PREFIX);
    let kept = |map: &Option<BTreeMap<String, String>>| -> BTreeMap<String, String> {
        map.iter()
            .flatten()
            .filter(|(key, _)| is_ours(key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    let (labels, annotations) = (kept(&metadata.labels), kept(&metadata.annotations));
    if labels.is_empty() && annotations.is_empty() {
        return None;
    }
    serde_json::from_value(json!({ "labels": labels, "annotations": annotations })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_being_deleted_asks_for_nothing() {
        let mut namespaces = Namespaces::default();
        for (name, deleted) in [("there", None), ("going", Some("2026-11-27T12:00:00Z"))] {
            let metadata = json!({
                "name": name, "labels": { "secret-handshake": "true" }, "deletionTimestamp": deleted,
            });
            namespaces.add(&serde_json::from_value(metadata).unwrap());
        }
        let policy = Policy::default();
        let asking: Vec<_> = namespaces.asking(&policy).map(|(name, _)| name).collect();
        assert_eq!(asking, ["there"]);
        assert!(namespaces.going.iter().eq(["going"]));
    }
}
