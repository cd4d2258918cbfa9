//! The webhook as a process: from the flags to two bound ports, and from there to the shutdown.
//!
//! ```text
//! ServeArgs ─▶ bind ─▶ Bound ─▶ serve(shutdown)
//!                                 ├─ webhook port    TLS, crate::http
//!                                 ├─ admin port      plain, crate::admin
//!                                 └─ tasks           certificates, API server's version
//! shutdown: unready ─▶ drain (still serving) ─▶ finish what is open ─▶ end
//! ```

mod certificates;
mod signals;
mod version;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::admin::{self, Condition, Readiness};
use crate::args::{LimitArgs, ServeArgs, ShutdownArgs};
use crate::cluster;
use crate::http::{self, AnswerFn, BodyLimits};
use crate::listen::{ListenAddress, Plain, Port, Stage, Times};
use crate::metrics::{self, Metrics};
use crate::review;
use crate::tls::Tls;
use certificates::{Certificates, Surroundings};
use signals::Signals;

/// Connections on the admin port: the kubelet's probes, Prometheus, and a few people.
const ADMIN_CONNECTIONS: usize = 64;

/// Where a pod is told its namespace, next to the token of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Work that goes on beside serving, for as long as the webhook serves.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves until SIGTERM or SIGINT; a second one ends it at once.
///
/// # Errors
/// If a port can't be had, or a part that must not end ends.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    // One more than one thread: a long answer must not hold up the probes.
    let threads = std::thread::available_parallelism().map_or(2, |found| found.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    runtime.block_on(async {
        let signals = Signals::listen().context("can't listen for signals")?;
        let bound = bind(args).await?;
        tokio::select! {
            biased;
            ended = bound.serve(signals.clone().reach(1)) => ended,
            () = signals.reach(2) => {
                tracing::warn!("second signal: ending at once");
                Ok(())
            }
        }
    })
}

/// A webhook whose ports are taken, so that their numbers are known, and not yet served.
pub struct Bound {
    /// Where HTTPS will be served.
    pub local_addr: SocketAddr,
    /// Where the admin port will be.
    pub admin_addr: SocketAddr,
    webhook: Port<Tls>,
    admin: Port<Plain>,
    tasks: Vec<Task>,
    listening: Condition,
    stopping: Condition,
    drain: Duration,
    shutdown_timeout: Duration,
}

/// Takes the ports that `args` names.
///
/// # Errors
/// If a port is taken, or an address is not ours.
pub async fn bind(args: ServeArgs) -> anyhow::Result<Bound> {
    bind_with(args, None).await
}

/// [`bind`], with a function of the caller's in the place of [`review::answer`]; for tests.
///
/// # Errors
/// As [`bind`].
pub async fn bind_with(args: ServeArgs, answer: Option<Box<AnswerFn>>) -> anyhow::Result<Bound> {
    let ServeArgs {
        listen,
        admin_listen,
        namespace,
        kubeconfig,
        certificates,
        sidecar,
        limits,
        shutdown: ShutdownArgs { drain, shutdown_timeout },
    } = args;
    let readiness = Readiness::default();
    let metrics = match certificates.tls_cert {
        Some(_) => Metrics::new(),
        None => Metrics::with_kept_certificates(),
    };
    let mut tasks: Vec<Task> = Vec::new();

    let own_namespace = namespace.or_else(own_namespace);
    let policy = sidecar.policy(own_namespace.clone());
    // Without access to the cluster there is nobody to ask: then certificates come from files, and
    // the webhook may as well be far from any cluster.
    if let Ok(client) = cluster::client(kubeconfig.as_deref()).await {
        tasks.push(Box::pin(version::warn_if_too_old(client)));
    }

    let around = Surroundings {
        namespace: own_namespace.as_deref(),
        kubeconfig: kubeconfig.as_deref(),
        readiness: &readiness,
        metrics: &metrics,
    };
    let Certificates { tls, tasks: more, report } =
        certificates::prepare(certificates, around).await?;
    tasks.extend(more);
    let (connections, times, body_limits) = bounds(&limits);
    let answer = answer
        .unwrap_or_else(|| Box::new(move |endpoint, body| review::answer(endpoint, body, &policy)));
    let webhook = port(
        listen,
        tls,
        http::router(answer, body_limits, metrics.clone()),
        connections,
        times,
        metrics.port(metrics::Port::Webhook),
    )?;
    let admin = port(
        admin_listen,
        Plain,
        admin::router(readiness.clone(), metrics.clone(), report),
        ADMIN_CONNECTIONS,
        times,
        metrics.port(metrics::Port::Admin),
    )?;
    let stopping = readiness.condition("shutdown", "starting");
    stopping.met();
    Ok(Bound {
        local_addr: webhook.listener.local_addr()?,
        admin_addr: admin.listener.local_addr()?,
        webhook,
        admin,
        tasks,
        listening: readiness.condition("listener", "not serving yet"),
        stopping,
        drain,
        shutdown_timeout,
    })
}

