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
use lab::cluster::pki::{Credentials, kubeconfig};
use lab::daemon::Daemon;
use lab::http;
use lab::load_balancer::LoadBalancer;
use lab::metrics;
use lab::network::{free_port, localhost};
use lab::until::until;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::install::{self, NAMESPACE, WEBHOOK};

/// The image that pods get.
pub(crate) const SIDECAR_IMAGE: &str = "secret-handshake-sidecar:e2e";

const PATIENCE: Duration = Duration::from_secs(60);
/// How often readiness is asked for. A kubelet asks every two seconds (`deploy/webhook`), and then the
/// endpoints have to be told; what takes that long there takes a moment here.
const PROBE: Duration = Duration::from_millis(50);

/// Replicas of the webhook. When it is dropped they are ended with their cluster.
pub(crate) struct Replicas {
    cluster: Arc<Cluster>,
    program: PathBuf,
    kubeconfig: PathBuf,
    balancer: Arc<LoadBalancer>,
    running: Arc<Mutex<Vec<Replica>>>,
    probes: JoinHandle<()>,
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
        let balancer = Arc::new(LoadBalancer::new()?);
        let objects = install::render(&cluster, "deploy/webhook").await?;
        let url = format!("https://{}", balancer.address());
        install::apply(&cluster, &install::by_url(objects, &url)?).await?;
        let kubeconfig = cluster.state()?.path("webhook.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await?;
        let running = Arc::new(Mutex::new(Vec::new()));
        let probes = tokio::spawn(keep_probing(Arc::clone(&running), Arc::clone(&balancer)));
        Ok(Self { cluster, program, kubeconfig, balancer, running, probes })
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
        self.balancer.address()
    }

    /// Leaves one replica, which listens at the address itself: for a cluster that outlives this process.
    pub(crate) async fn leave_one(&self) -> Result<()> {
        self.kill_all().await?;
        self.probes.abort();
        self.start_at(self.balancer.address(), "webhook", &[]).await?;
        self.all_ready().await
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

    /// Waits until every replica is ready and gets connections.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.all_ready().await?;
        self.update_balancer().await;
        Ok(())
    }

    async fn all_ready(&self) -> Result<()> {
        until("the webhook", PATIENCE, async || {
            for replica in self.running.lock().await.iter_mut() {
                replica.is_ready().await?;
            }
            Ok(())
        })
        .await
    }

    async fn update_balancer(&self) {
        let running = self.running.lock().await;
        self.balancer.set(running.iter().map(|replica| replica.serving).collect());
    }

    pub(crate) async fn kill(&self, name: &str) -> Result<()> {
        self.take(name).await?.daemon.kill()
    }

    pub(crate) async fn terminate(&self, name: &str) -> Result<()> {
        let replica = self.take(name).await?;
        // A pod that is being deleted is taken out of its Service at that moment.
        self.update_balancer().await;
        replica.daemon.terminate(PATIENCE).await
    }

    /// Kills all of them: the webhook is away, and nothing listens where the API server calls.
    pub(crate) async fn kill_all(&self) -> Result<()> {
        let running: Vec<Replica> = self.running.lock().await.drain(..).collect();
        self.balancer.set(Vec::new());
        running.into_iter().try_for_each(|replica| replica.daemon.kill())
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

impl Replica {
    async fn is_ready(&mut self) -> Result<()> {
        self.daemon.alive()?;
        let answer = http::get(self.admin, "/readyz", Duration::from_secs(2)).await?;
        ensure!(answer.status == 200, "{}: {}", self.name, answer.body.trim());
        Ok(())
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.probes.abort();
    }
}

/// Does what the kubelet's probes and the endpoints' controller do: who is not ready gets no new
/// connections.
async fn keep_probing(running: Arc<Mutex<Vec<Replica>>>, balancer: Arc<LoadBalancer>) {
    loop {
        tokio::time::sleep(PROBE).await;
        let known: Vec<(SocketAddr, SocketAddr)> =
            running.lock().await.iter().map(|replica| (replica.serving, replica.admin)).collect();
        let mut ready = Vec::new();
        for (serving, admin) in known {
            let answer = http::get(admin, "/readyz", Duration::from_secs(2)).await;
            if answer.is_ok_and(|answer| answer.status == 200) {
                ready.push(serving);
            }
        }
        let running = running.lock().await;
        ready.retain(|serving| running.iter().any(|replica| replica.serving == *serving));
        balancer.set(ready);
    }
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
    kubeconfig(path, &server, &control_plane.ca, &Credentials::Token(&token))
}
