//! A kubelet in small: containers as processes, a volume as a folder, a readiness probe.
//!
//! Each program gets exactly the arguments of its container. Only paths under a mount lead to the
//! folder that stands for the volume.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecretVolumeSource};
use tempfile::TempDir;
use tokio::process::Command;

use super::manifests::Secret;
use super::screen::{self, Who};
use crate::product::Product;
use lab::process::Process;

const SIDECAR: &str = "secret-handshake";

#[derive(Debug)]
pub(crate) struct Kubelet {
    containers: Vec<Container>,
    /// The folder of each volume that has files.
    volumes: BTreeMap<String, PathBuf>,
    programs: BTreeMap<String, PathBuf>,
    _folder: TempDir,
}

impl Kubelet {
    /// Takes the pod on: makes its volumes. `programs` are named as their packages.
    pub(crate) fn new(
        pod: &Pod,
        secret: &Secret,
        programs: BTreeMap<String, PathBuf>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("there is no room for the pod's volumes")?;
        let spec = pod.spec.clone().unwrap_or_default();
        let mut volumes = BTreeMap::new();
        for volume in spec.volumes.iter().flatten() {
            if let Some(source) = &volume.secret {
                let path = folder.path().join(&volume.name);
                mount(source, secret, &path)
                    .with_context(|| format!("volume {} can't be made", volume.name))?;
                volumes.insert(volume.name.clone(), path);
            }
        }
        let PodSpec { init_containers, containers, .. } = spec;
        let containers = init_containers.unwrap_or_default().into_iter().chain(containers);
        Ok(Self { containers: containers.collect(), volumes, programs, _folder: folder })
    }

    pub(crate) fn sidecar(&self) -> Result<&Container> {
        let sidecar = self.containers.iter().find(|container| container.name == SIDECAR);
        sidecar.with_context(|| format!("the pod has no container {SIDECAR}"))
    }

    pub(crate) fn legacy(&self) -> Result<&Container> {
        let legacy = self.containers.iter().find(|container| container.name != SIDECAR);
        legacy.context("the pod has no container of Legacy")
    }

    pub(crate) fn start(&self, container: &Container) -> Result<Process> {
        let image = container.image.as_deref().unwrap_or_default();
        let name = image.split([':', '@']).next();
        let product = Product::ALL.iter().find(|product| name == Some(product.image));
        let program = product.and_then(|product| self.programs.get(product.package));
        let program = program.with_context(|| format!("no program for the image {image:?}"))?;
        let arguments = container.args.iter().flatten();
        let mut command = Command::new(program);
        command.args(arguments.clone().map(|argument| self.inside(container, argument)));
        let words: Vec<_> = arguments.map(String::as_str).collect();
        let words = words.join(" ");
        screen::line(Who::KUBELET, format_args!("starts {} {words}", container.name));
        let who = if container.name == SIDECAR { Who::SIDECAR } else { Who::LEGACY };
        Process::start(who.name, command, Box::new(move |line| screen::line(who, line)))
    }

    fn inside(&self, container: &Container, argument: &str) -> String {
        let mut argument = argument.to_owned();
        for mount in container.volume_mounts.iter().flatten() {
            if let Some(folder) = self.volumes.get(&mount.name) {
                let folder = format!("={}/", folder.display());
                argument = argument.replace(&format!("={}/", mount.mount_path), &folder);
            }
        }
        argument
    }
}

fn mount(source: &SecretVolumeSource, secret: &Secret, folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    if source.secret_name.as_ref() != Some(&secret.name) {
        // An optional Secret that is not there is an empty folder.
        return Ok(());
    }
    for item in source.items.iter().flatten() {
        let Some(file) = secret.files.get(&item.key) else {
            continue;
        };
        let path = folder.join(&item.path);
        fs::copy(file, &path).with_context(|| format!("{} can't be read", file.display()))?;
        let mode = item.mode.or(source.default_mode).unwrap_or(0o644);
        fs::set_permissions(&path, Permissions::from_mode(u32::try_from(mode)?))?;
    }
    Ok(())
}
