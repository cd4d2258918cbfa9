//! The accept loop: whether and how a new connection is accepted, and how Legacy ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection;
use crate::faults::Door;
use crate::port::Port;
use crate::run::{Run, Setting};

/// How long a Legacy that is told to stop waits for its connections.
const GRACE: Duration = Duration::from_secs(5);

/// How Legacy is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    NotYet,
    /// As with SIGTERM: what is being answered is finished.
    Gracefully,
    /// As with SIGKILL: every connection ends where it is.
    AtOnce,
}

/// Accepts connections until told to end, and returns when the last of them has ended.
pub(crate) async fn accept(
    run: Arc<Run>,
    port: Arc<Port>,
    listener: TcpListener,
    mut end: watch::Receiver<End>,
) {
    let mut faults = run.watch_faults();
    let mut listener = Some(listener);
    let stopping = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    while *end.borrow() == End::NotYet {
        let (number, door, one_at_a_time) = {
            let Setting { number, faults } = &*faults.borrow_and_update();
            (*number, faults.door, faults.one_at_a_time)
        };
        match (door, &listener) {
            (Door::Refuse, _) => listener = None,
            (_, None) => listener = port.listen().ok(),
            (_, Some(_)) => {}
        }
        run.follows(number);
        let may_accept = door != Door::Queue && (connections.is_empty() || !one_at_a_time);
        tokio::select! {
            accepted = next(listener.as_ref()), if may_accept => {
                let (stream, remote) = accepted;
                let connection = handle(stream, remote, door, Arc::clone(&run), stopping.subscribe());
                connections.spawn(connection);
            }
            Some(_) = connections.join_next() => {}
            _ = faults.changed() => {}
            _ = end.changed() => {}
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = all_ended => {}
        () = tokio::time::sleep(GRACE) => {}
        _ = end.wait_for(|end| *end == End::AtOnce) => {}
    }
    connections.shutdown().await;
}

async fn next(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Out of file descriptors, or the client has gone already: neither is for ever.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn handle(
    stream: TcpStream,
    remote: SocketAddr,
    door: Door,
    run: Arc<Run>,
    mut stopping: watch::Receiver<bool>,
) {
    let _open = Open::count(&run);
    match door {
        Door::Reset => connection::reset(stream),
        Door::Silent => {
            tokio::select! {
                () = connection::stay_silent(stream) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        Door::Open | Door::Refuse | Door::Queue => {
            // As Go does; where it fails, the connection is gone already.
            let _ = stream.set_nodelay(true);
            connection::serve(stream, remote, Arc::clone(&run), stopping).await;
        }
    }
}

/// Counts a connection as open until it is dropped, however it ends.
struct Open(Arc<Run>);

impl Open {
    fn count(run: &Arc<Run>) -> Self {
        run.record().moments().connected.get_or_insert_with(Instant::now);
        run.record().count(|counts| {
            counts.connections += 1;
            counts.open += 1;
        });
        Self(Arc::clone(run))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.record().count(|counts| counts.open -= 1);
    }
}
