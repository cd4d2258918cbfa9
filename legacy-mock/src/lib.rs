//! Legacy as its users know it, with faults that tests can switch on.
//!
//! ```text
//!   args ─▶ serve ─▶ legacy ─▶ accept ─▶ connection ─▶ answer
//!   flags   signals  the handle  faults:   faults:       pure: status and body
//!                       │        refused,  silent, slow,
//!                       ▼        queued    reset, endless
//!                      port         │          │
//!                      claimed      └────┬─────┘
//!                      once              ▼
//!                                run ─▶ record           one start: initialised or not; counts, access
//!                                                        lines, moments
//! ```
//!
//! `config` and `faults` are what it is started with; faults can be changed at any time. The arrows go
//! one way: what stands on the left uses what stands on the right or below.
//!
//! [`Legacy`] is one application on one TCP port, which it keeps for as long as it lives: it can
//! be [stopped](Legacy::stop), [killed](Legacy::kill), [started again](Legacy::listen) or start
//! late ([`Legacy::reserve`]), and nobody else gets its port meanwhile. Every fault is real on the
//! wire: a reset is a TCP reset, a refused connection meets no listener.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use legacy_mock::{Config, Door, Faults, Legacy};
//!
//! let legacy = Legacy::start(Config::default()).await?;
//! legacy.set_faults(Faults { door: Door::Refuse, ..Faults::default() }).await;
//! // … a client of `legacy.addr()` is refused …
//! legacy.set_faults(Faults::default()).await;
//! legacy.until(|counts| counts.accepted == 1).await;
//! legacy.restart().await?; // the same port, uninitialised again
//! # Ok(())
//! # }
//! ```

mod accept;
mod answer;
pub mod args;
mod config;
mod connection;
mod faults;
mod legacy;
mod port;
mod record;
mod run;
pub mod serve;

pub use config::{AccessLog, Config, Families};
pub use faults::{AnswerFault, Door, Faults, KeyFault, What};
pub use legacy::Legacy;
pub use record::{Counts, Moments};
