//! The demo, the tests against real parts, and the benchmarks' drivers.

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