fn own_namespace() -> Option<String> {
    let namespace = std::fs::read_to_string(NAMESPACE_FILE).ok()?;
    Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

fn bounds(args: &LimitArgs) -> (usize, Times, BodyLimits) {
    let LimitArgs {
        max_connections,
        handshake_timeout,
        first_byte_timeout,
        head_timeout,
        body_timeout,
        idle_timeout,
        write_timeout,
        max_body,
        max_bodies,
    } = *args;
    let times = Times {
        handshake: handshake_timeout,
        first_byte: first_byte_timeout,
        head: head_timeout,
        idle: idle_timeout,
        write: write_timeout,
    };
    let bodies = BodyLimits { most: max_body, time: body_timeout, in_flight: max_bodies };
    (usize::try_from(max_connections).unwrap_or(usize::MAX), times, bodies)
}

fn port<H>(
    address: ListenAddress,
    handshake: H,
    router: axum::Router,
    connections: usize,
    times: Times,
    metrics: metrics::PortMetrics,
) -> anyhow::Result<Port<H>> {
    let listener = address.bind().with_context(|| {
        format!("can't listen on {address}: is another process there, or the port below 1024?")
    })?;
    Ok(Port { listener, handshake, router, connections, times, metrics })
}

impl Bound {
    /// Serves until `shutdown`, then as long as it takes to end without losing a request.
    ///
    /// # Errors
    /// If one of the tasks fails, which only a bug makes it do; what is under way is finished then too.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (stage, stages) = watch::channel(Stage::Serving);
        // The admin port answers to the very end: it says that the webhook is ending.
        let (_admin_stage, admin_stages) = watch::channel(Stage::Serving);
        let mut admin = pin!(self.admin.serve(admin_stages));
        let mut webhook = pin!(self.webhook.serve(stages));
        let mut tasks: JoinSet<()> = self.tasks.into_iter().collect();
        self.listening.met();
        tracing::info!(address = %self.local_addr, admin = %self.admin_addr, "serving");

        let life = async {
            let failure = tokio::select! {
                () = &mut webhook => None,
                failure = first_failure(&mut tasks) => Some(failure),
                () = shutdown => None,
            };
            self.stopping.unmet("shutting down");
            let _ = stage.send(Stage::Draining);
            tokio::select! {
                () = &mut webhook => {}
                () = tokio::time::sleep(self.drain) => {}
            }
            let _ = stage.send(Stage::Finishing);
            if tokio::time::timeout(self.shutdown_timeout, &mut webhook).await.is_err() {
                tracing::warn!("requests were still open after --shutdown-timeout: cut off");
            }
            failure
        };
        let failure = tokio::select! {
            failure = life => failure,
            () = &mut admin => None,
        };
        if let Some(failure) = failure {
            return Err(failure).context("a part of the webhook has failed: a bug");
        }
        tracing::info!("ended");
        Ok(())
    }
}

/// Tasks may end when their work is done; the first that fails is returned.
async fn first_failure(tasks: &mut JoinSet<()>) -> JoinError {
    while let Some(ended) = tasks.join_next().await {
        if let Err(failure) = ended {
            return failure;
        }
    }
    std::future::pending().await
}
