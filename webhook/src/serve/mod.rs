//! The webhook as a process: from the flags to two bound ports, and from there to the shutdown.
//!
//! ```text
//! Args ─▶ bind ─▶ Bound ─▶ serve(shutdown)
//!                            ├─ webhook port    TLS, crate::routes
//!                            ├─ admin port      plain, crate::admin
//!                            └─ tasks           certificates, a look at the API server's version
//! shutdown: unready ─▶ drain (still serving) ─▶ finish what is open ─▶ end
//! ```

mod certificates;
mod version;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{Request, Response};
use injection::Policy;
use listen::{Event, Limits};
use prometheus_client::metrics::counter::Counter;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::admin::{self, Condition, Readiness};
use crate::args::Args;
use crate::cluster;
use crate::metrics::Metrics;
use crate::namespace::Namespaces;
use crate::review;
use crate::routes::{self, AnswerFn};
use crate::tls::Tls;
use certificates::Task;

/// For the API server's port: connections, and bytes of one body and of all. An API server sends objects
/// of up to 3 MiB (its own limit for a request), and an update's review has the old object and the new.
const CONNECTIONS: usize = 1024;
const BODY_BYTES: usize = 6 << 20;
const ALL_BODY_BYTES: usize = 32 << 20;

/// After --drain: for requests that are under way. The API server gives up on one after 5 s
/// (`timeoutSeconds`).
const FINISH: Duration = Duration::from_secs(10);

/// After everything has ended: for threads that are still busy, with a file system that hangs perhaps.
const THREADS: Duration = Duration::from_secs(1);

/// Where a pod is told its namespace, next to the token of its service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// What no flag says.
#[derive(Clone)]
pub struct Options {
    /// In the place of [`review::answer`]: for tests.
    pub answer: Option<Arc<AnswerFn>>,
    /// Of the API server's port; --drain is added to them.
    pub limits: Limits,
    /// How long requests that are under way may take to end after --drain.
    pub finish: Duration,
    /// Counts the log lines that could not be written.
    pub log_dropped: Counter,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits {
            connections: CONNECTIONS,
            body_bytes: BODY_BYTES,
            all_body_bytes: ALL_BODY_BYTES,
            ..Limits::default()
        };
        Self { answer: None, limits, finish: FINISH, log_dropped: Counter::default() }
    }
}

/// Serves until SIGTERM or SIGINT. It then ends in order, or at a second signal at once; and whatever
/// hangs, it ends.
///
/// # Errors
/// If a port is taken, or there is no way to certificates.
pub fn run(args: Args, log_dropped: Counter) -> anyhow::Result<()> {
    // At least two: a long answer must not hold up the probes. At most four: one alone answers more than
    // an API server asks, and each has a stack.
    let threads = std::thread::available_parallelism().map_or(2, |found| found.get().clamp(2, 4));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    let longest = args.drain + FINISH + THREADS;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut signalled = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let (shutdown, begun) = oneshot::channel::<()>();
        let options = Options { log_dropped, ..Options::default() };
        // In a task of its own: this one goes on listening for signals whatever hangs there.
        let serving = tokio::spawn(async move {
            let bound = bind(args, options).await?;
            bound.serve(async { drop(begun.await) }).await
        });
        let end = async {
            let name = signalled().await;
            tracing::info!("received {name}: shutting down");
            let _ = shutdown.send(());
            if timeout(longest, signalled()).await.is_ok() {
                tracing::warn!("received a second signal: ending at once");
            } else {
                tracing::warn!("something hangs: ending nevertheless");
            }
        };
        tokio::select! {
            ended = serving => ended.context("a part of the webhook has failed: a bug")?,
            () = end => Ok(()),
        }
    });
    runtime.shutdown_timeout(THREADS);
    ended
}

/// A webhook whose ports are bound, so that their numbers are known, and not yet served.
pub struct Bound {
    /// Where HTTPS will be served.
    pub local_addr: SocketAddr,
    /// Where the admin port will be.
    pub admin_addr: SocketAddr,
    webhook: listen::Bound,
    admin: listen::Bound,
    tls: Tls,
    webhook_routes: Router,
    admin_routes: Router,
    tasks: Vec<Task>,
    listening: Condition,
    readiness: Readiness,
    longest_end: Duration,
}

