//! A plan rendered as a JSON Patch (RFC 6902): the operations are written as they are decided,
//! with no copy of the object to compare.

mod operations;
mod sidecar;

use serde::Serialize;
use serde::ser::Serializer;

use self::operations::Operations;
use self::sidecar::{Container, NoTokenVolume, SecretVolume};
use crate::decision::plan::{Injection, LabelCopy};
use crate::decision::{Mode, Reason, keys};
use crate::review::borrowed::Entries;
use crate::review::object::{Metadata, Pod, Workload};

/// What the annotation `secret-handshake/status` says of a pod that got the sidecar.
pub const INJECTED: &str = "injected";

/// The patch that adds the sidecar to a pod, or to the pod template at `at`.
pub fn inject(plan: &Injection<'_>, pod: &Pod<'_>, at: &[&str]) -> Vec<u8> {
    let mut operations = Operations::new(at);
    let spec = pod.spec.as_ref();

    let (half, no_token) = (SecretVolume::new(plan), NoTokenVolume::new());
    if spec.is_some_and(|spec| spec.volumes.is_some()) {
        operations.add(&["spec", "volumes", "-"], &half);
        operations.add(&["spec", "volumes", "-"], &no_token);
    } else {
        operations.add(&["spec", "volumes"], &(half, no_token));
    }

    let container = Container::new(plan);
    match plan.mode {
        Mode::Classic => operations.add(&["spec", "containers", "-"], &container),
        Mode::Native if spec.is_some_and(|spec| spec.init_containers.is_some()) => {
            operations.add(&["spec", "initContainers", "-"], &container);
        }
        Mode::Native => operations.add(&["spec", "initContainers"], &[container]),
    }

    let status = (keys::STATUS, INJECTED);
    let default_container = plan.default_container.map(|name| (keys::DEFAULT_CONTAINER, name));
    let annotations = [Some(status), default_container];
    set(&mut operations, "annotations", annotations_of(pod.metadata.as_ref()), &annotations);
    operations.finish()
}

/// The patch that notes on a pod, or on the pod template at `at`, why it has no sidecar; `None` if
/// that stands there already.
pub fn note_status(reason: &Reason<'_>, pod: &Pod<'_>, at: &[&str]) -> Option<Vec<u8>> {
    let status = format!("not injected ({}): {reason}", reason.as_str());
    if pod.annotation(keys::STATUS) == Some(&status) {
        return None;
    }
    let mut operations = Operations::new(at);
    let annotations = [Some((keys::STATUS, status.as_str()))];
    set(&mut operations, "annotations", annotations_of(pod.metadata.as_ref()), &annotations);
    Some(operations.finish())
}

/// The patch that brings the label of a workload's pod template, which is at `at`, and the note of
/// it on the workload up to date.
pub fn copy_label(copy: LabelCopy<'_>, workload: &Workload<'_>, at: &[&str]) -> Vec<u8> {
    let template = workload.template().and_then(|template| template.metadata.as_ref());
    let mut operations = Operations::new(at);
    match copy {
        LabelCopy::Set(value) => {
            let labels = template.map(|metadata| &metadata.labels);
            set(&mut operations, "labels", labels, &[Some((keys::LABEL, value))]);
            operations.move_to(&[]);
            let annotations = annotations_of(workload.metadata.as_ref());
            set(&mut operations, "annotations", annotations, &[Some((keys::LABEL_COPIED, value))]);
        }
        LabelCopy::Remove => {
            operations.remove(&["metadata", "labels", keys::LABEL]);
            operations.move_to(&[]);
            operations.remove(&["metadata", "annotations", keys::LABEL_COPIED]);
        }
    }
    operations.finish()
}

fn annotations_of<'a>(metadata: Option<&'a Metadata<'a>>) -> Option<&'a Entries<'a>> {
    metadata.map(|metadata| &metadata.annotations)
}

/// Sets entries of a map in the metadata, and makes the map and the metadata itself where they are
/// missing; `there` is the map as it came, `None` without metadata.
fn set(
    operations: &mut Operations<'_>,
    map: &str,
    there: Option<&Entries<'_>>,
    entries: &[Option<(&str, &str)>],
) {
    match there {
        Some(there) if there.exists() => {
            for (key, value) in entries.iter().flatten() {
                operations.add(&["metadata", map, key], value);
            }
        }
        Some(_) => operations.add(&["metadata", map], &Map(entries)),
        None => operations.add(&["metadata"], &Nested(map, Map(entries))),
    }
}

/// Entries as a JSON object.
struct Map<'a>(&'a [Option<(&'a str, &'a str)>]);

impl Serialize for Map<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().flatten().copied())
    }
}

/// A JSON object with one member.
struct Nested<'a>(&'a str, Map<'a>);

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}
