//! The image of the container that holds a pod's namespaces. None can be pulled, so it is compiled: one
//! line of Rust.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::config::PAUSE;
use crate::command::{command, read};
use crate::image::{self, Architecture, Spec};

/// Nothing, as long as it is let. containerd ends it with SIGKILL.
const SOURCE: &str = "fn main() { loop { std::thread::park(); } }\n";

pub(super) fn archive(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("pause");
    let archive = folder.join(format!("{}.tar", PAUSE.replace(['/', ':'], "-")));
    if archive.exists() {
        return Ok(archive);
    }
    fs::create_dir_all(&folder)?;
    let (source, binary) = (folder.join("pause.rs"), folder.join("pause"));
    fs::write(&source, SOURCE)?;
    let flags = ["--edition=2024", "-Copt-level=z", "-Cpanic=abort", "-Cstrip=symbols"];
    let mut rustc = command("rustc", flags);
    rustc.arg(format!("--target={}", Architecture::host().target()));
    read(rustc.arg("-o").arg(&binary).arg(&source))?;
    let spec = Spec {
        name: PAUSE.to_owned(),
        architecture: Architecture::host(),
        user: "65535:65535".to_owned(),
        path: "/pause".to_owned(),
        program: fs::read(&binary)?,
        labels: std::collections::BTreeMap::new(),
        created: 0,
    };
    let partial = folder.join("partial.tar");
    image::write(&spec, &partial)?;
    fs::rename(&partial, &archive)?;
    Ok(archive)
}
