//! Every sentence that an operator reads, in the log and at `/readyz`: what happened, to what, and what to
//! do about it.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::time::Duration;

use crate::args::Args;
use crate::client::{Answer, Cause, Check, Request, RequestError, Trace};
use crate::handshake::{Failure, Loss, Report, State};
use crate::log::Level;
use crate::secret::HalfError;

/// A wait that is not worth mentioning.
const SHORT: Duration = Duration::from_millis(10);

const PORT_SETTING: &str =
    "the annotation secret-handshake/port (without Kubernetes: --legacy-port)";

/// A line of the log. The event is a fixed word for machines.
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) event: &'static str,
    pub(crate) message: String,
}

fn info(event: &'static str, message: impl Into<String>) -> Line {
    Line { level: Level::Info, event, message: message.into() }
}

fn warn(event: &'static str, message: String) -> Line {
    Line { level: Level::Warn, event, message }
}

pub(crate) fn started(args: &Args, status: SocketAddr) -> Line {
    let Args { legacy_port, half_file, .. } = args;
    let (version, half) = (env!("CARGO_PKG_VERSION"), half_file.display());
    let message = format!(
        "secret-handshake sidecar {version}: Legacy's port {legacy_port}, half from {half}, status on \
         {status}"
    );
    info("started", message)
}

pub(crate) fn stopped() -> Line {
    info("stopped", "received SIGTERM, exiting")
}

/// The half can't be used, while there is still time to see to it.
pub(crate) fn half(args: &Args, error: HalfError) -> Line {
    let failure = Failure::Half(error);
    let when = "Legacy does not listen yet; the half is needed when it does";
    warn("half", format!("{failure}. {}{when}", remedy(args, failure)))
}

/// `address` is where Legacy listens, or listened last.
pub(crate) fn report(args: &Args, address: SocketAddr, report: Report) -> Line {
    let port = args.legacy_port;
    match report {
        Report::Waiting(waited) if waited.as_secs() == 0 => {
            let both = format!("127.0.0.1:{port} or [::1]:{port}");
            info("waiting", format!("waiting for Legacy to listen on {both}"))
        }
        Report::Waiting(waited) => {
            let (early, waited) = (waited < args.timing.warn_after, Readable(waited));
            let message =
                format!("still waiting for Legacy to listen on port {port}, for {waited} now");
            if early {
                return info("waiting", message);
            }
            let remedy = "Look at Legacy's log; if it listens on another port, set";
            warn("waiting", format!("{message}. {remedy} {PORT_SETTING}"))
        }
        Report::Listening(waited) if waited < SHORT => {
            info("listening", format!("Legacy listens on {address}"))
        }
        Report::Listening(waited) => {
            let waited = Readable(waited);
            info("listening", format!("Legacy listens on {address}, after {waited} of waiting"))
        }
        Report::Needed(Check::Uninitialised) => {
            info("found", "Legacy says that it is uninitialised: doing the handshake")
        }
        Report::Needed(check) => {
            let became = if check == Check::Silent { "is not answered in time" } else { "fails" };
            let message = format!(
                "Legacy's / {became}, so it may be uninitialised: doing the handshake, which is \
                 harmless if it was done before"
            );
            info("found", message)
        }
        Report::Accepted(answer, took) => {
            let answer = match answer {
                Answer::Accepted => "accepted the handshake (202)",
                Answer::AlreadyDone => "says that it has had the handshake already (204)",
            };
            info("accepted", format!("Legacy {answer}, in {}", Readable(took)))
        }
        Report::Initialised(_, waited) => {
            info("initialised", format!("Legacy is initialised; {}", ready(waited)))
        }
        Report::AlreadyInitialised(status, waited) => {
            let ready = ready(waited);
            let message = format!("Legacy is initialised already, nothing was sent; {ready}");
            if (200..300).contains(&status) {
                return info("initialised", message);
            }
            let answered = format!("GET / was answered with status {status}");
            let remedy = format!("If this is not Legacy, set {PORT_SETTING}");
            warn("initialised", format!("{message}. {answered}. {remedy}"))
        }
        Report::Failed { failure, retry_in, repeated } => {
            let level = match failure {
                _ if repeated => Level::Debug,
                // Somebody has to act before another attempt can succeed.
                Failure::Half(_)
                | Failure::Request(RequestError { cause: Cause::WrongHalf, .. }) => Level::Error,
                _ => Level::Warn,
            };
            let next = if repeated {
                format!("Next attempt in {}", Readable(retry_in))
            } else {
                format!("Retrying; said again about every {:?}", args.timing.remind)
            };
            let message = format!("{failure}. {}{next}", remedy(args, failure));
            Line { level, event: "failed", message }
        }
        Report::Lost(loss) => {
            let message = match loss {
                Loss::Gone => {
                    "Legacy is gone: nothing listens any more. Waiting for it to come back"
                }
                Loss::Uninitialised => "Legacy is uninitialised again. Doing the handshake again",
                Loss::Silent => "Legacy listens, but does not answer any more. Checking again",
            };
            warn("lost", format!("{message}; not ready"))
        }
        Report::WatchGivenUp => {
            let every = Readable(args.timing.idle_check_min);
            let message = format!(
                "Legacy serves one connection at a time: asking / every {every} instead of watching"
            );
            info("polling", message)
        }
    }
}

