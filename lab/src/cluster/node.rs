//! A node of one's own: containerd, kubelet and kube-proxy on this machine.
//!
//! containerd, its shims, the kubelet and all containers live in a process namespace and a mount
//! namespace of their own (`unshare`). When the first process of such a namespace is killed, the kernel
//! kills all the others, and with the last of them the mounts are gone: a node ends at once, with
//! nothing left behind, whatever state it was in. What is not in a namespace (a bridge, kube-proxy's
//! rules, a cgroup) is undone by a command each.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::api::Api;
use super::build::{Program, Programs, cache};
use super::control_plane::{ControlPlane, Reach};
use crate::cargo;
use crate::daemon::Daemon;
use crate::image::{self, Architecture, Spec};
use crate::netns::free_port;
use crate::progress::say;
use crate::state::State;
use crate::until::until;

/// The node's name.
pub const NAME: &str = "e2e";

const BRIDGE: &str = "shs-e2e0";
/// The pods' addresses; the bridge has the first.
const POD_RANGE: &str = "10.231.0.0/16";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 1);
/// The cgroup below which all pods are. The kubelet's default may be another kubelet's, and a kubelet
/// removes what it does not know.
const CGROUP: &str = "secret-handshake-e2e";
const PAUSE: &str = "secret-handshake.local/pause:1";
/// Where the CNI project and where Debian put the plugins.
const CNI_PLUGINS: &[&str] = &["/opt/cni/bin", "/usr/lib/cni"];

/// How long a node may take to be ready, on a slow machine that is busy with other things.
const START: Duration = Duration::from_secs(120);

/// What the pause image does: nothing, as long as it is let. containerd ends it with SIGKILL.
const PAUSE_SOURCE: &str = "fn main() { loop { std::thread::park(); } }\n";

/// A running node.
#[derive(Debug)]
pub struct Node {
    containers: Daemon,
    proxy: Daemon,
    dir: PathBuf,
}

/// What is missing on this machine for a node; nothing if it can have one.
#[must_use]
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

fn cni_plugins() -> Option<&'static str> {
    let has_all = |folder: &str| {
        ["bridge", "host-local", "loopback"]
            .iter()
            .all(|plugin| Path::new(folder).join(plugin).exists())
    };
    CNI_PLUGINS.iter().copied().find(|folder| has_all(folder))
}

