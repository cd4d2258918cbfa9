//! The sidecar's own port: `/readyz`, which a kubelet can wait at, `/livez` and `/metrics`.

mod metrics;
mod probes;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use listen::{OnDelivery, Peer};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::handshake::{Failure, Report, State};
use crate::log::Log;
use crate::messages;

use metrics::Metrics;
pub use probes::Probes;

/// What is known, and who was told.
pub(crate) struct Status {
    legacy_port: u16,
    hold: Duration,
    log: Arc<Log>,
    /// Whether Legacy is initialised: what probes wait for.
    ready: watch::Sender<bool>,
    known: Mutex<Known>,
}

struct Known {
    state: State,
    /// Since when Legacy is awaited, or was before it was initialised.
    since: Instant,
    /// The last failure, if Legacy was not initialised since.
    failure: Option<Failure>,
    metrics: Metrics,
    probes: Probes,
}

type Answer = Response<Bytes>;

impl Status {
    pub(crate) fn new(
        legacy_port: u16,
        hold: Duration,
        held_max: usize,
        log: Arc<Log>,
        since: Instant,
    ) -> Self {
        let known = Known {
            state: State::Waiting,
            since,
            failure: None,
            metrics: Metrics::default(),
            probes: Probes::new(held_max),
        };
        let (ready, known) = (watch::Sender::new(false), Mutex::new(known));
        Self { legacy_port, hold, log, ready, known }
    }

    /// Takes in where the handshake stands, and answers the probes that wait if that changed.
    pub(crate) fn update(&self, state: State, since: Instant, report: Option<Report>) {
        let mut known = self.known();
        (known.state, known.since) = (state, since);
        if let Some(report) = report {
            known.metrics.count(report);
        }
        match report {
            Some(Report::Failed { failure, .. }) => known.failure = Some(failure),
            _ if state.is_ready() => known.failure = None,
            _ => {}
        }
        drop(known);
        self.ready.send_if_modified(|ready| {
            let before = std::mem::replace(ready, state.is_ready());
            before != *ready
        });
    }

    pub(crate) async fn answer(self: Arc<Self>, request: Request<Bytes>) -> Answer {
        if *request.method() != Method::GET && *request.method() != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/readyz" => match request.extensions().get() {
                Some(Peer(peer)) if is_kubelet(request.headers()) => self.probe(peer.ip()).await,
                _ => self.readyz(),
            },
            "/livez" => text(StatusCode::OK, "alive\n".into()),
            "/metrics" => {
                let known = self.known();
                let metrics = known.metrics.render(known.state, self.log.dropped());
                let mut answer = text(StatusCode::OK, metrics);
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                answer
            }
            _ => text(StatusCode::NOT_FOUND, "there are /readyz, /livez and /metrics\n".into()),
        }
    }

    /// `/readyz` as a kubelet asks it: what it knows already is held back until it changes.
    async fn probe(self: Arc<Self>, address: IpAddr) -> Answer {
        let mut ready = self.ready.subscribe();
        let was_ready = *ready.borrow_and_update();
        if self.known().probes.asked(address, was_ready, Instant::now()) {
            let mut held = Held { status: &self, address, client_left: true };
            let changed = ready.wait_for(|ready| *ready != was_ready);
            let _ = timeout(self.hold, changed).await;
            held.client_left = false;
        }
        let mut answer = self.readyz();
        let is_ready = answer.status() == StatusCode::OK;
        self.known().probes.answered(address, is_ready, Instant::now());
        answer.extensions_mut().insert(OnDelivery::new(move |delivered| {
            if !delivered {
                self.known().probes.broke(address);
            }
        }));
        answer
    }

    fn readyz(&self) -> Answer {
        let Known { state, since, failure, .. } = *self.known();
        let status =
            if state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        text(status, messages::readiness(state, since.elapsed(), failure, self.legacy_port))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A probe that waits. When its client leaves, it is dropped before it has an answer.
struct Held<'a> {
    status: &'a Status,
    address: IpAddr,
    client_left: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut known = self.status.known();
        known.probes.released(self.address);
        if self.client_left {
            known.probes.broke(self.address);
        }
    }
}

/// Kubelets call themselves `kube-probe/1.34`, and nobody else asks again by itself and at once.
fn is_kubelet(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"kube-probe/"))
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Nobody asks again soon, so the connection gives its place back.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
