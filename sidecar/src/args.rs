//! The command line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt as _};
use listen::Address;

use crate::handshake::Timing;
use crate::log::{Format, Level};
use crate::status::Limits;

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
  --secret NAME           the Secret that the file comes from (default secret-handshake)
  --secret-key KEY        its key (default half)
  --namespace NAMESPACE   its namespace (no default)

The sidecar's own port:
  --listen ADDRESS        where /readyz, /livez and /metrics are served: :PORT for all addresses,
                          ADDRESS:PORT or [ADDRESS]:PORT (default :13300)
  --hold TIME             how long a kubelet waits at /readyz as long as the answer is the one that it
                          has; keep it under the probe's timeoutSeconds (default 4s)

Log, on stdout:
  --log-level LEVEL       error, warn, info or debug (default info)
  --log-format FORMAT     text or json (default text)

  -h, --help              print this and exit
  -V, --version           print the version and exit

Times have a unit: 500ms, 4s, 1m.
Exit codes: 0 ended by SIGTERM or SIGINT; 1 the port cannot be used; 2 wrong usage.
";

const VERSION: &str = concat!("secret-handshake sidecar ", env!("CARGO_PKG_VERSION"), "\n");

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
    /// Where the file comes from, for the log.
    pub source: Source,
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
            source: Source::default(),
            listen: Address::All(13300),
            hold: Duration::from_secs(4),
            log_level: Level::Info,
            log_format: Format::Text,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }
}

/// The Secret that the file with the half comes from. It is only ever named, never read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The Secret's name.
    pub secret: String,
    /// The key in the Secret.
    pub key: String,
    /// Its namespace, which is the pod's, where that is known.
    pub namespace: Option<String>,
}

