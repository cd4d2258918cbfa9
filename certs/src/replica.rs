//! One replica without I/O: it says what to ask the cluster next, and takes the answers.
//!
//! ```text
//!   ┌▶ read the configuration ─▶ read the Secret ─▶ decide ─▶ rest ─┐
//!   │        ▲                                        │             │
//!   │        └── write the Secret, patch the caBundle ┤             │
//!   │                                 sign ─▶ decide ◀┘             │
//!   └──────── a change was seen, something is due, or it is time ◀──┘
//! ```
//!
//! The configuration is read before the Secret, and patched with the resourceVersion that was read:
//! so no patch is ever made from an older Secret than the one that the caBundle was last made from.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Clock, Time};
use crate::inspect::Fingerprint;
use crate::rotate::{
    Action, Authorities, Ca, Leaf, Live, NotReady, Secret, View, Why, decide, due, readiness,
};
use crate::settings::Settings;
use crate::validity::{Validity, after};

/// So many repairs of the caBundle in [`FIGHT`] are a fight with another writer, and repairs are
/// made less and less often, down to once in [`TRUCE`].
const REPAIRS_AT_ONCE: usize = 3;
const FIGHT: Duration = Duration::from_secs(10 * 60);
const TRUCE: Duration = Duration::from_secs(60);
/// So many requests without a rest mean that something goes round in circles.
const MOST_REQUESTS: u32 = 50;

/// What is asked of the cluster, or of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Read the webhook configuration; answered with [`Answer::Configuration`].
    ReadConfiguration,
    /// Read the Secret; answered with [`Answer::Secret`].
    ReadSecret,
    /// Make a CA; answered with [`Answer::Made`].
    MakeCa(Validity, Purpose),
    /// Create the Secret if it was absent, or update it as it was read; answered with [`Answer::Done`].
    WriteSecret(Authorities, Why),
    /// Patch the caBundles that differ, in the configuration as it was read; answered with
    /// [`Answer::Done`].
    Publish(Authorities),
    /// Sign a leaf with this CA; answered with [`Answer::Signed`].
    Sign(Fingerprint, Validity),
}

/// What a new CA is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// It is the only one.
    Found(Why),
    /// It follows the one in these.
    Introduce(Authorities),
}

/// What came of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The configuration.
    Configuration(Arc<Live>),
    /// The Secret.
    Secret(Secret),
    /// A CA was made.
    Made(Ca),
    /// The write was accepted.
    Done,
    /// A leaf was signed.
    Signed,
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What was read has changed since, or was there already: read again.
    #[error("{0}")]
    Conflict(String),
    /// Not allowed; the text names the rule that is missing.
    #[error("{0}")]
    Forbidden(String),
    /// No answer, or one that says to try later. The request may have been carried out or not.
    #[error("{0}")]
    Unavailable(String),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask this, and hand the answer to [`Replica::answer`].
    Ask(Request),
    /// Wait for a change, but no longer than until the earlier of these two; steady time.
    Rest {
        /// When to look again in any case.
        look: Duration,
        /// When something is due that needs no change from outside.
        due: Option<Duration>,
    },
}

/// Something that an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The Secret was written.
    Wrote(Why),
    /// The caBundles were filled or changed along with the Secret.
    Published,
    /// Somebody else had changed caBundles that were right, and they were put right.
    Repaired {
        /// Which entries.
        entries: Vec<String>,
        /// Who had changed them: the field manager's name, if it is known.
        writer: Option<String>,
        /// Whether it has happened so often lately that repairs are held back.
        is_fight: bool,
    },
    /// A leaf was signed.
    Signed(Leaf),
    /// A look at the cluster failed; told once until the reason changes.
    Failed(String),
    /// Looks at the cluster succeed again.
    Recovered,
}

#[derive(Debug)]
enum Stage {
    Ask(Request),
    Decide,
    Rest { look: Duration, due: Option<Duration> },
}

