//! The accept loop: hands out places, and ends everything in order.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::connection::{Connection, Port};
use crate::place::{self, Doing, Newcomer, Place, Source};
use crate::state::{State, Step};
use crate::{Cut, Event, Peer};

/// How often it is looked who has to leave, while newcomers wait and at the end. Seldom enough that a
/// flood of newcomers costs little.
const TICK: Duration = Duration::from_millis(5);

/// After an accept that failed for want of a resource: how long to wait at first, and at most.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

pub(crate) async fn serve(listener: TcpListener, port: Port, shutdown: impl Future<Output = ()>) {
    let port = Arc::new(port);
    let mut places = Places::new(Arc::clone(&port));
    let mut shutdown = pin!(shutdown);
    let mut end = None;
    let mut pause = ACCEPT_PAUSE.0;
    let mut accept_again = None;
    loop {
        tokio::select! {
            biased;
            Some(ended) = places.tasks.join_next_with_id() => places.ended(ended),
            () = &mut shutdown, if end.is_none() => {
                port.draining.store(true, Relaxed);
                end = Some(Instant::now() + port.limits.drain);
            }
            () = until(end), if end.is_some() => break,
            _ = places.tick.tick(), if !places.waiting.is_empty() => places.hand_out(),
            () = until(accept_again), if accept_again.is_some() => accept_again = None,
            accepted = listener.accept(), if accept_again.is_none() => match accepted {
                Ok((tcp, address)) => {
                    pause = ACCEPT_PAUSE.0;
                    places.arrived(tcp, address);
                }
                Err(error) => {
                    if pause == ACCEPT_PAUSE.0 {
                        (port.observer)(Event::AcceptFailed(&error));
                    }
                    places.give_one_up();
                    accept_again = Some(Instant::now() + pause);
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            },
        }
        if places.has_free() {
            places.hand_out();
        }
    }
    // Who is connected already, and was only not accepted yet, is served as well.
    while let Poll::Ready(Ok((tcp, address))) =
        poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await
    {
        places.arrived(tcp, address);
    }
    drop(listener);
    loop {
        places.hand_out();
        tokio::select! {
            ended = places.tasks.join_next_with_id() => match ended {
                Some(ended) => places.ended(ended),
                None => return,
            },
            _ = places.tick.tick() => places.end_what_rests(),
        }
    }
}

async fn until(time: Option<Instant>) {
    sleep_until(time.unwrap_or_else(Instant::now)).await;
}

/// A connection that was accepted and has no place yet. Nothing is read from it.
struct Waiting {
    tcp: TcpStream,
    peer: Peer,
    since: Instant,
}

/// Who has a place on a port, and who waits for one: as many may wait as may have one.
struct Places {
    port: Arc<Port>,
    open: HashMap<task::Id, (Source, Arc<State>)>,
    tasks: JoinSet<()>,
    waiting: Vec<Waiting>,
    tick: Interval,
}

impl Places {
    fn new(port: Arc<Port>) -> Self {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { port, open: HashMap::new(), tasks: JoinSet::new(), waiting: Vec::new(), tick }
    }

    fn arrived(&mut self, tcp: TcpStream, address: SocketAddr) {
        let peer = Peer(SocketAddr::new(address.ip().to_canonical(), address.port()));
        self.waiting.push(Waiting { tcp, peer, since: Instant::now() });
        if self.waiting.len() > self.port.limits.connections {
            let open = self.open.values().map(|(source, _)| *source);
            if let Some(index) = place::surplus(open, &self.newcomers()) {
                self.waiting.remove(index);
                (self.port.observer)(Event::Cut(Cut::Waiting));
            }
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        self.open.remove(&ended.map_or_else(|error| error.id(), |(task, ())| task));
        (self.port.observer)(Event::Closed);
    }

    fn has_free(&self) -> bool {
        self.open.len() < self.port.limits.connections
    }

    /// Gives places to those who wait, as long as there are any.
    fn hand_out(&mut self) {
        while let Some((index, instead_of)) = self.next() {
            if let Some(task) = instead_of {
                self.end(task);
            }
            let Waiting { tcp, peer, .. } = self.waiting.remove(index);
            let state = Arc::new(State::new());
            let port = Arc::clone(&self.port);
            let connection = Connection { port, state: Arc::clone(&state), peer };
            let task = self.tasks.spawn(connection.run(tcp)).id();
            self.open.insert(task, (Source::from(peer.0.ip()), state));
            (self.port.observer)(Event::Opened);
        }
    }

    fn next(&self) -> Option<(usize, Option<task::Id>)> {
        // Almost always.
        if self.waiting.len() <= 1 && self.has_free() {
            return self.waiting.first().map(|_| (0, None));
        }
        place::next(self.port.limits.connections, &self.places(), &self.newcomers())
    }

    fn newcomers(&self) -> Vec<Newcomer> {
        let newcomers = self.waiting.iter().map(|one| Newcomer {
            source: Source::from(one.peer.0.ip()),
            waited: one.since.elapsed(),
        });
        newcomers.collect()
    }

    /// Those that have a place and are not about to leave it.
    fn places(&self) -> Vec<Place<task::Id>> {
        let staying = self.open.iter().filter(|(_, (_, state))| !state.is_leaving());
        let places = staying.map(|(task, (source, state))| {
            let (doing, age) = state.doing();
            Place { name: *task, source: *source, doing, age }
        });
        places.collect()
    }

    fn end(&self, task: task::Id) {
        if let Some((_, state)) = self.open.get(&task) {
            (self.port.observer)(Event::Cut(match state.doing() {
                (Doing::Idle, _) => Cut::IdleForNewcomer,
                _ => Cut::UnfinishedForNewcomer,
            }));
            state.ask_to_leave();
        }
    }

    /// Ends one as if for a newcomer of an address that has none: files have run out.
    fn give_one_up(&self) {
        let source = Source::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let newcomer = Newcomer { source, waited: Duration::MAX };
        if let Some((_, Some(task))) = place::next(0, &self.places(), &[newcomer]) {
            self.end(task);
        }
    }

    /// Ends what has not begun a request; after a second, if it has only just come.
    fn end_what_rests(&self) {
        for (_, state) in self.open.values() {
            let rests = match state.step() {
                Step::Handshake | Step::Silent => state.doing().1 > place::UNFINISHED_AFTER,
                Step::Idle => true,
                // What has begun ends by itself, or by a limit.
                Step::Head | Step::Body | Step::Answer | Step::Write | Step::Closing => false,
            };
            if rests {
                state.ask_to_leave();
            }
        }
    }
}