/// Where a program is. Those that only root needs are not on everybody's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0))
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let path = find(program).with_context(|| format!("there is no {program} on this machine"))?;
    let said = Command::new(path).args(arguments).output()?;
    ensure!(
        said.status.success(),
        "`{program} {}` failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&said.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Makes the bridge that pods are connected by, with its address on this machine, and says where the
/// control plane is to listen so that pods reach it. There is one node on a machine at a time: another
/// run is waited for.
///
/// # Errors
///
/// The cluster of `up` has a node, or the bridge can't be made.
pub fn network(state: &State) -> Result<Reach> {
    let lock = File::create(std::env::temp_dir().join("secret-handshake-e2e-node.lock"))?;
    if lock.try_lock().is_err() {
        say("another run has the node of this machine: waiting for it to end");
        lock.lock()?;
    }
    state.hold(lock);
    ensure!(
        !Path::new("/sys/class/net").join(BRIDGE).exists(),
        "this machine has a node already, the bridge {BRIDGE} says: end the cluster of `up` with \
         `cargo e2e -- down`, or remove what is left of one with `ip link del {BRIDGE}`"
    );
    run("ip", &["link", "add", BRIDGE, "type", "bridge"])?;
    state.note_undo(&["ip", "link", "del", BRIDGE])?;
    run("ip", &["addr", "add", &format!("{GATEWAY}/16"), "dev", BRIDGE])?;
    run("ip", &["link", "set", BRIDGE, "up"])?;
    Ok(Reach { address: IpAddr::V4(GATEWAY), node: Some(NAME) })
}

impl Node {
    /// Starts a node that joins `control_plane`.
    ///
    /// # Errors
    ///
    /// One of its processes ends, or it is not ready in time.
    pub async fn start(
        programs: &Programs,
        state: &State,
        control_plane: &ControlPlane,
        api: &Api,
    ) -> Result<Self> {
        let dir = state.path("node");
        fs::create_dir_all(dir.join("cni"))?;
        let socket = dir.join("containerd.sock");
        ensure!(
            socket.as_os_str().len() < 100,
            "{} is too long for a socket: set XDG_STATE_HOME or TMPDIR to a shorter path",
            socket.display()
        );
        make_cgroup(state)?;
        fs::write(dir.join("containerd.toml"), containerd_config(&dir)?)?;
        fs::write(dir.join("cni").join("10-e2e.conflist"), cni_config(&dir).to_string())?;
        fs::write(
            dir.join("kubelet.json"),
            kubelet_config(state, control_plane, &dir).to_string(),
        )?;
        let containers = Daemon::start(state, "node", processes(programs, state, &dir)?)?;

        undo_firewall(state)?;
        let proxy_program = programs.path(Program::Proxy)?;
        let proxy_config = dir.join("kube-proxy.json");
        fs::write(&proxy_config, kube_proxy_config(state)?.to_string())?;
        state.note_undo(&[&proxy_program.display().to_string(), "--cleanup"])?;
        let mut proxy = Command::new(proxy_program);
        proxy.arg("--config").arg(&proxy_config).env("PATH", path_for_root());
        let proxy = Daemon::start(state, "kube-proxy", proxy)?;

        let mut node = Self { containers, proxy, dir };
        until("containerd", START, async || {
            node.alive()?;
            node.ctr(&["version"])
        })
        .await?;
        node.load(&pause()?)?;
        until("the node", START, async || {
            node.alive()?;
            let found = api.get("Node", "", NAME).await?;
            let ready = condition(&found, "Ready");
            ensure!(ready["status"] == "True", "not ready: {}", ready["message"]);
            Ok(())
        })
        .await?;
        Ok(node)
    }

    /// Makes sure that its processes are running.
    ///
    /// # Errors
    ///
    /// One has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.containers.alive()?;
        self.proxy.alive()
    }

    /// Puts an image where the kubelet finds it.
    ///
    /// # Errors
    ///
    /// containerd does not take it.
    pub fn load(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("the archive's path isn't UTF-8")?;
        self.ctr(&["images", "import", archive]).map(drop)
    }

    /// Removes an image, named in full (`docker.io/library/x:1`), by all its names. Containers that run
    /// are not touched.
    ///
    /// # Errors
    ///
    /// There is no such image.
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

    /// Kills a container of a pod, as the kernel does when it is out of memory.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn kill_container(&self, pod: &Value, name: &str) -> Result<()> {
        self.signal_container(pod, name, "SIGKILL")
    }

    /// Sends a signal to the first process of a pod's container.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn signal_container(&self, pod: &Value, name: &str, signal: &str) -> Result<()> {
        let id = ["containerStatuses", "initContainerStatuses"]
            .iter()
            .filter_map(|list| pod["status"][list].as_array())
            .flatten()
            .find(|status| status["name"] == name)
            .and_then(|status| status["containerID"].as_str()?.strip_prefix("containerd://"))
            .with_context(|| format!("{name} does not run"))?;
        self.ctr(&["tasks", "kill", "--signal", signal, id]).map(drop)
    }

    /// containerd's own client, for what the kubelet does not show.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let socket = format!("--address={}", self.dir.join("containerd.sock").display());
        run("ctr", &[&[socket.as_str(), "--namespace=k8s.io"], arguments].concat())
    }

    /// The network namespaces of the pods that there are, as files. `setns(2)` takes them.
    ///
    /// # Errors
    ///
    /// The node is not running.
    pub fn network_namespaces(&self) -> Result<Vec<PathBuf>> {
        let inside = self.dir.join("containerd-state").join("io.containerd.grpc.v1.cri/netns");
        let inside = inside.strip_prefix("/").context("a relative state directory")?;
        let folder = PathBuf::from(format!("/proc/{}/root", self.first_process()?)).join(inside);
        match fs::read_dir(&folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", folder.display())),
        }
    }

    /// The first process of the node's namespaces, by its id outside of them.
    ///
    /// # Errors
    ///
    /// The node is not running.
    pub fn first_process(&self) -> Result<u32> {
        let unshare = self.containers.pid();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        let first = children.split_whitespace().next().context("the node has ended")?;
        Ok(first.parse()?)
    }
}

/// The condition `kind` of an object's status; null if there is none.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

/// containerd and the kubelet, below a shell that is the first process of new namespaces. It adopts
/// what loses its parent, and reaps it.
fn processes(programs: &Programs, state: &State, dir: &Path) -> Result<Command> {
    let script = r#"
        mount --make-rslave / || exit
        containerd --config "$0/containerd.toml" >"$4/containerd.log" 2>&1 &
        until ctr --address "$0/containerd.sock" version >/dev/null 2>&1; do
            kill -0 $! || exit
            sleep 0.1
        done
        "$1" --config="$0/kubelet.json" --kubeconfig="$2" --hostname-override="$3" \
            --node-ip="$5" --root-dir="$0/kubelet" >"$4/kubelet.log" 2>&1 &
        wait
    "#;
    let mut command = Command::new(find("unshare").context("there is no unshare")?);
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=slave"])
        .args(["/bin/sh", "-c", script])
        .arg(dir)
        .arg(programs.path(Program::Kubelet)?)
        .arg(state.path("kubelet.kubeconfig"))
        .arg(NAME)
        .arg(state.path("logs"))
        .arg(GATEWAY.to_string())
        .env("PATH", path_for_root());
    Ok(command)
}

