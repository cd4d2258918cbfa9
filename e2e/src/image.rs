//! The product's images: which there are, how they are made, and how they get into a cluster.
//!
//! ```text
//!              ┌─▶ compile ─▶ archive ─┐      no engine: a static binary and one tar, no root
//!     product ─┤                       ├─▶ load ─▶ kind, k3d, minikube, containerd
//!              └─▶ engine ─────────────┘      docker, podman, nerdctl, buildah: the Dockerfiles
//! ```
//!
//! Both ways end in the same image: one static binary in an otherwise empty file system, a numeric
//! user, an entry point and labels. [`story`] runs the images as containers and looks whether they are
//! what they should be; [`throttle`] measures how little CPU the sidecar can do with.

mod archive;
mod builder;
mod command;
mod compile;
mod container;
mod daemon;
mod engine;
mod load;
mod network;
mod product;
pub mod story;
pub mod throttle;

pub use archive::{File, Image, Spec, write};
pub use builder::builder;
pub use compile::compile;
pub use daemon::Daemon;
pub use engine::{Build, Engine, Program};
pub use load::{Target, load};
pub use product::{Architecture, Product, VERSION};

use std::path::Path;

use anyhow::{Context, Result};

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
