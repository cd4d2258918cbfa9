//! Which labels were found where, and which one decides.

use injection::{Change, Outcome, Place, Workload, WorkloadKind, decide_workload};
use injection::{entry_for_workload, keys, misplaced_annotation, misplaced_keys, says_yes};

use super::super::facts::{Facts, OfNamespace, OwnersLabel, Source};
use super::super::story::Label;
use super::super::target::Kind;
use super::text;
use crate::inject::{label, object};
use crate::manifest::Value;

pub(super) struct Labels {
    pub(super) lines: Vec<String>,
    /// The label that pods have when they are created: a pod's own, or the one of the pod template once
    /// the workload's has been copied.
    pub(super) of_pods: Option<String>,
    /// The nearest one, which may be the namespace's.
    pub(super) deciding: Option<Label>,
    pub(super) copy: Option<Copy>,
    pub(super) warnings: Vec<String>,
}

/// Whether the workload's label is yet to be copied to its pod template: the entry that is called for that
/// and what the webhook does, or why not.
pub(super) struct Copy {
    pub(super) called: Result<injection::Entry, injection::Reason>,
    pub(super) outcome: Option<Outcome>,
}

/// Where a CronJob says what its Jobs are like.
const JOB: &[&str] = &["spec", "jobTemplate"];

/// A place for the label, with what stands there.
struct Row {
    place: &'static str,
    of: String,
    value: String,
}

/// What an object says of itself.
struct Own {
    rows: Vec<Row>,
    label: Option<Label>,
    copy: Option<Copy>,
    warnings: Vec<String>,
}

const NAMESPACE: &str = "namespace";

pub(super) fn find(facts: &Facts) -> anyhow::Result<Labels> {
    let Own { mut rows, label, copy, mut warnings } = match facts.kind {
        Kind::Namespace => Own { rows: Vec::new(), label: None, copy: None, warnings: Vec::new() },
        Kind::Pod => of_pod(facts)?,
        Kind::Workload(kind) => of_workload(facts, kind)?,
    };
    for owner in &facts.owners {
        let value = match &owner.label {
            OwnersLabel::Known(value) => text::label(value.as_deref()),
            OwnersLabel::Unreadable(error) => format!("({error})"),
        };
        rows.push(Row { place: "owner", of: format!("{}/{}", owner.kind, owner.name), value });
    }
    let mut inherited = None;
    let value = match &facts.around.of_namespace {
        OfNamespace::Known(known) => {
            warnings.extend(misplaced(&known.object, Place::Namespace));
            inherited.clone_from(&known.label);
            text::label(known.label.as_deref())
        }
        OfNamespace::Absent => String::from("(there is no such Namespace)"),
        OfNamespace::Unreadable(error) => format!("({error})"),
        OfNamespace::NotLookedAt => {
            String::from("(not known: --namespace-label says what its label is)")
        }
    };
    let name = facts.namespace.as_deref();
    let of = name.map_or_else(|| "the namespace".to_owned(), |name| format!("Namespace/{name}"));
    rows.push(Row { place: NAMESPACE, of, value });

    let of_pods = label.as_ref().map(|label| label.value.clone());
    let deciding = label.or(inherited.map(|value| Label { place: NAMESPACE, value }));
    let lines = rows.into_iter().map(|Row { place, of, mut value }| {
        if let Some(label) = deciding.as_ref().filter(|label| label.place == place) {
            let says = if says_yes(&label.value) { "yes" } else { "no" };
            value = format!("{value}  ← decides: {says}");
        }
        (of, value)
    });
    let lines = text::columns(&lines.collect::<Vec<_>>());
    Ok(Labels { lines, of_pods, deciding, copy, warnings })
}

fn of_pod(facts: &Facts) -> anyhow::Result<Own> {
    let place = "pod";
    let value = label::at(&facts.object, &[])?;
    let row = Row { place, of: place.to_owned(), value: text::label(value.as_deref()) };
    let label = value.map(|value| Label { place, value });
    let warnings = misplaced(&facts.object, Place::Pod);
    Ok(Own { rows: vec![row], label, copy: None, warnings })
}

fn of_workload(facts: &Facts, kind: WorkloadKind) -> anyhow::Result<Own> {
    let template = label::at(&facts.object, kind.template_path())?;
    let own = label::at(&facts.object, &[])?;
    let of_job = match kind {
        WorkloadKind::CronJob => Some(label::at(&facts.object, JOB)?),
        _ => None,
    };
    let workload: Workload = object::read(&facts.object.to_json())?;
    let mut warnings = misplaced(&facts.object, Place::Workload);
    warnings.extend(misplaced_annotation(&workload));
    let copy = copy(facts, kind, &workload);

    let row = |place, of: &str, value: &Option<String>| Row {
        place,
        of: of.to_owned(),
        value: text::label(value.as_deref()),
    };
    let mut of_template = row("pod template", "pod template", &template);
    if template.is_some() && template == copied_value(&facts.object) {
        of_template.value = format!("{}  (a copy of the {}'s)", of_template.value, kind.as_str());
    }
    let of_job_template = of_job.as_ref().map(|it| row("Job template", "Job template", it));
    let of_workload = row("workload", &format!("{}/{}", kind.as_str(), facts.name), &own);
    let rows = [of_template].into_iter().chain(of_job_template).chain([of_workload]).collect();

    let is_copied = matches!(copy.outcome, Some(Outcome::LabelCopied | Outcome::LabelRemoved));
    let (place, nearest) = if is_copied { ("workload", own) } else { ("pod template", template) };
    let nearest = nearest.map(|value| Label { place, value });
    let of_job = of_job.flatten().map(|value| Label { place: "Job template", value });
    Ok(Own { rows, label: nearest.or(of_job), copy: Some(copy), warnings })
}

/// Keys in its metadata that are ours and have no effect there.
fn misplaced(object: &Value, place: Place) -> Vec<String> {
    let metadata = object.get("metadata").map(Value::to_json);
    let metadata = metadata.and_then(|json| object::read(&json).ok());
    misplaced_keys(metadata.as_ref(), place)
}

/// A manifest is created; what is in the cluster can only be changed.
fn copy(facts: &Facts, kind: WorkloadKind, workload: &Workload) -> Copy {
    let is_update = matches!(facts.source, Source::Cluster(_));
    let change = Change { kind, is_update, namespace: facts.namespace.as_deref() };
    let called = entry_for_workload(workload, change, false);
    let outcome = called
        .is_ok()
        .then(|| decide_workload(workload, change, &facts.around.flags.policy).outcome);
    Copy { called, outcome }
}

fn copied_value(workload: &Value) -> Option<String> {
    let path = ["metadata", "annotations", keys::LABEL_COPIED];
    let note = path.iter().try_fold(workload, |value, member| value.get(member));
    note.and_then(Value::as_str).map(str::to_owned)
}
