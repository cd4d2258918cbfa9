//! etcd, the API server, the controllers and the scheduler, for one run.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::api::{Api, client};
use super::node::NAME;
use super::pki::{Authority, kubeconfig, service_account_key};
use super::programs::Programs;
use crate::daemon::Daemon;
use crate::network::free_port;
use crate::state::State;
use crate::until::until;

/// The addresses of Services: a range that neither docker nor podman nor kind take by themselves.
const SERVICE_RANGE: &str = "10.232.0.0/16";
/// The Service `kubernetes`, the first of them.
const KUBERNETES_SERVICE: &str = "10.232.0.1";

/// Everything by its metadata: who did what to which object, and which webhooks were called for it.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - { level: None, resources: [{ group: coordination.k8s.io }] }
  - { level: Metadata }
";

/// The API server shows a client certificate to webhooks only if it is told which, and to whom:
/// <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#authenticate-apiservers>
const ADMISSION: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: MutatingAdmissionWebhook
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: WebhookAdmissionConfiguration
      kubeConfigFile: {clients}
";
const WEBHOOK_CLIENTS: &str = "
apiVersion: v1
kind: Config
users:
  - name: 127.0.0.1:{port}
    user: { client-certificate: {pki}/webhook-client.crt, client-key: {pki}/webhook-client.key }
";

/// How long the API server may take to be ready, on a slow machine that is busy with other things.
const START: Duration = Duration::from_secs(180);

pub struct ControlPlane {
    /// A connection to the API server as an administrator, which is who the kubeconfig is for too.
    pub api: Api,
    pub server: SocketAddr,
    pub kubeconfig: PathBuf,
    /// A port of 127.0.0.1. The API server shows a client certificate to a webhook at this address, and
    /// to no other. The certificate's authority is the cluster's own.
    pub certified_port: u16,
    pub ca: PathBuf,
}

impl ControlPlane {
    /// Starts one whose API server listens at `address`, which is what the Service `kubernetes` leads to
    /// as well.
    pub(super) async fn start(programs: &Programs, state: &State, address: IpAddr) -> Result<Self> {
        let certified_port = free_port()?;
        let etcd_port = free_port()?;
        // A bridge's address is nobody else's, so there the API server can have its usual port, the one
        // that people's network policies name.
        let port = if address.is_loopback() { free_port()? } else { 6443 };
        let server = SocketAddr::new(address, port);
        let pki = state.path("pki");
        let config = state.path("kubeconfig");
        certificates(state, server)?;

        let mut etcd = Command::new(programs.path("etcd")?);
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        etcd.arg("--data-dir").arg(state.path("etcd")).args([
            &format!("--listen-client-urls={etcd_url}"),
            &format!("--advertise-client-urls={etcd_url}"),
            "--listen-peer-urls=http://127.0.0.1:0",
            // Nobody will want this data after a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]);
        let api_server = api_server(programs, state, server, &etcd_url, certified_port)?;
        let mut daemons = vec![
            Daemon::start(state, "etcd", etcd)?,
            Daemon::start(state, "kube-apiserver", api_server)?,
        ];
        let client = client(Some(&config), None).await?;
        until("the API server", START, async || {
            daemons.iter_mut().try_for_each(Daemon::alive)?;
            Ok(client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?)
        })
        .await?;
        for name in ["kube-controller-manager", "kube-scheduler"] {
            let own = state.path(&format!("{name}.kubeconfig"));
            let mut command = Command::new(programs.path(name)?);
            for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
                command.arg(format!("--{flag}={}", own.display()));
            }
            // Port 0 is no port at all: nobody asks for their metrics, and two runs don't meet.
            command.args(["--leader-elect=false", "--secure-port=0"]);
            command.args(["--kube-api-qps=300", "--kube-api-burst=600"]);
            if name == "kube-controller-manager" {
                let key = pki.join("sa.key");
                command
                    .arg("--use-service-account-credentials=true")
                    .arg(format!("--service-account-private-key-file={}", key.display()))
                    .arg(format!("--root-ca-file={}", pki.join("ca.crt").display()));
            }
            daemons.push(Daemon::start(state, name, command)?);
        }
        let api = Api::new(client).await?;
        until("the controllers", START, async || {
            daemons.iter_mut().try_for_each(Daemon::alive)?;
            api.get("ServiceAccount", "default", "default").await
        })
        .await?;
        Ok(Self { api, server, kubeconfig: config, certified_port, ca: pki.join("ca.crt") })
    }
}

/// Issues all certificates of the cluster into `pki`, and a kubeconfig for each client of the API server.
fn certificates(state: &State, server: SocketAddr) -> Result<()> {
    let folder = state.path("pki");
    let ca = Authority::new(&folder, "ca")?;
    let front_proxy = Authority::new(&folder, "front-proxy-ca")?;
    service_account_key(&folder)?;
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
    ca.issue("apiserver", "kube-apiserver", &[], &names)?;
    ca.issue("kubelet-client", "kube-apiserver", &["system:masters"], &[])?;
    ca.issue("webhook-client", "kube-apiserver", &[], &[])?;
    front_proxy.issue("front-proxy", "front-proxy-client", &[], &[])?;
    let kubelet = format!("system:node:{NAME}");
    for (file, user, groups, names) in [
        ("kubeconfig", "admin", &["system:masters"][..], &[][..]),
        ("kube-controller-manager.kubeconfig", "system:kube-controller-manager", &[], &[]),
        ("kube-scheduler.kubeconfig", "system:kube-scheduler", &[], &[]),
        ("kubelet.kubeconfig", &kubelet, &["system:nodes"], &[NAME, &address]),
        ("kube-proxy.kubeconfig", "system:kube-proxy", &[], &[]),
    ] {
        let pair = ca.issue(file.trim_end_matches(".kubeconfig"), user, groups, names)?;
        let url = format!("https://{server}");
        let user = json!({ "client-certificate": pair.certificate, "client-key": pair.key });
        kubeconfig(&state.path(file), &url, &ca.certificate(), &user)?;
    }
    Ok(())
}

fn api_server(
    programs: &Programs,
    state: &State,
    server: SocketAddr,
    etcd: &str,
    certified_port: u16,
) -> Result<Command> {
    let pki = state.path("pki");
    let [policy, admission, clients] =
        ["audit-policy.yaml", "admission.yaml", "webhook-clients.yaml"]
            .map(|name| state.path(name));
    fs::write(&policy, AUDIT_POLICY)?;
    fs::write(&admission, ADMISSION.replace("{clients}", &clients.display().to_string()))?;
    let kubeconfig = WEBHOOK_CLIENTS.replace("{port}", &certified_port.to_string());
    fs::write(&clients, kubeconfig.replace("{pki}", &pki.display().to_string()))?;
    let mut command = Command::new(programs.path("kube-apiserver")?);
    for (flag, file) in [
        ("client-ca-file", "ca.crt"),
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("service-account-key-file", "sa.pub"),
        ("service-account-signing-key-file", "sa.key"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("requestheader-client-ca-file", "front-proxy-ca.crt"),
        ("proxy-client-cert-file", "front-proxy.crt"),
        ("proxy-client-key-file", "front-proxy.key"),
    ] {
        command.arg(format!("--{flag}={}", pki.join(file).display()));
    }
    command.args([
        &format!("--admission-control-config-file={}", admission.display()),
        &format!("--audit-policy-file={}", policy.display()),
        &format!("--audit-log-path={}", state.log("audit").display()),
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
