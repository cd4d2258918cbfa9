//! A node of one's own: containerd, kubelet and kube-proxy on this machine.
//!
//! containerd, its shims, the kubelet and all containers live in a process namespace and a mount
//! namespace of their own (`unshare`). When the first process of such a namespace is killed, the kernel
//! kills all the others, and with the last of them the mounts are gone: a node ends at once, with
//! nothing left behind, whatever state it was in. What is not in a namespace (a bridge, kube-proxy's
//! rules, a cgroup) is undone by a command each.

mod config;
mod machine;
mod pause;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::api::{Api, condition};
use super::programs::Programs;
use crate::daemon::Daemon;
use crate::proc;
use crate::state::State;
use crate::until::until;
use config::GATEWAY;
pub use config::NAME;
pub use machine::missing;
use machine::{find, path_for_root, run};

/// How long a node may take to be ready, on a slow machine that is busy with other things.
const START: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Node {
    dir: PathBuf,
    /// The first process in the node's namespaces, by its id outside of them.
    first_process: u32,
}

/// Makes the network that pods are connected by, and says where the control plane is to listen so that
/// they reach it. There is one node on a machine at a time: another run is waited for.
pub(super) fn network(state: &State) -> Result<Ipv4Addr> {
    machine::make_bridge(state)?;
    Ok(GATEWAY)
}

impl Node {
    /// Starts a node that joins the control plane of `state`. What it compiles is kept in `cache`.
    pub(super) async fn start(
        cache: &Path,
        programs: &Programs,
        state: &State,
        api: &Api,
    ) -> Result<Self> {
        let dir = state.path("node");
        let socket = dir.join("containerd.sock");
        ensure!(
            socket.as_os_str().len() < 100,
            "{} is too long for a socket: set XDG_STATE_HOME or TMPDIR to a shorter path",
            socket.display()
        );
        machine::make_cgroup(state)?;
        config::write(state, &dir)?;
        let mut containers = Daemon::start(state, "node", processes(programs, state, &dir)?)?;

        machine::undo_firewall(state)?;
        let proxy_program = programs.path("kube-proxy")?;
        state.note_undo(&[&proxy_program.display().to_string(), "--cleanup"])?;
        let mut proxy = Command::new(proxy_program);
        proxy.arg("--config").arg(dir.join("kube-proxy.yaml")).env("PATH", path_for_root());
        let mut proxy = Daemon::start(state, "kube-proxy", proxy)?;

        let unshare = containers.pid();
        let first_process = until("the node's first process", START, async || {
            containers.alive()?;
            let all = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
            Ok(all.split_whitespace().next().context("there is none yet")?.parse()?)
        })
        .await?;
        let node = Self { dir, first_process };
        until("containerd", START, async || {
            containers.alive()?;
            node.ctr(&["version"])
        })
        .await?;
        node.load(&pause::archive(cache)?)?;
        until("the node", START, async || {
            containers.alive()?;
            proxy.alive()?;
            let found = api.get("Node", "", NAME).await?;
            let ready = condition(&found, "Ready");
            ensure!(ready["status"] == "True", "not ready: {}", ready["message"]);
            Ok(())
        })
        .await?;
        Ok(node)
    }

    pub fn load(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("the archive's path isn't UTF-8")?;
        self.ctr(&["images", "import", archive]).map(drop)
    }

    /// Removes an image, named in full (`docker.io/library/x:1`), by all its names. Containers that run
    /// are not touched.
    pub fn forget_image(&self, name: &str) -> Result<()> {
        let all = self.ctr(&["images", "ls"])?;
        let rows: Vec<Vec<&str>> =
            all.lines().map(|line| line.split_whitespace().collect()).collect();
        let digest = rows.iter().find(|row| row.first() == Some(&name));
        let digest =
            digest.and_then(|row| row.get(2)).with_context(|| format!("no image {name}"))?;
        for row in rows.iter().filter(|row| row.get(2) == Some(digest)) {
            self.ctr(&["images", "rm", "--sync", row[0]])?;
        }
        Ok(())
    }

    /// Sends a signal to the first process of a pod's container. SIGKILL is what the kernel sends when it
    /// is out of memory.
    pub fn signal(&self, pod: &Value, name: &str, signal: &str) -> Result<()> {
        let id = container_id(pod, name)?;
        self.ctr(&["tasks", "kill", "--signal", signal, id]).map(drop)
    }

    pub fn process_of(&self, pod: &Value, name: &str) -> Result<u32> {
        let id = container_id(pod, name)?;
        let mut processes = proc::all()?;
        processes.retain(|pid| proc::cgroups(*pid).is_ok_and(|cgroups| cgroups.contains(id)));
        processes.into_iter().min().with_context(|| format!("{name} has no process"))
    }

    /// One of the node's own processes: `kubelet` or `containerd`.
    pub fn process(&self, name: &str) -> Result<u32> {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(self.first_process);
        let mut processes = proc::all()?.into_iter();
        processes
            .find(|pid| proc::name(*pid).is_ok_and(|found| found == name) && namespace(*pid) == own)
            .with_context(|| format!("{name} does not run"))
    }

    pub async fn restart_kubelet(&self) -> Result<()> {
        let before = self.process("kubelet")?;
        proc::kill(before)?;
        until("another kubelet", START, async || {
            ensure!(self.process("kubelet")? != before, "it is still there");
            Ok(())
        })
        .await
    }

    /// containerd's own client, for what the kubelet does not show.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let socket = format!("--address={}", self.dir.join("containerd.sock").display());
        run("ctr", &[&[socket.as_str(), "--namespace=k8s.io"], arguments].concat())
    }

    /// The network namespaces of the pods that there are, as files. `setns(2)` takes them.
    pub fn network_namespaces(&self) -> Result<Vec<PathBuf>> {
        let inside = self.dir.join("containerd-state").join("io.containerd.grpc.v1.cri/netns");
        let inside = inside.strip_prefix("/").context("a relative state directory")?;
        let folder = PathBuf::from(format!("/proc/{}/root", self.first_process)).join(inside);
        match fs::read_dir(&folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", folder.display())),
        }
    }
}

fn container_id<'a>(pod: &'a Value, name: &str) -> Result<&'a str> {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|status| status["name"] == name)
        .and_then(|status| status["containerID"].as_str()?.strip_prefix("containerd://"))
        .with_context(|| format!("{name} does not run"))
}

/// containerd and the kubelet, below a shell that is the first process of new namespaces. It adopts
/// what loses its parent, and reaps it. A kubelet that ends is followed by another.
fn processes(programs: &Programs, state: &State, dir: &Path) -> Result<Command> {
    let script = r#"
        mount --make-rslave / || exit
        containerd --config "$0/containerd.toml" >"$4/containerd.log" 2>&1 &
        until ctr --address "$0/containerd.sock" version >/dev/null 2>&1; do
            kill -0 $! || exit
            sleep 0.1
        done
        while :; do
            "$1" --config="$0/kubelet.yaml" --kubeconfig="$2" --hostname-override="$3" \
                --node-ip="$5" --root-dir="$0/kubelet" >>"$4/kubelet.log" 2>&1
            sleep 0.1
        done &
        wait
    "#;
    let mut command = Command::new(find("unshare").context("there is no unshare")?);
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=slave"])
        .args(["/bin/sh", "-c", script])
        .arg(dir)
        .arg(programs.path("kubelet")?)
        .arg(state.path("kubelet.kubeconfig"))
        .arg(NAME)
        .arg(state.path("logs"))
        .arg(GATEWAY.to_string())
        .env("PATH", path_for_root());
    Ok(command)
}
