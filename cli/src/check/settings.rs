//! Settings that nobody reads or that can't be used, and labels that a rollback left behind.

use injection::{
    Context, Metadata, Outcome, Place, Pod, Policy, Workload, WorkloadKind, decide_pod, keys,
    misplaced_annotation, misplaced_keys, printable, says_yes,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::finding::{Check, Finding, Named};
use super::labels::is_doubtful;
use super::namespace::{Namespaces, ours};
use crate::cluster::Unreadable;

/// The names under which `kubectl rollout undo` writes.
const UNDO: [&str; 2] = ["kubectl", "kubectl-rollout"];

/// What was found on workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Workloads {
    /// Settings that are unknown, can't be used or stand where nobody reads them.
    pub(crate) settings: Named,
    /// Copies of a label that `kubectl rollout undo` has brought back.
    pub(crate) left_behind: Named,
    /// Labels whose value nobody meant.
    pub(crate) doubtful: Named,
}

impl Workloads {
    /// Looks at a workload, of which only metadata and pod template are needed.
    pub(crate) fn add(
        &mut self,
        kind: WorkloadKind,
        metadata: &ObjectMeta,
        template: &PodTemplateSpec,
        namespaces: &Namespaces,
        policy: &Policy,
    ) {
        let own = ours(metadata);
        let of_template = template.metadata.as_ref();
        let has_own = of_template.is_some_and(|template| ours(template).is_some());
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        if (own.is_none() && !has_own) || policy.excludes(namespace) {
            return;
        }
        let kind = kind.as_str().to_lowercase();
        let named = |what: &str| format!("{namespace}/{kind}/{name}: {what}");
        let label_of = |metadata: &ObjectMeta| metadata.labels.as_ref()?.get(keys::LABEL).cloned();
        let (label, copy) = (label_of(metadata), of_template.and_then(label_of));
        let mut values = [&label, &copy].into_iter().flatten();
        if let Some(value) = values.find(|value| is_doubtful(value)) {
            self.doubtful.push(|| named(&format!("{:?} says yes", printable(value, 63))));
        }
        if is_left_behind(metadata, copy.as_deref()) {
            let value = printable(copy.as_deref().unwrap_or_default(), 63);
            self.left_behind
                .push(|| named(&format!("the label {}={value} of its pod template", keys::LABEL)));
        }
        for problem in
            problems(own.as_ref(), metadata, template, label.as_deref(), namespaces, policy)
        {
            self.settings.push(|| named(&problem));
        }
    }
}

fn problems(
    own: Option<&Metadata>,
    metadata: &ObjectMeta,
    template: &PodTemplateSpec,
    label: Option<&str>,
    namespaces: &Namespaces,
    policy: &Policy,
) -> Vec<String> {
    let annotations = metadata.annotations.as_ref();
    let workload = json!({"metadata": {"annotations": annotations}, "spec": {"template": {
        "metadata": template.metadata.as_ref().map(|it| json!({"annotations": it.annotations})),
    }}});
    let misplaced =
        serde_json::from_value::<Workload>(workload).ok().and_then(|it| misplaced_annotation(&it));
    let mut problems: Vec<_> = misplaced.into_iter().collect();
    problems.extend(misplaced_keys(own, Place::Workload));
    let namespace = metadata.namespace.as_deref();
    let inherited = namespace.and_then(|name| namespaces.all.get(name));
    let context = Context {
        namespace,
        workload_label: label,
        namespace_asks: inherited.and_then(|it| it.label.as_deref()).map(says_yes),
        namespace_metadata: None,
    };
    let Ok(pod) = serde_json::to_value(template).and_then(serde_json::from_value::<Pod>) else {
        return problems;
    };
    let decision = decide_pod(&pod, context, policy, &[]);
    match decision.outcome {
        Outcome::Denied(reason) => problems.push(reason.to_string()),
        Outcome::Skipped(reason) if reason.is_obstacle() => problems.push(reason.to_string()),
        _ => {}
    }
    // That it gets no sidecar is said by the reason.
    let warnings = decision.warnings.into_iter();
    problems.extend(warnings.filter(|it| !it.starts_with("this pod gets no sidecar")));
    problems
}

