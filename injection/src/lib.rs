//! Who gets the handshake sidecar, and what it looks like in a pod: no I/O, no clock, no async.
//!
//! ```text
//! Pod, Workload ─▶ decide ─▶ sidecar ─▶ patch ─▶ Decision
//!  fields that      rules     k8s-       JSON      outcome, patch, warnings
//!  are read                   openapi    Patch
//! ```
//!
//! `selection` tells before that whom the API server asks about at all, as the shipped configuration has it.
//! Objects come in by serde, whatever carries them: an AdmissionReview, or a manifest.

mod bounded;
mod decide;
mod decision;
mod folded;
pub mod keys;
mod patch;
mod pod;
mod policy;
mod printable;
mod quantity;
mod selection;
mod setting;
mod sidecar;

pub use bounded::{MOST_ENTRIES, TOO_MANY_ENTRIES};
pub use decide::pod::{Context, asks, says_yes};
pub use decide::reason::{Place, Reason};
pub use decide::unknown::misplaced_keys;
pub use decide::workload::{Change, WorkloadKind, misplaced_annotation};
pub use decision::{Decision, Outcome, decide_pod, decide_workload};
pub use pod::{Metadata, Pod, Workload};
pub use policy::{Policy, PullPolicy, SamePort};
pub use printable::printable;
pub use quantity::Quantity;
pub use selection::{
    Entry, InNamespace, LISTED_AS_NO, NAMESPACES_LEFT_OUT, entry_for_pod, entry_for_workload,
};
pub use sidecar::{HALF_VOLUME, Mode, NAME as SIDECAR, NO_TOKEN_VOLUME, is_sidecars_argument};
