//! What the driver knows, for those who ask.

use std::fmt::{self, Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::log::Spoken;
use crate::machine::{Answer, How, News, State};

/// Where the handshake stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    /// Since when Legacy is awaited, or was before it was initialised.
    pub(crate) since: Instant,
    /// The last failure, if Legacy was not initialised since.
    pub(crate) failure: Option<Failure>,
}

/// What became of an attempt: the values of the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Initialised,
    Already,
    NoHalf,
    WrongHalf,
    BadKey,
    BadStatus,
    NoAnswer,
    Unverified,
}

const OUTCOMES: [(Outcome, &str); 8] = [
    (Outcome::Initialised, "initialised"),
    (Outcome::Already, "already_initialised"),
    (Outcome::NoHalf, "no_half"),
    (Outcome::WrongHalf, "wrong_half"),
    (Outcome::BadKey, "bad_key"),
    (Outcome::BadStatus, "bad_status"),
    (Outcome::NoAnswer, "no_answer"),
    (Outcome::Unverified, "unverified"),
];

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Half(_) => Self::NoHalf,
            Failure::WrongHalf => Self::WrongHalf,
            Failure::Key(_) => Self::BadKey,
            Failure::Status(..) => Self::BadStatus,
            Failure::Unverified(_) => Self::Unverified,
            Failure::Gone(_) | Failure::Silent(..) | Failure::Broken(_) | Failure::NotHttp(_) => {
                Self::NoAnswer
            }
        }
    }
}

/// Where the driver puts what it knows.
pub(crate) struct Board {
    view: watch::Sender<View>,
    attempts: [AtomicU64; OUTCOMES.len()],
    handshakes: AtomicU64,
    /// In microseconds; 0 is never.
    initialised_after: AtomicU64,
}

impl Board {
    pub(crate) fn new(state: State, since: Instant) -> Self {
        Self {
            view: watch::Sender::new(View { state, since, failure: None }),
            attempts: Default::default(),
            handshakes: AtomicU64::new(0),
            initialised_after: AtomicU64::new(0),
        }
    }

    pub(crate) fn view(&self) -> View {
        *self.view.borrow()
    }

    /// Waits until Legacy is initialised.
    pub(crate) async fn ready(&self) {
        // An error would mean that the sender is gone, and it is `self`.
        let _ = self.view.subscribe().wait_for(|view| view.state.is_ready()).await;
    }

    /// Takes in what the machine said.
    pub(crate) fn show(&self, state: State, since: Instant, news: Option<News>) {
        self.count(news);
        self.view.send_if_modified(|view| {
            let failure = match news {
                Some(News::Failed { failure, .. }) => Some(failure),
                _ if state.is_ready() => None,
                _ => view.failure,
            };
            let became_ready = state.is_ready() && !view.state.is_ready();
            *view = View { state, since, failure };
            // Those who wait, wait for this alone.
            became_ready
        });
    }

    fn count(&self, news: Option<News>) {
        let outcome = match news {
            Some(News::Failed { failure, .. }) => failure.into(),
            Some(News::Initialised { how: How::Already, .. }) => Outcome::Already,
            Some(News::Initialised { how: How::Handshake(answer), waited }) => {
                if answer == Answer::Accepted {
                    self.handshakes.fetch_add(1, Relaxed);
                }
                let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
                self.initialised_after.store(micros.max(1), Relaxed);
                Outcome::Initialised
            }
            _ => return,
        };
        self.attempts[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::with_capacity(2048);
        // Writing to a String cannot fail.
        let _ = self.write_metrics(&mut text);
        text
    }

    fn write_metrics(&self, text: &mut String) -> fmt::Result {
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            write!(
                text,
                "# HELP secret_handshake_{name} {help}\n# TYPE secret_handshake_{name} {kind}\n"
            )
        };
        head(text, "state", "gauge", "Where the handshake stands: 1 for the present state.")?;
        let present = self.view().state.label();
        for label in State::LABELS {
            let value = u8::from(label == present);
            writeln!(text, "secret_handshake_state{{state=\"{label}\"}} {value}")?;
        }
        head(
            text,
            "attempts_total",
            "counter",
            "Attempts at the handshake, by what became of them.",
        )?;
        for (outcome, label) in OUTCOMES {
            let value = self.attempts[outcome as usize].load(Relaxed);
            writeln!(text, "secret_handshake_attempts_total{{outcome=\"{label}\"}} {value}")?;
        }
        head(text, "handshakes_total", "counter", "Handshakes that initialised Legacy.")?;
        writeln!(text, "secret_handshake_handshakes_total {}", self.handshakes.load(Relaxed))?;
        let micros = self.initialised_after.load(Relaxed);
        if micros > 0 {
            head(
                text,
                "seconds_to_initialise",
                "gauge",
                "From the start of the last wait for Legacy to its being initialised.",
            )?;
            let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
            writeln!(text, "secret_handshake_seconds_to_initialise {seconds}.{micros:06}")?;
        }
        Ok(())
    }
}

/// The state in words, for people who ask `/readyz`.
pub(crate) struct InWords {
    pub(crate) view: View,
    pub(crate) port: u16,
}

impl Display for InWords {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let View { state, since, failure } = self.view;
        let waited = Spoken(since.elapsed());
        match state {
            State::Idle(_) => return out.write_str("ready: Legacy is initialised\n"),
            State::Waiting => write!(
                out,
                "not ready: waiting for Legacy to listen on port {}, for {waited} now",
                self.port
            )?,
            State::Looking => out.write_str("not ready: asking whether Legacy is initialised")?,
            State::Shaking => out.write_str("not ready: the handshake is under way")?,
            State::Verifying { .. } => out.write_str(
                "not ready: Legacy took the secret, and is asked until it is initialised",
            )?,
            State::Failing => {
                out.write_str("not ready: the handshake failed and is tried again")?;
            }
        }
        if let Some(failure) = failure {
            write!(out, " (last failure: {failure})")?;
        }
        out.write_str("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::OUTCOMES;

    #[test]
    fn each_outcome_is_counted_in_its_own_place() {
        for (place, (outcome, _)) in OUTCOMES.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
