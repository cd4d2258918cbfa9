//! The webhook as the API server meets it: real sockets, real TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is how a test fails, in what the tests share as well"
)]

mod admin;
mod api_server;
mod client;
mod cluster;
mod http;
mod kept;
mod limits;
mod load;
mod memory;
mod namespaces;
mod process;
mod running;
mod shutdown;
mod tls;
