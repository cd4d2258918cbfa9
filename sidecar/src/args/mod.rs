//! The command line: every number of the sidecar is a flag.

mod help;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};

use crate::log::{Format, Level};
use crate::machine::Pace;

pub use help::HELP;
pub use values::{Listen, Source};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub enum Parsed {
    /// Do the handshake.
    Run(Args),
    /// Print this text and end.
    Print(&'static str),
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// Where Legacy listens, on `127.0.0.1` or `[::1]`.
    pub legacy_port: u16,
    /// The file with the operations half.
    pub half_file: PathBuf,
    /// Where `/readyz`, `/livez` and `/metrics` are served.
    pub listen: Listen,
    /// Where the file comes from, for remedies in the log.
    pub source: Source,
    /// What is logged.
    pub log_level: Level,
    /// How it is logged.
    pub log_format: Format,
    /// How long `/readyz` is held while it would be a 503.
    pub hold: Duration,
    /// The limit of each request to Legacy.
    pub request_timeout: Duration,
    /// How long Legacy may take to answer beside the watch before the watch is given up.
    pub kindness: Duration,
    /// The machine's pauses.
    pub pace: Pace,
    /// The most connections to the sidecar's own port at one time.
    pub max_connections: u16,
    /// The most held requests at one time.
    pub max_held: u16,
    /// How long a client of the sidecar's own port may take to send its request.
    pub head_timeout: Duration,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            legacy_port: 3000,
            half_file: PathBuf::from("/etc/secret-handshake/half"),
            listen: Listen::All(13300),
            source: Source::default(),
            log_level: Level::Info,
            log_format: Format::Text,
            hold: Duration::from_secs(4),
            request_timeout: Duration::from_secs(2),
            kindness: Duration::from_secs(2),
            pace: Pace::default(),
            max_connections: 64,
            max_held: 16,
            head_timeout: Duration::from_secs(2),
        }
    }
}

/// Why the command line is not understood. Values of flags that do not exist, and arguments that are no
/// flags, are never repeated: somebody may have put a secret there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// There is no such flag.
    #[error("unknown flag {0}; --help lists them all")]
    Unknown(String),
    /// An argument that does not begin with `--`.
    #[error("an argument is not a flag; --help lists them all")]
    NotAFlag,
    /// A flag without its value.
    #[error("{0} needs a value; see --help")]
    NoValue(String),
    /// A flag that takes no value got one.
    #[error("{0} takes no value")]
    NeedlessValue(String),
    /// A value that the flag cannot have.
    #[error("{flag} cannot be {value:?}: it is {allowed}")]
    Invalid {
        /// The flag.
        flag: String,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// Two flags that cannot be together.
    #[error("{0}")]
    Conflict(&'static str),
}

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
                Ok(Some(Arg::Short(letter))) => {
                    return Err(ArgsError::Unknown(format!("-{letter}")));
                }
                Ok(Some(Arg::Value(_))) => return Err(ArgsError::NotAFlag),
                Err(error) => return Err(needless(error)),
            };
            args.set(flag, &mut parser)?;
        }
        args.check()?;
        Ok(Parsed::Run(args))
    }

    fn set(&mut self, flag: String, parser: &mut Parser) -> Result<(), ArgsError> {
        let mut setting = self.setting(&flag).ok_or_else(|| ArgsError::Unknown(flag.clone()))?;
        let Ok(value) = parser.value() else {
            return Err(ArgsError::NoValue(flag));
        };
        let value = value.string().unwrap_or_default();
        match setting.set(&value) {
            Some(()) => Ok(()),
            None => Err(ArgsError::Invalid { flag, value, allowed: setting.allowed() }),
        }
    }

    fn check(&self) -> Result<(), ArgsError> {
        let pace = &self.pace;
        let message = if self.listen.port() == self.legacy_port {
            "--listen and --legacy-port have the same port, but Legacy needs its own for itself"
        } else if pace.look_min > pace.look_max {
            "--look-min is more than --look-max"
        } else if pace.retry_min > pace.retry_max {
            "--retry-min is more than --retry-max"
        } else if pace.idle_look_min > pace.idle_look {
            "--idle-look-min is more than --idle-look"
        } else if self.max_held > self.max_connections {
            "--max-held is more than --max-connections"
        } else {
            return Ok(());
        };
        Err(ArgsError::Conflict(message))
    }
}

const VERSION: &str = concat!("secret-handshake sidecar ", env!("CARGO_PKG_VERSION"), "\n");

