//! The handshake as a pure state machine: an event goes in, the next action comes out. It has no
//! clock, no dice and no sockets: the time and the jitter are handed to it.
//!
//! ```text
//! Waiting ──▶ Looking ──▶ Shaking ──▶ Verifying ──▶ Idle
//!
//! Waiting     nothing listens: rest, knock again      something does: Looking
//! Looking     initialised: Idle                       anything else: Shaking
//! Shaking     202 or 204: Verifying
//! Verifying   initialised: Idle                       not yet: rest, look again
//! Idle        uninitialised: Shaking                  gone, or silent and unwatched: Waiting
//! Failing     rested: Waiting
//! each but Idle, when its request fails: Failing, or Waiting if nothing listens any more
//! ```

mod pace;
mod words;

use std::time::Duration;

use crate::failure::{Failure, Reached};

pub use pace::Pace;
pub use words::{
    Action, Answer, Event, How, Idle, Kindness, Knock, Loss, News, Next, Seen, State, Watch,
};

/// Without a watch, so many looks in a row may tell nothing before Legacy counts as lost: one that
/// serves a connection at a time is silent whenever it serves somebody else.
const UNANSWERED_MAX: u8 = 3;

/// One attempt after another, from the first look until Legacy is initialised.
#[derive(Clone, Copy, Debug, Default)]
struct Hunt {
    /// Since when there is no initialised Legacy, or since when nothing listens.
    since: Duration,
    /// Whether the last that was heard of Legacy is that it listens.
    listening: bool,
    /// Whether it has said that it is not initialised.
    found: bool,
    /// When the present attempt began.
    attempt: Duration,
    /// Failures in a row without progress.
    failures: u32,
    /// The furthest that a failed attempt got.
    furthest: Option<Reached>,
}

/// When what was told, until Legacy is initialised.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    waiting: Option<Duration>,
    listening: Option<Duration>,
    found: Option<Duration>,
    failed: Option<(Failure, Duration)>,
}

/// The state machine. Times are durations since any fixed moment; jitter is evenly spread over 0..1.
#[derive(Clone, Debug)]
pub struct Machine {
    pace: Pace,
    state: State,
    hunt: Hunt,
    told: Told,
    watch_given_up: bool,
}

impl Machine {
    /// A machine that knows nothing of Legacy yet.
    #[must_use]
    pub fn new(pace: Pace, now: Duration) -> Self {
        let hunt = Hunt { since: now, ..Hunt::default() };
        let (state, told) = (State::Waiting, Told::default());
        Self { pace, state, hunt, told, watch_given_up: false }
    }

    /// What to begin with.
    #[must_use]
    pub fn first(&self) -> Action {
        Action::Knock
    }

