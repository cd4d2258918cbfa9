//! The handshake as a pure state machine: an event goes in, the next action comes out. It has no clock,
//! no randomness and no sockets: the time and the jitter are handed to it.
//!
//! ```text
//! Waiting ──▶ Checking ──▶ Handshaking ──▶ Verifying ──▶ Idle
//!
//! Waiting      nothing listens: sleep, connect again     something does: Checking
//! Checking     initialised: Idle                         not so, unclear or silent: Handshaking
//! Handshaking  202 or 204: Verifying
//! Verifying    initialised: Idle                         not yet: sleep, check again
//! Idle         uninitialised: Handshaking                gone, or silent and unwatched: Waiting
//! Failing      slept: Waiting
//! each but Idle, when its request fails: Failing, or Waiting if nothing listens any more
//! ```

use std::time::Duration;

use crate::backoff::Backoff;
use crate::client::{Answer, Cause, Check, Request, RequestError};
use crate::secret::HalfError;

/// Without a watch, so many checks in a row may fail before Legacy counts as lost: one that serves a
/// connection at a time is silent whenever it serves somebody else.
const UNANSWERED_MAX: u8 = 3;

/// The machine's times. They are constants; tests fill in shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The pauses before trying again.
    pub backoff: Backoff,
    /// The pause between two checks of `/` after Legacy took the secret.
    pub verify_every: Duration,
    /// How long these checks go on before they count as a failure.
    pub verify_for: Duration,
    /// The time between two checks of an initialised Legacy while the watch holds.
    pub idle_check: Duration,
    /// The least time between two of those checks, and the time between them without a watch.
    pub idle_check_min: Duration,
    /// How long Legacy may take to answer beside the watch, before it is taken for one that serves one
    /// connection at a time.
    pub beside_watch: Duration,
    /// The least time between two equal lines in the log.
    pub remind: Duration,
    /// How long nothing may listen before the log warns of it.
    pub warn_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            verify_every: Duration::from_millis(20),
            verify_for: Duration::from_secs(5),
            // Each check is a line in Legacy's log: one a minute does not hide the others.
            idle_check: Duration::from_secs(60),
            idle_check_min: Duration::from_secs(5),
            beside_watch: Duration::from_secs(2),
            remind: Duration::from_secs(10),
            warn_after: Duration::from_secs(30),
        }
    }
}

/// Where the handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing listens on Legacy's port; a bare TCP connect finds out when that changes.
    Waiting,
    /// Something listens; `/` is asked whether it is initialised already.
    Checking,
    /// Half, key and secret are on their way.
    Handshaking,
    /// Legacy took the secret with this answer; `/` is asked until it is initialised, or until then.
    Verifying(Answer, Duration),
    /// Legacy is initialised.
    Idle(Idle),
    /// An attempt failed; the next comes after a pause.
    Failing,
}

impl State {
    /// Each [`State::label`].
    pub const LABELS: [&'static str; 7] =
        ["waiting", "checking", "handshaking", "verifying", "watching", "polling", "failing"];

    /// The state's name in metrics: one of [`State::LABELS`].
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Checking => "checking",
            Self::Handshaking => "handshaking",
            Self::Verifying(..) => "verifying",
            Self::Idle(Idle { watch: Watch::GivenUp, .. }) => "polling",
            Self::Idle(_) => "watching",
            Self::Failing => "failing",
        }
    }

    /// Whether Legacy is initialised, as far as is known.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Idle(_))
    }
}

/// What is known of an initialised Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// How a restart would be noticed.
    pub watch: Watch,
    /// When `/` may be asked again, once a watch has ended though Legacy was still initialised: one that
    /// ends idle connections would be asked all the time.
    pub not_before: Option<Duration>,
    /// How many checks in a row failed or were unclear.
    pub unanswered: u8,
}

impl Idle {
    /// Legacy has just become initialised.
    fn new(watch: Watch) -> Self {
        Self { watch, not_before: None, unanswered: 0 }
    }
}

/// The kept-alive connection that ends when Legacy's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It is being opened.
    Opening,
    /// It rests, and others are served beside it.
    Open,
    /// It ended, and why is not known yet.
    Ended,
    /// Legacy serves one connection at a time: a watch would keep others out.
    GivenUp,
}

/// What is to be done next. Each action is answered by one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A bare TCP connect to Legacy's port.
    Connect,
    /// `GET /`.
    Check,
    /// Read the half, get the key, send the secret.
    Handshake,
    /// Open the watch, and find out whether Legacy serves others beside it.
    Watch,
    /// Do nothing for so long, or until the watch ends if there is one.
    Sleep(Duration),
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// After [`Action::Connect`]: something listens.
    Accepted,
    /// After [`Action::Connect`]: nothing listens, or nothing that accepts.
    Refused,
    /// After [`Action::Check`].
    Checked(Result<Check, RequestError>),
    /// After [`Action::Handshake`].
    Answered(Result<Answer, Failure>),
    /// After [`Action::Watch`].
    Watched {
        /// A second connection was not served: the watch keeps others out.
        serves_one_at_a_time: bool,
    },
    /// After [`Action::Watch`] or during [`Action::Sleep`]: the watch ended, or could not be opened.
    WatchEnded,
    /// After [`Action::Sleep`].
    Slept,
}

