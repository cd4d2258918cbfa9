//! The handshake as a pure state machine: an event goes in, the next action comes out. It has no
//! clock, no dice and no sockets: the time and the jitter are handed to it.
//!
//! ```text
//!             refused: rest, knock again
//!               ┌──┐
//!               ▼  │ accepted            not initialised        202, 204
//!  start ──▶ Waiting ─────▶ Looking ─────────────────▶ Shaking ─────────▶ Verifying
//!               ▲              │ │                      │   ▲               │    │
//!      rested   │              │ └─── initialised ──┐   │   │ it forgot     │    │ initialised
//!            Failing ◀─────────┴────────────────────┼───┴───┼───────────────┘    ▼
//!                         any failure               └───────┼─────────────────▶ Idle ──▶ Done
//!               ┌───────────────────────────────────────────┴───────────────────┘  (once)
//!               ▼ it is gone
//!            Waiting
//! ```

use std::time::Duration;

use crate::failure::{Failure, Reached};

/// The machine's numbers. Every one is a flag of the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The shortest pause between two looks for a listener.
    pub look_min: Duration,
    /// The longest pause between two looks for a listener.
    pub look_max: Duration,
    /// Between the two, the pause is the time waited so far divided by this.
    pub look_divisor: u32,
    /// The longest pause after a first failure.
    pub retry_min: Duration,
    /// The longest pause after any failure.
    pub retry_max: Duration,
    /// The pause between two checks of `/` after Legacy took the secret.
    pub verify_every: Duration,
    /// How long these checks go on before they count as a failure.
    pub verify_for: Duration,
    /// The time between two looks at an initialised Legacy while the watch holds.
    pub idle_look: Duration,
    /// The least time between two of those looks, and the time between them without a watch.
    pub idle_look_min: Duration,
    /// The least time between two equal lines in the log.
    pub remind: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look_min: Duration::from_millis(5),
            look_max: Duration::from_millis(50),
            look_divisor: 200,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            verify_every: Duration::from_millis(20),
            verify_for: Duration::from_secs(5),
            idle_look: Duration::from_secs(60),
            idle_look_min: Duration::from_secs(5),
            remind: Duration::from_secs(10),
        }
    }
}

impl Pace {
    /// The pause before the next look for a listener: a fixed share of the time waited so far, so that
    /// a long start is not made much longer, and a long wait not dear. Jitter shortens it by up to a
    /// fifth: pods that start together spread out, and no look comes later than it should.
    fn look_pause(&self, waited: Duration, jitter: f64) -> Duration {
        let share = waited / self.look_divisor.max(1);
        share
            .min(self.look_max)
            .max(self.look_min)
            .mul_f64(1.0 - jitter / 5.0)
    }

    /// The pause after the nth failure in a row: doubled each time up to the most, with full jitter.
    fn retry_pause(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.retry_min
            .saturating_mul(doubled)
            .min(self.retry_max)
            .mul_f64(jitter)
    }
}

/// Where the handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing listens on Legacy's port; a bare TCP connect looks for it.
    Waiting,
    /// Something listens; `/` is asked whether it is initialised already.
    Looking,
    /// Half, key and secret are on their way.
    Shaking,
    /// Legacy took the secret; `/` is asked until it is initialised.
    Verifying {
        /// What Legacy answered to the secret.
        answer: Answer,
        /// When the checks have gone on for long enough.
        until: Duration,
    },
    /// Legacy is initialised.
    Idle(Idle),
    /// An attempt failed; the next comes after a pause.
    Failing,
    /// Legacy is initialised, and that was all there was to do.
    Done,
}

/// What is known of an initialised Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// How a restart would be noticed.
    pub watch: Watch,
    /// When `/` was last asked since Legacy was initialised.
    pub looked: Option<Duration>,
    /// How many looks in a row told nothing.
    pub unanswered: u8,
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
    /// Legacy serves one connection at a time: it would keep others out.
    GivenUp,
}

impl State {
    /// Each [`State::label`].
    pub const LABELS: [&'static str; 8] = [
        "waiting",
        "looking",
        "shaking",
        "verifying",
        "watching",
        "polling",
        "failing",
        "done",
    ];

    /// The state's name in metrics: one of [`State::LABELS`].
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Looking => "looking",
            Self::Shaking => "shaking",
            Self::Verifying { .. } => "verifying",
            Self::Idle(Idle {
                watch: Watch::GivenUp,
                ..
            }) => "polling",
            Self::Idle(_) => "watching",
            Self::Failing => "failing",
            Self::Done => "done",
        }
    }

    /// Whether Legacy is initialised, as far as is known.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Idle(_) | Self::Done)
    }
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// After [`Action::Knock`].
    Knocked(Knock),
    /// After [`Action::Look`].
    Looked(Result<Seen, Failure>),
    /// After [`Action::Shake`].
    Shaken(Result<Answer, Failure>),
    /// After [`Action::Watch`]: the watch rests.
    Watched(Kindness),
    /// After [`Action::Watch`] or during [`Action::Rest`]: the watch ended, or could not be opened.
    WatchEnded,
    /// After [`Action::Rest`].
    Rested,
}

