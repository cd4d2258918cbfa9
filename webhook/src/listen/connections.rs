//! The connections that are open on a port: how many, what each is at, and which may be let go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::metrics::{Cut, PortMetrics};

/// A connection that has not said anything yet is left alone for this long before it may be let go
/// for a newcomer, or at the shutdown: a healthy client needs milliseconds for its TLS handshake and
/// its first byte, on a busy machine some hundred.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection that was asked to leave needs microseconds. One that takes longer has begun a request
/// after all, or its peer is slow to let go; then the next one is asked.
const TIME_TO_LEAVE: Duration = Duration::from_millis(100);

/// What a connection is at. It decides which time limit holds, and whether it may be let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted; the TLS handshake is not done.
    Handshake,
    /// Nothing was received yet.
    Fresh,
    /// The first byte of a request is here, its head is not complete.
    Head,
    /// A request is being read or answered.
    Busy,
    /// The answer is made and not yet sent in full.
    Answered,
    /// Kept alive, between two requests.
    Idle,
}

impl Phase {
    /// No request is on its way: the connection can be closed and nobody misses an answer.
    pub(super) fn rests(self) -> bool {
        matches!(self, Self::Handshake | Self::Fresh | Self::Idle)
    }
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    linger: bool,
}

/// One open connection, shared by the stream that times it, the service that answers on it, and the
/// accept loop that may want its place.
#[derive(Debug)]
pub(super) struct Connection {
    state: Mutex<State>,
    leaves: AtomicBool,
    asked: Notify,
    gone: Notify,
    connections: Arc<Connections>,
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is at, and since when.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        let state = self.state();
        (state.phase, state.since)
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = phase;
        state.since = Instant::now();
        drop(state);
        if phase == Phase::Idle {
            self.connections.changed.notify_one();
        }
    }

    /// The peer may still be sending what nobody will read: see [`super::paced::Paced`].
    pub(super) fn linger(&self) {
        self.state().linger = true;
    }

    /// A head that hyper refused never got as far as to be marked.
    pub(super) fn lingers(&self) -> bool {
        let state = self.state();
        state.linger || state.phase == Phase::Head
    }

    /// It is to be closed as soon as no request is on its way.
    pub(super) fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Relaxed)
    }

    /// Returns once it has been asked to leave.
    pub(super) async fn asked_to_leave(&self) {
        while !self.leaves() {
            self.asked.notified().await;
        }
    }

    fn ask_to_leave(&self) {
        self.leaves.store(true, Ordering::Relaxed);
        self.asked.notify_one();
    }

    /// Notes that a limit ended it.
    pub(super) fn cut(&self, cut: Cut) {
        self.connections.metrics.cut(cut);
    }

    /// Whether the answer to a request is to be the last one on its connection.
    pub(super) fn answers_for_the_last_time(&self) -> bool {
        self.leaves() || self.connections.draining.load(Ordering::Relaxed)
    }
}

/// All connections that are open on one port.
///
/// There is room for a fixed number. When it is used up, the connection that has rested longest is
/// asked to leave in favour of the newcomer, those that never carried a request first; only when every
/// one of them has a request on its way does accepting pause. So silent clients, however many, stop
/// nobody: the API server's kept connections stay, and its new ones get the silent ones' places. And no
/// request that was begun is lost to a newcomer. (To pause alone would let silent clients lock everybody
/// out for as long as an idle connection may last; to close alone would drop requests under load.)
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    changed: Notify,
    draining: AtomicBool,
    metrics: PortMetrics,
}

