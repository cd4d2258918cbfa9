//! The machine's news as log lines that can be read aloud: what happened, to what, and what to do.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::args::{Args, Source};
use crate::failure::{Failure, Request};
use crate::log::{Level, Log, Spoken};
use crate::machine::{Answer, How, Loss, News, Seen};
use crate::secret::HalfProblem;

/// A wait that is not worth telling of.
const AT_ONCE: Duration = Duration::from_millis(10);

/// Says one piece of news. `address` is where Legacy listens, or listened last.
pub(crate) fn tell(log: &Log, args: &Args, address: &dyn Display, news: News) {
    let port = args.legacy_port;
    match news {
        News::Waiting { waited } if waited.as_secs() == 0 => log.line(
            Level::Info,
            "waiting",
            &format_args!("waiting for Legacy to listen on 127.0.0.1:{port} or [::1]:{port}"),
        ),
        News::Waiting { waited } => log.line(
            Level::Info,
            "waiting",
            &format_args!(
                "still waiting for Legacy to listen on port {port}, for {} now",
                Spoken(waited)
            ),
        ),
        News::Listening { waited } if waited < AT_ONCE => {
            log.line(Level::Info, "listening", &format_args!("Legacy listens on {address}"));
        }
        News::Listening { waited } => log.line(
            Level::Info,
            "listening",
            &format_args!("Legacy listens on {address}, after {} of waiting", Spoken(waited)),
        ),
        News::Found(seen) => {
            let what = match seen {
                Seen::Unclear => {
                    "Legacy's / fails, so it may be uninitialised: doing the handshake, which is \
                     harmless if it was done before"
                }
                _ => "Legacy says that it is uninitialised: doing the handshake",
            };
            log.line(Level::Info, "found", &what);
        }
        News::Taken { answer, took } => {
            let answer = match answer {
                Answer::Accepted => "accepted the handshake (202)",
                Answer::Repeated => "says that it has had the handshake already (204)",
            };
            let took = Spoken(took);
            log.line(Level::Info, "accepted", &format_args!("Legacy {answer}, in {took}"));
        }
        News::Initialised { how, waited } => {
            let how = match how {
                How::Handshake(_) => "Legacy is initialised",
                How::Already => "Legacy is initialised already, nothing was sent",
            };
            let waited = Spoken(waited);
            let line = format_args!("{how}; ready after {waited}, idling until it restarts");
            log.line(Level::Info, "initialised", &line);
        }
        News::Failed { failure, retry_in, repeated } => {
            let level = match failure {
                _ if repeated => Level::Debug,
                failure if failure.needs_an_operator() => Level::Error,
                _ => Level::Warn,
            };
            let remedy = Remedy { failure, args };
            let retry_in = Spoken(retry_in);
            let line = format_args!("{failure}. {remedy}Next try in {retry_in}");
            log.line(level, "failed", &line);
        }
        News::Lost(loss) => {
            let what = match loss {
                Loss::Gone => {
                    "Legacy is gone: nothing listens any more. Waiting for it to come back"
                }
                Loss::Forgot => "Legacy is uninitialised again. Doing the handshake again",
                Loss::Silent => "Legacy listens, but does not answer any more. Looking again",
            };
            log.line(Level::Warn, "lost", &format_args!("{what}; not ready"));
        }
        News::WatchGivenUp => log.line(
            Level::Info,
            "polling",
            &format_args!(
                "Legacy serves one connection at a time: asking / every {:?} instead of watching",
                args.pace.idle_look_min
            ),
        ),
    }
}

/// Says that the half cannot be had, while there is still time to see to it.
pub(crate) fn tell_early(log: &Log, args: &Args, problem: HalfProblem) {
    let failure = Failure::Half(problem);
    let remedy = Remedy { failure, args };
    let line = format_args!("{failure}. {remedy}It is needed as soon as Legacy listens");
    log.line(Level::Error, "half", &line);
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
        match self.failure {
            Failure::Half(problem) => {
                write!(out, "It is read from {file}, which comes from {source}. ")?;
                match problem {
                    HalfProblem::Missing => write!(
                        out,
                        "Create it: {}; the pod has it within about a minute, without a restart. ",
                        Create(source)
                    ),
                    HalfProblem::Empty | HalfProblem::TooLarge => {
                        write!(out, "Correct it: {}. ", Replace(source))
                    }
                    HalfProblem::NotAFile => out.write_str(
                        "Mount the Secret's key as a file: items with this key and a path. ",
                    ),
                    HalfProblem::Denied => {
                        out.write_str("Mount it with a mode that lets everybody read (0444). ")
                    }
                    HalfProblem::Unreadable(_) => Ok(()),
                }
            }
            Failure::WrongHalf => write!(
                out,
                "The operations half is not the one this Legacy expects; it is read from {file}, \
                 which comes from {source}. Correct it: {}. ",
                Replace(source)
            ),
            Failure::Status(Request::Secret, 500) => {
                out.write_str("Legacy could not read the secret. ")
            }
            Failure::Silent(..) | Failure::Broken(_) => {
                out.write_str("Legacy may still be starting. ")
            }
            Failure::NotHttp(_) | Failure::Key(_) | Failure::Status(..) => write!(
                out,
                "Is it Legacy that listens on port {}? Another port is chosen with the annotation \
                 secret-handshake/port. ",
                self.args.legacy_port
            ),
            Failure::Gone(_) | Failure::Unverified(_) => Ok(()),
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
