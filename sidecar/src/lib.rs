//! Does the secret handshake with Legacy over the pod's own localhost, then idles until Legacy restarts.
//!
//! ```text
//!  args ──▶ cli ──▶ run ◀── event ── client ◀──▶ Legacy: /  /internal/key  /internal/secret
//! flags  signals    │ │ │              │ watch ◀──▶ Legacy: /health, at rest
//!                   │ │ └─▶ handshake ─┘ action
//!                   │ │     (pure)     └── secret: the half from its file, the key, their sum
//!                   │ └───▶ messages ──▶ log
//!                   └─────▶ status: /readyz (held), /livez, /metrics
//! ```
//!
//! [`args::Args`] is parsed from the command line, [`bind`](args::Args::bind) takes the sidecar's own
//! port, and [`Bound::serve`] does the work until it is told to end.

pub mod args;
mod backoff;
pub mod cli;
mod client;
pub mod handshake;
pub mod log;
mod messages;
mod run;
pub mod secret;
mod status;
mod watch;

pub use backoff::Backoff;
pub use client::{Answer, Cause, Check, Request, RequestError};
pub use run::{BindError, Bound};
pub use status::Probes;
