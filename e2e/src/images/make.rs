//! One image, with an engine or without.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lab::cargo::{Build as CargoBuild, Linkage};
use lab::image::{Architecture, Build, Engine, Image, write};
use lab::progress::say;

use crate::product::Product;
use crate::workspace;

/// Builds `product` as a static binary for `architecture` and gives its path: the same bytes that its
/// Dockerfile gives.
pub(crate) async fn compile(product: Product, architecture: Architecture) -> Result<PathBuf> {
    let build = CargoBuild {
        workspace: workspace(),
        packages: &[product.package],
        programs: &[product.package],
        profile: product.profile,
        linkage: Linkage::Static(architecture.target()),
    };
    build.run(say).await?.remove(product.package).context("cargo built nothing")
}

/// Compiles `product` for `architecture` and writes its image, named `name`, as one tar file at
/// `to`: no engine, no daemon, no root.
///
/// The file is both an OCI layout and a Docker archive, so `ctr images import`, `docker load`,
/// `podman load`, `kind load image-archive` and `k3d image import` all take it.
pub(crate) async fn make(
    product: Product,
    architecture: Architecture,
    name: &str,
    to: &Path,
) -> Result<Image> {
    let binary = compile(product, architecture).await?;
    let content = std::fs::read(&binary)
        .with_context(|| format!("reading the binary {}", binary.display()))?;
    write(&product.spec(architecture, name, content)?, to)
}

/// Builds `product` from its Dockerfile.
pub(super) fn build(engine: &Engine, product: Product, build: &Build<'_>) -> Result<Image> {
    engine.build(build)?;
    if build.architecture != Architecture::host() && !engine.knows_platforms() {
        // Docker's old builder takes all that it builds for the architecture of its own machine: this
        // puts the same program into an image that says what it is for.
        let program = engine.file(build.name, &format!("/{}", product.package))?;
        engine.load(&product.spec(build.architecture, build.name, program)?)?;
    }
    engine.inspect(build.name)
}
