//! Every sentence that an operator reads, in the log and at `/readyz`: what happened, to what, and what to
//! do about it.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::time::Duration;

use crate::args::{Args, Source};
use crate::client::{Answer, Check, Request, RequestError, Trace};
use crate::handshake::{Failure, Loss, Report, State};
use crate::log::Level;
use crate::secret::HalfError;

/// A wait that is not worth mentioning.
const SHORT: Duration = Duration::from_millis(10);

/// A line of the log. The event is a fixed word for machines.
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) event: &'static str,
    pub(crate) message: String,
}

pub(crate) fn started(args: &Args, status: SocketAddr) -> Line {
    let Args { legacy_port, half_file, .. } = args;
    let message = format!(
        "secret-handshake sidecar {}: Legacy's port {legacy_port}, half from {}, status on {status}",
        env!("CARGO_PKG_VERSION"),
        half_file.display(),
    );
    Line { level: Level::Info, event: "started", message }
}

pub(crate) fn stopped() -> Line {
    Line { level: Level::Info, event: "stopped", message: "received SIGTERM, exiting".into() }
}

/// The half can't be used, while there is still time to see to it.
pub(crate) fn half(args: &Args, error: HalfError) -> Line {
    let failure = Failure::Half(error);
    let remedy = Remedy { failure, args };
    let message = format!("{failure}. {remedy}It is needed as soon as Legacy listens");
    Line { level: Level::Error, event: "half", message }
}

/// `address` is where Legacy listens, or listened last.
pub(crate) fn report(args: &Args, address: SocketAddr, report: Report) -> Line {
    let port = args.legacy_port;
    let (level, event, message) = match report {
        Report::Waiting { waited } if waited.as_secs() == 0 => (
            Level::Info,
            "waiting",
            format!("waiting for Legacy to listen on 127.0.0.1:{port} or [::1]:{port}"),
        ),
        Report::Waiting { waited } => (
            Level::Info,
            "waiting",
            format!(
                "still waiting for Legacy to listen on port {port}, for {} now",
                Readable(waited)
            ),
        ),
        Report::Listening { waited } if waited < SHORT => {
            (Level::Info, "listening", format!("Legacy listens on {address}"))
        }
        Report::Listening { waited } => (
            Level::Info,
            "listening",
            format!("Legacy listens on {address}, after {} of waiting", Readable(waited)),
        ),
        Report::Needed(checked) => {
            let message = match checked {
                Ok(Check::Uninitialised) => {
                    "Legacy says that it is uninitialised: doing the handshake"
                }
                Ok(_) => {
                    "Legacy's / fails, so it may be uninitialised: doing the handshake, which is \
                     harmless if it was done before"
                }
                Err(_) => {
                    "Legacy's / is not answered in time, so it may be uninitialised: doing the \
                     handshake, which is harmless if it was done before"
                }
            };
            (Level::Info, "found", message.into())
        }
        Report::Accepted { answer, took } => {
            let answer = match answer {
                Answer::Accepted => "accepted the handshake (202)",
                Answer::AlreadyDone => "says that it has had the handshake already (204)",
            };
            (Level::Info, "accepted", format!("Legacy {answer}, in {}", Readable(took)))
        }
        Report::Initialised { answer, waited } => {
            let already = if answer.is_none() { " already, nothing was sent" } else { "" };
            let waited = Readable(waited);
            let message = format!(
                "Legacy is initialised{already}; ready after {waited}, idling until it restarts"
            );
            (Level::Info, "initialised", message)
        }
        Report::Failed { failure, retry_in, repeated } => {
            let level = match failure {
                _ if repeated => Level::Debug,
                // Somebody has to act before another attempt can succeed.
                Failure::Half(_) | Failure::Request(RequestError::WrongHalf) => Level::Error,
                _ => Level::Warn,
            };
            let remedy = Remedy { failure, args };
            let retry_in = Readable(retry_in);
            (level, "failed", format!("{failure}. {remedy}Next attempt in {retry_in}"))
        }
        Report::Lost(loss) => {
            let message = match loss {
                Loss::Gone => {
                    "Legacy is gone: nothing listens any more. Waiting for it to come back"
                }
                Loss::Uninitialised => "Legacy is uninitialised again. Doing the handshake again",
                Loss::Silent => "Legacy listens, but does not answer any more. Checking again",
            };
            (Level::Warn, "lost", format!("{message}; not ready"))
        }
        Report::WatchGivenUp => (
            Level::Info,
            "polling",
            format!(
                "Legacy serves one connection at a time: asking / every {} instead of watching",
                Readable(args.timing.idle_check_min)
            ),
        ),
    };
    Line { level, event, message }
}

