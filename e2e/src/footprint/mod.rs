//! What the product costs, measured on this machine.
//!
//! ```text
//!   sizes ──┐   binaries, static and stripped
//!   idle ───┤   memory, threads, CPU: at rest, probed, waiting for an absent Legacy
//!   starts ─┴─▶ table ─▶ stdout, goals beside what was measured
//!               exec to first look, listen to handshake, handshake to /readyz
//! ```
//!
//! Legacy is the mock as a library in this process, so its moments and the sidecar's are read from one
//! clock. The sidecar is the very program that pods get.

mod idle;
mod run;
mod sidecar;
mod sizes;
mod starts;
mod table;

pub use run::{Options, run};