fn path_for_root() -> String {
    format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn containerd_config(dir: &Path) -> Result<String> {
    let dir = dir.display();
    let plugins = cni_plugins().context("there are no CNI plugins")?;
    // restrict_oom_score_adj: inside a container or a small machine there may be no right to lower it.
    // https://github.com/containerd/containerd/blob/main/docs/cri/config.md
    Ok(format!(
        r#"version = 2
root = "{dir}/containerd"
state = "{dir}/containerd-state"

[grpc]
  address = "{dir}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#
    ))
}

fn cni_config(dir: &Path) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "e2e",
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": dir.join("cni-addresses"),
                "ranges": [[{ "subnet": POD_RANGE, "gateway": GATEWAY }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}

fn kubelet_config(state: &State, control_plane: &ControlPlane, dir: &Path) -> Value {
    let pki = state.path("pki");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": control_plane.ca },
        },
        "authorization": { "mode": "Webhook" },
        "containerRuntimeEndpoint": format!("unix://{}", dir.join("containerd.sock").display()),
        "tlsCertFile": pki.join("kubelet.crt"),
        "tlsPrivateKeyFile": pki.join("kubelet.key"),
        // Its rules would outlive it, and nothing here needs them.
        "makeIPTablesUtilChains": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP}"),
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "podLogsDir": dir.join("pod-logs"),
        // A developer's disk may be as full as it likes.
        "evictionHard": { "memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%" },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        // How late a Secret that is created or changed shows up in running pods: a minute by default.
        "syncFrequency": "10s",
        "registerNode": true,
        "maxPods": 300,
        "clusterDNS": ["10.232.0.10"],
        "logging": { "verbosity": 2 },
    })
}

fn kube_proxy_config(state: &State) -> Result<Value> {
    Ok(json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": { "kubeconfig": state.path("kube-proxy.kubeconfig") },
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NAME,
        // Answers between two pods of one bridge would come back past the rules that have to undo the
        // translation.
        "iptables": { "masqueradeAll": true, "minSyncPeriod": "0s" },
        "metricsBindAddress": format!("127.0.0.1:{}", free_port()?),
        "healthzBindAddress": format!("127.0.0.1:{}", free_port()?),
        // Nobody needs more than the kernel's own limits.
        "conntrack": { "maxPerCore": 0, "min": 0 },
    }))
}

/// kube-proxy makes a chain that `--cleanup` leaves, as a kubelet may want it. Nobody wants it here,
/// unless it was there before.
fn undo_firewall(state: &State) -> Result<()> {
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
fn make_cgroup(state: &State) -> Result<()> {
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

/// The image of the container that holds a pod's namespaces. None can be pulled, so it is compiled:
/// one line of Rust.
fn pause() -> Result<PathBuf> {
    let folder = cache()?.with_file_name("pause");
    let archive = folder.join("image.tar");
    if archive.exists() {
        return Ok(archive);
    }
    fs::create_dir_all(&folder)?;
    let source = folder.join("pause.rs");
    let binary = folder.join("pause");
    fs::write(&source, PAUSE_SOURCE)?;
    let target = Architecture::host().target();
    let compiled = Command::new("rustc")
        .args([
            "--edition=2024",
            "-Copt-level=z",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "--target",
            target,
        ])
        .arg("-o")
        .arg(&binary)
        .arg(&source)
        .output()
        .context("rustc does not run")?;
    if !compiled.status.success() {
        bail!("the pause image can't be compiled:\n{}", String::from_utf8_lossy(&compiled.stderr));
    }
    let spec = Spec {
        name: PAUSE.to_owned(),
        architecture: Architecture::host(),
        user: "65535:65535".to_owned(),
        entrypoint: vec!["/pause".to_owned()],
        files: vec![image::File {
            path: "/pause".to_owned(),
            mode: 0o755,
            content: fs::read(&binary)?,
        }],
        labels: std::collections::BTreeMap::new(),
        created: 0,
    };
    let partial = folder.join("image.tar.partial");
    image::write(&spec, &partial)?;
    fs::rename(&partial, &archive)?;
    Ok(archive)
}