/// Binds the ports that `args` names.
///
/// # Errors
/// If a port is taken, an address is not ours, or there is no way to certificates.
pub async fn bind(args: Args, options: Options) -> anyhow::Result<Bound> {
    let namespace = args.namespace.or_else(own_namespace);
    let readiness = Readiness::default();
    let keeps_certificates = args.certificates.tls_cert.is_none();
    let metrics = Arc::new(Metrics::new(options.log_dropped, keeps_certificates));
    let mut tasks: Vec<Task> = Vec::new();
    // Without access to the cluster there is nobody to ask: then certificates come from files, and
    // the webhook may as well be far from any cluster.
    let client = cluster::client(args.kubeconfig.as_deref()).await.ok();
    if let Some(client) = client.clone() {
        tasks.push(Box::pin(version::warn_if_too_old(client)));
    }
    let namespaces = client.filter(|_| !args.no_namespace_settings).map(Namespaces::new);
    if namespaces.is_none() {
        tracing::info!("settings are not read from Namespaces: pods and flags alone set something");
    }
    let kubeconfig = args.kubeconfig.as_deref();
    let (tls, more) = certificates::prepare(
        args.certificates,
        namespace.as_deref(),
        kubeconfig,
        &readiness,
        &metrics,
    )
    .await?;
    tasks.extend(more);

    let policy = Policy { own_namespace: namespace, ..args.sidecar };
    let answer = options
        .answer
        .unwrap_or_else(|| Arc::new(move |at, body, of| review::answer(at, body, of, &policy)));
    let limits = Limits { drain: args.drain, ..options.limits };
    let observer = |port| {
        let (count, tls) = (metrics.port(port), tls.clone());
        move |event: Event<'_>| {
            count(&event);
            match event {
                Event::HandshakeFailed(error) => tls.handshake_failed(error),
                Event::AcceptFailed(error) => tracing::warn!(
                    %error,
                    "can't accept connections: trying again (too many open files?)"
                ),
                _ => {}
            }
        }
    };
    let webhook = port(args.listen, limits)?.observed_by(observer("webhook"));
    let admin = port(args.admin_listen, Limits::default())?.observed_by(observer("admin"));
    Ok(Bound {
        local_addr: webhook.local_addr(),
        admin_addr: admin.local_addr(),
        webhook,
        admin,
        tls,
        webhook_routes: routes::router(answer, namespaces, Arc::clone(&metrics)),
        admin_routes: admin::router(readiness.clone(), metrics),
        tasks,
        listening: readiness.condition("listener", "not serving yet"),
        readiness,
        longest_end: args.drain + options.finish,
    })
}

fn own_namespace() -> Option<String> {
    let namespace = std::fs::read_to_string(NAMESPACE_FILE).ok()?;
    Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

fn port(address: listen::Address, limits: Limits) -> anyhow::Result<listen::Bound> {
    listen::bind(address, limits).with_context(|| {
        format!("can't listen on {address}: is another process there, or the port below 1024?")
    })
}

async fn answer(routes: Router, request: Request<Bytes>) -> Response<Bytes> {
    let Ok(answer) = routes.oneshot(request.map(Body::from)).await;
    let (head, body) = answer.into_parts();
    // Our answers' bodies are whole, and can't fail.
    Response::from_parts(head, to_bytes(body, usize::MAX).await.unwrap_or_default())
}

impl Bound {
    /// Serves until `shutdown`, then as long as it takes to end without losing a request.
    ///
    /// # Errors
    /// If one of the tasks fails, which only a bug makes it do; what is under way is finished then too.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tls, routes) = (self.tls, self.webhook_routes);
        let mut webhook = pin!(self.webhook.serve_tls(
            move || tls.config(),
            move |request| answer(routes.clone(), request),
            async { drop(stopped.await) },
        ));
        // The admin port answers to the very end: it says that the webhook is ending.
        let routes = self.admin_routes;
        let mut admin = pin!(
            self.admin
                .serve(move |request| answer(routes.clone(), request), std::future::pending())
        );
        let mut tasks: JoinSet<()> = self.tasks.into_iter().collect();
        self.listening.met();
        tracing::info!(address = %self.local_addr, admin = %self.admin_addr, "serving");

        let life = async {
            let failure = tokio::select! {
                ended = &mut webhook => return ended.context("the webhook's port has failed"),
                failure = first_failure(&mut tasks) => Some(failure),
                () = shutdown => None,
            };
            let _never_met = self.readiness.condition("shutdown", "shutting down");
            let _ = stop.send(());
            if let Ok(ended) = timeout(self.longest_end, &mut webhook).await {
                ended.context("the webhook's port has failed")?;
            } else {
                tracing::warn!("requests were still open: cut off");
            }
            match failure {
                Some(failure) => Err(failure).context("a part of the webhook has failed: a bug"),
                None => Ok(()),
            }
        };
        tokio::select! {
            ended = life => ended?,
            ended = &mut admin => ended.context("the admin port has failed")?,
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