/// What a bare TCP connect met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knock {
    /// Something listens.
    Accepted,
    /// Nothing listens, or nothing that accepts.
    Refused,
}

/// What `GET /` says about Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A status below 500 and a body other than `Uninitialized`.
    Initialised,
    /// The body `Uninitialized`, whatever the status.
    Uninitialised,
    /// A status of 500 or more with another body: it may be either.
    Unclear,
}

/// How Legacy took the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202.
    Accepted,
    /// 204: it has had the handshake already.
    Repeated,
}

/// Whether Legacy serves others beside the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kindness {
    /// A second connection was served.
    Kind,
    /// It was not: the watch keeps others out.
    Unkind,
}

/// What is to be done next. Each action is answered by one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A bare TCP connect to Legacy's port.
    Knock,
    /// `GET /`.
    Look,
    /// Read the half, get the key, send the secret.
    Shake,
    /// Open the watch, and see whether Legacy serves others beside it.
    Watch,
    /// Do nothing for so long, or until the watch ends if there is one.
    Rest(Duration),
    /// Nothing is left to do.
    End,
}

/// What is worth telling, in the log and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing listens: the first time, and once in a while.
    Waiting {
        /// For how long so far.
        waited: Duration,
    },
    /// Something listens.
    Listening {
        /// After how long.
        waited: Duration,
    },
    /// Legacy took the secret.
    Taken {
        /// How.
        answer: Answer,
        /// How long the attempt took so far.
        took: Duration,
    },
    /// Legacy is initialised.
    Initialised {
        /// Why.
        how: How,
        /// After how long, waiting included.
        waited: Duration,
    },
    /// An attempt failed.
    Failed {
        /// Why.
        failure: Failure,
        /// The pause before the next attempt.
        retry_in: Duration,
        /// Whether this very failure has been told of just now.
        repeated: bool,
    },
    /// Legacy was initialised and is not any more.
    Lost(Loss),
    /// Legacy serves one connection at a time.
    WatchGivenUp,
}

/// How Legacy came to be initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By this sidecar's handshake.
    Handshake(Answer),
    /// It was so when this sidecar looked, and nothing was sent.
    Already,
}

/// How an initialised Legacy was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing listens any more.
    Gone,
    /// It says `Uninitialized`.
    Forgot,
    /// It listens, its watch ended or there is none, and it does not say what it is.
    Silent,
}

/// What comes next, and what is worth telling about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// What is to be done.
    pub action: Action,
    /// What is to be told.
    pub news: Option<News>,
}

impl From<Action> for Next {
    fn from(action: Action) -> Self {
        Self { action, news: None }
    }
}

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
    failed: Option<(Failure, Duration)>,
}

/// The state machine. Times are durations since any fixed moment; jitter is evenly spread over 0..1.
#[derive(Clone, Debug)]
pub struct Machine {
    pace: Pace,
    once: bool,
    state: State,
    hunt: Hunt,
    told: Told,
    watch_given_up: bool,
}

