use std::fmt;

use super::keys;

/// Why an object is left as it is, or refused: the same in the admission warning, in the
/// annotation `secret-handshake/status`, in the metric and in the log.
///
/// [`Self::as_str`] is the short name for metrics and logs; it never holds a part of the object.
/// `Display` is the sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// Not a kind of object that this path of the webhook takes.
    OtherKind,
    /// A subresource, such as a pod's status.
    Subresource,
    /// An operation that changes nothing here.
    OtherOperation,
    /// The request carries no object.
    NoObject,
    /// The namespace is Kubernetes' own, the webhook's, or excluded by a flag.
    ExcludedNamespace,
    /// The nearest label says no.
    OptedOut,
    /// There is no label anywhere.
    NotAsked,
    /// The annotation `secret-handshake-done` is there.
    Done,
    /// The API's mirror of a static pod, which can't be changed.
    MirrorPod,
    /// A container of the sidecar's name is there.
    AlreadyInjected,
    /// The pod is on the host's network.
    HostNetwork,
    /// The pod is for Windows.
    Windows,
    /// The pod has no containers.
    NoContainers,
    /// An annotation's value can't be used.
    InvalidAnnotation {
        /// The annotation's key.
        name: &'static str,
        /// Its value.
        value: &'a str,
        /// What it may be.
        allowed: &'static str,
    },
    /// Legacy and the sidecar are told the same port.
    SamePort {
        /// That port.
        port: u16,
    },
    /// Another container declares the port that the sidecar is to listen on.
    PortTaken {
        /// That port.
        port: u16,
        /// That container.
        container: &'a str,
    },
    /// The pod has a volume by a name that the sidecar's own volumes have.
    VolumeTaken {
        /// That name.
        volume: &'static str,
    },
    /// A classic sidecar is asked for in a pod that is meant to end.
    ClassicInPodThatEnds,
    /// The workload is on its way out.
    BeingDeleted,
    /// A Job's pod template can't be changed once it is there.
    JobUpdate,
    /// The workload has no pod template.
    NoTemplate,
    /// The template's label is what it should be, or its author's own.
    NoCopyNeeded,
}

impl Reason<'_> {
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
            Self::HostNetwork => "host-network",
            Self::Windows => "windows",
            Self::NoContainers => "no-containers",
            Self::InvalidAnnotation { .. } => "invalid-annotation",
            Self::SamePort { .. } => "same-port",
            Self::PortTaken { .. } => "port-taken",
            Self::VolumeTaken { .. } => "volume-taken",
            Self::ClassicInPodThatEnds => "classic-in-pod-that-ends",
            Self::BeingDeleted => "being-deleted",
            Self::JobUpdate => "job-update",
            Self::NoTemplate => "no-template",
            Self::NoCopyNeeded => "no-copy-needed",
        }
    }

    /// Whether somebody wanted a sidecar and can't have it, so that it must be told: a refusal if
    /// the pod's own label asked, a warning and the status annotation otherwise.
    #[must_use]
    pub const fn is_unmet_wish(&self) -> bool {
        matches!(
            self,
            Self::HostNetwork
                | Self::Windows
                | Self::NoContainers
                | Self::InvalidAnnotation { .. }
                | Self::SamePort { .. }
                | Self::PortTaken { .. }
                | Self::VolumeTaken { .. }
                | Self::ClassicInPodThatEnds
        )
    }
}

/// At most this much of a text that somebody else wrote: kubectl may cut a warning after 256
/// characters.
fn excerpt(text: &str) -> &str {
    text.char_indices().nth(48).map_or(text, |(end, _)| &text[..end])
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKind => f.write_str("not a kind of object that is changed here"),
            Self::Subresource => f.write_str("subresources are never changed"),
            Self::OtherOperation => f.write_str("an operation that nothing is changed for"),
            Self::NoObject => f.write_str("the request carries no object"),
            Self::ExcludedNamespace => f.write_str("the namespace is excluded"),
            Self::OptedOut => write!(f, "the label {} says no", keys::LABEL),
            Self::NotAsked => write!(f, "no label {}", keys::LABEL),
            Self::Done => write!(f, "the annotation {} is set", keys::DONE),
            Self::MirrorPod => f.write_str("a mirror of a static pod can't be changed"),
            Self::AlreadyInjected => {
                write!(f, "there is a container {} already", super::SIDECAR)
            }
            Self::HostNetwork => f.write_str(
                "hostNetwork is true: localhost is the node's own, and the sidecar's port would be open on the node",
            ),
            Self::Windows => f.write_str("the pod is for Windows, the sidecar for Linux"),
            Self::NoContainers => f.write_str("the pod has no containers"),
            Self::InvalidAnnotation { name, value, allowed } => {
                write!(f, "the annotation {name} is {:?}: expected {allowed}", excerpt(value))
            }
            Self::SamePort { port } => {
                write!(f, "the annotations {} and {} both mean port {port}", keys::PORT, keys::HEALTH_PORT)
            }
            Self::PortTaken { port, container } => write!(
                f,
                "the container {} declares the sidecar's port {port}: the annotation {} chooses another",
                excerpt(container),
                keys::HEALTH_PORT,
            ),
            Self::VolumeTaken { volume } => {
                write!(f, "the pod has a volume {volume} of its own: the sidecar needs that name")
            }
            Self::ClassicInPodThatEnds => write!(
                f,
                "the annotation {} is \"classic\", and the restartPolicy says that the pod ends: a classic sidecar would keep it running; \"auto\" or \"native\" lets it end",
                keys::MODE,
            ),
            Self::BeingDeleted => f.write_str("it is being deleted"),
            Self::JobUpdate => f.write_str("a Job's pod template can't be changed"),
            Self::NoTemplate => f.write_str("it has no pod template"),
            Self::NoCopyNeeded => f.write_str("the pod template's label stands as it should"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read_fits_into_a_warning() {
        let long = "ж".repeat(5000);
        for reason in [
            Reason::InvalidAnnotation { name: keys::SECRET_NAME, value: &long, allowed: "x" },
            Reason::PortTaken { port: 65535, container: &long },
            Reason::HostNetwork,
        ] {
            assert!(reason.to_string().chars().count() < 200, "{reason}");
        }
    }

    #[test]
    fn a_value_with_control_characters_is_printed_harmlessly() {
        let reason =
            Reason::InvalidAnnotation { name: keys::PORT, value: "1\n\u{1b}[31m", allowed: "x" };
        assert!(!reason.to_string().contains(char::is_control), "{reason}");
    }
}
