//! etcd, the API server, the controllers and the scheduler, for one run.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::api::Api;
use super::build::{Program, Programs};
use super::pki::{Authority, Credentials, Pair, kubeconfig, service_account_key};
use crate::daemon::Daemon;
use crate::netns::free_port;
use crate::state::State;
use crate::until::until;

/// The addresses of Services: a range that neither docker nor podman nor kind take by themselves.
pub const SERVICE_RANGE: &str = "10.232.0.0/16";
/// The Service `kubernetes`, the first of them.
const KUBERNETES_SERVICE: &str = "10.232.0.1";

/// How long the API server may take to be ready, on a slow machine that is busy with other things.
const START: Duration = Duration::from_secs(180);

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Where the API server listens.
    pub server: SocketAddr,
    /// A kubeconfig that may do everything.
    pub kubeconfig: PathBuf,
    /// The audit log: one JSON object a line.
    pub audit_log: PathBuf,
    /// A port of 127.0.0.1. The API server shows a client certificate to a webhook at this address, and
    /// to no other. The certificate's authority is the cluster's own.
    pub certified_port: u16,
    /// The cluster's certificate authority.
    pub ca: PathBuf,
    daemons: Vec<Daemon>,
}

/// Where a control plane listens, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The address of the API server, which is what the Service `kubernetes` leads to as well.
    pub address: IpAddr,
    /// The name of the node whose kubelet the API server is to trust, if there will be one.
    pub node: Option<&'static str>,
}

impl Reach {
    /// For this machine's own processes alone.
    pub const LOOPBACK: Self = Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), node: None };
}

impl ControlPlane {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// One of its processes ends, or it is not ready in time; the message has the end of a log.
    pub async fn start(programs: &Programs, state: &State, reach: Reach) -> Result<Self> {
        // Free ports are found by asking for some and letting them go again, so another process may
        // take one in between.
        let mut attempts = 3;
        loop {
            match Self::try_start(programs, state, reach).await {
                Err(error)
                    if attempts > 1 && format!("{error:#}").contains("address already in use") =>
                {
                    attempts -= 1;
                }
                started => return started,
            }
        }
    }

    async fn try_start(programs: &Programs, state: &State, reach: Reach) -> Result<Self> {
        let certified_port = free_port()?;
        let etcd_port = free_port()?;
        // A bridge's address is nobody else's, so there the API server can have its usual port: the one
        // that the webhook's network policy names.
        let port = if reach.node.is_some() { 6443 } else { free_port()? };
        let server = SocketAddr::new(reach.address, port);
        let pki = Pki::issue(&state.path("pki"), server, reach)?;
        let config = state.path("kubeconfig");
        let url = format!("https://{server}");
        let credentials = Credentials::Certificate(&pki.admin);
        kubeconfig(&config, &url, &pki.ca, &credentials)?;

        let mut etcd = Command::new(programs.path(Program::Etcd)?);
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        etcd.arg("--data-dir").arg(state.path("etcd")).args([
            &format!("--listen-client-urls={etcd_url}"),
            &format!("--advertise-client-urls={etcd_url}"),
            "--listen-peer-urls=http://127.0.0.1:0",
            // Nobody will want this data after a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]);
        let api_server = api_server(programs, state, &pki, server, &etcd_url, certified_port)?;
        let mut daemons = vec![
            Daemon::start(state, "etcd", etcd)?,
            Daemon::start(state, "kube-apiserver", api_server)?,
        ];
        let api = Api::connect(Some(&config), None).await?;
        until("the API server", START, async || {
            daemons.iter_mut().try_for_each(Daemon::alive)?;
            api.text("/readyz").await
        })
        .await?;
        for (name, program, pair) in [
            ("kube-controller-manager", Program::ControllerManager, &pki.controller_manager),
            ("kube-scheduler", Program::Scheduler, &pki.scheduler),
        ] {
            let own = state.path(&format!("{name}.kubeconfig"));
            kubeconfig(&own, &url, &pki.ca, &Credentials::Certificate(pair))?;
            let mut command = Command::new(programs.path(program)?);
            for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
                command.arg(format!("--{flag}={}", own.display()));
            }
            // Port 0 is no port at all: nobody asks for their metrics, and two runs don't meet.
            command.args(["--leader-elect=false", "--secure-port=0"]);
            command.args(["--kube-api-qps=300", "--kube-api-burst=600"]);
            if program == Program::ControllerManager {
                command
                    .arg("--use-service-account-credentials=true")
                    .arg(format!(
                        "--service-account-private-key-file={}",
                        pki.folder.join("sa.key").display()
                    ))
                    .arg(format!("--root-ca-file={}", pki.ca.display()));
            }
            daemons.push(Daemon::start(state, name, command)?);
        }
        if reach.node.is_some() {
            for (name, pair) in [("kubelet", &pki.kubelet), ("kube-proxy", &pki.proxy)] {
                let own = state.path(&format!("{name}.kubeconfig"));
                kubeconfig(&own, &url, &pki.ca, &Credentials::Certificate(pair))?;
            }
        }
        until("the controllers", START, async || {
            daemons.iter_mut().try_for_each(Daemon::alive)?;
            api.get("ServiceAccount", "default", "default").await
        })
        .await?;
        Ok(Self {
            server,
            kubeconfig: config,
            audit_log: state.log("audit"),
            certified_port,
            ca: pki.ca,
            daemons,
        })
    }

    /// Makes sure that all of it is still running.
    ///
    /// # Errors
    ///
    /// A process has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::alive)
    }
}

