//! What a connection is doing: noted by its own task, read by the accept loop.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::place::Doing;
use crate::{Cut, Limits, OnDelivery};

/// How long a client may take to close its side after the last answer. What it still sends until then
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
    /// The answer is there, and not yet written to its end.
    Write,
    /// Between two requests.
    Idle,
    /// The last answer is written.
    Closing,
}

pub(crate) struct State(Mutex<Inner>);

struct Inner {
    step: Step,
    since: Instant,
    /// When the client stopped taking an answer.
    stalled: Option<Instant>,
    leaving: bool,
    task: Option<Waker>,
    on_delivery: Option<OnDelivery>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner {
            step: Step::Handshake,
            since: Instant::now(),
            stalled: None,
            leaving: false,
            task: None,
            on_delivery: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn step(&self) -> Step {
        self.lock().step
    }

    /// Goes on to a step, which also means that the connection does not leave.
    pub(crate) fn enter(&self, step: Step) {
        let mut state = self.lock();
        state.step = step;
        state.leaving = false;
        // What has been incomplete stays so, and for as long.
        if !matches!(step, Step::Silent | Step::Body) {
            state.since = Instant::now();
        }
    }

    /// What it does, and for how long.
    pub(crate) fn doing(&self) -> (Doing, Duration) {
        let state = self.lock();
        if let Some(stalled) = state.stalled {
            return (Doing::Incomplete, stalled.elapsed());
        }
        let doing = match state.step {
            Step::Handshake | Step::Silent | Step::Head | Step::Body => Doing::Incomplete,
            Step::Answer | Step::Write => Doing::Answering,
            Step::Idle | Step::Closing => Doing::Idle,
        };
        (doing, state.since.elapsed())
    }

    /// Asks the connection to leave: it does unless a request has arrived.
    pub(crate) fn ask_to_leave(&self) {
        let mut state = self.lock();
        state.leaving = true;
        if let Some(task) = &state.task {
            task.wake_by_ref();
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.lock().leaving
    }

    /// Takes back what [`State::ask_to_leave`] asked for.
    pub(crate) fn stay(&self) {
        self.lock().leaving = false;
    }

    /// What to wake when the connection has to leave.
    pub(crate) fn is_run_by(&self, task: &Waker) {
        self.lock().task.get_or_insert_with(|| task.clone());
    }

    /// The client takes nothing more for now.
    pub(crate) fn write_stalls(&self) {
        self.lock().stalled.get_or_insert_with(Instant::now);
    }

    /// Everything that was to be written is written.
    pub(crate) fn is_written(&self) {
        let mut state = self.lock();
        state.stalled = None;
        if state.step == Step::Write {
            state.step = Step::Idle;
            state.since = Instant::now();
            state.leaving = false;
        }
    }

    /// When the present step has taken too long, and what that is called.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<(Instant, Option<Cut>)> {
        let state = self.lock();
        if let Some(stalled) = state.stalled {
            return Some((stalled + limits.write, Some(Cut::Write)));
        }
        let (limit, cut) = match state.step {
            Step::Handshake => (limits.handshake, Some(Cut::Handshake)),
            Step::Head => (limits.head, Some(Cut::Head)),
            Step::Silent | Step::Idle => (limits.idle, Some(Cut::Idle)),
            Step::Closing => (CLOSING, None),
            // The body has a limit of its own, because the client is told of it.
            Step::Body | Step::Answer | Step::Write => return None,
        };
        Some((state.since + limit, cut))
    }

    pub(crate) fn answers(&self, on_delivery: Option<OnDelivery>) {
        self.lock().on_delivery = on_delivery;
    }

    /// Whether the client got the last answer. Only the first word counts.
    pub(crate) fn tell_delivery(&self, delivered: bool) {
        let on_delivery = self.lock().on_delivery.take();
        if let Some(OnDelivery(tell)) = on_delivery {
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
