//! The sidecar's own port: `/readyz`, `/livez` and `/metrics`.

mod board;
mod connections;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, Uri};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::args::Args;

pub(crate) use board::Board;
pub(crate) use connections::serve;

type Answer = Response<Full<bytes::Bytes>>;

/// Answers what the sidecar's own port is asked.
pub(crate) struct Status {
    board: Arc<Board>,
    legacy_port: u16,
    hold: Duration,
    /// How many more requests may be held.
    held: Semaphore,
    /// Whether the kubelet takes the pod for ready: the last that it was told is a 200. As long as
    /// it does not, an answer can wait for a better one; when it does, a 503 is urgent.
    told_ready: AtomicBool,
}

impl Status {
    pub(crate) fn new(board: Arc<Board>, args: &Args) -> Self {
        Self {
            board,
            legacy_port: args.legacy_port,
            hold: args.hold,
            held: Semaphore::new(usize::from(args.max_held)),
            told_ready: AtomicBool::new(false),
        }
    }

    async fn answer(&self, method: &Method, uri: &Uri) -> Answer {
        if *method != Method::GET && *method != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match uri.path() {
            "/readyz" => self.readyz(uri.query() == Some("now")).await,
            "/livez" => text(StatusCode::OK, "alive\n".into()),
            "/metrics" => {
                let mut answer = text(StatusCode::OK, self.board.metrics());
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                answer.headers_mut().insert(CONTENT_TYPE, kind);
                answer
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /readyz, /readyz?now, /livez and /metrics\n".into(),
            ),
        }
    }

    /// The held probe. With `now` it is never held, and what the kubelet was told stays as it was:
    /// people ask this way.
    async fn readyz(&self, now: bool) -> Answer {
        if !now && !self.told_ready.load(Relaxed) {
            self.hold().await;
        }
        let view = self.board.view();
        let ready = view.state.is_ready();
        if !now {
            self.told_ready.store(ready, Relaxed);
        }
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        text(status, board::InWords { view, port: self.legacy_port }.to_string())
    }

    /// Waits until Legacy is initialised, or the hold is over, or not at all if too many wait already.
    async fn hold(&self) {
        let Ok(_place) = self.held.try_acquire() else {
            return;
        };
        let _ = timeout(self.hold, self.board.ready()).await;
    }
}

fn text(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
