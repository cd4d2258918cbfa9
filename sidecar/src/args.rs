//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};
use listen::Address;

use crate::handshake::Timing;
use crate::log::{Format, Level};

/// What `--help` prints: each flag with its default and its unit.
pub const HELP: &str = "\
Does the secret handshake with Legacy over the pod's own localhost, then idles until Legacy restarts.

Usage: sidecar [--flag VALUE | --flag=VALUE]...

Legacy:
  --legacy-port PORT      Legacy's port, on 127.0.0.1 or [::1] (default 3000)
  --half-file FILE        file with the operations half, at most 64 KiB; one trailing newline does not
                          count (default /etc/secret-handshake/half)
  --request-timeout TIME  limit of each request to Legacy (default 2s)

Named in the log, so that it says what to create and where:
  --secret NAME           the Secret that the file comes from, if it comes from one (no default)
  --secret-key KEY        its key (default half)
  --namespace NAMESPACE   its namespace (no default)

The sidecar's own port:
  --listen ADDRESS        where /readyz, /livez and /metrics are served: :PORT for all addresses,
                          ADDRESS:PORT or [ADDRESS]:PORT (default :13300)
  --hold TIME             how long a kubelet waits at /readyz as long as the answer is the one that it
                          has; at most 4s, as the probe in the pod times out after 5s (default 4s)

Log, on stdout:
  --log-level LEVEL       error, warn, info or debug (default info)
  --log-format FORMAT     text or json (default text)

  -h, --help              print this and exit
  -V, --version           print the version and exit

Times have a unit: 500ms, 4s, 1m.
Exit codes: 0 ended by SIGTERM or SIGINT; 1 the port cannot be used; 2 wrong usage.
";

const VERSION: &str = concat!("secret-handshake sidecar ", env!("CARGO_PKG_VERSION"), "\n");

/// The probe that is injected has a `timeoutSeconds` of 5: one that is held longer fails.
const HOLD_MAX: Duration = Duration::from_secs(4);

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum Parsed {
    /// Do the handshake.
    Run(Args),
    /// Print this text and end.
    Print(&'static str),
}

/// What the flags set, and two groups of constants that no flag sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Where Legacy listens, on `127.0.0.1` or `[::1]`.
    pub legacy_port: u16,
    /// The file with the operations half.
    pub half_file: PathBuf,
    /// The most time for each request to Legacy.
    pub request_timeout: Duration,
    /// The Secret that the file comes from, if it comes from one. It is only named in the log, never read.
    pub secret: Option<String>,
    /// The key in the Secret.
    pub secret_key: String,
    /// The Secret's namespace, which is the pod's, where that is known.
    pub namespace: Option<String>,
    /// Where `/readyz`, `/livez` and `/metrics` are served.
    pub listen: Address,
    /// How long a kubelet's `/readyz` is held.
    pub hold: Duration,
    /// What is logged.
    pub log_level: Level,
    /// How it is logged.
    pub log_format: Format,
    /// Constants of the handshake, which tests shorten.
    pub timing: Timing,
    /// Constants of the sidecar's own port, which tests lower.
    pub limits: Limits,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            legacy_port: 3000,
            half_file: PathBuf::from("/etc/secret-handshake/half"),
            request_timeout: Duration::from_secs(2),
            secret: None,
            secret_key: "half".into(),
            namespace: None,
            listen: Address::All(13300),
            hold: HOLD_MAX,
            log_level: Level::Info,
            log_format: Format::Text,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }
}

/// What the sidecar's own port gives to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most probes that wait at one time.
    pub held: usize,
    /// Connections and times.
    pub port: listen::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        let port = listen::Limits {
            // Kubelet, Prometheus and somebody with a browser are three. Each costs some 10 KiB, and the
            // least memory limit of a sidecar is 6 MiB.
            connections: 64,
            head: Duration::from_secs(2),
            idle: Duration::from_secs(5),
            ..listen::Limits::default()
        };
        Self { held: 16, port }
    }
}

/// Why the command line is not understood, in one sentence. Values of flags that do not exist, and
/// arguments that are no flags, are never repeated: somebody may have put a secret there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgsError(String);

