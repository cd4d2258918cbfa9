//! The programs as they are shipped, static and stripped, and how large they are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::table::{Quantity, Row};
use crate::images::compile;
use crate::product::{self, Product};
use lab::cargo::{Build, Linkage};
use lab::image::Architecture;

/// The sidecar, linked statically with one C library or another.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    /// At most so many bytes.
    pub(super) size: u64,
    /// At most so many MiB at rest.
    pub(super) memory: f64,
}

/// The sidecar as it is in its image: with musl.
pub(super) async fn musl() -> Result<Linked> {
    let program = compile(Product::SIDECAR, Architecture::host()).await?;
    Ok(Linked { name: "musl", program, size: 1_350_000, memory: 1.3 })
}

pub(super) async fn glibc(say: impl Fn(&str)) -> Result<Linked> {
    let target = if cfg!(target_arch = "aarch64") {
        "aarch64-unknown-linux-gnu"
    } else {
        "x86_64-unknown-linux-gnu"
    };
    let build = Build { linkage: Linkage::Static(target), ..product::sidecar() };
    let program = build.run(say).await?.remove("sidecar").context("cargo built no sidecar")?;
    Ok(Linked { name: "glibc", program, size: 2_150_000, memory: 1.9 })
}

pub(super) fn row(what: &str, program: &Path, goal: u64) -> Result<Row> {
    let metadata = std::fs::metadata(program);
    let metadata = metadata.with_context(|| format!("{} is gone", program.display()))?;
    Ok(Row::one(what, Quantity::Bytes(metadata.len()), Some(Quantity::Bytes(goal))))
}
