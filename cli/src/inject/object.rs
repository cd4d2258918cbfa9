use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context as _, anyhow};
use injection::{
    Context, HALF_VOLUME, Metadata, NO_TOKEN_VOLUME, Outcome, Place, Pod, Policy, Reason, Workload,
    WorkloadKind, decide_pod, keys, misplaced_annotation, misplaced_keys, printable, says_yes,
};
use serde::Deserialize;

use super::label::{self, Labels};
use super::report::{Line, Treatment};
use super::{list, previous};
use crate::manifest::{Value, patch::apply};

/// What is known beside the manifests, and what came of the objects so far.
pub(super) struct Offline {
    pub(super) policy: Policy,
    /// The namespace of objects that name none.
    pub(super) namespace: Option<String>,
    /// What objects without a label inherit, unless a Namespace among the manifests has a label.
    pub(super) inherited: Option<bool>,
    /// The metadata of the Namespaces among the manifests, or why it can't be read.
    pub(super) namespaces: HashMap<String, Result<Metadata, String>>,
    pub(super) report: Vec<Line>,
}

impl Offline {
    /// Injects an object, or the objects of a list; says whether anything changed.
    pub(super) fn treat(&mut self, document: &mut Value, place: &str) -> bool {
        if *document == Value::Null {
            return false;
        }
        let mut changed = false;
        list::for_each(document, &mut |object, api_version, kind| {
            changed |= self.treat_one(object, api_version, kind, place);
        });
        changed
    }

    fn treat_one(&mut self, object: &mut Value, version: &str, kind: &str, place: &str) -> bool {
        let mut line = Line {
            place: place.to_owned(),
            object: format!("{}/{}", printable(kind, 63), printable(name(object), 253)),
            treatment: Treatment::Unchanged,
            reason: "not a workload".to_owned(),
            warnings: Vec::new(),
        };
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let injected = match WorkloadKind::of(group, kind) {
            Some(kind) => self.inject(object, Some(kind), &mut line),
            None if group.is_empty() && kind == "Pod" => self.inject(object, None, &mut line),
            None if group.is_empty() && kind == "Namespace" => {
                line.warnings = misplaced_in(object, Place::Namespace);
                Ok(None)
            }
            None if kind.is_empty() => {
                line.object.clone_from(&line.place);
                line.reason = String::from("not a manifest: it has no kind");
                Ok(None)
            }
            None => {
                if let Some(warning) = unknown_workload(object, version, kind) {
                    line.reason = String::from("not a kind of workload that inject knows");
                    line.warnings.push(warning);
                }
                Ok(None)
            }
        };
        let injected = injected.unwrap_or_else(|error| {
            line.treatment = Treatment::Refused;
            line.reason = format!("{error:#}");
            None
        });
        self.report.push(line);
        let changed = injected.is_some();
        if let Some(injected) = injected {
            *object = injected;
        }
        changed
    }

    /// The object with the sidecar, if it gets one; without a kind of workload it is a pod.
    fn inject(
        &self,
        object: &Value,
        kind: Option<WorkloadKind>,
        line: &mut Line,
    ) -> anyhow::Result<Option<Value>> {
        let metadata = object.get("metadata");
        let own = metadata.and_then(|it| it.get("namespace")).and_then(Value::as_str);
        let namespace = own.filter(|own| !own.is_empty()).or(self.namespace.as_deref());
        let labels = label::of(object, kind)?;
        let of_namespace = namespace.and_then(|name| self.namespaces.get(name));
        let of_namespace = of_namespace.map(Result::as_ref).transpose();
        let of_namespace = of_namespace.map_err(|error| anyhow!("{error}"))?;
        let namespace_asks =
            of_namespace.and_then(Metadata::label).map(says_yes).or(self.inherited);
        let place = kind.map_or(&[][..], WorkloadKind::template_path);
        let template = place.iter().try_fold(object, |value, member| value.get(member));
        let has_sidecar = template.is_some_and(previous::is_in);
        if kind.is_some() {
            line.warnings = misplaced_in(object, Place::Workload);
        }
        if let Some(reason) = self.not_asked(&labels, namespace, namespace_asks) {
            line.reason = not_changed(&reason, has_sidecar);
            line.warnings.extend(template.into_iter().flat_map(|it| misplaced_in(it, Place::Pod)));
            return Ok(None);
        }

        // Made anew, also what an earlier injection made.
        let mut fresh = object.clone();
        let template = place.iter().try_fold(&mut fresh, |value, member| value.get_mut(member));
        let Some(template) = template else {
            line.reason = Reason::NoTemplate.to_string();
            return Ok(None);
        };
        previous::remove(template);

        let json = with_claims(&fresh).to_json();
        let (pod, workload);
        let pod = if kind.is_some() {
            workload = read::<Workload>(&json)?;
            line.warnings.extend(misplaced_annotation(&workload));
            workload.template().context("it has no pod template")?
        } else {
            pod = read::<Pod>(&json)?;
            &pod
        };
        let context = Context {
            namespace,
            workload_label: labels.workload.as_deref(),
            namespace_asks,
            namespace_metadata: of_namespace,
        };
        let decision = decide_pod(pod, context, &self.policy, place);
        line.warnings.extend(decision.warnings);
        line.reason = decision.outcome.to_string();
        line.treatment = match decision.outcome {
            Outcome::Skipped(reason) if reason.is_obstacle() => Treatment::Noted,
            Outcome::Skipped(reason) => {
                line.reason = not_changed(&reason, has_sidecar);
                Treatment::Unchanged
            }
            Outcome::Denied(_) => Treatment::Refused,
            _ => Treatment::Injected,
        };
        if decision.patch.is_empty() {
            return Ok(None);
        }
        apply(&mut fresh, &decision.patch)
            .map_err(|path| anyhow!("the patch does not fit at {path}"))?;
        if fresh == *object {
            line.treatment = Treatment::Unchanged;
            line.reason = String::from("it has the sidecar already");
            return Ok(None);
        }
        Ok(Some(fresh))
    }

