//! The rules: from what is read of an object to the sidecar that it gets, or to the reason why not.
//!
//! ```text
//! pod ──────▶ annotations, mode, resources ─▶ Sidecar, or a reason
//! workload ─▶ LabelCopy, or a reason
//! ```

mod annotations;
mod mode;
pub(crate) mod pod;
pub(crate) mod reason;
mod resources;
pub(crate) mod unknown;
pub(crate) mod workload;
