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
    let (tool, before, flag, after): (_, &[&str], _, &[&str]) = match target {
        Target::Kind => ("kind", &["load", "image-archive"], "--name", &[]),
        Target::K3d => ("k3d", &["image", "import"], "--cluster", &[]),
        Target::Minikube => ("minikube", &["image", "load"], "--profile", &[]),
        // ctr takes its address before the subcommand only.
        Target::Containerd => ("ctr", &["--namespace=k8s.io"], "--address", &["images", "import"]),
    };
    let mut tool = command(tool, before);
    tool.args(name.map(|name| format!("{flag}={name}"))).args(after).arg(archive);
    show(&mut tool).with_context(|| format!("loading {} into {target:?}", archive.display()))
}
