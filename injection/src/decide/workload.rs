use super::pod;
use super::pod::Context;
use super::reason::{Place, Reason};
use super::unknown;
use crate::keys;
use crate::pod::Workload;
use crate::policy::Policy;

/// The kinds of workloads whose label reaches their pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    CronJob,
}

impl WorkloadKind {
    /// The kind that an API group and a kind's name stand for.
    #[must_use]
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("apps", "Deployment") => Some(Self::Deployment),
            ("apps", "StatefulSet") => Some(Self::StatefulSet),
            ("apps", "DaemonSet") => Some(Self::DaemonSet),
            ("apps", "ReplicaSet") => Some(Self::ReplicaSet),
            ("batch", "Job") => Some(Self::Job),
            ("batch", "CronJob") => Some(Self::CronJob),
            _ => None,
        }
    }

    /// The kind's name, as Kubernetes has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicaSet => "ReplicaSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    /// Where in the object its pod template is.
    #[must_use]
    pub const fn template_path(self) -> &'static [&'static str] {
        match self {
            Self::CronJob => &["spec", "jobTemplate", "spec", "template"],
            _ => &["spec", "template"],
        }
    }
}

/// What is known about a workload beside the workload itself.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What it is.
    pub kind: WorkloadKind,
    /// Whether it was there before.
    pub is_update: bool,
    /// The namespace that it is in.
    pub namespace: Option<&'a str>,
}

/// What happens to the label of a workload's pod template, and to the note of it on the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabelCopy<'a> {
    /// Both get the value of the workload's label.
    Set(&'a str),
    /// The workload's label is gone, and both go with it.
    Remove,
}

/// Decides whether a workload's label is to be copied to its pod template.
///
/// The note says what was copied before. A template label that equals the note is a copy and
/// follows the workload's label, change and removal included; any other is its author's.
pub(crate) fn decide<'a>(
    workload: &'a Workload,
    change: Change<'_>,
    policy: &Policy,
) -> Result<LabelCopy<'a>, Reason> {
    let metadata = workload.metadata.as_ref();
    if change.namespace.is_some_and(|namespace| policy.excludes(namespace)) {
        return Err(Reason::ExcludedNamespace);
    }
    if metadata.is_some_and(|metadata| metadata.deletion_timestamp.is_some()) {
        return Err(Reason::BeingDeleted);
    }
    if change.kind == WorkloadKind::Job && change.is_update {
        return Err(Reason::JobUpdate);
    }
    let template = workload.template().ok_or(Reason::NoTemplate)?;

    let label = metadata.and_then(|metadata| metadata.label());
    let note = metadata.and_then(|metadata| metadata.annotation(keys::LABEL_COPIED));
    match (template.label(), label) {
        (None, Some(label)) => Ok(LabelCopy::Set(label)),
        (Some(copied), Some(label)) if note == Some(copied) && label != copied => {
            Ok(LabelCopy::Set(label))
        }
        (Some(copied), None) if note == Some(copied) => Ok(LabelCopy::Remove),
        _ => Err(Reason::NoCopyNeeded),
    }
}

/// A workload whose pods will be refused looks fine to the one who applies it: only a controller's
/// events say otherwise. So what is wrong with the template is said with the copy already.
pub(crate) fn warnings(
    workload: &Workload,
    copy: LabelCopy<'_>,
    namespace: Option<&str>,
    policy: &Policy,
) -> Vec<String> {
    let (LabelCopy::Set(label), Some(template)) = (copy, workload.template()) else {
        return Vec::new();
    };
    if !pod::says_yes(label) {
        return Vec::new();
    }
    let context = Context { namespace, ..Context::default() };
    let reason = pod::sidecar(template, context, policy).err().filter(Reason::is_obstacle);
    let refused = reason.map(|reason| {
        // The Namespace is read for pods alone.
        let unless = if reason.is_about_settings() {
            ", unless their namespace's annotations help"
        } else {
            ""
        };
        format!("the pods of this workload will be refused{unless}: {reason}")
    });
    let of_template = unknown::warnings(template.metadata.as_ref(), Place::Pod);
    refused.into_iter().chain(misplaced_annotation(workload)).chain(of_template).collect()
}

