//! Does the secret handshake with Legacy over the pod's own localhost, then idles until Legacy restarts.
//!
//! ```text
//!  args ──▶ listen ──▶ run ◀──── event ──── legacy ◀──▶ Legacy: /  /internal/key  /internal/secret  /health
//! flags     own port   │  │                   ▲ ▲
//!                      │  └─▶ machine ─ action ┘ └── secret: the half from its file, key, their sum
//!                      │      (pure)
//!                      ├────▶ tell ──▶ log: lines to read aloud
//!                      └────▶ status: /readyz (held), /livez, /metrics
//! ```
//!
//! [`args::Args`] is parsed from the command line, [`bind`](args::Args::bind) takes the sidecar's own
//! port, and [`Bound::serve`] does the work until it is told to end.

pub mod args;
pub mod cli;
pub mod failure;
mod legacy;
mod listen;
pub mod log;
pub mod machine;
mod run;
pub mod secret;
mod status;
mod tell;

pub use listen::BindError;
pub use run::Bound;