impl Default for Source {
    fn default() -> Self {
        Self { secret: "secret-handshake".into(), key: "half".into(), namespace: None }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the key {} of the Secret ", self.key)?;
        if let Some(namespace) = &self.namespace {
            write!(out, "{namespace}/")?;
        }
        out.write_str(&self.secret)
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
    /// The sidecar and Legacy share the pod's ports.
    #[error("--listen and --legacy-port have the same port, but Legacy needs its own for itself")]
    SamePort,
}

/// The flags that have a value.
const FLAGS: [&str; 10] = [
    "--legacy-port",
    "--half-file",
    "--request-timeout",
    "--secret",
    "--secret-key",
    "--namespace",
    "--listen",
    "--hold",
    "--log-level",
    "--log-format",
];

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
            // The one error here is a value after `=` that was not taken, and each flag takes its value.
            let flag = match parser.next().map_err(|_| ArgsError::NotAFlag)? {
                None => break,
                Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Parsed::Print(HELP)),
                Some(Arg::Long("version") | Arg::Short('V')) => {
                    return Ok(Parsed::Print(VERSION));
                }
                Some(Arg::Long(name)) => format!("--{name}"),
                Some(Arg::Short(letter)) => return Err(ArgsError::Unknown(format!("-{letter}"))),
                Some(Arg::Value(_)) => return Err(ArgsError::NotAFlag),
            };
            if !FLAGS.contains(&flag.as_str()) {
                return Err(ArgsError::Unknown(flag));
            }
            let Ok(value) = parser.value() else {
                return Err(ArgsError::NoValue(flag));
            };
            let value = value.string().unwrap_or_default();
            if let Err(allowed) = args.set(&flag, &value) {
                return Err(ArgsError::Invalid { flag, value, allowed });
            }
        }
        if args.listen.port() == args.legacy_port {
            return Err(ArgsError::SamePort);
        }
        Ok(Parsed::Run(args))
    }

    /// Sets one of [`FLAGS`], or says which values it may have.
    fn set(&mut self, flag: &str, value: &str) -> Result<(), &'static str> {
        const TIME: &str = "a time, like 500ms, 4s or 1m";
        const NAME: &str = "a name: letters, digits, '-', '_' and '.', at most 253 of them";
        match flag {
            "--legacy-port" => {
                self.legacy_port =
                    digits(value).filter(|port| *port > 0).ok_or("a port, 1 to 65535")?;
            }
            "--half-file" if value.is_empty() => return Err("a path"),
            "--half-file" => self.half_file = value.into(),
            "--request-timeout" => {
                let more = "a time of more than 0, like 500ms, 4s or 1m";
                self.request_timeout = time(value).filter(|time| !time.is_zero()).ok_or(more)?;
            }
            "--secret" => self.source.secret = name(value).ok_or(NAME)?,
            "--secret-key" => self.source.key = name(value).ok_or(NAME)?,
            "--namespace" => self.source.namespace = Some(name(value).ok_or(NAME)?),
            "--listen" => {
                let allowed = ":PORT, ADDRESS:PORT or [ADDRESS]:PORT";
                self.listen = value.parse().map_err(|_| allowed)?;
            }
            "--hold" => self.hold = time(value).ok_or(TIME)?,
            "--log-level" => {
                self.log_level = Level::named(value).ok_or("error, warn, info or debug")?;
            }
            _ => self.log_format = Format::named(value).ok_or("text or json")?,
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;
    use std::time::Duration;

    use listen::Address;

    use super::{Args, ArgsError, FLAGS, HELP, Parsed, digits, name, time};
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
        assert_eq!((args.legacy_port, args.listen), (3001, Address::All(13301)));
        assert_eq!(args.half_file, Path::new("/etc/secret-handshake/half"));
        assert_eq!(args.source.to_string(), "the key legacy of the Secret demo/operations");
        assert_eq!(args.log_level, Level::Debug);
    }

    #[test]
    fn a_value_may_be_an_argument_of_its_own_and_the_last_one_counts() {
        let args = parse(&["--hold", "1s", "--hold=2s"]).unwrap();
        assert_eq!(args.hold, Duration::from_secs(2));
    }

    #[test]
    fn the_help_names_each_flag_with_its_default() {
        for flag in FLAGS {
            let (_, entry) = HELP.split_once(&format!("\n  {flag} ")).unwrap();
            let entry = entry.split("\n  --").next().unwrap();
            if flag == "--namespace" {
                assert!(entry.contains("(no default)"));
                continue;
            }
            let (_, default) = entry.split_once("(default ").unwrap();
            let args = parse(&[flag, default.split(')').next().unwrap()]);
            assert_eq!(args, Ok(Args::default()), "{flag}");
        }
        assert_eq!(HELP.matches("\n  --").count(), FLAGS.len());
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
        let table: [(&[&str], &str); 13] = [
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
                "--request-timeout cannot be \"0s\": it is a time of more than 0, like 500ms, 4s or 1m",
            ),
            (&["--hold=5"], "--hold cannot be \"5\": it is a time, like 500ms, 4s or 1m"),
            (&["--half-file="], "--half-file cannot be \"\": it is a path"),
            (
                &["--listen=:3000"],
                "--listen and --legacy-port have the same port, but Legacy needs its own for itself",
            ),
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
        for arguments in
            [&["hush"][..], &["-h=hush", "hush"], &["--nonsense=hush"], &["--half=hush"]]
        {
            let Err(error) = Args::parse(arguments) else { continue };
            assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        }
    }

    #[test]
    fn times_have_a_unit() {
        let table = [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("2s", Some(2000)),
            ("1m", Some(60_000)),
            ("65536s", None),
            ("5", None),
            ("s", None),
            ("4.5s", None),
            ("-1s", None),
            ("+1s", None),
            ("1 s", None),
            ("1S", None),
            ("1d", None),
            ("", None),
            ("١s", None),
        ];
        for (value, millis) in table {
            assert_eq!(time(value), millis.map(Duration::from_millis), "{value:?}");
        }
    }

    #[test]
    fn names_mean_nothing_to_a_shell() {
        assert_eq!(name("secret-handshake.v1_A").as_deref(), Some("secret-handshake.v1_A"));
        for value in ["", "-n", "a b", "a;b", "$(a)", "a/b", "ä", &"a".repeat(254)] {
            assert_eq!(name(value), None, "{value:?}");
        }
    }

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(digits("65535"), Some(65535));
        for value in ["", "+1", "-1", "1.0", "65536", "0x10", " 1"] {
            assert_eq!(digits(value), None, "{value:?}");
        }
    }
}
