//! Which entry of the configuration is called, or why none.

use injection::{Entry, InNamespace, Metadata, Outcome, Reason, entry_for_pod, keys, printable};

use super::super::facts::{Configuration, Facts, OfNamespace, Source};
use super::super::story::Label;
use super::super::target::Kind;
use super::labels::Labels;
use crate::inject::object;
use crate::manifest::Value;
use crate::webhook::CONFIGURATION;

pub(super) struct Asked {
    /// The entry that is called when a pod like this is created. Where something isn't known, the one that
    /// the shipped configuration would have.
    pub(super) entry: Option<Entry>,
    /// Why none is called.
    pub(super) reason: Option<Reason>,
    pub(super) certain: bool,
    pub(super) lines: Vec<String>,
}

pub(super) fn about_pods(facts: &Facts, labels: &Labels, pod: &Value) -> anyhow::Result<Asked> {
    let metadata = pod.get("metadata").map(Value::to_json);
    let metadata: Option<Metadata> = metadata.as_ref().map(object::read).transpose()?;
    let of_namespace = match &facts.around.of_namespace {
        OfNamespace::Known(known) => known.label.as_deref(),
        _ => None,
    };
    let name = facts.namespace.as_deref().unwrap_or_default();
    let namespace = InNamespace { name, label: of_namespace };
    let called = entry_for_pod(labels.of_pods.as_deref(), metadata.as_ref(), namespace);
    let what = match facts.kind {
        Kind::Pod => "when such a pod is created",
        Kind::Workload(_) => "when a pod of it is created",
        Kind::Namespace => "when a pod without a label of its own is created in it",
    };
    let text = match &called {
        Ok(entry) => format!("{} is called {what}", entry.name()),
        Err(reason) => {
            format!("no entry is called {what}: {}", why(facts, reason, labels.deciding.as_ref()))
        }
    };
    let mut asked = Asked {
        entry: called.as_ref().ok().copied(),
        reason: called.err(),
        certain: true,
        lines: vec![text],
    };
    let unknown = match &facts.around.of_namespace {
        OfNamespace::Unreadable(error) => Some(format!("can't be read: {error}")),
        OfNamespace::NotLookedAt => Some("is not known".to_owned()),
        OfNamespace::Known(_) | OfNamespace::Absent => None,
    };
    if let Some(unknown) = unknown.filter(|_| asked.reason == Some(Reason::NotAsked)) {
        asked.certain = false;
        asked.reason = None;
        asked.lines =
            vec![format!("can't be told: the label of the namespace decides, and that {unknown}")];
    }
    as_installed(facts, &mut asked);
    Ok(asked)
}

/// The shipped entries, as the cluster has them.
fn as_installed(facts: &Facts, asked: &mut Asked) {
    match &facts.around.configuration {
        Configuration::Absent => {
            *asked = Asked {
                entry: None,
                reason: None,
                certain: true,
                lines: vec![format!(
                    "nobody: there is no MutatingWebhookConfiguration {CONFIGURATION}, so the webhook is not installed"
                )],
            };
        }
        Configuration::Unreadable(error) => {
            asked.lines.push(format!("(the shipped configuration is assumed: {error})"));
        }
        Configuration::NotLookedAt => {}
        Configuration::There { differs, absent, .. } => {
            if let Some(entry) = asked.entry.filter(|entry| absent.contains(entry)) {
                asked.entry = None;
                asked.lines = vec![format!(
                    "nobody: {} would be called, and the configuration {CONFIGURATION} has no such entry",
                    entry.name()
                )];
            }
            let of_pods = differs.iter().filter(|differs| differs.entry != Entry::Workload);
            let parts: Vec<_> =
                of_pods.map(|it| format!("{} of {}", it.part, it.entry.name())).collect();
            if !parts.is_empty() {
                asked.certain = false;
                let shipped = asked.lines.join("; ");
                asked.lines = parts
                    .iter()
                    .map(|part| format!("not evaluated: {part}, which is not the shipped one"))
                    .chain([format!("as shipped: {shipped}")])
                    .collect();
            }
        }
    }
}

/// What becomes of the workload's own label.
pub(super) fn about_workload(facts: &Facts, labels: &Labels) -> Vec<String> {
    let Some(copy) = &labels.copy else { return Vec::new() };
    if matches!(facts.around.configuration, Configuration::Absent) {
        return Vec::new();
    }
    let kind = facts.kind.as_str();
    let when = match facts.source {
        Source::File => "when it is created",
        Source::Cluster(_) => "when it is changed next, as by a rollout restart",
    };
    match (&copy.called, &copy.outcome) {
        (Ok(entry), Some(Outcome::LabelCopied)) => vec![format!(
            "{} is called {when}: the label of the {kind} is copied to its pod template",
            entry.name()
        )],
        (Ok(entry), Some(Outcome::LabelRemoved)) => vec![format!(
            "{} is called {when}: the copy of the label leaves its pod template",
            entry.name()
        )],
        (Ok(entry), Some(outcome)) => {
            vec![format!(
                "{} is called {when}; its label stays where it is: {outcome}",
                entry.name()
            )]
        }
        (Err(Reason::NoCopyNeeded), _) => {
            vec![format!("none has to be called about the {kind}: {}", Reason::NoCopyNeeded)]
        }
        (Err(Reason::JobUpdate), _) if labels.of_pods.is_none() => {
            vec![format!("none is called about the {kind}: {}", Reason::JobUpdate)]
        }
        _ => Vec::new(),
    }
}

fn why(facts: &Facts, reason: &Reason, deciding: Option<&Label>) -> String {
    let namespace = facts.namespace.as_deref().unwrap_or_default();
    match (reason, deciding) {
        (Reason::OptedOut, Some(Label { place, value })) => {
            format!("the label of the {place} says no ({:?})", printable(value, 63))
        }
        (Reason::ExcludedNamespace, _) => format!("the namespace {namespace} is always left out"),
        (Reason::NotAsked, _) => match facts.kind {
            Kind::Namespace => format!("the namespace has no label {}", keys::LABEL),
            Kind::Pod => format!("neither the pod nor its namespace has the label {}", keys::LABEL),
            Kind::Workload(_) => format!(
                "neither the pod template, nor the workload, nor the namespace has the label {}",
                keys::LABEL
            ),
        },
        _ => reason.to_string(),
    }
}
