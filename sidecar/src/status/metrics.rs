//! What has been counted, for Prometheus.

use std::time::Duration;

use crate::client::{Answer, Cause};
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
        Failure::Request(error) => match error.cause {
            Cause::WrongHalf => "wrong_half",
            Cause::Key(_) => "bad_key",
            Cause::Status(_) => "bad_status",
            Cause::Refused | Cause::Silent(_) | Cause::Broken | Cause::NotHttp => "no_answer",
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
            Report::AlreadyInitialised(..) => "already_initialised",
            Report::Initialised(answer, waited) => {
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
        let mut lines = Vec::with_capacity(32);
        lines.extend(head(
            "state",
            "gauge",
            "Where the handshake stands: 1 for the present state.",
        ));
        lines.extend(State::LABELS.map(|label| {
            let value = u8::from(label == state.label());
            format!("secret_handshake_state{{state=\"{label}\"}} {value}")
        }));
        let help = "Attempts at the handshake, by what became of them.";
        lines.extend(head("attempts_total", "counter", help));
        lines.extend(OUTCOMES.iter().zip(self.attempts).map(|(label, value)| {
            format!("secret_handshake_attempts_total{{outcome=\"{label}\"}} {value}")
        }));
        lines.extend(head("handshakes_total", "counter", "Handshakes that initialised Legacy."));
        lines.push(format!("secret_handshake_handshakes_total {}", self.handshakes));
        if let Some(waited) = self.initialised_after {
            let help = "From the start of the last wait for Legacy to its being initialised.";
            lines.extend(head("seconds_to_initialise", "gauge", help));
            let (seconds, micros) = (waited.as_secs(), waited.subsec_micros());
            lines.push(format!("secret_handshake_seconds_to_initialise {seconds}.{micros:06}"));
        }
        let help = "Lines of the log that were dropped because they could not be written.";
        lines.extend(head("log_lines_dropped_total", "counter", help));
        lines.push(format!("secret_handshake_log_lines_dropped_total {lines_dropped}\n"));
        lines.join("\n")
    }
}

fn head(name: &str, kind: &str, help: &str) -> [String; 2] {
    let name = format!("secret_handshake_{name}");
    [format!("# HELP {name} {help}"), format!("# TYPE {name} {kind}")]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{OUTCOMES, outcome};
    use crate::client::{Cause, Request, RequestError};
    use crate::handshake::Failure;
    use crate::secret::{HalfError, KeyError};

    #[test]
    fn each_failure_has_an_outcome_that_is_counted() {
        let causes =
            [Cause::WrongHalf, Cause::Key(KeyError::Empty), Cause::Status(500), Cause::Broken];
        let failed = |cause| Failure::Request(RequestError { request: Request::Key, cause });
        let mut outcomes: Vec<_> = causes.map(|cause| outcome(failed(cause))).into();
        outcomes.push(outcome(Failure::Half(HalfError::Missing)));
        outcomes.push(outcome(Failure::Unverified(Duration::ZERO)));
        outcomes.sort_unstable();
        // The first two are no failures.
        let mut all: Vec<_> = OUTCOMES[2..].to_vec();
        all.sort_unstable();
        assert_eq!(outcomes, all);
    }
}
