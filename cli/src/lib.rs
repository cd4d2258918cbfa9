//! `kubectl secret-handshake`: what the webhook does in a cluster, for people.
//!
//! ```text
//! args ─▶ inject    manifests ─▶ decision ─▶ patch ─▶ manifests
//!     ├─▶ explain   an object ─▶ who decides what about it, and what is there now
//!     ├─▶ check     the cluster ─▶ findings, each with a remedy
//!     └─▶ upgrade   pods with an older sidecar ─▶ the new image, one pod at a time
//!            └─ webhook, sidecar: what of the product is there ─ cluster: the API server, with the user's rights
//! ```

pub mod args;
pub mod check;
pub mod cluster;
pub mod completion;
pub mod explain;
pub mod inject;
mod manifest;
mod pod;
pub mod sidecar;
pub mod upgrade;
mod visible;
pub mod webhook;
