//! `kubectl secret-handshake`: what the webhook does in a cluster, for people who have manifests.
//!
//! ```text
//! args ─▶ inject   manifests ─▶ decision ─▶ patch ─▶ manifests
//! ```

pub mod args;
pub mod inject;
mod manifest;