    /// Where the handshake stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when Legacy is awaited, or was before it was initialised.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.hunt.since
    }

    /// Takes in what became of the last action and says what comes next.
    pub fn step(&mut self, event: Event, now: Duration, jitter: f64) -> Next {
        match (self.state, event) {
            (State::Waiting, Event::Knocked(Knock::Refused)) => self.refused(now, jitter),
            (State::Waiting, Event::Knocked(Knock::Accepted)) => self.accepted(now),
            (State::Waiting | State::Failing, Event::Rested) => {
                self.state = State::Waiting;
                Action::Knock.into()
            }
            (State::Looking, Event::Looked(Ok(Seen::Initialised))) => {
                self.initialised(How::Already, now)
            }
            (State::Looking, Event::Looked(Ok(seen))) => {
                self.state = State::Shaking;
                let new = !self.hunt.found && due(&mut self.told.found, now, self.pace.remind);
                self.hunt.found = true;
                Action::Shake.telling(new.then_some(News::Found(seen)))
            }
            (State::Looking, Event::Looked(Err(failure)))
            | (State::Shaking, Event::Shaken(Err(failure))) => self.failed(failure, now, jitter),
            (State::Shaking, Event::Shaken(Ok(answer))) => {
                self.state = State::Verifying { answer, until: now + self.pace.verify_for };
                let took = now.saturating_sub(self.hunt.attempt);
                Action::Look.telling(News::Taken { answer, took })
            }
            (State::Verifying { answer, until }, Event::Looked(looked)) => {
                self.verified(answer, until, looked, now, jitter)
            }
            (State::Verifying { .. }, Event::Rested) => Action::Look.into(),
            (State::Idle(idle), event) => self.idling(idle, event, now, jitter),
            // No action has such an event for its answer. Should it come all the same, the sidecar
            // must not end: it finds out from the start.
            (_, _) => {
                self.state = State::Waiting;
                Action::Rest(self.pace.look_max).into()
            }
        }
    }

    fn refused(&mut self, now: Duration, jitter: f64) -> Next {
        if self.hunt.listening {
            // Whatever listened has ended: its failures say nothing about what starts next.
            self.hunt = Hunt { since: now, ..Hunt::default() };
        }
        self.state = State::Waiting;
        let waited = now.saturating_sub(self.hunt.since);
        let new = due(&mut self.told.waiting, now, self.pace.remind);
        let pause = self.pace.look_pause(waited, jitter);
        Action::Rest(pause).telling(new.then_some(News::Waiting { waited }))
    }

    fn accepted(&mut self, now: Duration) -> Next {
        self.state = State::Looking;
        self.hunt.attempt = now;
        let waited = now.saturating_sub(self.hunt.since);
        let new = !self.hunt.listening && due(&mut self.told.listening, now, self.pace.remind);
        self.hunt.listening = true;
        Action::Look.telling(new.then_some(News::Listening { waited }))
    }

    fn failed(&mut self, failure: Failure, now: Duration, jitter: f64) -> Next {
        if failure.is_gone() {
            return self.refused(now, jitter);
        }
        let reached = Some(failure.reached());
        let progress = reached > self.hunt.furthest;
        self.hunt.furthest = self.hunt.furthest.max(reached);
        self.hunt.failures = if progress { 1 } else { self.hunt.failures.saturating_add(1) };
        let retry_in = self.pace.retry_pause(self.hunt.failures, jitter);
        let mut told = self.told.failed.filter(|(told, _)| *told == failure).map(|(_, when)| when);
        let repeated = !due(&mut told, now, self.pace.remind);
        self.told.failed = told.map(|when| (failure, when));
        self.state = State::Failing;
        let news = News::Failed { failure, retry_in, repeated };
        Action::Rest(retry_in).telling(news)
    }

    fn verified(
        &mut self,
        answer: Answer,
        until: Duration,
        looked: Result<Seen, Failure>,
        now: Duration,
        jitter: f64,
    ) -> Next {
        match looked {
            Ok(Seen::Initialised) => self.initialised(How::Handshake(answer), now),
            // A 204 is Legacy's own word that it is initialised; what `/` fails with is its own affair.
            Ok(Seen::Unclear) if answer == Answer::Repeated => {
                self.initialised(How::Handshake(answer), now)
            }
            Err(failure) if failure.is_gone() => self.refused(now, jitter),
            _ if now < until => Action::Rest(self.pace.verify_every).into(),
            _ => self.failed(Failure::Unverified(self.pace.verify_for), now, jitter),
        }
    }

    fn initialised(&mut self, how: How, now: Duration) -> Next {
        let waited = now.saturating_sub(self.hunt.since);
        self.told = Told::default();
        let action = if self.watch_given_up {
            self.state = State::Idle(Idle::new(Watch::GivenUp));
            Action::Rest(self.pace.idle_look_min)
        } else {
            self.state = State::Idle(Idle::new(Watch::Opening));
            Action::Watch
        };
        action.telling(News::Initialised { how, waited })
    }

    fn idling(&mut self, idle: Idle, event: Event, now: Duration, jitter: f64) -> Next {
        match event {
            // What was initialised may have ended just before the watch was opened, and then the watch
            // holds its successor and never ends: only a look that follows tells. It comes at once,
            // unless this Legacy ends connections for reasons of its own.
            Event::Watched(Kindness::Kind) => {
                self.state = State::Idle(Idle { watch: Watch::Open, ..idle });
                if idle.false_alarm {
                    Action::Rest(self.pace.idle_look_min).into()
                } else {
                    Action::Look.into()
                }
            }
            Event::Watched(Kindness::Unkind) => {
                self.watch_given_up = true;
                self.state = State::Idle(Idle { watch: Watch::GivenUp, ..idle });
                Action::Rest(self.pace.idle_look_min).telling(News::WatchGivenUp)
            }
            // A knock first: it leaves no line in Legacy's log, so it may come as often as the watch
            // ends, and a Legacy that is gone is found out at once.
            Event::WatchEnded => {
                self.state = State::Idle(Idle { watch: Watch::Ended, ..idle });
                Action::Knock.into()
            }
            Event::Knocked(Knock::Refused) => self.lost(Loss::Gone, now, jitter),
            Event::Knocked(Knock::Accepted) => match self.too_early(idle, now) {
                Some(pause) => Action::Rest(pause).into(),
                None => Action::Look.into(),
            },
            Event::Rested => Action::Look.into(),
            Event::Looked(Ok(Seen::Initialised)) => {
                self.state = State::Idle(Idle {
                    looked: Some(now),
                    false_alarm: idle.false_alarm || idle.watch == Watch::Ended,
                    unanswered: 0,
                    ..idle
                });
                self.watch_on(idle.watch)
            }
            Event::Looked(Ok(Seen::Uninitialised)) => self.lost(Loss::Forgot, now, jitter),
            Event::Looked(Err(failure)) if failure.is_gone() => self.lost(Loss::Gone, now, jitter),
            Event::Looked(Ok(Seen::Unclear) | Err(_)) => self.untold(idle, now, jitter),
            Event::Shaken(_) => Action::Rest(self.pace.look_max).into(),
        }
    }

    /// How long it is until `/` may be asked again, if it may not yet. A Legacy that restarts at once
    /// listens again when the end of its watch is noticed, so that only a look finds it out: the first
    /// look never waits. One that ends idle connections would be asked all the time: after a false alarm
    /// looks keep their distance.
    fn too_early(&self, idle: Idle, now: Duration) -> Option<Duration> {
        let looked = idle.looked.filter(|_| idle.false_alarm)?;
        let pause = (looked + self.pace.idle_look_min).checked_sub(now)?;
        (!pause.is_zero()).then_some(pause)
    }

    fn watch_on(&mut self, watch: Watch) -> Next {
        match watch {
            Watch::Open => Action::Rest(self.pace.idle_look).into(),
            Watch::GivenUp => Action::Rest(self.pace.idle_look_min).into(),
            Watch::Opening | Watch::Ended => Action::Watch.into(),
        }
    }

    /// A look that told nothing. While the watch holds, the process that was initialised is still
    /// there, and a slow or failing `/` is its own affair. Otherwise it may be another process.
    fn untold(&mut self, idle: Idle, now: Duration, jitter: f64) -> Next {
        let unanswered = idle.unanswered.saturating_add(1);
        let excused = match idle.watch {
            Watch::Open => true,
            Watch::GivenUp => unanswered < UNANSWERED_MAX,
            Watch::Opening | Watch::Ended => false,
        };
        if !excused {
            return self.lost(Loss::Silent, now, jitter);
        }
        self.state = State::Idle(Idle { looked: Some(now), unanswered, ..idle });
        Action::Rest(self.pace.idle_look_min).into()
    }

    fn lost(&mut self, loss: Loss, now: Duration, jitter: f64) -> Next {
        self.hunt = Hunt { since: now, attempt: now, ..Hunt::default() };
        let action = match loss {
            Loss::Gone => {
                self.told.waiting = Some(now);
                self.state = State::Waiting;
                Action::Rest(self.pace.look_pause(Duration::ZERO, jitter))
            }
            Loss::Forgot => {
                self.hunt.listening = true;
                self.state = State::Shaking;
                Action::Shake
            }
            Loss::Silent => {
                self.hunt.listening = true;
                self.state = State::Waiting;
                Action::Knock
            }
        };
        action.telling(News::Lost(loss))
    }
}

/// Whether it was never told, or last told `remind` ago or earlier; then it counts as told now.
fn due(told: &mut Option<Duration>, now: Duration, remind: Duration) -> bool {
    let due = told.is_none_or(|told| now.saturating_sub(told) >= remind);
    if due {
        *told = Some(now);
    }
    due
}