/// Whether the template's label is a copy of the workload's that `kubectl rollout undo` has brought back
/// without its note: it was last written by that command, and there is no note of this value.
fn is_left_behind(metadata: &ObjectMeta, on_template: Option<&str>) -> bool {
    let Some(value) = on_template else { return false };
    let annotation = |key| metadata.annotations.as_ref()?.get(key).map(String::as_str);
    if annotation(keys::LABEL_COPIED) == Some(value) {
        return false;
    }
    let path = ["f:spec", "f:template", "f:metadata", "f:labels"];
    let owns = |fields: &Value| {
        let labels = path.iter().try_fold(fields, |fields, key| fields.get(key));
        labels.is_some_and(|labels| labels.get(format!("f:{}", keys::LABEL)).is_some())
    };
    metadata.managed_fields.iter().flatten().any(|managed| {
        managed.manager.as_deref().is_some_and(|manager| UNDO.contains(&manager))
            && managed.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0))
    })
}

/// What is wrong with the settings on Namespaces.
fn on_namespaces(namespaces: &Namespaces, policy: &Policy) -> Vec<String> {
    // A pod that has nothing of its own.
    let plain = json!({"spec": {"containers": [{"name": "legacy"}]}});
    let Ok(plain) = serde_json::from_value::<Pod>(plain) else { return Vec::new() };
    let mut problems = Vec::new();
    for (name, namespace) in &namespaces.all {
        let context = Context {
            namespace: Some(name),
            workload_label: None,
            namespace_asks: Some(true),
            namespace_metadata: Some(&namespace.metadata),
        };
        let decision = decide_pod(&plain, context, policy, &[]);
        if let Outcome::Skipped(reason) = &decision.outcome
            && reason.is_obstacle()
        {
            problems.push(format!("namespace/{name}: {reason}"));
        }
        let warnings = decision.warnings.into_iter();
        let warnings = warnings.filter(|it| !it.starts_with("this pod gets no sidecar"));
        problems.extend(warnings.map(|warning| format!("namespace/{name}: {warning}")));
    }
    problems
}

pub(crate) fn settings(
    namespaces: &Result<Namespaces, Unreadable>,
    workloads: &Result<Workloads, Unreadable>,
    policy: &Policy,
) -> Finding {
    let check = Check::Settings;
    let none = Workloads::default();
    let (namespaces, workloads) = match (namespaces, workloads) {
        (Ok(namespaces), Ok(workloads)) => (namespaces, workloads),
        // What was read is told all the same if there is something to tell.
        (Ok(namespaces), Err(error)) => {
            if on_namespaces(namespaces, policy).is_empty() {
                return Finding::unreadable(check, error);
            }
            (namespaces, &none)
        }
        (Err(error), _) => return Finding::unreadable(check, error),
    };
    let mut found: Named = on_namespaces(namespaces, policy).into_iter().collect();
    for line in &workloads.settings.named {
        found.push(|| line.clone());
    }
    found.more += workloads.settings.more;
    for line in &workloads.left_behind.named {
        found.push(|| format!("{line} was brought back by `kubectl rollout undo`"));
    }
    found.more += workloads.left_behind.more;
    if found.is_empty() {
        return Finding::ok(
            check,
            "every setting is known, can be used and stands where it is read",
        );
    }
    let undone = !workloads.left_behind.is_empty();
    let finding =
        Finding::warning(check, "there are settings that have no effect or can't be used")
            .named(found)
            .means("A setting is an annotation on the pod template, else on the Namespace.");
    if undone {
        finding.remedy(
            "take the label from the template: kubectl -n NAMESPACE patch KIND NAME --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/template/metadata/labels/secret-handshake\"}]'",
        )
    } else {
        finding
            .remedy("kubectl annotate namespace NAME secret-handshake/KEY=VALUE")
            .remedy("kubectl secret-handshake explain KIND/NAME")
    }
}
