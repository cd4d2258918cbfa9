//! What containerd, the kubelet and kube-proxy are told (the files beside this one), and the fixed names
//! and addresses in it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::network::free_port;
use crate::state::State;

pub const NAME: &str = "lab";
pub(super) const BRIDGE: &str = "lab0";
/// The pods' addresses; the bridge has the first.
const POD_RANGE: &str = "10.231.0.0/16";
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 1);
/// The cgroup below which all pods are. The kubelet's default may be another kubelet's, and a kubelet
/// removes what it does not know.
pub(super) const CGROUP: &str = "lab";
pub(super) const PAUSE: &str = "lab.local/pause:1";
/// Where the CNI project and where Debian put the plugins.
pub(super) const CNI_PLUGINS: &[&str] = &["/opt/cni/bin", "/usr/lib/cni"];

pub(super) fn cni_plugins() -> Option<&'static str> {
    let has_all = |folder: &str| {
        ["bridge", "host-local", "loopback"]
            .iter()
            .all(|plugin| Path::new(folder).join(plugin).exists())
    };
    CNI_PLUGINS.iter().copied().find(|folder| has_all(folder))
}

/// Writes what containerd, CNI, the kubelet and kube-proxy are told into `dir`.
pub(super) fn write(state: &State, dir: &Path) -> Result<()> {
    let values = [
        ("bridge", BRIDGE.to_owned()),
        ("cgroup", CGROUP.to_owned()),
        ("dir", dir.display().to_string()),
        ("gateway", GATEWAY.to_string()),
        ("healthz", free_port()?.to_string()),
        ("kubeconfig", state.path("kube-proxy.kubeconfig").display().to_string()),
        ("metrics", free_port()?.to_string()),
        ("name", NAME.to_owned()),
        ("pause", PAUSE.to_owned()),
        ("pki", state.path("pki").display().to_string()),
        ("plugins", cni_plugins().context("there are no CNI plugins")?.to_owned()),
        ("pods", POD_RANGE.to_owned()),
    ];
    fs::create_dir_all(dir.join("cni"))?;
    for (file, template) in [
        ("containerd.toml", include_str!("containerd.toml")),
        ("cni/10-lab.conflist", include_str!("cni.json")),
        ("kubelet.yaml", include_str!("kubelet.yaml")),
        ("kube-proxy.yaml", include_str!("kube-proxy.yaml")),
    ] {
        let filled = values.iter().fold(template.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        });
        fs::write(dir.join(file), filled)?;
    }
    Ok(())
}
