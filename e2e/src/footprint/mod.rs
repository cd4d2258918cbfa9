//! What the product costs, measured on this machine.
//!
//! ```text
//!   idle ───┐     memory, threads, CPU: at rest, probed, waiting for an absent Legacy
//!   starts ─┴─▶ run ─▶ table ─▶ stdout: with the programs' sizes, goals beside what was measured
//!                 exec to first look, listen to handshake, handshake to /readyz
//! ```
//!
//! Legacy is the mock as a library in this process, so its moments and the sidecar's are read from one
//! clock. The sidecar is the very program that pods get.

mod idle;
mod run;
mod sidecar;
mod starts;
mod table;

pub use run::{Options, run};
pub(crate) use sidecar::handshake;
