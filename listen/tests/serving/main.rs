//! Real sockets: what clients get, what attackers can't take from them, and how it all ends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is how a test fails, in what the tests share as well"
)]

mod attack;
mod attacks;
mod client;
mod honest;
mod requests;
mod server;
mod shutdown;
