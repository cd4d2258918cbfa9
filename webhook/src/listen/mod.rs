//! Connections in, requests to a router, answers out; with a limit on everything a client could use up.
//!
//! ```text
//! accept ─▶ place (at most N, see Connections) ─▶ task of its own:
//!             handshake ─▶ Paced stream (time limits) ─▶ hyper http1 ─▶ router
//! ```
//!
//! Both ports are served by this: the webhook's over TLS, the admin port plain.

mod address;
mod connection;
mod connections;
mod paced;

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub use address::{ListenAddress, NotAnAddress};
pub use paced::Times;

use crate::metrics::PortMetrics;
use connections::{Connections, Place};

/// After an accept that failed for want of a resource: how long to wait at first, and at most.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Where a port is in its life. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Takes what comes.
    Serving,
    /// Still takes what comes, but each answer says `Connection: close`, so that clients move on.
    Draining,
    /// Takes no new connection; what is under way is finished.
    Finishing,
}

/// What happens between accepting a connection and HTTP.
pub trait Handshake: Clone + Send + Sync + 'static {
    /// What HTTP is then spoken over.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Runs in the connection's own task, under [`Times::handshake`]. Failures are the implementor's
    /// to count and to log.
    fn handshake(&self, tcp: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// No handshake: plain HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Handshake for Plain {
    type Stream = TcpStream;

    async fn handshake(&self, tcp: TcpStream) -> io::Result<TcpStream> {
        Ok(tcp)
    }
}

/// A port that is bound and not yet served.
#[derive(Debug)]
pub struct Port<H> {
    /// The bound socket.
    pub listener: TcpListener,
    /// TLS or nothing.
    pub handshake: H,
    /// Answers the requests.
    pub router: Router,
    /// How many connections may be open at one time.
    pub connections: usize,
    /// How long each step may take.
    pub times: Times,
    /// Counts connections.
    pub metrics: PortMetrics,
}

impl<H: Handshake> Port<H> {
    /// Serves until `stage` is [`Stage::Finishing`] and every connection has ended. Dropping the
    /// future cuts off what is still open.
    pub async fn serve(self, mut stage: watch::Receiver<Stage>) {
        let connections = Connections::new(self.connections, self.metrics.clone());
        let (_end, ended) = watch::channel(());
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                biased;
                now = next_stage(&mut stage) => {
                    if now == Stage::Finishing {
                        break;
                    }
                    connections.drain();
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, _)) => {
                    pause = ACCEPT_PAUSE.0;
                    tokio::select! {
                        place = connections.place() => self.spawn(tcp, place, ended.clone()),
                        // Whoever waits for a place now is let down, but so would be the shutdown.
                        () = finishing(stage.clone()) => {}
                    }
                }
                Err(error) if is_the_peers_doing(&error) => {}
                Err(error) => {
                    if pause == ACCEPT_PAUSE.0 {
                        tracing::warn!(
                            %error,
                            "can't accept connections; closing an idle one and trying again \
                             (too many open files? raise the limit or lower --max-connections)"
                        );
                    }
                    connections.make_room();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
        // Who is connected already, and only waits to be accepted, is served as well.
        while let Some(Ok((tcp, _))) = self.listener.accept().now_or_never() {
            let Some(place) = connections.place().now_or_never() else {
                break;
            };
            self.spawn(tcp, place, ended.clone());
        }
        drop(self);
        connections.let_all_go().await;
    }

    /// A task for the connection; it ends at the latest when `ended`'s sender is dropped.
    fn spawn(&self, tcp: TcpStream, place: Place, mut ended: watch::Receiver<()>) {
        let handshake = self.handshake.clone();
        let router = self.router.clone();
        let times = self.times;
        tokio::spawn(async move {
            // Answers are small and written at once: waiting to fill a segment only delays them.
            // Without it all works too, so a failure is no reason to refuse.
            let _ = tcp.set_nodelay(true);
            tokio::select! {
                () = connection::run(handshake.handshake(tcp), &place, router, times) => {}
                _ = ended.changed() => {}
            }
        });
    }
}

/// The next change of `stage`; whoever sets it being gone means the end.
async fn next_stage(stage: &mut watch::Receiver<Stage>) -> Stage {
    match stage.changed().await {
        Ok(()) => *stage.borrow_and_update(),
        Err(_) => Stage::Finishing,
    }
}

/// Returns once `stage` is [`Stage::Finishing`], or whoever sets it is gone.
async fn finishing(mut stage: watch::Receiver<Stage>) {
    let _ = stage.wait_for(|now| *now == Stage::Finishing).await;
}

/// The connection ended before it was accepted: the next one may be fine.
fn is_the_peers_doing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
