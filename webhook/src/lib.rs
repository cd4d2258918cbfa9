//! The mutating admission webhook that adds the handshake sidecar to pods that ask for it.
//!
//! ```text
//! kube-apiserver
//!   │ TLS
//!   ▼
//! listen ─▶ routes ─▶ review ─▶ decision ─▶ patch      and back again
//!   ▲        HTTP      JSON      plan        JSON Patch
//!  tls
//!   ▲ certificates: files, or the certs crate
//!
//! serve   puts these together and ends them in order; admin and metrics say how they are
//! ```

pub mod admin;
pub mod args;
pub mod cluster;
#[doc(hidden)]
#[allow(clippy::must_use_candidate, reason = "on its way into a crate of its own")]
pub mod decision;
mod file;
pub mod log;
pub mod metrics;
#[doc(hidden)]
#[allow(clippy::must_use_candidate, reason = "on its way into a crate of its own")]
pub mod patch;
pub mod review;
pub mod routes;
pub mod serve;
pub mod tls;
