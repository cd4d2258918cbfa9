//! The accept loop: hands out places, and ends everything in order.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::body::Budget;
use crate::connection::{Connection, Port, Tcp};
use crate::place::{self, Doing, Newcomer, Place, Source};
use crate::state::{State, Step};
use crate::{Body, Bound, Cut, Event, Observer, Peer};

/// How often it is looked who has to leave, while newcomers wait and at the end. Seldom enough that a
/// flood of newcomers costs little.
const TICK: Duration = Duration::from_millis(5);

/// After an accept that failed for want of a resource: how long to wait at first, and at most.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

pub(crate) async fn serve<H, G, T, S, F, B>(
    bound: Bound,
    handshake: H,
    service: S,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    H: Fn(Tcp) -> G + Send + Sync + 'static,
    G: Future<Output = io::Result<(T, bool)>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body,
{
    let Bound { listener, limits, observer, .. } = bound;
    let listener = TcpListener::from_std(listener)?;
    let port = Arc::new(Port {
        limits,
        budget: Budget::new(limits.all_body_bytes, observer.clone()),
        observer: observer.clone(),
        draining: AtomicBool::new(false),
        service,
    });
    let handshake = Arc::new(handshake);
    let start = |newcomer: Arrived, state, tasks: &mut JoinSet<()>| {
        let Arrived { tcp, peer, source, .. } = newcomer;
        let connection = Connection { port: Arc::clone(&port), state, peer, source };
        let handshake = Arc::clone(&handshake);
        tasks.spawn(async move { connection.run(tcp, &*handshake).await })
    };
    let mut places = Places::new(limits.connections, observer, start);
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
                end = Some(Instant::now() + limits.drain);
            }
            () = until(end), if end.is_some() => break,
            _ = places.tick.tick(), if !places.waiting.is_empty() => places.hand_out(),
            () = until(accept_again), if accept_again.is_some() => accept_again = None,
            accepted = listener.accept(), if accept_again.is_none() => match accepted {
                Ok((tcp, address)) => {
                    pause = ACCEPT_PAUSE.0;
                    places.arrived(tcp, address);
                }
                Err(error) if is_the_clients_doing(&error) => {}
                Err(error) => {
                    if pause == ACCEPT_PAUSE.0 {
                        places.observer.tell(Event::AcceptFailed(&error));
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
                None => return Ok(()),
            },
            _ = places.tick.tick() => places.end_what_rests(),
        }
    }
}

async fn until(time: Option<Instant>) {
    sleep_until(time.unwrap_or_else(Instant::now)).await;
}

/// The connection ended before it was accepted: the next one may be fine.
fn is_the_clients_doing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A connection that was accepted and has no place yet. Nothing is read from it.
struct Arrived {
    tcp: TcpStream,
    peer: Peer,
    source: Source,
    at: Instant,
}

struct Open {
    source: Source,
    state: Arc<State>,
}

/// Who has a place on a port, and who waits for one: as many may wait as may have one.
struct Places<S> {
    most: usize,
    clock: Instant,
    observer: Observer,
    open: HashMap<task::Id, Open>,
    tasks: JoinSet<()>,
    waiting: Vec<Arrived>,
    tick: Interval,
    start: S,
}

impl<S: Fn(Arrived, Arc<State>, &mut JoinSet<()>) -> AbortHandle> Places<S> {
    fn new(most: usize, observer: Observer, start: S) -> Self {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (clock, open, tasks) = (Instant::now(), HashMap::new(), JoinSet::new());
        Self { most, clock, observer, open, tasks, waiting: Vec::new(), tick, start }
    }

    fn arrived(&mut self, tcp: TcpStream, address: SocketAddr) {
        let source = Source::from(address.ip());
        let peer = Peer(SocketAddr::new(address.ip().to_canonical(), address.port()));
        self.waiting.push(Arrived { tcp, peer, source, at: Instant::now() });
        if self.waiting.len() > self.most {
            let open = self.open.values().map(|one| one.source);
            let waiting: Vec<_> = self.waiting.iter().map(|one| one.source).collect();
            if let Some(index) = place::surplus(open, &waiting) {
                self.waiting.remove(index);
                self.observer.tell(Event::Cut(Cut::Waiting));
            }
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
        self.open.remove(&task);
        self.observer.tell(Event::Closed);
    }

    fn has_free(&self) -> bool {
        self.open.len() < self.most
    }

    /// Gives places to those who wait, as long as there are any to be had.
    fn hand_out(&mut self) {
        while let Some((index, instead_of)) = self.next() {
            if let Some(task) = instead_of {
                self.end(task);
            }
            let state = Arc::new(State::new(self.clock));
            let newcomer = self.waiting.remove(index);
            let source = newcomer.source;
            let task = (self.start)(newcomer, Arc::clone(&state), &mut self.tasks);
            self.open.insert(task.id(), Open { source, state });
            self.observer.tell(Event::Opened);
        }
    }

    fn next(&self) -> Option<(usize, Option<task::Id>)> {
        match self.waiting[..] {
            [] => None,
            // Almost always.
            [_] if self.has_free() => Some((0, None)),
            _ => {
                let waiting = self.waiting.iter();
                let waiting: Vec<_> = waiting
                    .map(|one| Newcomer { source: one.source, waited: one.at.elapsed() })
                    .collect();
                place::next(self.most, &self.places(), &waiting)
            }
        }
    }

    /// Those that have a place and keep it for now.
    fn places(&self) -> Vec<Place<task::Id>> {
        let open = self.open.iter().filter(|(_, one)| !one.state.is_leaving());
        open.map(|(task, one)| {
            let (doing, age) = one.state.doing();
            Place { name: *task, source: one.source, doing, age }
        })
        .collect()
    }

    fn end(&self, task: task::Id) {
        let Some(Open { state, .. }) = self.open.get(&task) else {
            return;
        };
        self.observer.tell(Event::Cut(match state.doing() {
            (Doing::Idle, _) => Cut::IdleForNewcomer,
            _ => Cut::UnfinishedForNewcomer,
        }));
        state.ask_to_leave();
    }

    /// Ends one as if for a newcomer of an address that has none: file descriptors have run out.
    fn give_one_up(&self) {
        let source = Source::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let newcomer = Newcomer { source, waited: Duration::MAX };
        if let Some((_, Some(task))) = place::next(0, &self.places(), &[newcomer]) {
            self.end(task);
        }
    }

    /// Ends what has not begun a request, after a second if it has only just come.
    fn end_what_rests(&self) {
        for place in self.places() {
            let state = &self.open[&place.name].state;
            let rests = match state.step() {
                Step::Handshake | Step::Silent => place.is_unfinished(),
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
