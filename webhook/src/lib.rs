//! The mutating admission webhook that adds the handshake sidecar to pods that ask for it.
//!
//! ```text
//! kube-apiserver
//!   │ TLS
//!   ▼
//! listen ─▶ routes ─▶ review ─▶ injection      and back again
//!   ▲        HTTP      JSON      decision, patch
//!   │          └─▶ namespace    settings
//!  tls
//!   ▲ certificates: files, or the certs crate
//!
//! serve   puts these together and ends them in order; admin and metrics say how they are
//! ```

pub mod admin;
pub mod args;
pub mod cluster;
mod file;
pub mod log;
pub mod metrics;
pub mod namespace;
pub mod review;
pub mod routes;
pub mod serve;
pub mod tls;
