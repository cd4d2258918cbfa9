//! The webhook as processes on this machine, behind one address, with the rights of its own
//! ServiceAccount.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use lab::cluster::Cluster;
use lab::cluster::pki::kubeconfig;
use lab::daemon::Daemon;
use lab::http;
use lab::metrics;
use lab::network::{free_port, localhost};
use lab::until::until;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::install::{self, NAMESPACE, WEBHOOK};

/// The image that pods get.
pub(crate) const SIDECAR_IMAGE: &str = "secret-handshake-sidecar:e2e";

const PATIENCE: Duration = Duration::from_secs(60);

/// Replicas of the webhook. When it is dropped they are ended with their cluster.
pub(crate) struct Replicas {
    cluster: Arc<Cluster>,
    program: PathBuf,
    kubeconfig: PathBuf,
    address: SocketAddr,
    running: Arc<Mutex<Vec<Replica>>>,
    balancer: JoinHandle<()>,
}

struct Replica {
    name: String,
    daemon: Daemon,
    serving: SocketAddr,
    admin: SocketAddr,
}

impl Replicas {
    /// Installs `deploy/webhook` with a configuration that calls this machine's processes, and gets
    /// ready to start some.
    pub(crate) async fn install(cluster: Arc<Cluster>, program: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(localhost(0)).await?;
        let address = listener.local_addr()?;
        let objects = install::render(&cluster, "deploy/webhook").await?;
        let url = format!("https://{address}");
        install::apply(&cluster, &install::by_url(objects, &url)?).await?;
        let kubeconfig = cluster.state()?.path("webhook.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await?;
        let running = Arc::new(Mutex::new(Vec::new()));
        let balancer = tokio::spawn(balance(listener, Arc::clone(&running)));
        Ok(Self { cluster, program, kubeconfig, address, running, balancer })
    }

    /// Has the API server call another address from now on.
    pub(crate) async fn call_at(&self, address: SocketAddr) -> Result<()> {
        let mut objects = install::render(&self.cluster, "deploy/webhook").await?;
        objects.retain(|object| object["kind"] == "MutatingWebhookConfiguration");
        let objects = install::by_url(objects, &format!("https://{address}"))?;
        install::apply(&self.cluster, &objects).await.map(drop)
    }

    /// Starts a replica that listens at this address, and waits until it is ready.
    pub(crate) async fn start_listening(
        &self,
        at: SocketAddr,
        name: &str,
        flags: &[&str],
    ) -> Result<()> {
        self.start_at(at, name, flags).await?;
        self.ready().await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leaves one replica, which is called at its own address: for a cluster that outlives this process.
    pub(crate) async fn leave_one(&self) -> Result<()> {
        self.kill_all().await?;
        let own = localhost(free_port()?);
        self.start_listening(own, "webhook", &[]).await?;
        self.call_at(own).await
    }

    /// Starts a replica with `flags` besides those that every one has, and does not wait for it.
    pub(crate) async fn start(&self, name: &str, flags: &[&str]) -> Result<()> {
        self.start_at(localhost(free_port()?), name, flags).await
    }

    async fn start_at(&self, serving: SocketAddr, name: &str, flags: &[&str]) -> Result<()> {
        let admin = localhost(free_port()?);
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--listen={serving}"))
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--namespace={NAMESPACE}"))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--sidecar-image={SIDECAR_IMAGE}"))
            // By URL it is called by an address, not by its Service's name.
            .arg("--cert-name=127.0.0.1")
            .args(flags)
            // A pod has no kubeconfig in its environment.
            .env_remove("KUBECONFIG");
        let daemon = Daemon::start(self.cluster.state()?, name, command)?;
        let replica = Replica { name: name.to_owned(), daemon, serving, admin };
        self.running.lock().await.push(replica);
        Ok(())
    }

    /// What most scenarios want: one replica with no flags of its own, ready.
    pub(crate) async fn restore(&self) -> Result<()> {
        self.kill_all().await?;
        self.start("webhook", &[]).await?;
        self.ready().await
    }

