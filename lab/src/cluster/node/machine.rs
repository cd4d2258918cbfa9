//! What a node needs of the machine, and what it changes there: programs, a bridge, a cgroup, firewall
//! rules.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::config::{BRIDGE, CGROUP, CNI_PLUGINS, GATEWAY, cni_plugins};
use crate::cargo;
use crate::command::{command, read};
use crate::image::Architecture;
use crate::progress::say;
use crate::state::State;

/// What is missing on this machine for a node; nothing if it can have one.
pub fn missing() -> Vec<String> {
    if !cfg!(target_os = "linux") {
        return vec!["Linux".to_owned()];
    }
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    let programs = [
        "containerd",
        "containerd-shim-runc-v2",
        "ctr",
        "runc",
        "ip",
        "iptables",
        "unshare",
        "mount",
    ];
    missing
        .extend(programs.into_iter().filter(|program| find(program).is_none()).map(str::to_owned));
    if cni_plugins().is_none() {
        missing.push(format!(
            "the CNI plugins bridge, host-local and loopback in {}",
            CNI_PLUGINS.join(" or ")
        ));
    }
    let target = Architecture::host().target();
    if !cargo::has_target(target) {
        missing.push(format!("Rust's target {target} (`rustup target add {target}`)"));
    }
    missing
}

/// Where a program is. Those that only root needs are not on everybody's path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0))
}

pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let path = find(program).with_context(|| format!("there is no {program} on this machine"))?;
    read(&mut command(path, arguments))
}

/// Makes the bridge that pods are connected by, with its address on this machine. There is one node on a
/// machine at a time: another run is waited for.
pub(super) fn make_bridge(state: &State) -> Result<()> {
    let lock = File::create(std::env::temp_dir().join("lab-node.lock"))?;
    if lock.try_lock().is_err() {
        say("another run has the node of this machine: waiting for it to end");
        lock.lock()?;
    }
    state.hold(lock);
    ensure!(
        !Path::new("/sys/class/net").join(BRIDGE).exists(),
        "this machine has a node already, the bridge {BRIDGE} says: end its cluster, or remove what is \
         left of one with `ip link del {BRIDGE}`"
    );
    run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
    state.note_undo(&["ip", "link", "del", BRIDGE])?;
    run("ip", &["addr", "add", &format!("{GATEWAY}/16"), "dev", BRIDGE])?;
    run("ip", &["link", "set", BRIDGE, "up"])?;
    Ok(())
}

pub(super) fn path_for_root() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// kube-proxy makes a chain that `--cleanup` leaves, as a kubelet may want it. Nobody wants it here,
/// unless it was there before.
pub(super) fn undo_firewall(state: &State) -> Result<()> {
    for tables in ["iptables", "ip6tables"] {
        if run(tables, &["-S", "KUBE-FIREWALL"]).is_ok() {
            continue;
        }
        let undo = format!(
            "PATH=$PATH:/usr/sbin:/sbin; for hook in INPUT OUTPUT; do {tables} -D $hook -j KUBE-FIREWALL; done; \
             {tables} -F KUBE-FIREWALL && {tables} -X KUBE-FIREWALL; true"
        );
        state.note_undo(&["/bin/sh", "-c", &undo])?;
    }
    Ok(())
}

/// The cgroup that the kubelet is told to stay below: it must exist in every hierarchy (version 1) or
/// have every controller (version 2).
pub(super) fn make_cgroup(state: &State) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let unified = root.join("cgroup.controllers");
    if unified.exists() {
        for controller in fs::read_to_string(&unified)?.split_whitespace() {
            // One that can't be delegated is not one that the kubelet needs.
            let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let folder = root.join(CGROUP);
        fs::create_dir_all(&folder)?;
        for controller in fs::read_to_string(folder.join("cgroup.controllers"))?.split_whitespace()
        {
            let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    } else {
        for hierarchy in fs::read_dir(root)? {
            let hierarchy = hierarchy?.path();
            if !hierarchy.join("cgroup.procs").exists() {
                continue;
            }
            let folder = hierarchy.join(CGROUP);
            fs::create_dir_all(&folder)?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = fs::read(hierarchy.join(file)) {
                    fs::write(folder.join(file), value)?;
                }
            }
        }
    }
    // Deepest first: a cgroup that has others below it can't be removed.
    let remove = format!(
        "find /sys/fs/cgroup/{CGROUP} /sys/fs/cgroup/*/{CGROUP} -depth -type d -exec rmdir {{}} + 2>/dev/null; true"
    );
    state.note_undo(&["/bin/sh", "-c", &remove])
}
