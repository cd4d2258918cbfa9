//! What has been counted, for Prometheus.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::client::{Answer, RequestError};
use crate::handshake::{Failure, Report, State};

/// What became of an attempt: the values of the label `outcome`.
const OUTCOMES: [&str; 8] = [
    "initialised",
    "already_initialised",
    "no_half",
    "wrong_half",
    "bad_key",
    "bad_status",
    "no_answer",
    "unverified",
];

fn outcome(failure: Failure) -> &'static str {
    match failure {
        Failure::Half(_) => "no_half",
        Failure::Unverified(_) => "unverified",
        Failure::Request(error) => match error {
            RequestError::WrongHalf => "wrong_half",
            RequestError::Key(_) => "bad_key",
            RequestError::Status(..) => "bad_status",
            RequestError::Refused(_)
            | RequestError::Silent(..)
            | RequestError::Broken(_)
            | RequestError::NotHttp(_) => "no_answer",
        },
    }
}

/// The counters that reports move.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    attempts: [u64; OUTCOMES.len()],
    handshakes: u64,
    initialised_after: Option<Duration>,
}

impl Metrics {
    pub(super) fn count(&mut self, report: Report) {
        let outcome = match report {
            Report::Failed { failure, .. } => outcome(failure),
            Report::Initialised { answer: None, .. } => "already_initialised",
            Report::Initialised { answer: Some(answer), waited } => {
                self.handshakes += u64::from(answer == Answer::Accepted);
                self.initialised_after = Some(waited);
                "initialised"
            }
            _ => return,
        };
        for (label, attempts) in OUTCOMES.iter().zip(&mut self.attempts) {
            *attempts += u64::from(*label == outcome);
        }
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub(super) fn render(&self, state: State, lines_dropped: u64) -> String {
        let mut text = String::with_capacity(2048);
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, state, lines_dropped);
        text
    }

    fn write(&self, text: &mut String, state: State, lines_dropped: u64) -> fmt::Result {
        head(text, "state", "gauge", "Where the handshake stands: 1 for the present state.")?;
        for label in State::LABELS {
            let value = u8::from(label == state.label());
            writeln!(text, "secret_handshake_state{{state=\"{label}\"}} {value}")?;
        }
        let help = "Attempts at the handshake, by what became of them.";
        head(text, "attempts_total", "counter", help)?;
        for (label, value) in OUTCOMES.iter().zip(self.attempts) {
            writeln!(text, "secret_handshake_attempts_total{{outcome=\"{label}\"}} {value}")?;
        }
        head(text, "handshakes_total", "counter", "Handshakes that initialised Legacy.")?;
        writeln!(text, "secret_handshake_handshakes_total {}", self.handshakes)?;
        if let Some(waited) = self.initialised_after {
            let help = "From the start of the last wait for Legacy to its being initialised.";
            head(text, "seconds_to_initialise", "gauge", help)?;
            let (seconds, micros) = (waited.as_secs(), waited.subsec_micros());
            writeln!(text, "secret_handshake_seconds_to_initialise {seconds}.{micros:06}")?;
        }
        let help = "Lines of the log that were dropped because they could not be written.";
        head(text, "log_lines_dropped_total", "counter", help)?;
        writeln!(text, "secret_handshake_log_lines_dropped_total {lines_dropped}")
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP secret_handshake_{name} {help}")?;
    writeln!(text, "# TYPE secret_handshake_{name} {kind}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{OUTCOMES, outcome};
    use crate::client::{Request, RequestError};
    use crate::handshake::Failure;
    use crate::secret::{HalfError, KeyError};

    #[test]
    fn each_failure_has_an_outcome_that_is_counted() {
        let request = Request::Key;
        let failures = [
            Failure::Half(HalfError::Missing),
            Failure::Unverified(Duration::ZERO),
            RequestError::WrongHalf.into(),
            RequestError::Key(KeyError::Empty).into(),
            RequestError::Status(request, 500).into(),
            RequestError::Silent(request, Duration::ZERO).into(),
        ];
        // The first two are no failures.
        let mut labels: Vec<_> = OUTCOMES[..2].to_vec();
        labels.extend(failures.map(outcome));
        labels.sort_unstable();
        let mut all = OUTCOMES;
        all.sort_unstable();
        assert_eq!(labels, all);
    }
}
