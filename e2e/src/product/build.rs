//! The product as programs of this machine, and as the images and what is in them.

use std::path::{Path, PathBuf};
use std::slice::from_ref;

use anyhow::{Context as _, Result};
use lab::cargo::{Build, Linkage, has_target};
use lab::image::{Architecture, Image, write};
use lab::progress::say;

use super::images::Product;
use crate::folders::workspace;

pub(crate) const PLUGIN: &str = "kubectl-secret_handshake";

/// All but the sidecar, in one build with the features that this program itself was built with: cargo
/// then has most of it already. The programs are named as their packages.
pub(crate) fn programs() -> Build<'static> {
    Build {
        workspace: workspace(),
        packages: &["e2e", "legacy-mock", "webhook"],
        programs: &["legacy-mock", "webhook"],
        profile: "dev",
        linkage: Linkage::Host,
    }
}

/// `kubectl secret-handshake`: kubectl finds it by its name on the PATH.
pub(crate) fn plugin() -> Build<'static> {
    Build { packages: &["cli", "e2e"], programs: &[PLUGIN], ..programs() }
}

/// The very sidecar that pods get, so that it is built once for all commands; with this machine's own C
/// library where the target of the images is not installed.
pub(crate) fn sidecar() -> Build<'static> {
    let shipped = shipped(&Product::SIDECAR, Architecture::host());
    match shipped.linkage {
        Linkage::Static(target) if !has_target(target) => {
            Build { linkage: Linkage::Host, ..shipped }
        }
        _ => shipped,
    }
}

/// Builds `product` as a static binary for `architecture` and gives its path: the same bytes that its
/// Dockerfile gives.
pub(crate) async fn compile(product: Product, architecture: Architecture) -> Result<PathBuf> {
    let mut built = shipped(&product, architecture).run(say).await?;
    built.remove(product.package).context("cargo built nothing")
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
    let content =
        std::fs::read(&binary).with_context(|| format!("reading {}", binary.display()))?;
    write(&product.spec(architecture, name, content)?, to)
}

/// Built alone: cargo would unify its features with those that other packages ask for.
fn shipped(product: &Product, architecture: Architecture) -> Build<'_> {
    Build {
        workspace: workspace(),
        packages: from_ref(&product.package),
        programs: from_ref(&product.package),
        profile: product.profile,
        linkage: Linkage::Static(architecture.target()),
    }
}
