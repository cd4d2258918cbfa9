//! The command line, read as Go's `flag` package reads it, which Legacy is written with: one dash
//! or two, the value after `=` or as the next argument, switches that take their value after `=`
//! alone, and the first argument that is no flag ends the flags.
//!
//! The flags that Legacy itself has are in [`HELP`]. Those of faults are not: they are for tests.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{AccessLog, Config, Families};
use crate::faults::{AnswerFault, Door, Faults, KeyFault, What};

/// The text of `-help`.
pub const HELP: &str = r#"Usage of legacy-mock:
  -listen ADDRESS
        address and port to listen on (default ":3000": all addresses, IPv6 and IPv4)
  -text TEXT
        what to answer once initialised (default "It works!")
  -key KEY
        Legacy's half of the secret (default "This is @ $3cr3t key")
  -initialized
        start as if the handshake had been done
  -half-file FILE
        insist on the operations half in FILE, one newline at its end left out
        (default: accept any secret that contains the key and is longer)
  -version
        print the version and exit
Two dashes work as well as one, and -flag=VALUE as well as -flag VALUE.
"#;

#[derive(Debug)]
pub(crate) enum Command {
    Serve(Box<Options>),
    Help,
    Version,
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Without the half, which is still in its file.
    pub(crate) config: Config,
    /// The file with the one operations half that is accepted.
    pub(crate) half_file: Option<PathBuf>,
    /// How long to wait before it listens.
    pub(crate) late: Duration,
    /// The faults end this long after the start of listening.
    pub(crate) faults_for: Option<Duration>,
    /// Become uninitialised this long after the start of listening, once.
    pub(crate) forget_after: Option<Duration>,
}

/// A command line that can't be followed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    #[error("Too many arguments!")]
    TooManyArguments,
    #[error("flag provided but not defined: -{0}")]
    Undefined(String),
    #[error("flag needs an argument: -{0}")]
    NeedsValue(String),
    #[error("invalid value {value:?} for flag -{flag}: {allowed}")]
    Invalid { flag: String, value: String, allowed: &'static str },
}

impl ArgsError {
    /// The process's exit status: 127 for stray arguments, as Legacy does it, else Go's 2.
    pub(crate) fn exit_code(&self) -> u8 {
        if *self == Self::TooManyArguments { 127 } else { 2 }
    }
}

/// Reads the arguments after the program's name.
///
/// # Errors
///
/// The first argument that can't be followed.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, ArgsError> {
    let mut args = args.into_iter();
    let mut options = Options {
        config: Config {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 3000)),
            access_log: AccessLog::Print,
            ..Config::default()
        },
        half_file: None,
        late: Duration::ZERO,
        faults_for: None,
        forget_after: None,
    };
    while let Some(arg) = args.next() {
        let Some((name, value)) = flag(&arg) else {
            // Go reads "--" as the end of the flags; only arguments after it are too many.
            match args.next() {
                None if arg == "--" => break,
                _ => return Err(ArgsError::TooManyArguments),
            }
        };
        match &*name {
            "help" | "h" => return Ok(Command::Help),
            "version" => return Ok(Command::Version),
            "initialized" => options.config.initialized = switch(&name, value)?,
            "one-at-a-time" => options.config.faults.one_at_a_time = switch(&name, value)?,
            "reject-secret" => options.config.faults.reject_secret = switch(&name, value)?,
            "old-build" => options.config.faults.old_build = switch(&name, value)?,
            _ if !WITH_VALUE.contains(&&*name) => return Err(ArgsError::Undefined(name)),
            _ => {
                let value = value.map_or_else(
                    || args.next().ok_or_else(|| ArgsError::NeedsValue(name.clone())),
                    Ok,
                )?;
                set(&mut options, &name, value)?;
            }
        }
    }
    Ok(Command::Serve(Box::new(options)))
}

/// The flags that take a value; the others are switches.
const WITH_VALUE: [&str; 15] = [
    "answer",
    "answer-path",
    "answer-times",
    "close-idle-after",
    "door",
    "families",
    "faults-for",
    "forget-after",
    "half-file",
    "key",
    "key-fault",
    "late",
    "listen",
    "text",
    "uninitialized-for",
];