/// Where the handshake stands, for those who ask `/readyz`. `failure` is the last one, if Legacy was not
/// initialised since.
pub(crate) fn readiness(
    state: State,
    waited: Duration,
    failure: Option<Failure>,
    port: u16,
) -> String {
    let waited = Readable(waited);
    let state = match state {
        State::Idle(_) => return "ready: Legacy is initialised\n".into(),
        State::Waiting => {
            format!("waiting for Legacy to listen on port {port}, for {waited} now")
        }
        State::Checking => "asking whether Legacy is initialised".into(),
        State::Handshaking => "the handshake is under way".into(),
        State::Verifying { .. } => {
            "Legacy took the secret, and is asked until it is initialised".into()
        }
        State::Failing => "the handshake failed and is tried again".into(),
    };
    let failure = failure.map(|it| format!(" (last failure: {it})")).unwrap_or_default();
    format!("not ready: {state}{failure}\n")
}

impl Display for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { address, accepted, took } => {
                let became = if *accepted { "accepted" } else { "not accepted" };
                write!(out, "connect to {address}: {became}, in {}", Readable(*took))
            }
            Self::Request { request, status: Some(status), took } => {
                write!(out, "{request}: status {}, in {}", status.as_u16(), Readable(*took))
            }
            Self::Request { request, status: None, took } => {
                write!(out, "{request}: no answer, in {}", Readable(*took))
            }
        }
    }
}

/// What to do about a failure: a sentence with a space after it, or nothing.
struct Remedy<'a> {
    failure: Failure,
    args: &'a Args,
}

impl Display for Remedy<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.args.source;
        let file = self.args.half_file.display();
        let error = match self.failure {
            Failure::Half(error) => {
                write!(out, "It is read from {file}, which comes from {source}. ")?;
                return match error {
                    HalfError::Missing => write!(
                        out,
                        "Create it: {}; the pod has it within about a minute, without a restart. ",
                        Create(source)
                    ),
                    HalfError::Empty | HalfError::TooLarge => {
                        write!(out, "Correct it: {}. ", Replace(source))
                    }
                    HalfError::NotAFile => out.write_str(
                        "Mount the Secret's key as a file: items with this key and a path. ",
                    ),
                    HalfError::Denied => {
                        out.write_str("Mount it with a mode that lets everybody read (0444). ")
                    }
                    HalfError::Unreadable(_) => Ok(()),
                };
            }
            Failure::Request(error) => error,
            Failure::Unverified(_) => return Ok(()),
        };
        match error {
            RequestError::WrongHalf => write!(
                out,
                "The operations half is not the one this Legacy expects; it is read from {file}, \
                 which comes from {source}. Correct it: {}. ",
                Replace(source)
            ),
            RequestError::Status(Request::Secret, 500) => {
                out.write_str("Legacy could not read the secret. ")
            }
            RequestError::Silent(..) | RequestError::Broken(_) => {
                out.write_str("Legacy may still be starting. ")
            }
            RequestError::NotHttp(_) | RequestError::Key(_) | RequestError::Status(..) => write!(
                out,
                "Is it Legacy that listens on port {}? Another port is chosen with the annotation \
                 secret-handshake/port. ",
                self.args.legacy_port
            ),
            RequestError::Refused(_) => Ok(()),
        }
    }
}

/// The command that creates the Secret.
struct Create<'a>(&'a Source);

impl Display for Create<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { secret, key, namespace } = self.0;
        write!(out, "kubectl create secret generic {secret} ")?;
        if let Some(namespace) = namespace {
            write!(out, "-n {namespace} ")?;
        }
        write!(out, "--from-file={key}=FILE")
    }
}

/// The command that replaces what the Secret holds.
struct Replace<'a>(&'a Source);

impl Display for Replace<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} --dry-run=client -o yaml | kubectl apply -f -", Create(self.0))
    }
}

/// A length of time as people say it: `under 1 ms`, `350 ms`, `2.3 s`, `1 min 15 s`, `2 h 5 min`.
struct Readable(Duration);

impl Display for Readable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millis, seconds) = (self.0.as_millis(), self.0.as_secs());
        match seconds {
            0 if millis == 0 => out.write_str("under 1 ms"),
            0 => write!(out, "{millis} ms"),
            1..60 => write!(out, "{seconds}.{} s", millis / 100 % 10),
            60..3600 => write!(out, "{} min {} s", seconds / 60, seconds % 60),
            _ => write!(out, "{} h {} min", seconds / 3600, seconds / 60 % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Readable;

    #[test]
    fn lengths_of_time_are_said_in_the_unit_that_fits() {
        let table = [
            (0, "under 1 ms"),
            (1, "1 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (59_990, "59.9 s"),
            (75_000, "1 min 15 s"),
            (3_599_999, "59 min 59 s"),
            (7_500_000, "2 h 5 min"),
        ];
        for (millis, expected) in table {
            assert_eq!(Readable(Duration::from_millis(millis)).to_string(), expected);
        }
    }
}
