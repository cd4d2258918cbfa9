//! The sidecar beside a Legacy, over real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is how a test fails")]

mod arrival;
mod faults;
mod flood;
mod half;
mod held;
mod idle;
mod lines;
mod odd;
mod own_port;
mod pod;
mod process;
mod requests;
