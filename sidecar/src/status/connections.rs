//! The accept loop of the sidecar's own port. Anybody in the cluster can reach it, so nobody may use
//! it up: connections are capped, each lives a short while, and carries one request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Status;
use crate::args::Args;

/// How long a connection may live beyond the time for its request and the hold: a client that does not
/// read its answer is cut off.
const SLACK: Duration = Duration::from_secs(5);

/// The pause after a failed accept: too many open files pass, but not within microseconds.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The smallest buffer that hyper takes.
const BUFFER: usize = 8 * 1024;

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, status: Arc<Status>, args: &Args) -> Infallible {
    let mut connections = Connections {
        most: usize::from(args.max_connections),
        head_timeout: args.head_timeout,
        lifetime: args.head_timeout + args.hold + SLACK,
        open: JoinSet::new(),
        without_head: VecDeque::new(),
    };
    loop {
        tokio::select! {
            // Ended ones first: what they took up is free before the next one comes.
            biased;
            Some(_) = connections.open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connections.start(stream, Arc::clone(&status)),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

/// The open connections.
struct Connections {
    most: usize,
    head_timeout: Duration,
    lifetime: Duration,
    open: JoinSet<()>,
    /// Those that have not sent their request yet, the oldest first.
    without_head: VecDeque<WithoutHead>,
}

struct WithoutHead {
    connection: AbortHandle,
    head_read: Arc<AtomicBool>,
}

impl Connections {
    fn start(&mut self, stream: TcpStream, status: Arc<Status>) {
        self.without_head
            .retain(|one| !one.head_read.load(Relaxed) && !one.connection.is_finished());
        if self.open.len() >= self.most {
            // The oldest that has said nothing yet makes room: the kubelet sends its request at once,
            // whoever holds connections open does not. With nobody to make room, the newcomer goes.
            let Some(oldest) = self.without_head.pop_front() else {
                return;
            };
            oldest.connection.abort();
        }
        let head_read = Arc::new(AtomicBool::new(false));
        let connection = connection(stream, status, Arc::clone(&head_read), self.head_timeout);
        let lifetime = self.lifetime;
        let connection = self.open.spawn(async move {
            let _ = timeout(lifetime, connection).await;
        });
        self.without_head.push_back(WithoutHead { connection, head_read });
    }
}

/// Serves one request. A client that goes away ends it, held or not.
async fn connection(
    stream: TcpStream,
    status: Arc<Status>,
    head_read: Arc<AtomicBool>,
    head_timeout: Duration,
) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        head_read.store(true, Relaxed);
        let status = Arc::clone(&status);
        async move { Ok::<_, Infallible>(status.answer(request.method(), request.uri()).await) }
    });
    // What the client did wrong is the client's affair.
    let _ = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