fn ready(waited: Duration) -> String {
    format!("ready after {}, idling until it restarts", Readable(waited))
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
        State::Verifying(..) => {
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
            Self::Connect { accepted: Some(address), took, .. } => {
                write!(out, "connect to {address}: accepted, in {}", Readable(*took))
            }
            Self::Connect { port, accepted: None, took } => {
                let both = format!("127.0.0.1:{port} and [::1]:{port}");
                write!(out, "connect to {both}: not accepted, in {}", Readable(*took))
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
fn remedy(args: &Args, failure: Failure) -> String {
    let error = match failure {
        Failure::Half(error) => {
            let from = Half::of(args);
            let remedy = from.remedy(error);
            return format!("It is {from}. {remedy}");
        }
        Failure::Request(error) => error,
        Failure::Unverified(_) => return String::new(),
    };
    match error.cause {
        Cause::WrongHalf => {
            let from = Half::of(args);
            let not = "The operations half is not the one this Legacy expects";
            format!("{not}; it is {from}. {}", from.correct())
        }
        Cause::Status(500) if error.request == Request::Secret => {
            "Legacy could not read the secret. ".into()
        }
        Cause::Silent(_) | Cause::Broken => "Legacy may still be starting. ".into(),
        Cause::NotHttp | Cause::Key(_) | Cause::Status(_) => format!(
            "Is it Legacy that listens on port {}? Another port is chosen with {PORT_SETTING}. ",
            args.legacy_port
        ),
        Cause::Refused => String::new(),
    }
}

/// Where the operations half comes from.
struct Half<'a> {
    args: &'a Args,
    /// The command that creates the Secret, or changes the one that is there; none if it comes from none.
    apply: Option<String>,
}

impl<'a> Half<'a> {
    fn of(args: &'a Args) -> Self {
        let Args { secret, secret_key, namespace, .. } = args;
        let option = namespace.as_ref().map(|it| format!("-n {it} ")).unwrap_or_default();
        let apply = secret.as_ref().map(|secret| {
            format!(
                "kubectl create secret generic {secret} {option}--from-file={secret_key}=FILE \
                 --dry-run=client -o yaml | kubectl apply -f -"
            )
        });
        Self { args, apply }
    }

    fn correct(&self) -> String {
        match &self.apply {
            Some(apply) => format!("Correct it: {apply}. "),
            None => "Correct it where the file comes from. ".into(),
        }
    }

    fn remedy(&self, error: HalfError) -> String {
        match (error, &self.apply) {
            (HalfError::Missing, Some(apply)) => {
                let when = "the pod has it within about a minute, without a restart";
                let chosen = self.args.secret_key != Args::default().secret_key;
                let typo =
                    "If the key is a typo, correct the annotation secret-handshake/secret-key. ";
                let typo = if chosen { typo } else { "" };
                format!("Create it: {apply}; {when}. {typo}")
            }
            (HalfError::Missing, None) => "Put the file there; no restart is needed. ".into(),
            (HalfError::Empty | HalfError::TooLarge, _) => self.correct(),
            (HalfError::NotAFile, Some(_)) => {
                "Mount the Secret's key as a file: items with this key and a path. ".into()
            }
            (HalfError::NotAFile, None) => "Name a file. ".into(),
            (HalfError::Denied, _) => {
                "Mount it with a mode that lets everybody read (0444). ".into()
            }
            (HalfError::Unreadable(_), _) => String::new(),
        }
    }
}

impl Display for Half<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Args { secret, secret_key, namespace, half_file, .. } = self.args;
        write!(out, "read from {}", half_file.display())?;
        let Some(secret) = secret else { return Ok(()) };
        let in_namespace = namespace.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
        write!(out, ", which comes from the key {secret_key} of the Secret {in_namespace}{secret}")
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
