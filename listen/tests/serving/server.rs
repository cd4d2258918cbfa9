//! A server within the test, on a runtime of its own as in the webhook.

use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use listen::{Address, Bound, Cut, Event, Limits, OnDelivery, Peer};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::{DEADLINE, Target};

/// The webhook's.
pub(crate) const WEBHOOK: Limits = Limits {
    connections: 1024,
    body_bytes: 6 << 20,
    all_body_bytes: 32 << 20,
    handshake: Duration::from_secs(5),
    head: Duration::from_secs(5),
    body: Duration::from_secs(4),
    idle: Duration::from_secs(120),
    write: Duration::from_secs(5),
    drain: Duration::ZERO,
};

/// What has happened on a port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) open: i64,
    pub(crate) most_open: i64,
    pub(crate) body_bytes: i64,
    pub(crate) most_body_bytes: i64,
    pub(crate) cuts: HashMap<Cut, usize>,
    pub(crate) handshakes_failed: usize,
    pub(crate) accepts_failed: usize,
    pub(crate) refused: Vec<u16>,
    /// Requests at `/held` that are not answered yet.
    pub(crate) held: i64,
    /// Of answers to `/delivered…`: whether they were.
    pub(crate) delivered: Vec<bool>,
}

impl Seen {
    fn add(&mut self, event: &Event<'_>) {
        match *event {
            Event::Opened => self.open += 1,
            Event::Closed => self.open -= 1,
            Event::Cut(cut) => *self.cuts.entry(cut).or_default() += 1,
            Event::HandshakeFailed(_) => self.handshakes_failed += 1,
            Event::AcceptFailed(_) => self.accepts_failed += 1,
            Event::BodyBytes(bytes) => self.body_bytes += bytes,
            Event::Refused(status) => self.refused.push(status.as_u16()),
        }
        self.most_open = self.most_open.max(self.open);
        self.most_body_bytes = self.most_body_bytes.max(self.body_bytes);
    }

    pub(crate) fn cut(&self, cut: Cut) -> usize {
        self.cuts.get(&cut).copied().unwrap_or(0)
    }
}

pub(crate) struct Server {
    pub(crate) target: Target,
    seen: Arc<Mutex<Seen>>,
    release: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

impl Server {
    pub(crate) fn plain(limits: Limits) -> Self {
        Self::start(limits, false)
    }

    pub(crate) fn tls(limits: Limits) -> Self {
        Self::start(limits, true)
    }

    pub(crate) fn start(limits: Limits, tls: bool) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let told = Arc::clone(&seen);
        let bound = listen::bind(Address::At(SocketAddr::from(([127, 0, 0, 1], 0))), limits)
            .unwrap()
            .observed_by(move |event| told.lock().unwrap().add(&event));
        let target = Target { address: bound.local_addr(), tls };
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (release, held) = watch::channel(false);
        let serving = runtime.spawn(serve(bound, tls, Arc::clone(&seen), held, stopped));
        Self {
            target,
            seen,
            release,
            stop: Some(stop),
            serving: Some(serving),
            runtime: Some(runtime),
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until it is true of what has happened.
    pub(crate) async fn sees(&self, what: &str, mut condition: impl FnMut(&Seen) -> bool) {
        let seen = async {
            while !condition(&self.seen()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let seen = tokio::time::timeout(DEADLINE, seen).await;
        assert!(seen.is_ok(), "not within {DEADLINE:?}: {what}: {:?}", self.seen());
    }

    /// Answers what waits at `/held`.
    pub(crate) fn release(&self) {
        self.release.send_replace(true);
    }

    /// What SIGTERM does.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits for the end of what [`Server::stop`] began.
    pub(crate) async fn ended(&mut self) {
        let ended = tokio::time::timeout(DEADLINE, self.serving.take().unwrap()).await;
        ended.expect("it does not end").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(
    bound: Bound,
    tls: bool,
    seen: Arc<Mutex<Seen>>,
    held: watch::Receiver<bool>,
    stopped: oneshot::Receiver<()>,
) {
    let service = move |request: Request<Bytes>| answer(request, Arc::clone(&seen), held.clone());
    let shutdown = async {
        if stopped.await.is_err() {
            pending::<()>().await;
        }
    };
    if tls {
        bound.serve_tls(|| Some(Arc::clone(&CONFIG)), service, shutdown).await.unwrap();
    } else {
        bound.serve(service, shutdown).await.unwrap();
    }
}

async fn answer(
    request: Request<Bytes>,
    seen: Arc<Mutex<Seen>>,
    mut held: watch::Receiver<bool>,
) -> Response<Bytes> {
    let body = match request.uri().path() {
        "/mutate/pods" => request.body().len().to_string().into(),
        "/peer" => request.extensions().get::<Peer>().unwrap().0.to_string().into(),
        "/metrics" => vec![b'x'; 1 << 20].into(),
        "/held" => {
            let _held = Held::new(&seen);
            held.wait_for(|released| *released).await.unwrap();
            "released".into()
        }
        _ => "ok".into(),
    };
    let mut response = Response::new(body);
    if request.uri().path().starts_with("/delivered") {
        response.extensions_mut().insert(OnDelivery::new(move |delivered| {
            seen.lock().unwrap().delivered.push(delivered);
        }));
    }
    if request.uri().path() == "/delivered-and-closed" {
        response.headers_mut().insert("connection", "close".parse().unwrap());
    }
    response
}

struct Held(Arc<Mutex<Seen>>);

impl Held {
    fn new(seen: &Arc<Mutex<Seen>>) -> Self {
        seen.lock().unwrap().held += 1;
        Self(Arc::clone(seen))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap().held -= 1;
    }
}

static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["webhook.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.send_tls13_tickets = 0;
    Arc::new(config)
});