    /// Why an object is not looked at any further, if so.
    fn not_asked(
        &self,
        labels: &Labels,
        namespace: Option<&str>,
        namespace_asks: Option<bool>,
    ) -> Option<Reason> {
        if namespace.is_some_and(|namespace| self.policy.excludes(namespace)) {
            return Some(Reason::ExcludedNamespace);
        }
        let label = labels.pod.as_deref().or(labels.workload.as_deref());
        match label.map(says_yes).or(namespace_asks) {
            Some(true) => None,
            Some(false) => Some(Reason::OptedOut),
            None => Some(Reason::NotAsked),
        }
    }
}

/// Warnings about metadata that nobody needs yet, and that may look like anything.
fn misplaced_in(object: &Value, place: Place) -> Vec<String> {
    let metadata = object.get("metadata").map(Value::to_json);
    let metadata = metadata.and_then(|json| read::<Metadata>(&json).ok());
    misplaced_keys(metadata.as_ref(), place)
}

/// Why an object stays as it is, and what then stays in it.
fn not_changed(reason: &Reason, has_sidecar: bool) -> String {
    if has_sidecar {
        format!("{reason}; the sidecar of an earlier injection is still in it: remove it by hand")
    } else {
        reason.to_string()
    }
}

/// The name, or what it will begin with.
pub(crate) fn name(object: &Value) -> &str {
    let metadata = |member| object.get("metadata")?.get(member)?.as_str();
    metadata("name")
        .filter(|name| !name.is_empty())
        .or(metadata("generateName"))
        .unwrap_or_default()
}

/// A warning about an object with a pod template that asks for a sidecar, of a kind that isn't known.
fn unknown_workload(object: &Value, version: &str, kind: &str) -> Option<String> {
    let template = object.get("spec")?.get("template")?;
    template.get("spec")?;
    let label = |object| label::at(object, &[]).ok().flatten();
    label(template).or(label(object)).filter(|label| says_yes(label))?;
    Some(format!(
        "inject adds no sidecar to a {} of {}; the webhook adds it to the pods, if the label {} is on the pod template",
        printable(kind, 63),
        printable(version, 253),
        keys::LABEL
    ))
}

/// A StatefulSet's claims become volumes of its pods, in the place of what has their name.
pub(crate) fn with_claims(object: &Value) -> Cow<'_, Value> {
    let claims = object.get("spec").and_then(|spec| spec.get("volumeClaimTemplates"));
    let Some(Value::List(claims)) = claims else { return Cow::Borrowed(object) };
    let taken = [HALF_VOLUME, NO_TOKEN_VOLUME]
        .into_iter()
        .filter(|volume| claims.iter().any(|claim| name(claim) == *volume));
    let volumes: Vec<Value> = taken
        .map(|volume| {
            let json =
                serde_json::json!({"name": volume, "persistentVolumeClaim": {"claimName": volume}});
            Value::from(&json)
        })
        .collect();
    if volumes.is_empty() {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    let spec = ["spec", "template", "spec"]
        .iter()
        .try_fold(&mut object, |value, member| value.get_mut(member));
    if let Some(Value::Map(spec)) = spec {
        spec.insert("volumes".to_owned(), Value::List(volumes));
    }
    Cow::Owned(object)
}

/// Reads the fields that matter; an error names the one that it is about.
pub(crate) fn read<'v, T: Deserialize<'v>>(json: &'v serde_json::Value) -> anyhow::Result<T> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = printable(&error.path().to_string(), 253);
        // It quotes the value that it doesn't expect, of whatever length.
        let error: String = error.into_inner().to_string().chars().take(253).collect();
        // A number or a boolean, which stands between backticks, where YAML needs quotes.
        let is_unquoted = error.ends_with("`, expected a string");
        let hint = if is_unquoted { ": write it in quotes" } else { "" };
        anyhow!("{path}: {error}{hint}")
    })
}
