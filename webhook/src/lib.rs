//! The mutating admission webhook that adds the handshake sidecar to pods that ask for it.
//!
//! ```text
//! kube-apiserver
//!   │ TLS
//!   ▼
//! listen ─▶ http ─▶ review ─▶ decision ─▶ patch      and back again
//!   ▲        bytes    JSON      plan        JSON Patch
//!  tls
//!   ▲ certificates: files, or the certs crate
//!
//! serve   puts these together and ends them in order; admin and metrics tell how they are
//! inject  offline: manifests ─▶ decision ─▶ patch ─▶ manifests
//! ```

pub mod admin;
pub mod args;
pub mod cert;
pub mod cluster;
pub mod decision;
pub mod http;
pub mod inject;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod patch;
pub mod review;
pub mod serve;
pub mod tls;