/// One replica: what it knows, and what it is about.
#[derive(Debug)]
pub struct Replica {
    settings: Settings,
    rng: fastrand::Rng,
    clock: Clock,
    stage: Stage,
    secret: Secret,
    memory: Option<Authorities>,
    /// Since when there has been nothing readable in the Secret; steady time.
    lost_since: Option<Duration>,
    live: Option<Arc<Live>>,
    leaf: Option<Leaf>,
    /// Since when the configuration is as it is; steady time.
    unchanged_since: Duration,
    /// The CAs that every caBundle was last seen to hold exactly.
    in_step_with: Option<Authorities>,
    /// Whether a patch may be tried in this round.
    can_patch: bool,
    /// When caBundles were repaired of late.
    repairs: VecDeque<Duration>,
    /// What went wrong in this round, and in the last that was finished.
    trouble: Option<String>,
    problem: Option<String>,
    failures: u32,
    conflicts: u32,
    requests: u32,
    look_again: bool,
    renewals_total: u64,
    repairs_total: u64,
    events: Vec<Event>,
}

impl Replica {
    /// A replica that knows nothing yet. `seed` spreads its pauses and renewals.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            rng: fastrand::Rng::with_seed(seed),
            clock: Clock::default(),
            stage: Stage::Ask(Request::ReadConfiguration),
            secret: Secret::Unknown,
            memory: None,
            lost_since: None,
            live: None,
            leaf: None,
            unchanged_since: Duration::ZERO,
            in_step_with: None,
            can_patch: false,
            repairs: VecDeque::new(),
            trouble: None,
            problem: None,
            failures: 0,
            conflicts: 0,
            requests: 0,
            look_again: false,
            renewals_total: 0,
            repairs_total: 0,
            events: Vec::new(),
        }
    }

    /// What to do now.
    pub fn next(&mut self, time: Time) -> Step {
        if let Stage::Rest { look, due } = self.stage {
            if time.steady < due.map_or(look, |due| due.min(look)) && !self.look_again {
                return Step::Rest { look, due };
            }
            self.look(None);
        }
        if matches!(self.stage, Stage::Decide) {
            self.step(time);
        }
        match &self.stage {
            Stage::Ask(request) => {
                self.requests = self.requests.saturating_add(1);
                Step::Ask(request.clone())
            }
            Stage::Rest { look, due } => Step::Rest { look: *look, due: *due },
            Stage::Decide => Step::Rest { look: time.steady, due: None },
        }
    }

    /// Takes the answer to the last request, and the `Date` that came with it.
    pub fn answer(&mut self, time: Time, date: Option<Timestamp>, result: Result<Answer, Failure>) {
        if let Some(date) = date {
            self.clock.hear(date, time);
        }
        let Stage::Ask(request) = std::mem::replace(&mut self.stage, Stage::Decide) else {
            return;
        };
        match (request, result) {
            (Request::ReadConfiguration, result) => {
                self.can_patch = false;
                match result {
                    Ok(Answer::Configuration(live)) => self.saw(live, time),
                    Ok(_) => {}
                    Err(failure) => self.failed(&failure),
                }
                self.stage = Stage::Ask(Request::ReadSecret);
            }
            (Request::ReadSecret, Ok(Answer::Secret(secret))) => {
                self.lost_since = match secret {
                    Secret::Absent | Secret::Unreadable(_) => self.lost_since.or(Some(time.steady)),
                    Secret::Held(_) | Secret::Unknown => None,
                };
                self.secret = secret;
            }
            (Request::MakeCa(_, purpose), Ok(Answer::Made(ca))) => {
                self.stage = Stage::Ask(match purpose {
                    Purpose::Found(why) => Request::WriteSecret(Authorities::only(ca), why),
                    Purpose::Introduce(cas) => {
                        Request::WriteSecret(cas.introduced(ca), Why::Introduce)
                    }
                });
            }
            (Request::WriteSecret(_, why), Ok(_)) => {
                self.events.push(Event::Wrote(why));
                self.look(None);
            }
            (Request::Publish(cas), Ok(_)) => self.published(&cas, time),
            (Request::Sign(issuer, validity), Ok(_)) => self.signed(issuer, validity, time),
            (Request::WriteSecret(..) | Request::Publish(_), Err(Failure::Conflict(why))) => {
                self.conflicts = self.conflicts.saturating_add(1);
                if self.conflicts == 1 {
                    self.look(None);
                } else {
                    // Others are at it too: give way for a moment, longer each time.
                    let most = 50_u64 << self.conflicts.min(8);
                    let pause = Duration::from_millis(self.rng.u64(1..=most));
                    self.look(Some(time.steady + pause));
                    if self.conflicts > 4 {
                        self.problem = Some(why);
                    }
                }
            }
            (Request::Publish(_), Err(failure)) => {
                self.can_patch = false;
                self.failed(&failure);
            }
            (Request::Sign(..), Err(failure)) => {
                self.failed(&failure);
                self.rest(time);
            }
            // A Secret that cannot be read or written: this round goes on with what is in memory.
            (_, Err(failure)) => {
                self.secret = Secret::Unknown;
                self.failed(&failure);
            }
            (_, Ok(_)) => {}
        }
    }

    /// Something has changed in the cluster: look at once, or right after what is being done.
    pub fn wake(&mut self) {
        self.look_again = true;
    }

    /// Whether the leaf in use is accepted wherever requests come from.
    ///
    /// # Errors
    /// [`NotReady`] with the reason.
    pub fn readiness(&self, time: Time) -> Result<(), NotReady> {
        readiness(self.leaf.as_ref(), self.live.as_deref(), self.clock.now(time))
    }

    /// The leaf in use.
    #[must_use]
    pub fn leaf(&self) -> Option<&Leaf> {
        self.leaf.as_ref()
    }

    /// What the Secret held when it was last readable.
    #[must_use]
    pub fn authorities(&self) -> Option<&Authorities> {
        self.memory.as_ref()
    }

    /// The configuration as last read.
    #[must_use]
    pub fn live(&self) -> Option<&Live> {
        self.live.as_deref()
    }

    /// The clock that this replica goes by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What went wrong in the last round, if anything did.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How many leaves were signed in place of an older one.
    #[must_use]
    pub fn renewals_total(&self) -> u64 {
        self.renewals_total
    }

    /// How often caBundles were put right that somebody else had changed.
    #[must_use]
    pub fn repairs_total(&self) -> u64 {
        self.repairs_total
    }

    /// Whether somebody else changes the caBundles again and again.
    #[must_use]
    pub fn is_fighting(&self) -> bool {
        self.repairs.len() >= REPAIRS_AT_ONCE
    }

    /// Whether this replica still has a use for a CA's key: all others can be forgotten.
    #[must_use]
    pub fn needs(&self, id: Fingerprint) -> bool {
        let held = match &self.secret {
            Secret::Held(cas) => Some(cas),
            _ => None,
        };
        let written = match &self.stage {
            Stage::Ask(Request::WriteSecret(cas, _)) => Some(cas),
            _ => None,
        };
        [held, written, self.memory.as_ref()].iter().flatten().any(|cas| cas.find(id).is_some())
    }

    /// What has happened since this was last asked.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// One decision, and what it takes to carry it out.
    fn step(&mut self, time: Time) {
        if self.requests > MOST_REQUESTS {
            self.trouble = Some("the cluster changes faster than it can be followed".to_owned());
            return self.rest(time);
        }
        let now = self.clock.now(time);
        let action = decide(&self.view(time), &self.settings);
        // What the Secret holds is what this replica goes by, unless it is about to be put right.
        if let Secret::Held(cas) = &self.secret
            && !matches!(
                &action,
                Action::Found(_) | Action::Write(_, Why::Replaced | Why::Unreadable(_))
            )
            && self.memory.as_ref() != Some(cas)
        {
            self.memory = Some(cas.clone());
        }
        let request = match action {
            Action::Found(why) => Request::MakeCa(self.ca_validity(now), Purpose::Found(why)),
            Action::Introduce => match &self.memory {
                Some(cas) => {
                    Request::MakeCa(self.ca_validity(now), Purpose::Introduce(cas.clone()))
                }
                None => return self.rest(time),
            },
            Action::Write(cas, why) => Request::WriteSecret(cas, why),
            Action::Publish(cas) => Request::Publish(cas),
            Action::Sign(ca) => {
                let Settings { leaf_life, skew, .. } = self.settings;
                let validity = Validity::starting(now, leaf_life, skew).within(ca.validity);
                Request::Sign(ca.id, validity)
            }
            Action::Rest => return self.rest(time),
        };
        self.stage = Stage::Ask(request);
    }

    fn view(&self, time: Time) -> View<'_> {
        View {
            now: self.clock.now(time),
            secret: &self.secret,
            memory: self.memory.as_ref(),
            lost_for: time.steady.saturating_sub(self.lost_since.unwrap_or(time.steady)),
            live: self.live.as_deref(),
            may_publish: self.can_patch && self.held_until() <= time.steady,
            unchanged_for: time.steady.saturating_sub(self.unchanged_since),
            leaf: self.leaf.as_ref(),
        }
    }

    fn ca_validity(&self, now: Timestamp) -> Validity {
        Validity::starting(now, self.settings.ca_life, self.settings.skew)
    }

    fn saw(&mut self, live: Arc<Live>, time: Time) {
        self.can_patch = true;
        if self.live.as_ref() != Some(&live) {
            self.unchanged_since = time.steady;
            self.live = Some(live);
        }
        while self.repairs.front().is_some_and(|at| time.steady.saturating_sub(*at) > FIGHT) {
            self.repairs.pop_front();
        }
    }

    fn published(&mut self, cas: &Authorities, time: Time) {
        // They were right before, for the same CAs: somebody else had changed them.
        if self.in_step_with.as_ref().is_some_and(|before| before.all().eq(cas.all())) {
            self.repairs.push_back(time.steady);
            self.repairs_total += 1;
            let wrong = || self.live.iter().flat_map(|live| live.differing(cas.ids()));
            let event = Event::Repaired {
                entries: wrong().map(|entry| entry.name.clone()).collect(),
                writer: wrong().find_map(|entry| entry.foreign_writer.clone()),
                is_fight: self.is_fighting(),
            };
            self.events.push(event);
        } else {
            self.events.push(Event::Published);
        }
        self.look(None);
    }

    fn signed(&mut self, issuer: Fingerprint, validity: Validity, time: Time) {
        let now = self.clock.now(time);
        let left = Duration::try_from(validity.not_after.duration_since(now)).unwrap_or_default();
        let early = left.mul_f64(self.rng.f64() / 20.0);
        let pause = (left * 2 / 3).saturating_sub(early).max(Duration::from_secs(1));
        self.renewals_total += u64::from(self.leaf.is_some());
        let leaf = Leaf { issuer, validity, renew_at: after(now, pause) };
        self.events.push(Event::Signed(leaf.clone()));
        self.leaf = Some(leaf);
    }

    fn failed(&mut self, failure: &Failure) {
        self.trouble.get_or_insert_with(|| failure.to_string());
    }

    /// Until when repairs are held back, because somebody else keeps undoing them.
    fn held_until(&self) -> Duration {
        match (self.repairs.back(), self.repairs.len().checked_sub(REPAIRS_AT_ONCE)) {
            (Some(last), Some(beyond)) => {
                *last + TRUCE.min(Duration::from_secs(1 << beyond.min(10)))
            }
            _ => Duration::ZERO,
        }
    }

    /// Begins a new round, at once or not before `at`.
    fn look(&mut self, at: Option<Duration>) {
        self.look_again = false;
        self.trouble = None;
        self.stage = match at {
            Some(look) => Stage::Rest { look, due: None },
            None => Stage::Ask(Request::ReadConfiguration),
        };
    }

    /// Ends a round.
    fn rest(&mut self, time: Time) {
        let now = self.clock.now(time);
        let trouble = self.trouble.take();
        if trouble != self.problem {
            self.events.push(trouble.clone().map_or(Event::Recovered, Event::Failed));
        }
        self.problem = trouble;
        self.requests = 0;
        self.conflicts = 0;
        let pause = if self.problem.is_some() {
            let (first, most) = self.settings.retry;
            let pause = first.saturating_mul(1 << self.failures.min(16)).min(most);
            self.failures = self.failures.saturating_add(1);
            pause.mul_f64(0.5 + self.rng.f64() / 2.0)
        } else {
            self.failures = 0;
            self.settings.resync.mul_f64(0.9 + self.rng.f64() / 10.0)
        };
        let steady = |moment: Timestamp| {
            time.steady + Duration::try_from(moment.duration_since(now)).unwrap_or_default()
        };
        let mut due = due(&self.view(time), &self.settings).map(steady);
        let wrong = match (&self.secret, &self.live) {
            (Secret::Held(cas), Some(live)) => live.differing(cas.ids()).next().is_some(),
            _ => false,
        };
        if let (Secret::Held(cas), Some(live), false) = (&self.secret, &self.live, wrong)
            && live.exists
            && self.in_step_with.as_ref() != Some(cas)
        {
            self.in_step_with = Some(cas.clone());
        }
        if wrong && self.held_until() > time.steady {
            due = Some(due.map_or(self.held_until(), |due| due.min(self.held_until())));
        }
        self.stage = Stage::Rest { look: time.steady + pause, due };
    }
}
