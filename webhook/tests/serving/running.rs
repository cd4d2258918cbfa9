//! A webhook that runs within the test, and the files it is given.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use certs::ca::Authority;
use certs::certificate::{Fingerprint, Validity, pem_of};
use clap::Parser as _;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use injection::{Outcome, Reason};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use webhook::args::Args;
use webhook::metrics::Metrics;
use webhook::review::Answer;
use webhook::routes::AnswerFn;
use webhook::serve::{Options, bind};
use webhook::tls::Tls;

/// Within this time everything happens, on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What the webhook is called in its certificate.
pub(crate) const NAME: &str = "webhook.test";

/// The flags of the webhook, parsed.
pub(crate) fn args(flags: &[&str]) -> Args {
    Args::try_parse_from(["webhook"].iter().chain(flags)).unwrap()
}

/// Fails the test if `future` takes too long.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it took too long")
}

/// Tries until it is true.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let tried = tokio::time::timeout(DEADLINE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(tried.await.is_ok(), "not within {DEADLINE:?}: {what}");
}

/// A CA, and a folder with a pair of files that it signed. The folder is as a kubelet makes it for a
/// Secret: the files are in a folder of their own, which a symbolic link names, so that all of them
/// change in one step.
pub(crate) struct Files {
    pub(crate) ca: Authority,
    folder: TempDir,
    versions: AtomicUsize,
}

impl Files {
    pub(crate) fn new() -> Self {
        let ca = Authority::new(Validity::starting(Timestamp::now(), DEADLINE * 60)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = Self { ca, folder, versions: AtomicUsize::new(0) };
        files.renew();
        files
    }

    /// Another file, beside the pair.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("..data/tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("..data/tls.key")
    }

    /// The pair that is in the files.
    pub(crate) fn read(&self) -> (String, String) {
        let [certificate, key] =
            [self.certificate(), self.key()].map(|path| std::fs::read_to_string(path).unwrap());
        (certificate, key)
    }

    /// A new pair for a quarter of an hour around now, in PEM.
    pub(crate) fn pair(&self) -> (Fingerprint, String, String) {
        self.pair_until(Duration::from_secs(900))
    }

    pub(crate) fn pair_until(&self, life: Duration) -> (Fingerprint, String, String) {
        let now = Timestamp::now();
        let validity =
            Validity { not_before: now - Duration::from_secs(60), not_after: now + life };
        let pair = self.ca.issue(&[NAME.to_owned()], validity).unwrap();
        let key = pair.key_pem().to_string();
        (Fingerprint::of(&pair.chain()[0]), pem_of(pair.chain()), key)
    }

    /// Puts these into the files, in one step.
    pub(crate) fn put(&self, certificate: &str, key: &str) {
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        let folder = self.path(&format!("..{version}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("tls.crt"), certificate).unwrap();
        std::fs::write(folder.join("tls.key"), key).unwrap();
        let link = self.path("..next");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        std::fs::rename(&link, self.path("..data")).unwrap();
    }

    /// Puts a new pair into the files, and says which one.
    pub(crate) fn renew(&self) -> Fingerprint {
        let (fingerprint, certificate, key) = self.pair();
        self.put(&certificate, &key);
        fingerprint
    }

    pub(crate) fn ca_pem(&self) -> String {
        pem_of(std::slice::from_ref(self.ca.certificate()))
    }

    /// Flags that name the files and look at them often.
    pub(crate) fn flags(&self) -> Vec<String> {
        vec![
            format!("--tls-cert={}", self.certificate().display()),
            format!("--tls-key={}", self.key().display()),
            "--tls-poll=10ms".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
        ]
    }
}

/// Writes a file in one step, so that nobody reads half of it.
pub(crate) fn replace(path: &Path, content: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, content).unwrap();
    std::fs::rename(&next, path).unwrap();
}

/// A server that ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a router over TLS on a port of its own. It may answer without end, which `listen` does not.
pub(crate) fn serve_router(tls: Tls, router: Router) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async move {
        let mut connections = JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let tls = TlsAcceptor::from(tls.config().unwrap());
            let router = router.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                router.clone().oneshot(request.map(Body::new))
            });
            connections.spawn(async move {
                if let Ok(stream) = tls.accept(tcp).await {
                    let http = http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    };
    Server { address, task: tokio::spawn(serving).abort_handle() }
}

pub(crate) fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(Counter::default(), true))
}

/// Answers with the length of the body. A body that says `panic` is answered with a panic.
pub(crate) fn echo() -> Arc<AnswerFn> {
    Arc::new(|_, body, _| {
        assert_ne!(body, b"panic", "as asked for");
        Ok(Answer {
            body: body.len().to_string().into_bytes(),
            uid: "u".to_owned(),
            namespace: "ns".to_owned(),
            name: "n".to_owned(),
            kind: "Pod",
            operation: "CREATE",
            outcome: Outcome::Skipped(Reason::NotAsked),
            warnings: 0,
        })
    })
}

/// A webhook that serves on ports of its own.
pub(crate) struct Running {
    pub(crate) webhook: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// With [`echo`] for an answer, and ready.
    pub(crate) async fn start(files: &Files, flags: &[&str]) -> Self {
        let running = Self::start_unready(files, flags).await;
        eventually("ready", async || running.ready().await).await;
        running
    }

    pub(crate) async fn start_unready(files: &Files, flags: &[&str]) -> Self {
        Self::start_with_options(files, flags, Options::default()).await
    }

    pub(crate) async fn start_with_options(
        files: &Files,
        flags: &[&str],
        options: Options,
    ) -> Self {
        let own = files.flags();
        let all: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        Self::start_bound(&all, options).await
    }

    /// With these flags and no others.
    pub(crate) async fn start_with(all: &[&str]) -> Self {
        Self::start_bound(all, Options::default()).await
    }

    /// With real answers, and ready.
    pub(crate) async fn start_answering(files: &Files, flags: &[&str]) -> Self {
        let own = files.flags();
        let all: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let running = Self::start_real(&all, Options::default()).await;
        eventually("ready", async || running.ready().await).await;
        running
    }

    async fn start_bound(all: &[&str], options: Options) -> Self {
        Self::start_real(all, Options { answer: Some(echo()), ..options }).await
    }

    async fn start_real(all: &[&str], options: Options) -> Self {
        let bound = bind(args(all), options).await.unwrap();
        let (webhook, admin) = (bound.local_addr, bound.admin_addr);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(bound.serve(async {
            let _ = stopped.await;
        }));
        Self { webhook, admin, stop: Some(stop), serving }
    }

    /// What SIGTERM does.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits for the end.
    pub(crate) async fn ended(self) {
        within(self.serving).await.unwrap().unwrap();
    }

    pub(crate) async fn ready(&self) -> bool {
        crate::client::get(self.admin, "/readyz").await.is_ok_and(|(status, _)| status == 200)
    }

    /// The value of one line of the metrics, by how the line begins; 0 if there is none.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let (_, page) = crate::client::get(self.admin, "/metrics").await.unwrap();
        let prefixed = format!("secret_handshake_webhook_{line} ");
        page.lines()
            .find_map(|found| found.strip_prefix(&prefixed))
            .map_or(0, |value| value.parse().unwrap())
    }
}