impl Machine {
    /// A machine that knows nothing of Legacy yet. With `once` it ends when Legacy is initialised.
    #[must_use]
    pub fn new(pace: Pace, once: bool, now: Duration) -> Self {
        let hunt = Hunt {
            since: now,
            ..Hunt::default()
        };
        let (state, told) = (State::Waiting, Told::default());
        Self {
            pace,
            once,
            state,
            hunt,
            told,
            watch_given_up: false,
        }
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
            (State::Looking, Event::Looked(Ok(Seen::Uninitialised | Seen::Unclear))) => {
                self.state = State::Shaking;
                Action::Shake.into()
            }
            (State::Looking, Event::Looked(Err(failure)))
            | (State::Shaking, Event::Shaken(Err(failure))) => self.failed(failure, now, jitter),
            (State::Shaking, Event::Shaken(Ok(answer))) => {
                self.state = State::Verifying {
                    answer,
                    until: now + self.pace.verify_for,
                };
                let took = now.saturating_sub(self.hunt.attempt);
                Next {
                    action: Action::Look,
                    news: Some(News::Taken { answer, took }),
                }
            }
            (State::Verifying { answer, until }, Event::Looked(looked)) => {
                self.verified(answer, until, looked, now, jitter)
            }
            (State::Verifying { .. }, Event::Rested) => Action::Look.into(),
            (State::Idle(idle), event) => self.idling(idle, event, now, jitter),
            (State::Done, _) => Action::End.into(),
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
            self.hunt = Hunt {
                since: now,
                ..Hunt::default()
            };
        }
        self.state = State::Waiting;
        let waited = now.saturating_sub(self.hunt.since);
        let due = self.is_due(self.told.waiting, now);
        if due {
            self.told.waiting = Some(now);
        }
        Next {
            action: Action::Rest(self.pace.look_pause(waited, jitter)),
            news: due.then_some(News::Waiting { waited }),
        }
    }

    fn accepted(&mut self, now: Duration) -> Next {
        self.state = State::Looking;
        self.hunt.attempt = now;
        let due = !self.hunt.listening && self.is_due(self.told.listening, now);
        if due {
            self.told.listening = Some(now);
        }
        self.hunt.listening = true;
        let waited = now.saturating_sub(self.hunt.since);
        Next {
            action: Action::Look,
            news: due.then_some(News::Listening { waited }),
        }
    }

    fn failed(&mut self, failure: Failure, now: Duration, jitter: f64) -> Next {
        if failure.is_gone() {
            return self.refused(now, jitter);
        }
        let reached = Some(failure.reached());
        let progress = reached > self.hunt.furthest;
        self.hunt.furthest = self.hunt.furthest.max(reached);
        self.hunt.failures = if progress {
            1
        } else {
            self.hunt.failures.saturating_add(1)
        };
        let retry_in = self.pace.retry_pause(self.hunt.failures, jitter);
        let repeated = match self.told.failed {
            Some((told, when)) => told == failure && !self.is_due(Some(when), now),
            None => false,
        };
        if !repeated {
            self.told.failed = Some((failure, now));
        }
        self.state = State::Failing;
        let news = News::Failed {
            failure,
            retry_in,
            repeated,
        };
        Next {
            action: Action::Rest(retry_in),
            news: Some(news),
        }
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
        let action = if self.once {
            self.state = State::Done;
            Action::End
        } else if self.watch_given_up {
            self.idle(Idle {
                watch: Watch::GivenUp,
                looked: None,
                unanswered: 0,
            });
            Action::Rest(self.pace.idle_look_min)
        } else {
            self.idle(Idle {
                watch: Watch::Opening,
                looked: None,
                unanswered: 0,
            });
            Action::Watch
        };
        Next {
            action,
            news: Some(News::Initialised { how, waited }),
        }
    }

    fn idle(&mut self, idle: Idle) {
        self.state = State::Idle(idle);
    }

    fn idling(&mut self, idle: Idle, event: Event, now: Duration, jitter: f64) -> Next {
        match event {
            Event::Watched(Kindness::Kind) => {
                self.idle(Idle {
                    watch: Watch::Open,
                    ..idle
                });
                Action::Rest(self.pace.idle_look).into()
            }
            Event::Watched(Kindness::Unkind) => {
                self.watch_given_up = true;
                self.idle(Idle {
                    watch: Watch::GivenUp,
                    ..idle
                });
                let action = Action::Rest(self.pace.idle_look_min);
                Next {
                    action,
                    news: Some(News::WatchGivenUp),
                }
            }
            // A knock first: it leaves no line in Legacy's log, so it may come as often as the watch
            // ends, and a Legacy that is gone is found out at once.
            Event::WatchEnded => {
                self.idle(Idle {
                    watch: Watch::Ended,
                    ..idle
                });
                Action::Knock.into()
            }
            Event::Knocked(Knock::Refused) => self.lost(Loss::Gone, now, jitter),
            Event::Knocked(Knock::Accepted) => match self.too_early(idle, now) {
                Some(pause) => Action::Rest(pause).into(),
                None => Action::Look.into(),
            },
            Event::Rested => Action::Look.into(),
            Event::Looked(Ok(Seen::Initialised)) => {
                self.idle(Idle {
                    looked: Some(now),
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

    /// How long it is until `/` may be asked again, if it may not yet.
    fn too_early(&self, idle: Idle, now: Duration) -> Option<Duration> {
        let pause = (idle.looked? + self.pace.idle_look_min).checked_sub(now)?;
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
        self.idle(Idle {
            looked: Some(now),
            unanswered,
            ..idle
        });
        Action::Rest(self.pace.idle_look_min).into()
    }

    fn lost(&mut self, loss: Loss, now: Duration, jitter: f64) -> Next {
        self.hunt = Hunt {
            since: now,
            attempt: now,
            ..Hunt::default()
        };
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
        Next {
            action,
            news: Some(News::Lost(loss)),
        }
    }

    fn is_due(&self, told: Option<Duration>, now: Duration) -> bool {
        told.is_none_or(|told| now.saturating_sub(told) >= self.pace.remind)
    }
}
