//! Archives into the nodes of a cluster, without a registry.

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::command::{command, show};

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Target {
    /// A kind cluster's nodes.
    Kind,
    /// A k3d cluster's nodes.
    K3d,
    /// A minikube profile's nodes.
    Minikube,
    /// This machine's containerd, where the kubelet looks (namespace `k8s.io`).
    Containerd,
}

/// Loads the image in `archive` into `target`. `name` is the cluster's name, the profile's, or the
/// address of containerd's socket; the tool's own default if none.
pub fn load(target: Target, name: Option<&str>, archive: &Path) -> Result<()> {
    let archive = archive.to_str().context("the archive's path isn't UTF-8")?;
    let mut tool = match target {
        Target::Kind => command("kind", ["load", "image-archive", archive]),
        Target::K3d => command("k3d", ["image", "import", archive]),
        Target::Minikube => command("minikube", ["image", "load", archive]),
        Target::Containerd => command("ctr", ["--namespace=k8s.io"]),
    };
    if let Some(name) = name {
        let flag = match target {
            Target::Kind => "--name",
            Target::K3d => "--cluster",
            Target::Minikube => "--profile",
            Target::Containerd => "--address",
        };
        tool.arg(format!("{flag}={name}"));
    }
    if target == Target::Containerd {
        // ctr takes its address before the subcommand only.
        tool.args(["images", "import", archive]);
    }
    show(&mut tool).with_context(|| format!("loading {archive} into {target:?}"))
}
