use std::fmt;

use json_patch::Patch;

use crate::decide::pod::{self, Context};
use crate::decide::reason::{Place, Reason};
use crate::decide::unknown;
use crate::decide::workload::{self, Change, LabelCopy};
use crate::keys;
use crate::patch;
use crate::pod::{Pod, Workload};
use crate::policy::Policy;
use crate::sidecar::Mode;

/// What is done with an object.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What is done, and why.
    pub outcome: Outcome,
    /// What changes in the object; empty if nothing does.
    pub patch: Patch,
    /// What the object's author should know.
    pub warnings: Vec<String>,
}

/// What is done with an object, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pod gets the sidecar.
    Injected(Mode),
    /// The label of the workload's pod template becomes that of the workload.
    LabelCopied,
    /// The workload's label is gone, and the copy on its pod template goes too.
    LabelRemoved,
    /// Let through without a sidecar or a copy.
    Skipped(Reason),
    /// Refused.
    Denied(Reason),
}

impl Outcome {
    /// A short name, fit for a metric's label: `injected`, `label-copied`, `skipped`, `denied`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Injected(_) => "injected",
            Self::LabelCopied | Self::LabelRemoved => "label-copied",
            Self::Skipped(_) => "skipped",
            Self::Denied(_) => "denied",
        }
    }

    /// Why or how, out of a fixed list as well: `classic`, `set`, `host-network`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Injected(mode) => mode.as_str(),
            Self::LabelCopied => "set",
            Self::LabelRemoved => "removed",
            Self::Skipped(reason) | Self::Denied(reason) => reason.as_str(),
        }
    }
}

impl fmt::Display for Outcome {
    /// What people read: the reason in a sentence, or how it was done in a word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(reason) => reason.fmt(f),
            Self::Denied(reason) => {
                write!(f, "its label {} asks for a sidecar, but {reason}", keys::LABEL)
            }
            _ => f.write_str(self.reason()),
        }
    }
}

impl Decision {
    /// Lets an object through as it is, without a warning.
    #[must_use]
    pub fn skip(reason: Reason) -> Self {
        Self { outcome: Outcome::Skipped(reason), patch: Patch::default(), warnings: Vec::new() }
    }
}

/// Decides about a pod, or about a pod template as if it were one; `path` is where in the object that
/// is to be patched the template stands, and empty for a pod.
#[must_use]
pub fn decide_pod(pod: &Pod, context: Context<'_>, policy: &Policy, path: &[&str]) -> Decision {
    let asks_itself = pod.label().or(context.workload_label).is_some();
    let mut warnings = unknown::warnings(pod.metadata.as_ref(), Place::Pod);
    warnings.extend(unknown::warnings(context.namespace_metadata, Place::Namespace));
    match pod::decide(pod, context, policy) {
        Ok(sidecar) => Decision {
            outcome: Outcome::Injected(sidecar.mode),
            patch: patch::inject(&sidecar, pod, path),
            warnings,
        },
        Err(reason) if !reason.is_obstacle() => Decision::skip(reason),
        Err(reason) if asks_itself => {
            Decision { outcome: Outcome::Denied(reason), patch: Patch::default(), warnings }
        }
        Err(reason) => {
            warnings.push(format!("this pod gets no sidecar: {reason}"));
            let note = patch::note_status(&reason, pod, path);
            Decision { outcome: Outcome::Skipped(reason), patch: note, warnings }
        }
    }
}

/// Decides whether a workload's label is to be copied to its pod template.
#[must_use]
pub fn decide_workload(workload: &Workload, change: Change<'_>, policy: &Policy) -> Decision {
    match workload::decide(workload, change, policy) {
        Ok(copy) => Decision {
            outcome: match copy {
                LabelCopy::Set(_) => Outcome::LabelCopied,
                LabelCopy::Remove => Outcome::LabelRemoved,
            },
            patch: patch::copy_label(copy, workload, change.kind.template_path()),
            warnings: workload::warnings(workload, copy, change.namespace, policy),
        },
        Err(reason) => Decision::skip(reason),
    }
}
