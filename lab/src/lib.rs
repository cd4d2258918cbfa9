//! What a bare machine lacks to try a Kubernetes product: a cluster from Kubernetes' own Go modules, a
//! node, images and containers with and without an engine.

#![expect(
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    reason = "errors are anyhow's, for people: each says what happened and to what"
)]

pub mod cargo;
pub mod cluster;
pub mod command;
pub mod daemon;
pub mod front;
pub mod http;
pub mod image;
pub mod load;
pub mod metrics;
pub mod network;
pub mod proc;
pub mod process;
pub mod progress;
pub mod state;
pub mod until;
