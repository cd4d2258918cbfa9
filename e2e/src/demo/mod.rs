//! The main job with no cluster, on real parts.
//!
//! ```text
//!   deploy/demo ─▶ manifests ─▶ replica_set ─▶ pod ─┐
//!   deploy/webhook ─▶ selection ─▶ which entry ─────┴▶ api_server ══ TLS ══▶ webhook
//!                                                          │ JSON Patch
//!                                        its difference ◀──┤
//!                                                          ▼
//!       curl ─▶ Legacy ◀── handshake ── sidecar ◀── kubelet runs the pod that came back
//!                                          ▲                  │
//!                                          └──── /readyz ─── probe
//! ```

mod api_server;
mod kubelet;
mod manifests;
mod ports;
mod probe;
mod replica_set;
mod run;
mod screen;
mod selection;

pub use run::{Options, run};
