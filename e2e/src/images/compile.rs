//! One static binary, as it is in its image.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use lab::cargo::{Build, Linkage};
use lab::image::Architecture;

use crate::product::Product;
use crate::workspace;

/// Builds `product` as a static binary for `architecture` and returns where it is: the same bytes that
/// its Dockerfile gives.
///
/// # Errors
///
/// When cargo fails; what it says is on stderr then. The remedy for a missing target is in the error.
pub fn compile(product: Product, architecture: Architecture) -> Result<PathBuf> {
    let build = Build {
        workspace: workspace(),
        packages: &[product.package()],
        programs: &[product.package()],
        profile: product.profile(),
        linkage: Linkage::Static(architecture.target()),
    };
    let mut programs = build.run_blocking()?;
    programs.remove(product.package()).context("cargo built nothing")
}