    /// Takes `steps` that leave the replicas in any state, and restores one whatever comes of them.
    pub(crate) async fn restored_after<T>(
        &self,
        steps: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<T> {
        let done = steps().await;
        self.restore().await?;
        done
    }

    /// Waits until every replica is ready.
    pub(crate) async fn ready(&self) -> Result<()> {
        until("the webhook", PATIENCE, async || {
            for replica in self.running.lock().await.iter_mut() {
                replica.daemon.alive()?;
                is_ready(replica.admin).await.with_context(|| replica.name.clone())?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn kill(&self, name: &str) -> Result<()> {
        self.take(name).await?.daemon.kill()
    }

    pub(crate) async fn terminate(&self, name: &str) -> Result<()> {
        // A pod that is being deleted is taken out of its Service at that moment.
        self.take(name).await?.daemon.terminate(PATIENCE).await
    }

    /// Kills all of them: the webhook is away, and nobody answers where the API server calls.
    pub(crate) async fn kill_all(&self) -> Result<()> {
        self.running.lock().await.drain(..).try_for_each(|replica| replica.daemon.kill())
    }

    async fn take(&self, name: &str) -> Result<Replica> {
        let mut running = self.running.lock().await;
        let place = running.iter().position(|replica| replica.name == name);
        Ok(running.remove(place.with_context(|| format!("no replica {name}"))?))
    }

    pub(crate) async fn pid(&self) -> Result<u32> {
        let running = self.running.lock().await;
        Ok(running.first().context("no replica runs")?.daemon.pid())
    }

    /// What all replicas have counted together, by the name of the metric.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let mut sum = 0.0;
        for replica in self.running.lock().await.iter() {
            let answer = http::get(replica.admin, "/metrics", Duration::from_secs(5)).await?;
            sum += metrics::sum(&answer.body, name);
        }
        Ok(sum)
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.balancer.abort();
    }
}

/// What a Service is to the API server: one address in front of the replicas that are ready, in turn.
///
/// Only connections are forwarded, as kube-proxy does it; TLS is between the API server and a replica.
/// A kubelet asks for readiness every two seconds (`deploy/webhook`), and then the endpoints have to be
/// told; here it is asked for at each connection.
async fn balance(listener: TcpListener, running: Arc<Mutex<Vec<Replica>>>) {
    let mut turn = 0_usize;
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let mut replicas: Vec<(SocketAddr, SocketAddr)> =
            running.lock().await.iter().map(|replica| (replica.serving, replica.admin)).collect();
        turn = turn.wrapping_add(1);
        let first = turn % replicas.len().max(1);
        replicas.rotate_left(first);
        tokio::spawn(forward(client, replicas));
    }
}

async fn forward(mut client: TcpStream, replicas: Vec<(SocketAddr, SocketAddr)>) {
    for (serving, admin) in replicas {
        if is_ready(admin).await.is_ok()
            && let Ok(mut server) = TcpStream::connect(serving).await
        {
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

async fn is_ready(admin: SocketAddr) -> Result<()> {
    let answer = http::get(admin, "/readyz", Duration::from_secs(2)).await?;
    ensure!(answer.status == 200, "not ready: {}", answer.body.trim());
    Ok(())
}

/// A kubeconfig with a token of the webhook's ServiceAccount: what it may do is what the manifest says.
async fn write_kubeconfig(cluster: &Cluster, path: &Path) -> Result<()> {
    let control_plane = cluster.control_plane()?;
    let accounts = kube::Api::<ServiceAccount>::namespaced(cluster.api.client(), NAMESPACE);
    let spec = TokenRequestSpec { expiration_seconds: Some(24 * 3600), ..Default::default() };
    let request = TokenRequest { spec: Some(spec), ..Default::default() };
    let answer = accounts.create_token_request(WEBHOOK, &PostParams::default(), &request).await?;
    let token = answer.status.and_then(|status| status.token).context("no token")?;
    let server = format!("https://{}", control_plane.server);
    kubeconfig(path, &server, &control_plane.ca, &json!({ "token": token }))
}