/// Why an attempt failed. It never holds a byte of what Legacy or the Secret said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The operations half cannot be read.
    #[error("the operations half {0}")]
    Half(#[from] HalfError),
    /// A request to Legacy failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Legacy accepted the secret, and `/` did not show it.
    #[error("Legacy took the secret, but {0:?} later / still does not answer as initialised")]
    Unverified(Duration),
}

impl Failure {
    fn step(self) -> Step {
        match self {
            Self::Half(_) => Step::Half,
            Self::Request(error) => match error.request {
                Request::Check | Request::Health => Step::Check,
                Request::Key => Step::Key,
                Request::Secret => Step::Secret,
            },
            Self::Unverified(_) => Step::Verify,
        }
    }
}

/// The steps of an attempt, in their order: a failure at a later step than all before it is progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Check,
    Half,
    Key,
    Secret,
    Verify,
}

/// What an operator wants to know, in the log and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Nothing listens, for so long now: the first time, and once in a while.
    Waiting(Duration),
    /// Something listens, after so long.
    Listening(Duration),
    /// The handshake begins, because of what `/` answered.
    Needed(Check),
    /// Legacy took the secret; the attempt took so long.
    Accepted(Answer, Duration),
    /// Legacy is initialised, after so long, waiting included.
    Initialised(Answer, Duration),
    /// The same, with nothing sent: `/` was answered with this status.
    AlreadyInitialised(u16, Duration),
    /// An attempt failed.
    Failed {
        /// Why.
        failure: Failure,
        /// The pause before the next attempt.
        retry_in: Duration,
        /// Whether this very failure was reported less than [`Timing::remind`] ago.
        repeated: bool,
    },
    /// Legacy was initialised and is not any more.
    Lost(Loss),
    /// Legacy serves one connection at a time, so there is no watch.
    WatchGivenUp,
}

/// How an initialised Legacy was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing listens any more.
    Gone,
    /// It says `Uninitialized`.
    Uninitialised,
    /// It listens, its watch ended or there is none, and `/` is not answered.
    Silent,
}

/// What comes next, and what is to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// What is to be done.
    pub action: Action,
    /// What is to be reported.
    pub report: Option<Report>,
}

impl Action {
    fn reporting(self, report: impl Into<Option<Report>>) -> Next {
        Next { action: self, report: report.into() }
    }
}

impl From<Action> for Next {
    fn from(action: Action) -> Self {
        action.reporting(None)
    }
}

/// One attempt after another, from the first connect until Legacy is initialised.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// Since when there is no initialised Legacy, or since when nothing listens.
    since: Duration,
    /// Whether Legacy listened when it was last asked.
    listening: bool,
    /// Whether it was found not to be initialised.
    needed: bool,
    /// When the present attempt began.
    began: Duration,
    /// Failures in a row without progress.
    failures: u32,
    /// The furthest step that a failed attempt got to.
    furthest: Option<Step>,
}

/// When which report was last made, until Legacy is initialised.
#[derive(Clone, Copy, Debug, Default)]
struct LastLogged {
    waiting: Option<Duration>,
    listening: Option<Duration>,
    needed: Option<Duration>,
    failed: Option<(Failure, Duration)>,
}

/// The state machine. Times are durations since any fixed moment; jitter is evenly spread over 0..1.
#[derive(Clone, Debug)]
pub struct Handshake {
    timing: Timing,
    state: State,
    attempts: Attempts,
    last_logged: LastLogged,
    serves_one_at_a_time: bool,
}

impl Handshake {
    /// A machine that knows nothing of Legacy yet. It begins with [`Action::Connect`].
    #[must_use]
    pub fn new(timing: Timing, now: Duration) -> Self {
        Self {
            timing,
            state: State::Waiting,
            attempts: Attempts { since: now, ..Attempts::default() },
            last_logged: LastLogged::default(),
            serves_one_at_a_time: false,
        }
    }

