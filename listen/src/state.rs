//! What one connection is at: noted by its own task, read by the accept loop.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::place::Doing;
use crate::{Cut, Limits, OnDelivery};

/// How long a client may take to close its side after the last answer. Until then what it still sends
/// is read and dropped: closing with unread bytes would make the kernel reset the connection, and the
/// client might never see the answer.
const CLOSING: Duration = Duration::from_secs(2);

/// A connection's steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Handshake,
    /// Nothing of the first request has arrived.
    Silent,
    Head,
    Body,
    /// The service is at work on the answer.
    Answer,
    /// The answer is made and not yet written to its end.
    Write,
    /// Between two requests.
    Idle,
    /// The last answer is written.
    Closing,
}

const STEPS: [Step; 8] = [
    Step::Handshake,
    Step::Silent,
    Step::Head,
    Step::Body,
    Step::Answer,
    Step::Write,
    Step::Idle,
    Step::Closing,
];

/// The three lowest bits of the word are the step, the fourth says that the connection is asked to
/// leave; above them is the time at which the step began, in milliseconds.
const STEP: u64 = 0b0111;
const LEAVING: u64 = 0b1000;

/// Shared by a connection's task and the accept loop.
#[derive(Debug)]
pub(crate) struct State {
    clock: Instant,
    word: AtomicU64,
    /// When the client stopped taking an answer, in milliseconds; 0 while it does take it.
    stalled: AtomicU64,
    waker: OnceLock<Waker>,
    answered: Mutex<Option<OnDelivery>>,
}

impl State {
    /// A connection that begins now. Times are counted from `clock`.
    pub(crate) fn new(clock: Instant) -> Self {
        let state = Self {
            clock,
            word: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            waker: OnceLock::new(),
            answered: Mutex::new(None),
        };
        state.enter(Step::Handshake);
        state
    }

    /// Never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX >> 4).max(1)
    }

    pub(crate) fn step(&self) -> Step {
        STEPS[usize::try_from(self.word.load(Relaxed) & STEP).unwrap_or_default()]
    }

    fn began(&self) -> u64 {
        self.word.load(Relaxed) >> 4
    }

    /// Goes on to a step, which also means that the connection does not leave.
    pub(crate) fn enter(&self, step: Step) {
        // What has been incomplete stays so, and for as long.
        let began = match step {
            Step::Silent | Step::Body => self.began(),
            _ => self.now(),
        };
        self.word.store(began << 4 | step as u64, Relaxed);
    }

    pub(crate) fn doing(&self) -> (Doing, Duration) {
        let doing = match self.step() {
            Step::Handshake | Step::Silent | Step::Head | Step::Body => Doing::Receiving,
            Step::Answer | Step::Write => Doing::Answering,
            Step::Idle | Step::Closing => Doing::Idle,
        };
        (doing, Duration::from_millis(self.now().saturating_sub(self.began())))
    }

    /// Asks the connection to leave: it does unless the next bytes of a request are there already.
    pub(crate) fn ask_to_leave(&self) {
        self.word.fetch_or(LEAVING, Relaxed);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.word.load(Relaxed) & LEAVING != 0
    }

    /// Takes back what [`State::ask_to_leave`] said.
    pub(crate) fn stay(&self) {
        self.word.fetch_and(!LEAVING, Relaxed);
    }

    /// Remembers which task to wake. A task has the same waker all its life.
    pub(crate) fn is_run_by(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// The client takes nothing more for now.
    pub(crate) fn write_stalls(&self) {
        if self.stalled.load(Relaxed) == 0 {
            self.stalled.store(self.now(), Relaxed);
        }
    }

    /// Everything that was to be written is written.
    pub(crate) fn is_written(&self) {
        self.stalled.store(0, Relaxed);
        if self.step() == Step::Write {
            self.enter(Step::Idle);
        }
    }

    /// When the present step has taken too long, and what that is called.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<(Instant, Option<Cut>)> {
        let stalled = self.stalled.load(Relaxed);
        let (from, limit, cut) = match self.step() {
            _ if stalled > 0 => (stalled, limits.write, Some(Cut::Write)),
            Step::Handshake => (self.began(), limits.handshake, Some(Cut::Handshake)),
            Step::Head => (self.began(), limits.head, Some(Cut::Head)),
            Step::Silent | Step::Idle => (self.began(), limits.idle, Some(Cut::Idle)),
            Step::Closing => (self.began(), CLOSING, None),
            // The body has a limit of its own, because the client is told of it.
            Step::Body | Step::Answer | Step::Write => return None,
        };
        Some((self.clock + Duration::from_millis(from) + limit, cut))
    }

    /// The answer's [`OnDelivery`], if it has one, is told later.
    pub(crate) fn answers(&self, on_delivery: Option<OnDelivery>) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = on_delivery;
    }

    /// Tells whoever wants to know whether the client got the last answer.
    pub(crate) fn tell_delivery(&self, delivered: bool) {
        let told = self.answered.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(OnDelivery(tell)) = told {
            tell(delivered);
        }
    }
}

/// A connection that ends in any other way has not delivered its answer.
impl Drop for State {
    fn drop(&mut self) {
        self.tell_delivery(false);
    }
}