/// lexopt's complaint about the argument before: the value of a flag that takes none.
fn needless(error: lexopt::Error) -> ArgsError {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => ArgsError::NeedlessValue(option),
        _ => ArgsError::NotAFlag,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;
    use std::time::Duration;

    use super::{Args, ArgsError, HELP, Listen, Parsed};
    use crate::log::Level;

    fn parse(arguments: &[&str]) -> Result<Args, ArgsError> {
        Args::parse(arguments).map(|parsed| match parsed {
            Parsed::Run(args) => args,
            Parsed::Print(text) => panic!("prints {text}"),
        })
    }

    #[test]
    fn no_arguments_are_the_defaults() {
        assert_eq!(parse(&[]), Ok(Args::default()));
    }

    #[test]
    fn what_the_webhook_writes_is_understood() {
        let args = parse(&[
            "--legacy-port=3001",
            "--half-file=/etc/secret-handshake/half",
            "--listen=:13301",
            "--secret=operations",
            "--secret-key=legacy",
            "--namespace=demo",
            "--log-level=debug",
        ])
        .unwrap();
        assert_eq!((args.legacy_port, args.listen), (3001, Listen::All(13301)));
        assert_eq!(args.half_file, Path::new("/etc/secret-handshake/half"));
        assert_eq!(args.source.to_string(), "the key legacy of the Secret demo/operations");
        assert_eq!(args.log_level, Level::Debug);
    }

    #[test]
    fn a_value_may_be_an_argument_of_its_own_and_the_last_one_counts() {
        let args = parse(&["--hold", "1s", "--hold=2s"]).unwrap();
        assert_eq!(args.hold, Duration::from_secs(2));
    }

    /// Each line of the help that begins with a flag: the flag and its default.
    fn flags_of_the_help() -> Vec<(&'static str, &'static str)> {
        let (_, flags) = HELP.split_once("\n\n").unwrap();
        let entries = flags.split("\n  --").skip(1);
        entries
            .filter_map(|entry| {
                let flag = entry.split(' ').next().unwrap();
                let (_, default) = entry.split_once("(default ")?;
                Some((flag, default.split(')').next().unwrap()))
            })
            .collect()
    }

    #[test]
    fn the_help_names_each_flag_with_its_default() {
        let flags = flags_of_the_help();
        assert_eq!(flags.len(), 23, "all but --namespace have a default: {flags:?}");
        for (flag, default) in flags {
            let args = parse(&[&format!("--{flag}"), default]);
            assert_eq!(args, Ok(Args::default()), "--{flag} {default}");
        }
        assert!(HELP.lines().all(|line| line.len() <= 110));
    }

    #[test]
    fn the_help_and_the_version_are_printed_wherever_they_stand() {
        for arguments in [&["--help"][..], &["-h"], &["--hold=1s", "--help", "--nonsense"]] {
            assert_eq!(Args::parse(arguments), Ok(Parsed::Print(HELP)));
        }
        for argument in ["--version", "-V"] {
            assert!(matches!(Args::parse([argument]), Ok(Parsed::Print(text)) if text != HELP));
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let table: [(&[&str], &str); 14] = [
            (&["--nonsense"], "unknown flag --nonsense; --help lists them all"),
            (&["--nonsense=value"], "unknown flag --nonsense; --help lists them all"),
            (&["-x"], "unknown flag -x; --help lists them all"),
            (&["value"], "an argument is not a flag; --help lists them all"),
            (&["--hold"], "--hold needs a value; see --help"),
            (&["--legacy-port=0"], "--legacy-port cannot be \"0\": it is a port, 1 to 65535"),
            (
                &["--listen=localhost:1"],
                "--listen cannot be \"localhost:1\": it is :PORT, ADDRESS:PORT or [ADDRESS]:PORT",
            ),
            (
                &["--log-level=LOUD\n"],
                "--log-level cannot be \"LOUD\\n\": it is error, warn, info or debug",
            ),
            (&["--log-format=xml"], "--log-format cannot be \"xml\": it is text or json"),
            (
                &["--request-timeout=0s"],
                "--request-timeout cannot be \"0s\": it is a time of more than 0 and at most 24h, \
                 like 500ms, 4.5s, 1m",
            ),
            (&["--half-file="], "--half-file cannot be \"\": it is a path"),
            (
                &["--listen=:3000"],
                "--listen and --legacy-port have the same port, but Legacy needs its own for itself",
            ),
            (&["--look-min=60ms"], "--look-min is more than --look-max"),
            (&["--idle-look=1s"], "--idle-look-min is more than --idle-look"),
        ];
        for (arguments, expected) in table {
            assert_eq!(parse(arguments).unwrap_err().to_string(), expected, "{arguments:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_and_no_panic() {
        let bytes = OsStr::from_bytes(b"--secret=\xff");
        assert!(matches!(Args::parse([bytes]), Err(ArgsError::Invalid { .. })));
        assert!(matches!(Args::parse([OsStr::from_bytes(b"--\xff")]), Err(ArgsError::Unknown(_))));
    }

    #[test]
    fn what_is_no_flag_is_never_repeated() {
        for arguments in [&["hush"][..], &["--nonsense=hush"], &["--half=hush"]] {
            let error = parse(arguments).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }
}
