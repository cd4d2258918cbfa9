//! One start of Legacy: what it keeps in memory, and what outlives it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::StatusCode;
use tokio::sync::watch;

use crate::answer::Answer;
use crate::config::Config;
use crate::faults::{Faults, What};
use crate::record::Record;

/// What outlives a restart.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) faults: watch::Sender<Setting>,
    pub(crate) record: Record,
}

/// Faults, and how many settings came before: so one can tell when they are in force.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) number: u64,
    pub(crate) faults: Faults,
}

/// One start of Legacy: the state that it keeps in memory and loses when it ends.
#[derive(Debug)]
pub(crate) struct Run {
    shared: Arc<Shared>,
    in_force: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Uninitialized,
    /// From this instant on; it can lie in the future, see [`Faults::uninitialized_for`].
    InitializedFrom(tokio::time::Instant),
}

impl State {
    fn initialized(self, now: tokio::time::Instant) -> bool {
        matches!(self, Self::InitializedFrom(from) if from <= now)
    }
}

impl Run {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let state = if shared.config.initialized {
            State::InitializedFrom(tokio::time::Instant::now())
        } else {
            State::Uninitialized
        };
        Self { shared, in_force: watch::Sender::new(0), state: Mutex::new(state) }
    }

    pub(crate) fn record(&self) -> &Record {
        &self.shared.record
    }

    pub(crate) fn faults(&self) -> Faults {
        self.shared.faults.borrow().faults.clone()
    }

    pub(crate) fn watch_faults(&self) -> watch::Receiver<Setting> {
        self.shared.faults.subscribe()
    }

    /// The accept loop follows this setting from now on.
    pub(crate) fn follows(&self, number: u64) {
        self.in_force.send_replace(number);
    }

    /// The number of the setting that the accept loop follows.
    pub(crate) fn in_force(&self) -> watch::Receiver<u64> {
        self.in_force.subscribe()
    }

    /// The fault that this answer is to meet, which then has one answer less to spoil.
    pub(crate) fn answer_fault(&self, path: &str) -> Option<What> {
        let mut what = None;
        self.shared.faults.send_if_modified(|setting| {
            let Some(fault) = &mut setting.faults.answer else {
                return false;
            };
            if fault.path.as_deref().is_some_and(|only| only != path) {
                return false;
            }
            match &mut fault.times {
                Some(0) => return false,
                Some(times) => *times -= 1,
                None => {}
            }
            what = Some(fault.what.clone());
            false
        });
        what
    }

    /// Answers, and takes in what the answer changes, as one step: of two secrets at the same
    /// instant one is accepted with 202, and the other meets an initialised Legacy.
    pub(crate) fn settle(&self, answer: impl FnOnce(&Config, &Faults, bool) -> Answer) -> Answer {
        let faults = self.faults();
        let mut state = self.state();
        let now = tokio::time::Instant::now();
        let answer = answer(&self.shared.config, &faults, state.initialized(now));
        match answer.status {
            StatusCode::ACCEPTED => {
                *state = State::InitializedFrom(now + faults.uninitialized_for);
                self.record().moments().accepted = Some(Instant::now());
                self.record().count(|counts| counts.accepted += 1);
            }
            StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR => {
                self.record().count(|counts| counts.refused += 1);
            }
            _ => {}
        }
        answer
    }

    pub(crate) fn is_initialized(&self) -> bool {
        self.state().initialized(tokio::time::Instant::now())
    }

    pub(crate) fn forget(&self) {
        *self.state() = State::Uninitialized;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
