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

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub mod args;
mod bench;
mod command;
pub mod command_line;
pub mod demo;
pub mod footprint;
pub mod images;
pub mod product;
mod scenarios;
mod table;

pub use command::main;

/// The workspace's folder.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The folder for what is built once and kept, outside of any checkout: `$XDG_CACHE_HOME/secret-handshake`.
fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("set HOME or XDG_CACHE_HOME: what is built once is kept there")?;
    Ok(base.join("secret-handshake"))
}
