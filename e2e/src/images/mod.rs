//! The product's images: how they are made, and what they are tried with.
//!
//! ```text
//!              ┌─▶ compile ─▶ make ─┐      no engine: a static binary and one tar, no root
//!     Product ─┤                    ├─▶ lab::image::load ─▶ kind, k3d, minikube, containerd
//!              └─▶ build ───────────┘      docker, podman, nerdctl, buildah: the Dockerfiles
//! ```
//!
//! Both ways end in the same image: one static binary in an otherwise empty file system, a numeric
//! user, an entry point and labels. [`story`] runs the images as containers and looks whether they are
//! what they should be; [`throttle`] measures how little CPU the sidecar can do with.

mod compile;
pub mod story;
pub mod throttle;

use std::path::Path;

use anyhow::{Context as _, Result};
use lab::image::{Architecture, Build, Engine, Image, write};

use crate::product::Product;
pub use compile::compile;

/// Compiles `product` for `architecture` and writes its image, named `name`, as one tar file at
/// `to`: no engine, no daemon, no root.
///
/// The file is both an OCI layout and a Docker archive, so `ctr images import`, `docker load`,
/// `podman load`, `kind load image-archive` and `k3d image import` all take it.
///
/// # Errors
///
/// When the program can't be built (its own output is on stderr then) or the file not be written.
pub fn make(product: Product, architecture: Architecture, name: &str, to: &Path) -> Result<Image> {
    let binary = compile(product, architecture)?;
    let content = std::fs::read(&binary)
        .with_context(|| format!("reading the binary {}", binary.display()))?;
    write(&product.spec(architecture, name, content)?, to)
}

/// Builds `product` from its Dockerfile.
///
/// # Errors
///
/// When the engine can't be run or the build fails.
pub fn build(engine: &Engine, product: Product, build: &Build<'_>) -> Result<Image> {
    engine.build(build)?;
    if build.architecture != Architecture::host() && !engine.knows_platforms() {
        // Docker's old builder takes all that it builds for the architecture of its own machine: this
        // puts the same program into an image that says what it is for.
        let program = engine.file(build.name, &format!("/{}", product.package()))?;
        engine.load(&product.spec(build.architecture, build.name, program)?)?;
    }
    engine.inspect(build.name)
}
