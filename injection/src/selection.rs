//! Which entry of the shipped `MutatingWebhookConfiguration` the API server calls about an object, and
//! why it calls none: its selectors and matchConditions as functions. `e2e/tests/manifests` compares
//! them with `deploy/webhook/mutatingwebhookconfiguration.yaml`.

use crate::decide::pod;
use crate::decide::reason::Reason;
use crate::decide::workload::{self, Change};
use crate::keys;
use crate::pod::{Metadata, Workload};
use crate::policy::Policy;

/// The namespaces whose objects no entry is called for, as the selectors list them; the webhook's own is
/// the one that the manifests create.
pub const NAMESPACES_LEFT_OUT: [&str; 4] =
    ["kube-system", "kube-public", "kube-node-lease", "secret-handshake"];

/// The values of the label that say no, as the selectors list them: those know no case, so there are
/// spellings that only the webhook itself knows.
pub const LISTED_AS_NO: [&str; 13] = [
    "false", "False", "FALSE", "disabled", "Disabled", "DISABLED", "off", "Off", "OFF", "no", "No",
    "NO", "0",
];

/// An entry of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// For pods without a label of their own, in a namespace whose label says yes.
    Namespace,
    /// For pods whose own label says yes.
    Pod,
    /// For workloads whose label has yet to reach their pod template.
    Workload,
}

impl Entry {
    /// All three, in the order in which they stand in the configuration.
    pub const ALL: [Self; 3] = [Self::Namespace, Self::Pod, Self::Workload];

    /// Its name, which never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace.secret-handshake.dev",
            Self::Pod => "pod.secret-handshake.dev",
            Self::Workload => "workload.secret-handshake.dev",
        }
    }
}

/// A namespace, as far as selectors look at it.
#[derive(Clone, Copy, Debug)]
pub struct InNamespace<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its own label `secret-handshake`.
    pub label: Option<&'a str>,
}

impl InNamespace<'_> {
    fn left_out(self) -> Result<(), Reason> {
        let left_out = NAMESPACES_LEFT_OUT.contains(&self.name);
        if left_out { Err(Reason::ExcludedNamespace) } else { Ok(()) }
    }
}

/// The entry that is called when a pod is created with this label and this metadata; the label may be one
/// that its workload's template is yet to get.
///
/// # Errors
/// With the reason why none is called.
pub fn entry_for_pod(
    label: Option<&str>,
    metadata: Option<&Metadata>,
    namespace: InNamespace<'_>,
) -> Result<Entry, Reason> {
    namespace.left_out()?;
    let entry = match (label, namespace.label) {
        (Some(own), _) if LISTED_AS_NO.contains(&own) => return Err(Reason::OptedOut),
        (Some(_), _) => Entry::Pod,
        (None, Some(inherited)) if LISTED_AS_NO.contains(&inherited) => {
            return Err(Reason::OptedOut);
        }
        (None, Some(_)) => Entry::Namespace,
        (None, None) => return Err(Reason::NotAsked),
    };
    pod::left_to_others(metadata)?;
    Ok(entry)
}