/// The flag's name and the value after its `=`; `None` if it is no flag.
fn flag(arg: &OsStr) -> Option<(String, Option<OsString>)> {
    let bytes = arg.as_bytes().strip_prefix(b"-")?;
    let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_owned()))),
        None => (bytes, None),
    };
    (!name.is_empty()).then(|| (String::from_utf8_lossy(name).into_owned(), value))
}

fn set(options: &mut Options, name: &str, value: OsString) -> Result<(), ArgsError> {
    let text = value.to_string_lossy();
    let invalid = |allowed| ArgsError::Invalid {
        flag: name.to_owned(),
        value: text.clone().into_owned(),
        allowed,
    };
    let time = || duration(&text).ok_or_else(|| invalid("a time such as 500ms, 2s or 1m"));
    let config = &mut options.config;
    let faults = &mut config.faults;
    match name {
        "listen" => {
            config.listen = address(&text).ok_or_else(|| invalid("ADDRESS:PORT or :PORT"))?;
        }
        "text" => config.text = text.into_owned(),
        "key" => config.key = value.into_vec(),
        "half-file" => options.half_file = Some(value.into()),
        "late" => options.late = time()?,
        "faults-for" => options.faults_for = Some(time()?),
        "forget-after" => options.forget_after = Some(time()?),
        "close-idle-after" => faults.close_idle_after = Some(time()?),
        "uninitialized-for" => faults.uninitialized_for = time()?,
        "families" => {
            config.families = match &*text {
                "both" => Families::Both,
                "ipv4" => Families::Ipv4,
                "ipv6" => Families::Ipv6,
                _ => return Err(invalid("both, ipv4 or ipv6")),
            };
        }
        "door" => {
            faults.door = match &*text {
                "open" => Door::Open,
                "refuse" => Door::Refuse,
                "silent" => Door::Silent,
                "reset" => Door::Reset,
                "queue" => Door::Queue,
                _ => return Err(invalid("open, refuse, silent, reset or queue")),
            };
        }
        "key-fault" => {
            faults.key = match &*text {
                "garbage" => KeyFault::Garbage,
                "oversized" => KeyFault::Oversized,
                "empty" => KeyFault::Empty,
                _ => return Err(invalid("garbage, oversized or empty")),
            };
        }
        "answer" => answer_fault(faults).what = what(&text).ok_or_else(|| invalid(ANSWERS))?,
        "answer-path" => answer_fault(faults).path = Some(text.into_owned()),
        "answer-times" => {
            let times = text.parse().map_err(|_| invalid("a number"))?;
            answer_fault(faults).times = Some(times);
        }
        _ => return Err(ArgsError::Undefined(name.to_owned())),
    }
    Ok(())
}

const ANSWERS: &str = "a status, silent, reset, slow:TIME, endless, cut or redirect:URL";

fn what(text: &str) -> Option<What> {
    Some(match text.split_once(':') {
        Some(("slow", pause)) => What::SlowBody(duration(pause)?),
        Some(("redirect", to)) => What::Redirect(to.to_owned()),
        Some(_) => return None,
        None => match text {
            "silent" => What::Silent,
            "reset" => What::Reset,
            "endless" => What::EndlessBody,
            "cut" => What::CutBody,
            status => What::Status(status.parse().ok().filter(|code| (200..600).contains(code))?),
        },
    })
}

/// The three flags about answers describe one fault, in any order.
fn answer_fault(faults: &mut Faults) -> &mut AnswerFault {
    faults.answer.get_or_insert_with(|| AnswerFault::always(What::Status(500)))
}

fn switch(name: &str, value: Option<OsString>) -> Result<bool, ArgsError> {
    let Some(value) = value else { return Ok(true) };
    // The spellings of Go's strconv.ParseBool.
    match value.to_string_lossy().as_ref() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(ArgsError::Invalid {
            flag: name.to_owned(),
            value: other.to_owned(),
            allowed: "true or false",
        }),
    }
}

/// Go's address: an empty host means all addresses, a name is looked up.
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix(':') {
        Some(port) => Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port.parse().ok()?))),
        None => text.to_socket_addrs().ok()?.next(),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = text[..unit].parse().ok()?;
    let seconds = match &text[unit..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests;