impl Connections {
    pub(super) fn new(most: usize, metrics: PortMetrics) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            open: Mutex::default(),
            changed: Notify::new(),
            draining: AtomicBool::new(false),
            metrics,
        })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection that was just accepted; waits until there is one.
    ///
    /// Only the accept loop calls this and [`Connections::let_all_go`]: there is one waiter at a time.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = self.free_place() {
                return place;
            }
            match self.longest_resting() {
                Some((connection, may_leave_at)) if may_leave_at <= Instant::now() => {
                    connection.cut(Cut::MadeRoom);
                    connection.ask_to_leave();
                    let _ = timeout(TIME_TO_LEAVE, connection.gone.notified()).await;
                }
                Some((_, may_leave_at)) => {
                    let _ = timeout_at(may_leave_at, self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Asks the connection that has rested longest to leave, if there is one; for when the process
    /// has run out of file descriptors.
    pub(super) fn make_room(&self) {
        if let Some((connection, _)) = self.longest_resting() {
            connection.cut(Cut::MadeRoom);
            connection.ask_to_leave();
        }
    }

    fn free_place(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open();
        if open.len() >= self.most {
            return None;
        }
        let connection = Arc::new(Connection {
            state: Mutex::new(State {
                phase: Phase::Handshake,
                since: Instant::now(),
                linger: false,
            }),
            leaves: AtomicBool::new(false),
            asked: Notify::new(),
            gone: Notify::new(),
            connections: Arc::clone(self),
        });
        let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
        open.insert(number, Arc::clone(&connection));
        drop(open);
        self.metrics.opened();
        Some(Place { number, connection })
    }

    /// The connection to ask first, and from when on it may be asked. One that has been asked and is
    /// still here is on its way out, and is not asked twice.
    fn longest_resting(&self) -> Option<(Arc<Connection>, Instant)> {
        self.open()
            .values()
            .filter(|connection| !connection.leaves())
            .filter_map(|connection| {
                let (phase, since) = connection.phase();
                phase.rests().then(|| {
                    let used = phase == Phase::Idle;
                    let patience = if used { Duration::ZERO } else { PATIENCE };
                    (used, since + patience, connection)
                })
            })
            .min_by_key(|(used, may_leave_at, _)| (*used, *may_leave_at))
            .map(|(_, may_leave_at, connection)| (Arc::clone(connection), may_leave_at))
    }

    /// From now on each answer is the last one on its connection, and says so.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Ends what rests and waits for what is under way, until no connection is open. Has no limit of
    /// its own.
    pub(super) async fn let_all_go(&self) {
        self.drain();
        let patience = Instant::now() + PATIENCE;
        loop {
            let out_of_patience = Instant::now() >= patience;
            {
                let open = self.open();
                if open.is_empty() {
                    return;
                }
                for connection in open.values().filter(|connection| !connection.leaves()) {
                    let (phase, _) = connection.phase();
                    // A client that has only just come is about to send its request.
                    if phase == Phase::Idle || out_of_patience {
                        connection.ask_to_leave();
                    }
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(patience), if !out_of_patience => {}
            }
        }
    }
}

/// A connection's place among the open ones; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = &self.connection.connections;
        connections.open().remove(&self.number);
        connections.metrics.closed();
        connections.changed.notify_one();
        self.connection.gone.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::metrics::{Metrics, Port};

    fn connections(most: usize) -> Arc<Connections> {
        Connections::new(most, Metrics::new().port(Port::Webhook))
    }

    async fn placed(connections: &Arc<Connections>, phase: Phase) -> Place {
        let place = connections.place().await;
        place.connection.enter(phase);
        place
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_rested_longest_makes_room() {
        let connections = connections(3);
        let busy = placed(&connections, Phase::Busy).await;
        let old = placed(&connections, Phase::Idle).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        let young = placed(&connections, Phase::Idle).await;

        let mut newcomer = Box::pin(connections.place());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(old.connection.leaves());
        assert!(!young.connection.leaves() && !busy.connection.leaves());
        drop(old);
        newcomer.await;
    }

    #[tokio::test(start_paused = true)]
    async fn silent_ones_go_before_those_that_were_used() {
        let connections = connections(2);
        let used = placed(&connections, Phase::Idle).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        let silent = placed(&connections, Phase::Fresh).await;
        tokio::time::advance(PATIENCE).await;

        assert!(connections.place().now_or_never().is_none());
        assert!(silent.connection.leaves() && !used.connection.leaves());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_rather_for_a_silent_one_than_take_the_place_of_a_used_one() {
        let connections = connections(2);
        let used = placed(&connections, Phase::Idle).await;
        let silent = placed(&connections, Phase::Handshake).await;
        tokio::select! {
            _ = connections.place() => unreachable!("no place is free"),
            () = silent.connection.asked_to_leave() => {}
        }
        assert!(!used.connection.leaves());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_has_only_just_begun_is_given_time() {
        let connections = connections(1);
        let young = placed(&connections, Phase::Handshake).await;
        let mut newcomer = Box::pin(connections.place());
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(!young.connection.leaves());

        let asked = Instant::now();
        tokio::select! {
            _ = &mut newcomer => unreachable!("no place is free"),
            () = young.connection.asked_to_leave() => {}
        }
        assert!(asked.elapsed() >= PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_are_busy_accepting_pauses_until_one_rests() {
        let connections = connections(1);
        let busy = placed(&connections, Phase::Busy).await;
        let mut newcomer = Box::pin(connections.place());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(!busy.connection.leaves());

        busy.connection.enter(Phase::Idle);
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert!(busy.connection.leaves());
        drop(busy);
        newcomer.await;
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_idle_ones_go_at_once_and_busy_ones_are_waited_for() {
        let connections = connections(3);
        let idle = placed(&connections, Phase::Idle).await;
        let fresh = placed(&connections, Phase::Fresh).await;
        let busy = placed(&connections, Phase::Busy).await;
        let mut end = Box::pin(connections.let_all_go());

        assert!(end.as_mut().now_or_never().is_none());
        assert!(idle.connection.leaves() && !fresh.connection.leaves());
        assert!(busy.connection.answers_for_the_last_time());
        tokio::select! {
            () = &mut end => unreachable!("connections are open"),
            () = fresh.connection.asked_to_leave() => {}
        }
        drop((idle, fresh));
        assert!(end.as_mut().now_or_never().is_none());
        drop(busy);
        end.await;
    }
}
