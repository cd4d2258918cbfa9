//! What containerd, the kubelet and kube-proxy are told, and the fixed names and addresses in it.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::network::free_port;
use crate::state::State;

/// The node's name.
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

pub(super) fn containerd(dir: &Path) -> Result<String> {
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

pub(super) fn cni(dir: &Path) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": NAME,
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

pub(super) fn kubelet(state: &State, dir: &Path) -> Value {
    let pki = state.path("pki");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": pki.join("ca.crt") },
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

pub(super) fn kube_proxy(state: &State) -> Result<Value> {
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