/// Who is who in a cluster.
struct Pki {
    folder: PathBuf,
    ca: PathBuf,
    front_proxy_ca: PathBuf,
    server: Pair,
    admin: Pair,
    controller_manager: Pair,
    scheduler: Pair,
    kubelet_client: Pair,
    webhook_client: Pair,
    front_proxy: Pair,
    kubelet: Pair,
    proxy: Pair,
}

impl Pki {
    fn issue(folder: &Path, server: SocketAddr, reach: Reach) -> Result<Self> {
        let ca = Authority::new(folder, "ca")?;
        let front_proxy_ca = Authority::new(folder, "front-proxy-ca")?;
        service_account_key(folder)?;
        let address = server.ip().to_string();
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "127.0.0.1",
            KUBERNETES_SERVICE,
            &address,
        ];
        let node = reach.node.unwrap_or("none");
        Ok(Self {
            server: ca.issue("apiserver", "kube-apiserver", &[], &names)?,
            admin: ca.issue("admin", "admin", &["system:masters"], &[])?,
            controller_manager: ca.issue("kcm", "system:kube-controller-manager", &[], &[])?,
            scheduler: ca.issue("scheduler", "system:kube-scheduler", &[], &[])?,
            kubelet_client: ca.issue(
                "kubelet-client",
                "kube-apiserver",
                &["system:masters"],
                &[],
            )?,
            webhook_client: ca.issue("webhook-client", "kube-apiserver", &[], &[])?,
            front_proxy: front_proxy_ca.issue("front-proxy", "front-proxy-client", &[], &[])?,
            kubelet: ca.issue(
                "kubelet",
                &format!("system:node:{node}"),
                &["system:nodes"],
                &[node, &address],
            )?,
            proxy: ca.issue("proxy", "system:kube-proxy", &[], &[])?,
            ca: ca.certificate(),
            front_proxy_ca: front_proxy_ca.certificate(),
            folder: folder.to_owned(),
        })
    }
}

fn api_server(
    programs: &Programs,
    state: &State,
    pki: &Pki,
    server: SocketAddr,
    etcd: &str,
    certified_port: u16,
) -> Result<Command> {
    let policy = state.path("audit-policy.json");
    fs::write(&policy, audit_policy().to_string())?;
    let admission_config = state.path("admission.json");
    fs::write(&admission_config, admission(state, pki, certified_port)?.to_string())?;
    let mut command = Command::new(programs.path(Program::ApiServer)?);
    for (flag, path) in [
        ("client-ca-file", &pki.ca),
        ("tls-cert-file", &pki.server.certificate),
        ("tls-private-key-file", &pki.server.key),
        ("service-account-key-file", &pki.folder.join("sa.pub")),
        ("service-account-signing-key-file", &pki.folder.join("sa.key")),
        ("kubelet-client-certificate", &pki.kubelet_client.certificate),
        ("kubelet-client-key", &pki.kubelet_client.key),
        ("kubelet-certificate-authority", &pki.ca),
        ("requestheader-client-ca-file", &pki.front_proxy_ca),
        ("proxy-client-cert-file", &pki.front_proxy.certificate),
        ("proxy-client-key-file", &pki.front_proxy.key),
        ("admission-control-config-file", &admission_config),
        ("audit-policy-file", &policy),
        ("audit-log-path", &state.log("audit")),
    ] {
        command.arg(format!("--{flag}={}", path.display()));
    }
    command.args([
        &format!("--etcd-servers={etcd}"),
        &format!("--bind-address={}", server.ip()),
        &format!("--secure-port={}", server.port()),
        &format!("--advertise-address={}", server.ip()),
        &format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,PodTolerationRestriction",
        "--kubelet-preferred-address-types=InternalIP",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        "--allow-privileged=true",
        "--profiling=false",
    ]);
    if server.ip().is_loopback() {
        // The Service `kubernetes` can't have a loopback endpoint, and nobody needs it.
        command.arg("--endpoint-reconciler-type=none");
    }
    Ok(command)
}

/// Everything by its metadata: who did what to which object, and which webhooks were called for it.
fn audit_policy() -> serde_json::Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "resources": [{ "group": "coordination.k8s.io" }] },
            { "level": "Metadata" },
        ],
    })
}

/// The API server shows a client certificate to webhooks only if it is told which, and to whom:
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#authenticate-apiservers>
fn admission(state: &State, pki: &Pki, port: u16) -> Result<serde_json::Value> {
    let path = state.path("webhook-clients.kubeconfig");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "users": [{
            "name": format!("127.0.0.1:{port}"),
            "user": {
                "client-certificate": pki.webhook_client.certificate,
                "client-key": pki.webhook_client.key,
            },
        }],
    });
    fs::write(&path, config.to_string())?;
    Ok(json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{
            "name": "MutatingAdmissionWebhook",
            "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "WebhookAdmissionConfiguration",
                "kubeConfigFile": path,
            },
        }],
    }))
}
