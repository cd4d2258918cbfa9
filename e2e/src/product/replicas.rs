//! The webhook as processes on this machine, behind one address, with the rights of its own
//! ServiceAccount.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::install::{self, NAMESPACE, WEBHOOK};
use lab::cluster::Cluster;
use lab::cluster::pki::{Credentials, kubeconfig};
use lab::daemon::Daemon;
use lab::front::Front;
use lab::http;
use lab::metrics::Metrics;
use lab::netns::free_port;
use lab::until::until;

/// How long a replica may take until it is ready, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often readiness is asked for. A kubelet asks every two seconds (`deploy/webhook`), and then the
/// endpoints have to be told; what takes that long there takes a moment here.
const PROBE: Duration = Duration::from_millis(50);

/// Replicas of the webhook. When it is dropped they are ended with their cluster.
pub struct Replicas {
    cluster: Arc<Cluster>,
    program: PathBuf,
    kubeconfig: PathBuf,
    front: Arc<Front>,
    running: Arc<Mutex<Vec<Replica>>>,
    probes: JoinHandle<()>,
}

struct Replica {
    name: String,
    daemon: Daemon,
    serving: SocketAddr,
    admin: SocketAddr,
    flags: Vec<String>,
}

impl Replicas {
    /// Installs `deploy/webhook` with a configuration that calls this machine's processes, and gets
    /// ready to start some.
    ///
    /// # Errors
    ///
    /// The manifests are refused, or no token for the ServiceAccount can be had.
    pub async fn install(cluster: Arc<Cluster>, program: PathBuf) -> Result<Self> {
        let front = Arc::new(Front::new()?);
        let objects = install::render(&cluster, "deploy/webhook").await?;
        let url = format!("https://{}", front.address());
        install::apply(&cluster, &install::by_url(objects, &url)?).await?;
        let kubeconfig = cluster.state()?.path("webhook.kubeconfig");
        write_kubeconfig(&cluster, &kubeconfig).await?;
        let running = Arc::new(Mutex::new(Vec::new()));
        let probes = tokio::spawn(keep_probing(Arc::clone(&running), Arc::clone(&front)));
        Ok(Self { cluster, program, kubeconfig, front, running, probes })
    }

    /// Has the API server call another address from now on.
    ///
    /// # Errors
    ///
    /// The configuration is refused.
    pub async fn call_at(&self, address: SocketAddr) -> Result<()> {
        let mut objects = install::render(&self.cluster, "deploy/webhook").await?;
        objects.retain(|object| object["kind"] == "MutatingWebhookConfiguration");
        let objects = install::by_url(objects, &format!("https://{address}"))?;
        install::apply(&self.cluster, &objects).await.map(drop)
    }

    /// Starts a replica that listens at this address, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It does not start, or is not ready in time.
    pub async fn start_listening(&self, at: SocketAddr, name: &str, flags: &[&str]) -> Result<()> {
        self.start_at(at, name, flags).await?;
        self.ready().await
    }

