use std::fmt;

use thiserror::Error;

use crate::keys;

/// Where a label or a setting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Place {
    Pod,
    Workload,
    Namespace,
    Flag,
}

impl Place {
    /// A setting as it is called there.
    fn setting(self, key: &str) -> String {
        match self {
            Self::Flag => {
                format!("the flag --sidecar-{}", key.strip_prefix(keys::PREFIX).unwrap_or(key))
            }
            _ => format!("the {self}'s annotation {key}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Workload => "workload",
            Self::Namespace => "namespace",
            Self::Flag => "flag",
        })
    }
}

/// Why an object is left as it is, or refused: the same in the admission warning, in the annotation
/// `secret-handshake/status`, in the metric and in the log.
///
/// [`Self::as_str`] is the short name for metrics and logs; it never holds a part of the object.
/// `Display` is the sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the sentences say it")]
pub enum Reason {
    #[error("not a kind of object that is changed here")]
    OtherKind,
    #[error("subresources are never changed")]
    Subresource,
    #[error("an operation that nothing is changed for")]
    OtherOperation,
    #[error("the request carries no object")]
    NoObject,
    #[error("the namespace is excluded")]
    ExcludedNamespace,
    #[error("the label secret-handshake says no")]
    OptedOut,
    #[error("no label secret-handshake")]
    NotAsked,
    #[error("the annotation secret-handshake-done is set")]
    Done,
    #[error("a mirror of a static pod can't be changed")]
    MirrorPod,
    #[error("there is a container secret-handshake already")]
    AlreadyInjected,
    #[error("the pod has a container secret-handshake of its own: the sidecar needs that name")]
    ContainerTaken,
    #[error(
        "hostNetwork is true: localhost is the node's own, and the sidecar's port would be open on the node"
    )]
    HostNetwork,
    #[error("the pod is for Windows, the sidecar for Linux")]
    Windows,
    #[error("the pod has no containers")]
    NoContainers,
    #[error("the {place}'s annotation {name} is {value:?}: expected {allowed}")]
    InvalidAnnotation { place: Place, name: &'static str, value: String, allowed: &'static str },
    #[error(
        "the {place}'s annotations {} and {} both say where the half comes from: one has to go",
        names[0], names[1]
    )]
    AmbiguousHalf { place: Place, names: [&'static str; 2] },
    #[error(
        "{} and {} are both {port}: Legacy and the sidecar can't share a port",
        legacy.setting(keys::PORT), sidecar.setting(keys::HEALTH_PORT)
    )]
    SamePort { port: u16, legacy: Place, sidecar: Place },
    #[error(
        "the container {container} declares the sidecar's port {port}: the annotation secret-handshake/health-port chooses another"
    )]
    PortTaken { port: u16, container: String },
    #[error("the pod has a volume {volume} of its own: the sidecar needs that name")]
    VolumeTaken { volume: &'static str },
    #[error(
        "{} is \"classic\", and the restartPolicy says that the pod ends: a classic sidecar would keep it running; \"auto\" or \"native\" lets it end",
        place.setting(keys::MODE)
    )]
    ClassicInPodThatEnds { place: Place },
    #[error("it is being deleted")]
    BeingDeleted,
    #[error("a Job's pod template can't be changed")]
    JobUpdate,
    #[error("it has no pod template")]
    NoTemplate,
    #[error("the pod template's label is as it should be")]
    NoCopyNeeded,
}

impl Reason {
    /// The short name: a fixed text of lower-case words and hyphens, fit for a metric's label.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::OtherKind => "other-kind",
            Self::Subresource => "subresource",
            Self::OtherOperation => "other-operation",
            Self::NoObject => "no-object",
            Self::ExcludedNamespace => "excluded-namespace",
            Self::OptedOut => "opted-out",
            Self::NotAsked => "not-asked",
            Self::Done => "done",
            Self::MirrorPod => "mirror-pod",
            Self::AlreadyInjected => "already-injected",
            Self::ContainerTaken => "container-taken",
            Self::HostNetwork => "host-network",
            Self::Windows => "windows",
            Self::NoContainers => "no-containers",
            Self::InvalidAnnotation { .. } => "invalid-annotation",
            Self::AmbiguousHalf { .. } => "ambiguous-half",
            Self::SamePort { .. } => "same-port",
            Self::PortTaken { .. } => "port-taken",
            Self::VolumeTaken { .. } => "volume-taken",
            Self::ClassicInPodThatEnds { .. } => "classic-in-pod-that-ends",
            Self::BeingDeleted => "being-deleted",
            Self::JobUpdate => "job-update",
            Self::NoTemplate => "no-template",
            Self::NoCopyNeeded => "no-copy-needed",
        }
    }

    /// Whether a sidecar was asked for and is impossible, which people must be told: the pod is refused
    /// if its own label asked, and has a warning and the status annotation otherwise.
    #[must_use]
    pub const fn is_obstacle(&self) -> bool {
        matches!(
            self,
            Self::HostNetwork
                | Self::Windows
                | Self::NoContainers
                | Self::InvalidAnnotation { .. }
                | Self::AmbiguousHalf { .. }
                | Self::SamePort { .. }
                | Self::PortTaken { .. }
                | Self::ContainerTaken
                | Self::VolumeTaken { .. }
                | Self::ClassicInPodThatEnds { .. }
        )
    }

    /// Whether an annotation of the pod's Namespace can take it away.
    pub(crate) const fn is_about_settings(&self) -> bool {
        matches!(
            self,
            Self::SamePort { .. }
                | Self::PortTaken { .. }
                | Self::VolumeTaken { .. }
                | Self::ClassicInPodThatEnds { .. }
        )
    }
}
