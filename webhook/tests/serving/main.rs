//! The webhook as the API server meets it: real sockets, real TLS.

mod admin;
mod client;
mod cluster;
mod http;
mod limits;
mod process;
mod running;
mod shutdown;
mod tls;