/// A warning about a setting that stands on the workload itself, where it reaches no pod.
#[must_use]
pub fn misplaced_annotation(workload: &Workload) -> Option<String> {
    let template = workload.template()?;
    let on_workload = workload.metadata.as_ref()?;
    let key = keys::SETTINGS
        .into_iter()
        .find(|key| on_workload.annotation(key).is_some() && template.annotation(key).is_none())?;
    Some(format!("the annotation {key} has no effect here: it belongs on the pod template"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const DEPLOYMENT: Change<'_> =
        Change { kind: WorkloadKind::Deployment, is_update: true, namespace: Some("apps") };

    fn workload_json(label: Option<&str>, note: Option<&str>, copied: Option<&str>) -> String {
        let entry = |key: &str, value: Option<&str>| value.map(|value| json!({ key: value }));
        json!({
            "metadata": {"labels": entry(keys::LABEL, label), "annotations": entry(keys::LABEL_COPIED, note)},
            "spec": {"template": {"metadata": {"labels": entry(keys::LABEL, copied)}, "spec": {"containers": [{"name": "legacy"}]}}},
        })
        .to_string()
    }

    /// The condition that the webhook's configuration has in CEL, with `-` for absent.
    fn needs_copy(template: &str, own: &str, note: &str) -> bool {
        if template == "-" { own != "-" } else { template == note && own != template }
    }

    #[test]
    fn a_copy_follows_the_workloads_label_and_an_authors_label_stays() {
        for (own, note, template, expected) in [
            ("true", "-", "-", Some(LabelCopy::Set("true"))),
            ("false", "-", "-", Some(LabelCopy::Set("false"))),
            ("", "-", "-", Some(LabelCopy::Set(""))),
            ("false", "true", "true", Some(LabelCopy::Set("false"))),
            ("true", "", "", Some(LabelCopy::Set("true"))),
            ("-", "true", "true", Some(LabelCopy::Remove)),
            ("-", "", "", Some(LabelCopy::Remove)),
            // Somebody took the copy out of the template: the workload's label still stands.
            ("true", "true", "-", Some(LabelCopy::Set("true"))),
            // Nothing to do.
            ("true", "true", "true", None),
            ("-", "-", "-", None),
            ("-", "true", "-", None),
            // The author's own.
            ("true", "-", "false", None),
            ("true", "true", "false", None),
            ("-", "-", "true", None),
            ("-", "false", "true", None),
            ("false", "-", "", None),
        ] {
            let there = |value: &'static str| (value != "-").then_some(value);
            let json = workload_json(there(own), there(note), there(template));
            let workload = serde_json::from_str(&json).unwrap();
            let decision = decide(&workload, DEPLOYMENT, &Policy::default());
            let case = format!("workload {own:?}, note {note:?}, template {template:?}");
            assert_eq!(decision, expected.ok_or(Reason::NoCopyNeeded), "{case}");
            assert_eq!(
                expected.is_some(),
                needs_copy(template, own, note),
                "{case}: the selection in the cluster must agree"
            );
        }
    }

    #[test]
    fn the_copy_that_was_made_needs_no_other() {
        let values = [None, Some(""), Some("true"), Some("false")];
        for label in values {
            for note in values {
                for copied in values {
                    let json = workload_json(label, note, copied);
                    let workload = serde_json::from_str(&json).unwrap();
                    let policy = Policy::default();
                    let (label, note, copied) = match decide(&workload, DEPLOYMENT, &policy) {
                        Ok(LabelCopy::Set(value)) => (label, Some(value), Some(value)),
                        Ok(LabelCopy::Remove) => (label, None, None),
                        Err(_) => (label, note, copied),
                    };
                    let json = workload_json(label, note, copied);
                    let workload = serde_json::from_str(&json).unwrap();
                    let again = decide(&workload, DEPLOYMENT, &policy);
                    assert_eq!(again, Err(Reason::NoCopyNeeded), "{json}");
                }
            }
        }
    }

    #[test]
    fn what_must_not_be_touched_is_left_alone() {
        let policy =
            Policy { own_namespace: Some("secret-handshake".to_owned()), ..Policy::default() };
        let plain = workload_json(Some("true"), None, None);
        let mut deleted: Value = serde_json::from_str(&plain).unwrap();
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let deleted = deleted.to_string();
        let bare = json!({"metadata": {"labels": {keys::LABEL: "true"}}}).to_string();
        let update = DEPLOYMENT;
        let job = Change { kind: WorkloadKind::Job, ..update };
        for (json, change, expected) in [
            (
                &plain,
                Change { namespace: Some("kube-system"), ..update },
                Some(Reason::ExcludedNamespace),
            ),
            (
                &plain,
                Change { namespace: Some("secret-handshake"), ..update },
                Some(Reason::ExcludedNamespace),
            ),
            (&deleted, update, Some(Reason::BeingDeleted)),
            (&plain, job, Some(Reason::JobUpdate)),
            (&plain, Change { is_update: false, ..job }, None),
            (&bare, update, Some(Reason::NoTemplate)),
        ] {
            let workload = serde_json::from_str(json).unwrap();
            let expected = expected.map_or(Ok(LabelCopy::Set("true")), Err);
            assert_eq!(decide(&workload, change, &policy), expected, "{change:?}");
        }
    }

    #[test]
    fn a_cronjobs_template_is_one_level_deeper() {
        let json = json!({
            "metadata": {"labels": {keys::LABEL: "true"}},
            "spec": {"jobTemplate": {"spec": {"template": {"metadata": null, "spec": {}}}}},
        })
        .to_string();
        let workload = serde_json::from_str(&json).unwrap();
        let change = Change { kind: WorkloadKind::CronJob, ..DEPLOYMENT };
        let copy = decide(&workload, change, &Policy::default());
        assert_eq!(copy, Ok(LabelCopy::Set("true")));
    }

    #[test]
    fn what_is_wrong_with_the_template_is_told_with_the_copy() {
        let mut object: Value =
            serde_json::from_str(&workload_json(Some("true"), None, None)).unwrap();
        object["metadata"]["annotations"] = json!({keys::PORT: "8080"});
        object["spec"]["template"]["metadata"] =
            json!({"annotations": {"secret-handshake/prt": "8080"}});
        object["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        let warnings_of = |object: &Value| {
            let json = object.to_string();
            let workload = serde_json::from_str(&json).unwrap();
            let policy = Policy::default();
            let copy = decide(&workload, DEPLOYMENT, &policy).unwrap();
            warnings(&workload, copy, DEPLOYMENT.namespace, &policy)
        };
        let warnings = warnings_of(&object);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("will be refused: hostNetwork"), "{warnings:?}");
        assert!(warnings[1].contains("belongs on the pod template"), "{warnings:?}");
        assert!(warnings[2].contains("secret-handshake/prt"), "{warnings:?}");

        object["metadata"]["labels"][keys::LABEL] = json!("false");
        assert_eq!(warnings_of(&object), Vec::<String>::new(), "who opts out has nothing to mend");
    }
}