/// The entry that is called when a workload is created, or changed into this; before the change it had a
/// label if `labelled_before`.
///
/// # Errors
/// With the reason why none is called.
pub fn entry_for_workload(
    workload: &Workload,
    change: Change<'_>,
    labelled_before: bool,
) -> Result<Entry, Reason> {
    let name = change.namespace.unwrap_or_default();
    InNamespace { name, label: None }.left_out()?;
    let labelled = workload.metadata.as_ref().is_some_and(|it| it.has_label(keys::LABEL));
    let was_labelled = change.is_update && labelled_before;
    if !labelled && !was_labelled {
        return Err(Reason::NotAsked);
    }
    // What the matchConditions leave is what the webhook would change, and nothing else.
    workload::decide(workload, change, &Policy::default()).map(|_| Entry::Workload)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decide::workload::WorkloadKind;

    #[test]
    fn the_nearest_label_chooses_the_entry() {
        for (namespace, pod, expected) in [
            (Some("true"), None, Ok(Entry::Namespace)),
            (Some(""), None, Ok(Entry::Namespace)),
            (Some("true"), Some("x"), Ok(Entry::Pod)),
            (None, Some(""), Ok(Entry::Pod)),
            (Some("false"), Some("true"), Ok(Entry::Pod)),
            // No selector lists this spelling; the webhook knows it.
            (Some("fALSE"), None, Ok(Entry::Namespace)),
            (Some("true"), Some("oFF"), Ok(Entry::Pod)),
            (Some("true"), Some("Off"), Err(Reason::OptedOut)),
            (Some("NO"), None, Err(Reason::OptedOut)),
            (None, Some("0"), Err(Reason::OptedOut)),
            (None, None, Err(Reason::NotAsked)),
        ] {
            for name in ["apps", "kube-system", "secret-handshake"] {
                let found = entry_for_pod(pod, None, InNamespace { name, label: namespace });
                let left_out = name != "apps";
                let expected =
                    if left_out { Err(Reason::ExcludedNamespace) } else { expected.clone() };
                assert_eq!(found, expected, "{name}: {namespace:?} {pod:?}");
            }
        }
    }

    #[test]
    fn a_listed_spelling_is_one_that_the_webhook_reads_as_no() {
        assert!(LISTED_AS_NO.into_iter().all(|value| !pod::says_yes(value)));
    }

    #[test]
    fn two_annotations_keep_a_pod_from_the_webhook() {
        let namespace = InNamespace { name: "apps", label: Some("true") };
        for (key, expected) in [
            (keys::MIRROR, Err(Reason::MirrorPod)),
            (keys::DONE, Err(Reason::Done)),
            (keys::STATUS, Ok(Entry::Namespace)),
        ] {
            let metadata = serde_json::from_value(json!({"annotations": {key: ""}})).unwrap();
            assert_eq!(entry_for_pod(None, Some(&metadata), namespace), expected, "{key}");
        }
    }

    #[test]
    fn a_workload_is_asked_about_while_its_label_has_to_be_copied() {
        let created =
            Change { kind: WorkloadKind::Deployment, is_update: false, namespace: Some("apps") };
        let updated = Change { is_update: true, ..created };
        let job = Change { kind: WorkloadKind::Job, ..updated };
        let elsewhere = Change { namespace: Some("kube-public"), ..created };
        for (own, note, template, change, had_label, expected) in [
            (Some("true"), None, None, created, false, Ok(Entry::Workload)),
            (Some("off"), None, None, created, false, Ok(Entry::Workload)),
            (Some("true"), Some("true"), Some("true"), updated, true, Err(Reason::NoCopyNeeded)),
            (Some("no"), Some("true"), Some("true"), updated, true, Ok(Entry::Workload)),
            (Some("true"), None, Some("false"), created, false, Err(Reason::NoCopyNeeded)),
            // A label that goes is seen by the old object alone.
            (None, Some("true"), Some("true"), updated, true, Ok(Entry::Workload)),
            (None, Some("true"), Some("true"), updated, false, Err(Reason::NotAsked)),
            (None, None, None, created, true, Err(Reason::NotAsked)),
            (Some("true"), None, None, job, true, Err(Reason::JobUpdate)),
            (Some("true"), None, None, elsewhere, false, Err(Reason::ExcludedNamespace)),
        ] {
            let entry = |key: &str, value: Option<&str>| value.map(|value| json!({ key: value }));
            let json = json!({
                "metadata": {"labels": entry(keys::LABEL, own),
                    "annotations": entry(keys::LABEL_COPIED, note)},
                "spec": {"template": {"metadata": {"labels": entry(keys::LABEL, template)}}},
            });
            let workload = serde_json::from_value(json).unwrap();
            let found = entry_for_workload(&workload, change, had_label);
            assert_eq!(found, expected, "{own:?} {note:?} {template:?} {change:?} {had_label}");
        }
    }
}