impl Args {
    /// Parses the arguments, the program's name not among them. Where a flag comes twice, the last
    /// one counts.
    ///
    /// # Errors
    /// When a flag is unknown, has no value or an invalid one, or contradicts another.
    pub fn parse<I>(arguments: I) -> Result<Parsed, ArgsError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        const HOLD: &str = "a time like 500ms, at most 4s: the probe in the pod times out after 5s";
        const NAME: &str = "a name: letters, digits, '-', '_' and '.', at most 253 of them";
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut parser = Parser::from_args(arguments);
        let mut args = Self::default();
        loop {
            let flag = match parser.next() {
                Ok(None) => break,
                Ok(Some(Arg::Long("help") | Arg::Short('h'))) => return Ok(Parsed::Print(HELP)),
                Ok(Some(Arg::Long("version") | Arg::Short('V'))) => {
                    return Ok(Parsed::Print(VERSION));
                }
                Ok(Some(Arg::Long(name))) => format!("--{name}"),
                Ok(Some(Arg::Short(letter))) => return Err(unknown(&format!("-{letter}"))),
                Ok(Some(Arg::Value(_))) | Err(_) => {
                    return Err(ArgsError(
                        "an argument is not a flag; --help lists them all".into(),
                    ));
                }
            };
            let parser = &mut parser;
            match flag.as_str() {
                "--legacy-port" => {
                    let port = |value: &str| digits(value).filter(|port| *port > 0);
                    args.legacy_port = value(parser, &flag, "a port, 1 to 65535", port)?;
                }
                "--half-file" => {
                    let path = |value: &str| (!value.is_empty()).then(|| value.into());
                    args.half_file = value(parser, &flag, "a path", path)?;
                }
                "--request-timeout" => {
                    let more = |value: &str| time(value).filter(|time| !time.is_zero());
                    let allowed = "a time of more than 0, like 500ms, 4s or 1m";
                    args.request_timeout = value(parser, &flag, allowed, more)?;
                }
                "--secret" => args.secret = Some(value(parser, &flag, NAME, name)?),
                "--secret-key" => args.secret_key = value(parser, &flag, NAME, name)?,
                "--namespace" => args.namespace = Some(value(parser, &flag, NAME, name)?),
                "--listen" => {
                    let allowed = ":PORT, ADDRESS:PORT or [ADDRESS]:PORT";
                    args.listen = value(parser, &flag, allowed, |value| value.parse().ok())?;
                }
                "--hold" => {
                    let most = |value: &str| time(value).filter(|time| *time <= HOLD_MAX);
                    args.hold = value(parser, &flag, HOLD, most)?;
                }
                "--log-level" => {
                    args.log_level =
                        value(parser, &flag, "error, warn, info or debug", Level::named)?;
                }
                "--log-format" => {
                    args.log_format = value(parser, &flag, "text or json", Format::named)?;
                }
                _ => return Err(unknown(&flag)),
            }
        }
        if args.listen.port() == args.legacy_port {
            let message = "--listen and --legacy-port have the same port, but Legacy needs its own \
                           for itself";
            return Err(ArgsError(message.into()));
        }
        Ok(Parsed::Run(args))
    }
}

fn unknown(flag: &str) -> ArgsError {
    ArgsError(format!("unknown flag {flag}; --help lists them all"))
}

/// The value of a flag, read by `read`.
fn value<T>(
    parser: &mut Parser,
    flag: &str,
    allowed: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, ArgsError> {
    let Ok(value) = parser.value() else {
        return Err(ArgsError(format!("{flag} needs a value; see --help")));
    };
    let value = value.string().unwrap_or_default();
    read(&value).ok_or_else(|| ArgsError(format!("{flag} cannot be {value:?}: it is {allowed}")))
}

/// A number written in digits alone (`str::parse` takes a sign as well).
fn digits(value: &str) -> Option<u16> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

/// What names of Secrets, of their keys and of namespaces are made of. None of it means anything to a
/// shell, so a command in the log can be pasted.
fn name(value: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=253).contains(&value.len()) && value.bytes().all(allowed);
    (fits && !value.starts_with('-')).then(|| value.to_owned())
}

/// A whole number with its unit: `500ms`, `4s`, `1m`.
fn time(value: &str) -> Option<Duration> {
    let (number, unit) = value.split_at(value.find(|char: char| char.is_ascii_alphabetic())?);
    let number = u64::from(digits(number)?);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(60 * number)),
        _ => None,
    }
}