    /// Where the API server calls.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Leaves one replica, which listens at the address itself: for a cluster that outlives this process.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn leave_one(&self) -> Result<()> {
        self.kill_all().await?;
        self.probes.abort();
        self.start_at(self.front.address(), "webhook", &[]).await?;
        until("the webhook", PATIENCE, async || {
            let mut running = self.running.lock().await;
            for replica in running.iter_mut() {
                replica.is_ready().await?;
            }
            Ok(())
        })
        .await
    }

    /// Starts a replica with `flags` besides those that every one has, and does not wait for it.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start(&self, name: &str, flags: &[&str]) -> Result<()> {
        self.start_at(loopback(free_port()?), name, flags).await
    }

    async fn start_at(&self, serving: SocketAddr, name: &str, flags: &[&str]) -> Result<()> {
        let admin = loopback(free_port()?);
        let mut command = Command::new(&self.program);
        command
            .arg(format!("--listen={serving}"))
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--namespace={NAMESPACE}"))
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg("--sidecar-image=secret-handshake-sidecar:e2e")
            // By URL it is called by an address, not by its Service's name.
            .arg("--cert-name=127.0.0.1")
            .args(flags)
            // Its surroundings are a pod's, not those of whoever runs this.
            .env_remove("KUBECONFIG");
        let daemon = Daemon::start(self.cluster.state()?, name, command)?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let replica = Replica { name: name.to_owned(), daemon, serving, admin, flags };
        self.running.lock().await.push(replica);
        Ok(())
    }

    /// What most scenarios want: one replica with no flags of its own, ready.
    ///
    /// # Errors
    ///
    /// It does not start, or is not ready in time.
    pub async fn restore(&self) -> Result<()> {
        self.kill_all().await?;
        self.start("webhook", &[]).await?;
        self.ready().await
    }

    /// Waits until every replica is ready and behind the address.
    ///
    /// # Errors
    ///
    /// One has ended, or is not ready in time; the message has its own reason.
    pub async fn ready(&self) -> Result<()> {
        until("the webhook", PATIENCE, async || {
            let mut running = self.running.lock().await;
            for replica in running.iter_mut() {
                replica.is_ready().await?;
            }
            self.front.set(running.iter().map(|replica| replica.serving).collect());
            Ok(())
        })
        .await
    }

    /// Kills a replica, as `kill -9` does.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub async fn kill(&self, name: &str) -> Result<()> {
        self.take(name).await?.daemon.kill()
    }

    /// Asks a replica to end, as the kubelet does, and waits until it has ended.
    ///
    /// # Errors
    ///
    /// There is none of this name, or it does not end in time.
    pub async fn terminate(&self, name: &str) -> Result<()> {
        let mut running = self.running.lock().await;
        let replica = running.iter().position(|replica| replica.name == name);
        let replica = running.remove(replica.with_context(|| format!("no replica {name}"))?);
        // A pod that is being deleted is taken out of its Service at that moment.
        self.front.set(running.iter().map(|replica| replica.serving).collect());
        drop(running);
        replica.daemon.terminate(PATIENCE).await
    }

    /// Kills all of them: the webhook is away, and nothing listens where the API server calls.
    ///
    /// # Errors
    ///
    /// One can't be killed.
    pub async fn kill_all(&self) -> Result<()> {
        let running: Vec<Replica> = self.running.lock().await.drain(..).collect();
        self.front.set(Vec::new());
        running.into_iter().try_for_each(|replica| replica.daemon.kill())
    }

    async fn take(&self, name: &str) -> Result<Replica> {
        let mut running = self.running.lock().await;
        let place = running.iter().position(|replica| replica.name == name);
        Ok(running.remove(place.with_context(|| format!("no replica {name}"))?))
    }

    /// The flags that a replica was started with.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub async fn flags(&self, name: &str) -> Result<Vec<String>> {
        let running = self.running.lock().await;
        let replica = running.iter().find(|replica| replica.name == name);
        Ok(replica.with_context(|| format!("no replica {name}"))?.flags.clone())
    }

    /// What all replicas have counted together.
    ///
    /// # Errors
    ///
    /// One does not answer.
    pub async fn metrics(&self) -> Result<Metrics> {
        let mut sum = Metrics::default();
        for (_, metrics) in self.metrics_of_each().await? {
            sum.add(&metrics);
        }
        Ok(sum)
    }

    /// What each replica has counted.
    ///
    /// # Errors
    ///
    /// One does not answer.
    pub async fn metrics_of_each(&self) -> Result<BTreeMap<String, Metrics>> {
        let running = self.running.lock().await;
        let mut all = BTreeMap::new();
        for replica in running.iter() {
            let answer = http::get(replica.admin, "/metrics", Duration::from_secs(5)).await?;
            all.insert(replica.name.clone(), Metrics::parse(&answer.body));
        }
        Ok(all)
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

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.probes.abort();
    }
}

/// Does what the kubelet's probes and the endpoints' controller do: who is not ready gets no new
/// connections.
async fn keep_probing(running: Arc<Mutex<Vec<Replica>>>, front: Arc<Front>) {
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
        let still: Vec<SocketAddr> =
            running.lock().await.iter().map(|replica| replica.serving).collect();
        ready.retain(|serving| still.contains(serving));
        front.set(ready);
    }
}

/// A kubeconfig with a token of the webhook's ServiceAccount: what it may do is what the manifest says.
async fn write_kubeconfig(cluster: &Cluster, path: &std::path::Path) -> Result<()> {
    let control_plane = cluster.own_control_plane()?;
    let request: Value = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": { "expirationSeconds": 3600 * 24 },
    });
    let account = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{WEBHOOK}/token");
    let body = serde_json::to_vec(&request)?;
    let reply = cluster.api.send("POST", &account, "application/json", body).await?.object()?;
    let token = reply["status"]["token"].as_str().context("no token")?;
    let server = format!("https://{}", control_plane.server);
    kubeconfig(path, &server, &control_plane.ca, &Credentials::Token(token))
}
