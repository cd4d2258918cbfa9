use std::fmt;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use webhook::decision::plan::PodDecision;
use webhook::decision::pod::{self, Asked};
use webhook::decision::workload::{self, WorkloadKind};
use webhook::decision::{Policy, Reason, keys};
use webhook::patch;
use webhook::review::object::{Metadata, Pod, Workload};

/// What is known beside the manifests, and what came of the objects so far.
pub(super) struct Offline {
    pub(super) policy: Policy,
    /// The namespace of objects that name none.
    pub(super) namespace: Option<String>,
    /// What objects without a label inherit from their namespace.
    pub(super) inherited: Option<bool>,
    pub(super) report: Vec<Line>,
}

/// What came of one object.
#[derive(Clone, Debug)]
pub struct Line {
    /// The object, as `Kind/name`.
    pub object: String,
    /// What was done with it.
    pub treatment: Treatment,
    /// Why.
    pub reason: String,
    /// What its author should know beside that.
    pub warnings: Vec<String>,
}

/// What was done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It got the sidecar.
    Injected,
    /// It came back word for word.
    Unchanged,
    /// It has no sidecar, and its annotation `secret-handshake/status` says why.
    Noted,
    /// It asks for what it can't have.
    Refused,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, treatment, reason, warnings } = self;
        match treatment {
            Treatment::Injected => write!(f, "{object}: injected ({reason})"),
            Treatment::Unchanged => write!(f, "{object}: unchanged: {reason}"),
            Treatment::Noted => write!(f, "{object}: no sidecar: {reason}"),
            Treatment::Refused => write!(f, "{object}: refused: {reason}"),
        }?;
        warnings.iter().try_for_each(|warning| write!(f, "\n  warning: {warning}"))
    }
}

impl Offline {
    /// Injects an object, or the objects of a list; says whether anything changed.
    pub(super) fn treat(&mut self, object: &mut Value) -> bool {
        if object.is_null() {
            return false;
        }
        let kind = text(object, "kind").to_owned();
        let api_version = text(object, "apiVersion").to_owned();
        match object.get_mut("items") {
            Some(Value::Array(items)) if kind.ends_with("List") => {
                // Items of a typed list, such as a PodList, may leave to it what they are.
                let item_kind = kind.trim_end_matches("List");
                let changed = items.iter_mut().map(|item| {
                    let (api_version, kind) = match text(item, "kind") {
                        "" => (api_version.clone(), item_kind.to_owned()),
                        kind => (text(item, "apiVersion").to_owned(), kind.to_owned()),
                    };
                    self.treat_one(item, &api_version, &kind)
                });
                changed.fold(false, |any, changed| any | changed)
            }
            _ => self.treat_one(object, &api_version, &kind),
        }
    }

    fn treat_one(&mut self, object: &mut Value, api_version: &str, kind: &str) -> bool {
        let metadata = &object["metadata"];
        let name = match text(metadata, "name") {
            "" => text(metadata, "generateName"),
            name => name,
        };
        let mut line = Line {
            object: format!("{}/{name}", if kind.is_empty() { "?" } else { kind }),
            treatment: Treatment::Unchanged,
            reason: Reason::OtherKind.to_string(),
            warnings: Vec::new(),
        };
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let patch = if group.is_empty() && kind == "Pod" {
            self.pod(object, &mut line)
        } else if let Some(kind) = WorkloadKind::of(group, kind) {
            self.workload(object, kind, &mut line)
        } else {
            Ok(None)
        };
        let applied =
            patch.and_then(|patch| patch.map_or(Ok(false), |patch| apply(object, &patch)));
        let changed = applied.unwrap_or_else(|error| {
            line.treatment = Treatment::Refused;
            line.reason = format!("{error:#}");
            false
        });
        self.report.push(line);
        changed
    }

    fn pod(&self, object: &Value, line: &mut Line) -> anyhow::Result<Option<Vec<u8>>> {
        let pod = Pod::deserialize(object)?;
        let asked = self.asked(pod.metadata.as_ref(), None);
        Ok(self.template(&pod, asked, &[], line))
    }

    fn workload(
        &self,
        object: &Value,
        kind: WorkloadKind,
        line: &mut Line,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let workload = Workload::deserialize(object)?;
        let Some(template) = workload.template() else {
            line.reason = Reason::NoTemplate.to_string();
            return Ok(None);
        };
        let metadata = workload.metadata.as_ref();
        let asked = self.asked(metadata, metadata.and_then(|metadata| metadata.label()));
        let patch = self.template(template, asked, kind.template_path(), line);
        line.warnings.extend(workload::misplaced_annotation(&workload));
        Ok(patch)
    }

    fn asked<'a>(
        &'a self,
        metadata: Option<&'a Metadata<'a>>,
        workload_label: Option<&'a str>,
    ) -> Asked<'a> {
        let own = metadata.and_then(|metadata| metadata.namespace.as_deref());
        Asked {
            namespace: own.filter(|own| !own.is_empty()).or(self.namespace.as_deref()),
            workload_label,
            inherited: self.inherited,
        }
    }

    /// Decides about a pod, or a pod template at `at`, and renders what is to be changed.
    fn template(
        &self,
        pod: &Pod<'_>,
        asked: Asked<'_>,
        at: &[&str],
        line: &mut Line,
    ) -> Option<Vec<u8>> {
        let verdict = pod::decide(pod, asked, &self.policy);
        line.warnings = verdict.warnings;
        match verdict.decision {
            PodDecision::Inject(plan) => {
                line.treatment = Treatment::Injected;
                line.reason = plan.mode.as_str().into();
                Some(patch::inject(&plan, pod, at))
            }
            PodDecision::Skip(reason) => {
                line.reason = reason.to_string();
                if !reason.is_unmet_wish() {
                    return None;
                }
                line.treatment = Treatment::Noted;
                patch::note_status(&reason, pod, at)
            }
            PodDecision::Deny(reason) => {
                line.treatment = Treatment::Refused;
                line.reason = format!("its label {} asks for a sidecar, but {reason}", keys::LABEL);
                None
            }
        }
    }
}

/// A member that is a text; the empty one where there is none.
fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn apply(object: &mut Value, patch: &[u8]) -> anyhow::Result<bool> {
    let patch: json_patch::Patch = serde_json::from_slice(patch).context("the patch")?;
    json_patch::patch(object, &patch).context("the patch does not fit the object")?;
    Ok(true)
}
