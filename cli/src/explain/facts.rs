//! What was read, before anything is concluded from it.

use std::sync::Arc;

use injection::{Entry, Metadata};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::target::Kind;
use crate::cluster::Unreadable;
use crate::manifest::Value;
use crate::webhook::Flags;

pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// `None` if a manifest names none.
    pub(super) namespace: Option<String>,
    /// The object as it stands in the cluster or in the manifest.
    pub(super) object: Value,
    pub(super) source: Source,
    /// Whom the object belongs to, the nearest first.
    pub(super) owners: Vec<Owner>,
    pub(super) around: Arc<Surroundings>,
    pub(super) running: Option<Running>,
    /// The pods of a workload or of a namespace.
    pub(super) pods: Option<Result<Vec<PodSeen>, Unreadable>>,
    /// `None` if no Secret has to do with it.
    pub(super) secret: Option<Result<KeyFound, Unreadable>>,
}

/// What all objects of a namespace have in common.
pub(super) struct Surroundings {
    pub(super) of_namespace: OfNamespace,
    pub(super) configuration: Configuration,
    pub(super) flags: Flags,
    /// Why the flags are the default ones, if they could not be read.
    pub(super) flags_assumed: Option<String>,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
    /// It is there at this time.
    Cluster(Timestamp),
    /// A manifest, which may be created somewhere.
    File,
}

/// Somebody whom a pod belongs to.
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) label: OwnersLabel,
    /// Whether its pod template has a sidecar itself, from `inject`.
    pub(super) has_sidecar: bool,
}

pub(super) enum OwnersLabel {
    Known(Option<String>),
    Unreadable(Unreadable),
}

pub(super) enum OfNamespace {
    Known(Box<NamespaceSeen>),
    Absent,
    Unreadable(Unreadable),
    /// A manifest is explained without a cluster.
    NotLookedAt,
}

pub(super) struct NamespaceSeen {
    pub(super) label: Option<String>,
    pub(super) metadata: Metadata,
    /// The whole object, for its settings.
    pub(super) object: Value,
    /// When whoever manages the label last changed something: the label is no younger.
    pub(super) labelled_at: Option<Timestamp>,
}

/// The `MutatingWebhookConfiguration`.
pub(super) enum Configuration {
    There {
        created: Option<Timestamp>,
        /// Parts of entries whose text is not the shipped one.
        differs: Vec<Difference>,
        absent: Vec<Entry>,
    },
    Absent,
    Unreadable(Unreadable),
    /// The shipped one is taken.
    NotLookedAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) entry: Entry,
    /// The field's name.
    pub(super) part: &'static str,
}

/// A pod that is there.
pub(super) struct Running {
    pub(super) pod: Pod,
    /// The end of the sidecar's log, if it can have one.
    pub(super) log: Option<Result<String, Unreadable>>,
}

impl Facts {
    /// What of these is known about a pod in the same namespace, without its owners.
    pub(super) fn of_pod(&self, pod: &Pod) -> Self {
        let object = serde_json::to_value(pod).unwrap_or_default();
        Self {
            kind: Kind::Pod,
            name: pod.metadata.name.clone().unwrap_or_default(),
            namespace: self.namespace.clone(),
            object: Value::from(&object),
            source: self.source,
            owners: Vec::new(),
            around: Arc::clone(&self.around),
            running: None,
            pods: None,
            secret: None,
        }
    }
}

/// A pod among others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PodSeen {
    pub(super) name: String,
    /// What to restart for a new one, as `deployment/NAME`; `None` if nobody makes it anew.
    pub(super) restart: Option<String>,
    /// The sidecar's image, if it has one.
    pub(super) sidecar: Option<String>,
    pub(super) ready: bool,
    /// It has ended, or is being deleted.
    pub(super) over: bool,
    /// Whether a pod like this gets a sidecar; `None` if that can't be told.
    pub(super) wants: Option<bool>,
}

/// A key in a Secret; what it holds is never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFound {
    NoSecret,
    NoKey,
    There,
}

/// Since when the label is there at the latest: the earliest of the times at which a manager that set it
/// last changed something that it manages.
pub(super) fn labelled_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    let managers = metadata.managed_fields.iter().flatten().filter(|manager| {
        let fields = manager.fields_v1.as_ref().map(|fields| &fields.0);
        let label = fields.and_then(|fields| {
            fields.get("f:metadata")?.get("f:labels")?.get("f:secret-handshake")
        });
        label.is_some()
    });
    managers.filter_map(|manager| Some(manager.time.as_ref()?.0)).min()
}
