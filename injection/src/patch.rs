//! A decision as a JSON Patch (RFC 6902): the operations are written as they are decided, with no
//! copy of the object to compare.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use serde_json::{Value, json};

use crate::decide::reason::Reason;
use crate::decide::workload::LabelCopy;
use crate::keys;
use crate::pod::{Metadata, Pod, Workload};
use crate::sidecar::{Mode, Sidecar};

/// Adds the sidecar to a pod, or to the pod template at `path`.
pub(crate) fn inject(sidecar: &Sidecar<'_>, pod: &Pod, path: &[&str]) -> Patch {
    let spec = pod.spec.as_ref();
    let missing = |name: &str| {
        spec.is_none_or(|spec| spec.volumes().iter().all(|volume| volume.name != name))
    };
    let volumes = sidecar.volumes().into_iter().filter(|volume| missing(&volume.name));
    let mut operations = append(
        path,
        "volumes",
        spec.is_some_and(|spec| spec.volumes.is_some()),
        volumes.map(|volume| json!(volume)).collect(),
    );
    let (list, exists) = match sidecar.mode {
        Mode::Classic => ("containers", true),
        Mode::Native => ("initContainers", spec.is_some_and(|spec| spec.init_containers.is_some())),
    };
    operations.extend(append(path, list, exists, vec![json!(sidecar.container())]));
    let status = (keys::STATUS, "injected");
    let default_container = sidecar.default_container.map(|name| (keys::DEFAULT_CONTAINER, name));
    let annotations: Vec<_> = std::iter::once(status).chain(default_container).collect();
    operations.extend(annotate(path, pod.metadata.as_ref(), &annotations));
    Patch(operations)
}

/// Notes on a pod, or on the pod template at `path`, why it has no sidecar; an empty patch if that
/// stands there already.
pub(crate) fn note_status(reason: &Reason, pod: &Pod, path: &[&str]) -> Patch {
    let status = format!("not injected ({}): {reason}", reason.as_str());
    if pod.annotation(keys::STATUS) == Some(&status) {
        return Patch::default();
    }
    Patch(annotate(path, pod.metadata.as_ref(), &[(keys::STATUS, &status)]))
}

/// Brings the label of a workload's pod template, which is at `path`, and the note of it on the
/// workload up to date.
pub(crate) fn copy_label(copy: LabelCopy<'_>, workload: &Workload, path: &[&str]) -> Patch {
    let template = workload.template().and_then(|template| template.metadata.as_ref());
    Patch(match copy {
        LabelCopy::Set(value) => {
            let labels = template.map(|metadata| metadata.labels.is_some());
            let mut operations = set(path, "labels", labels, &[(keys::LABEL, value)]);
            let note = [(keys::LABEL_COPIED, value)];
            operations.extend(annotate(&[], workload.metadata.as_ref(), &note));
            operations
        }
        LabelCopy::Remove => vec![
            remove(path, &["metadata", "labels", keys::LABEL]),
            remove(&[], &["metadata", "annotations", keys::LABEL_COPIED]),
        ],
    })
}

/// Appends to a list of the pod's spec, which `exists` or has to be made.
fn append(path: &[&str], list: &str, exists: bool, values: Vec<Value>) -> Vec<PatchOperation> {
    if exists {
        // `-` is the place after the last.
        values.into_iter().map(|value| add(path, &["spec", list, "-"], value)).collect()
    } else {
        vec![add(path, &["spec", list], Value::Array(values))]
    }
}

fn annotate(
    path: &[&str],
    metadata: Option<&Metadata>,
    entries: &[(&str, &str)],
) -> Vec<PatchOperation> {
    let annotations = metadata.map(|metadata| metadata.annotations.is_some());
    set(path, "annotations", annotations, entries)
}

/// Sets entries of a map in the metadata, and makes the map and the metadata itself where they are
/// missing; `exists` says whether the map does, and is `None` without metadata.
fn set(
    path: &[&str],
    map: &str,
    exists: Option<bool>,
    entries: &[(&str, &str)],
) -> Vec<PatchOperation> {
    let all = || {
        Value::Object(entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect())
    };
    match exists {
        Some(true) => entries
            .iter()
            .map(|(key, value)| add(path, &["metadata", map, key], (*value).into()))
            .collect(),
        Some(false) => vec![add(path, &["metadata", map], all())],
        None => vec![add(path, &["metadata"], json!({ map: all() }))],
    }
}

fn add(path: &[&str], member: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: pointer(path, member), value })
}

fn remove(path: &[&str], member: &[&str]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: pointer(path, member) })
}

fn pointer(path: &[&str], member: &[&str]) -> PointerBuf {
    PointerBuf::from_tokens(path.iter().chain(member).copied())
}
