//! The demo, the tests against real parts, and the benchmarks' drivers.

use std::path::Path;

pub mod args;
pub mod bench;
pub mod command_line;
pub mod demo;
pub mod footprint;
pub mod images;
pub mod product;
pub mod scenarios;

/// The workspace's folder.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}
