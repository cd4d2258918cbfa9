//! The promises of secret-handshake, shown on real parts.
//!
//! ```text
//!   cargo demo ────── demo ──────▶ the main job with no cluster: webhook, sidecar and Legacy as processes
//!   cargo e2e ─────── scenarios ─▶ one file a topic, each scenario a promise, on a real Kubernetes
//!        └─ bench ─── bench ─────▶ what a start, an admission, ten thousand pods cost
//!   cargo images ──── images ────▶ the images built, run as hardened containers, loaded into a cluster
//!   cargo footprint ─ footprint ─▶ size, memory, CPU and speed of the sidecar
//!                        │
//!                     product: names, manifests, images, the webhook as pods or as processes
//!                        │
//!                     lab: clusters, nodes, images, containers; it knows nothing of the product
//! ```
//!
//! Who wants to know what is promised reads `scenarios`, or `cargo e2e -- --list`.

pub mod args;
mod bench;
mod command;
pub mod command_line;
pub mod demo;
mod folders;
pub mod footprint;
pub mod images;
pub mod product;
mod scenarios;
mod table;

pub use command::main;
pub use folders::workspace;