    /// Where the handshake stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when Legacy is awaited, or was before it was initialised.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.attempts.since
    }

    /// Takes in what became of the last action and says what comes next.
    pub fn step(&mut self, event: Event, now: Duration, jitter: f64) -> Next {
        match (self.state, event) {
            (State::Waiting, Event::Refused) => self.refused(now, jitter),
            (State::Waiting, Event::Accepted) => self.accepted(now),
            (State::Waiting | State::Failing, Event::Slept) => {
                self.state = State::Waiting;
                Action::Connect.into()
            }
            (State::Checking, Event::Checked(Ok(Check::Initialised(status)))) => {
                let waited = now.saturating_sub(self.attempts.since);
                self.initialised(Report::AlreadyInitialised(status, waited))
            }
            // One that is silent too: a Legacy whose pages are slow answers the secret all the same, and
            // 204 tells that it was initialised.
            (State::Checking, Event::Checked(Ok(check))) => self.needed(check, now),
            (State::Checking, Event::Checked(Err(error))) => self.failed(error.into(), now, jitter),
            (State::Handshaking, Event::Answered(Err(failure))) => {
                self.failed(failure, now, jitter)
            }
            (State::Handshaking, Event::Answered(Ok(answer))) => {
                self.state = State::Verifying(answer, now + self.timing.verify_for);
                let took = now.saturating_sub(self.attempts.began);
                Action::Check.reporting(Report::Accepted(answer, took))
            }
            (State::Verifying(answer, until), Event::Checked(checked)) => {
                self.verified(answer, until, checked, now, jitter)
            }
            (State::Verifying(..), Event::Slept) => Action::Check.into(),
            (State::Idle(idle), event) => self.idling(idle, event, now, jitter),
            // No action has such an event for its answer. Should it come all the same, the sidecar
            // must not end: it finds out from the start.
            (_, _) => {
                self.state = State::Waiting;
                Action::Sleep(self.timing.backoff.connect_max).into()
            }
        }
    }

    fn refused(&mut self, now: Duration, jitter: f64) -> Next {
        if self.attempts.listening {
            // Whatever listened has ended: its failures say nothing about what starts next.
            self.attempts = Attempts { since: now, ..Attempts::default() };
        }
        self.state = State::Waiting;
        let waited = now.saturating_sub(self.attempts.since);
        let new = due(&mut self.last_logged.waiting, now, self.timing.remind);
        let pause = self.timing.backoff.connect(waited, jitter);
        Action::Sleep(pause).reporting(new.then_some(Report::Waiting(waited)))
    }

    fn accepted(&mut self, now: Duration) -> Next {
        self.state = State::Checking;
        self.attempts.began = now;
        let waited = now.saturating_sub(self.attempts.since);
        let new = !self.attempts.listening
            && due(&mut self.last_logged.listening, now, self.timing.remind);
        self.attempts.listening = true;
        Action::Check.reporting(new.then_some(Report::Listening(waited)))
    }

    fn needed(&mut self, check: Check, now: Duration) -> Next {
        self.state = State::Handshaking;
        let new =
            !self.attempts.needed && due(&mut self.last_logged.needed, now, self.timing.remind);
        self.attempts.needed = true;
        Action::Handshake.reporting(new.then_some(Report::Needed(check)))
    }

    fn failed(&mut self, failure: Failure, now: Duration, jitter: f64) -> Next {
        if matches!(failure, Failure::Request(error) if error.cause == Cause::Refused) {
            return self.refused(now, jitter);
        }
        let step = Some(failure.step());
        let progress = step > self.attempts.furthest;
        self.attempts.furthest = self.attempts.furthest.max(step);
        self.attempts.failures =
            if progress { 1 } else { self.attempts.failures.saturating_add(1) };
        let retry_in = self.timing.backoff.retry(self.attempts.failures, jitter);
        let mut last =
            self.last_logged.failed.filter(|(last, _)| *last == failure).map(|(_, when)| when);
        let repeated = !due(&mut last, now, self.timing.remind);
        self.last_logged.failed = last.map(|when| (failure, when));
        self.state = State::Failing;
        Action::Sleep(retry_in).reporting(Report::Failed { failure, retry_in, repeated })
    }

    fn verified(
        &mut self,
        answer: Answer,
        until: Duration,
        checked: Result<Check, RequestError>,
        now: Duration,
        jitter: f64,
    ) -> Next {
        let initialised = Report::Initialised(answer, now.saturating_sub(self.attempts.since));
        match checked {
            Ok(Check::Initialised(_)) => self.initialised(initialised),
            // 204 is Legacy's word that it was initialised before. If its `/` is slow, or fails for
            // reasons of its own, that is no reason to keep callers away.
            Ok(Check::Unclear | Check::Silent) if answer == Answer::AlreadyDone => {
                self.initialised(initialised)
            }
            Err(error) if error.cause == Cause::Refused => self.refused(now, jitter),
            _ if now < until => Action::Sleep(self.timing.verify_every).into(),
            _ => self.failed(Failure::Unverified(self.timing.verify_for), now, jitter),
        }
    }

    fn initialised(&mut self, report: Report) -> Next {
        self.last_logged = LastLogged::default();
        let action = if self.serves_one_at_a_time {
            self.state = State::Idle(Idle::new(Watch::GivenUp));
            Action::Sleep(self.timing.idle_check_min)
        } else {
            self.state = State::Idle(Idle::new(Watch::Opening));
            Action::Watch
        };
        action.reporting(report)
    }

    fn idling(&mut self, idle: Idle, event: Event, now: Duration, jitter: f64) -> Next {
        match event {
            // What was initialised may have ended just before the watch was opened, and then the watch
            // holds its successor and never ends: only a check that follows tells. It comes at once,
            // unless this Legacy ends connections for reasons of its own.
            Event::Watched { serves_one_at_a_time: false } => {
                self.state = State::Idle(Idle { watch: Watch::Open, ..idle });
                match idle.not_before {
                    Some(_) => Action::Sleep(self.timing.idle_check_min).into(),
                    None => Action::Check.into(),
                }
            }
            Event::Watched { serves_one_at_a_time: true } => {
                self.serves_one_at_a_time = true;
                self.state = State::Idle(Idle { watch: Watch::GivenUp, ..idle });
                Action::Sleep(self.timing.idle_check_min).reporting(Report::WatchGivenUp)
            }
            // A connect first: it leaves no line in Legacy's log, so it may come as often as the watch
            // ends, and a Legacy that is gone is found out at once.
            Event::WatchEnded => {
                self.state = State::Idle(Idle { watch: Watch::Ended, ..idle });
                Action::Connect.into()
            }
            Event::Refused => self.lost(Loss::Gone, now, jitter),
            // A Legacy that restarts at once listens again when the end of its watch is noticed, so that
            // only a check finds it out.
            Event::Accepted => match idle.not_before.and_then(|when| when.checked_sub(now)) {
                Some(pause) if !pause.is_zero() => Action::Sleep(pause).into(),
                _ => Action::Check.into(),
            },
            Event::Slept => Action::Check.into(),
            Event::Checked(Ok(Check::Initialised(_))) => {
                let false_alarm = idle.not_before.is_some() || idle.watch == Watch::Ended;
                let not_before = false_alarm.then_some(now + self.timing.idle_check_min);
                self.state = State::Idle(Idle { not_before, unanswered: 0, ..idle });
                match idle.watch {
                    Watch::Open => Action::Sleep(self.timing.idle_check).into(),
                    Watch::GivenUp => Action::Sleep(self.timing.idle_check_min).into(),
                    Watch::Opening | Watch::Ended => Action::Watch.into(),
                }
            }
            Event::Checked(Ok(Check::Uninitialised)) => self.lost(Loss::Uninitialised, now, jitter),
            Event::Checked(Err(error)) if error.cause == Cause::Refused => {
                self.lost(Loss::Gone, now, jitter)
            }
            Event::Checked(_) => self.unanswered(idle, now, jitter),
            Event::Answered(_) => Action::Sleep(self.timing.backoff.connect_max).into(),
        }
    }

    /// A check that says neither. While the watch holds, the process that was initialised is still
    /// there, and a slow or failing `/` is its own affair. Otherwise it may be another process.
    fn unanswered(&mut self, idle: Idle, now: Duration, jitter: f64) -> Next {
        let unanswered = idle.unanswered.saturating_add(1);
        let excused = match idle.watch {
            Watch::Open => true,
            Watch::GivenUp => unanswered < UNANSWERED_MAX,
            Watch::Opening | Watch::Ended => false,
        };
        if !excused {
            return self.lost(Loss::Silent, now, jitter);
        }
        let not_before = idle.not_before.map(|_| now + self.timing.idle_check_min);
        self.state = State::Idle(Idle { not_before, unanswered, ..idle });
        Action::Sleep(self.timing.idle_check_min).into()
    }

    fn lost(&mut self, loss: Loss, now: Duration, jitter: f64) -> Next {
        let listening = loss != Loss::Gone;
        self.attempts = Attempts { since: now, began: now, listening, ..Attempts::default() };
        let action = match loss {
            Loss::Gone => {
                self.last_logged.waiting = Some(now);
                self.state = State::Waiting;
                Action::Sleep(self.timing.backoff.connect(Duration::ZERO, jitter))
            }
            Loss::Uninitialised => {
                self.state = State::Handshaking;
                Action::Handshake
            }
            Loss::Silent => {
                self.state = State::Waiting;
                Action::Connect
            }
        };
        action.reporting(Report::Lost(loss))
    }
}

/// Whether it was never reported, or last reported `remind` ago or earlier; then it counts as reported
/// now.
fn due(last: &mut Option<Duration>, now: Duration, remind: Duration) -> bool {
    let due = last.is_none_or(|last| now.saturating_sub(last) >= remind);
    if due {
        *last = Some(now);
    }
    due
}
