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

use std::time::Duration;

pub use run::{Options, run};

/// How long any one step may take on a slow machine. None takes more than a second on an idle one.
const LIMIT: Duration = Duration::from_secs(30);
