//! What the values of flags look like.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Args;
use crate::log::{Format, Level};

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `:PORT`: all addresses, IPv6 and IPv4.
    All(u16),
    /// `ADDRESS:PORT` or `[ADDRESS]:PORT`.
    At(SocketAddr),
}

impl Listen {
    /// The port; 0 lets the system choose.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::All(port) => port,
            Self::At(address) => address.port(),
        }
    }

    fn parse(value: &str) -> Option<Self> {
        match value.strip_prefix(':') {
            Some(port) => digits(port).map(Self::All),
            None => value.parse().ok().map(Self::At),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(port) => write!(out, ":{port}"),
            Self::At(address) => write!(out, "{address}"),
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
        out.write_str("the key ")?;
        write!(out, "{} of the Secret ", self.key)?;
        if let Some(namespace) = &self.namespace {
            write!(out, "{namespace}/")?;
        }
        out.write_str(&self.secret)
    }
}

/// A setting and the values it may have.
pub(super) enum Setting<'a> {
    Port(&'a mut u16),
    Count(&'a mut u16),
    Divisor(&'a mut u32),
    Path(&'a mut PathBuf),
    Listen(&'a mut Listen),
    Name(&'a mut String),
    OptionalName(&'a mut Option<String>),
    Level(&'a mut Level),
    Format(&'a mut Format),
    Time(&'a mut Duration),
    TimeOrZero(&'a mut Duration),
}

impl Setting<'_> {
    /// Sets it, if the value is one of the allowed.
    pub(super) fn set(&mut self, value: &str) -> Option<()> {
        match self {
            Self::Port(port) => **port = digits(value).filter(|port| *port > 0)?,
            Self::Count(count) => **count = digits(value).filter(|count| *count > 0)?,
            Self::Divisor(divisor) => **divisor = u32::from(digits(value).filter(|it| *it > 0)?),
            Self::Path(path) => **path = PathBuf::from(Some(value).filter(|it| !it.is_empty())?),
            Self::Listen(listen) => **listen = Listen::parse(value)?,
            Self::Name(name) => **name = self::name(value)?,
            Self::OptionalName(name) => **name = Some(self::name(value)?),
            Self::Level(level) => **level = named(&Level::ALL, value)?,
            Self::Format(format) => **format = named(&Format::ALL, value)?,
            Self::Time(time) => **time = self::time(value).filter(|time| !time.is_zero())?,
            Self::TimeOrZero(time) => **time = self::time(value)?,
        }
        Some(())
    }

    /// The allowed values, in words.
    pub(super) fn allowed(&self) -> &'static str {
        match self {
            Self::Port(_) => "a port, 1 to 65535",
            Self::Count(_) | Self::Divisor(_) => "a whole number, 1 to 65535",
            Self::Path(_) => "a path",
            Self::Listen(_) => ":PORT, ADDRESS:PORT or [ADDRESS]:PORT",
            Self::Name(_) | Self::OptionalName(_) => {
                "a name: letters, digits, '-', '_' and '.', at most 253 of them"
            }
            Self::Level(_) => "error, warn, info or debug",
            Self::Format(_) => "text or json",
            Self::Time(_) => "a time of more than 0 and at most 24h, like 500ms, 4.5s, 1m",
            Self::TimeOrZero(_) => "a time of 0 to 24h, like 0s, 500ms, 4.5s, 1m",
        }
    }
}

impl Args {
    /// The setting that a flag sets, if there is such a flag.
    pub(super) fn setting(&mut self, flag: &str) -> Option<Setting<'_>> {
        let pace = &mut self.pace;
        Some(match flag {
            "--legacy-port" => Setting::Port(&mut self.legacy_port),
            "--half-file" => Setting::Path(&mut self.half_file),
            "--listen" => Setting::Listen(&mut self.listen),
            "--secret" => Setting::Name(&mut self.source.secret),
            "--secret-key" => Setting::Name(&mut self.source.key),
            "--namespace" => Setting::OptionalName(&mut self.source.namespace),
            "--log-level" => Setting::Level(&mut self.log_level),
            "--log-format" => Setting::Format(&mut self.log_format),
            "--hold" => Setting::TimeOrZero(&mut self.hold),
            "--request-timeout" => Setting::Time(&mut self.request_timeout),
            "--kindness" => Setting::Time(&mut self.kindness),
            "--look-min" => Setting::Time(&mut pace.look_min),
            "--look-max" => Setting::Time(&mut pace.look_max),
            "--look-divisor" => Setting::Divisor(&mut pace.look_divisor),
            "--retry-min" => Setting::Time(&mut pace.retry_min),
            "--retry-max" => Setting::Time(&mut pace.retry_max),
            "--verify-every" => Setting::Time(&mut pace.verify_every),
            "--verify-for" => Setting::Time(&mut pace.verify_for),
            "--idle-look" => Setting::Time(&mut pace.idle_look),
            "--idle-look-min" => Setting::Time(&mut pace.idle_look_min),
            "--remind" => Setting::TimeOrZero(&mut pace.remind),
            "--max-connections" => Setting::Count(&mut self.max_connections),
            "--max-held" => Setting::Count(&mut self.max_held),
            "--head-timeout" => Setting::Time(&mut self.head_timeout),
            _ => return None,
        })
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

fn named<T: Copy>(all: &[(&str, T)], value: &str) -> Option<T> {
    all.iter().find(|(name, _)| *name == value).map(|(_, it)| *it)
}

/// A number with at most nine decimals, and its unit: `500ms`, `2s`, `4.5s`, `1m`, `1h`.
fn time(value: &str) -> Option<Duration> {
    let split = value.find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = value.split_at(split);
    let unit: u64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let fits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !fits(whole, 8) || !fits(decimals, 9) {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(decimals.len()).ok()?);
    let decimals = u128::from(decimals.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
    let nanos =
        unit.checked_mul(whole.parse().ok()?)?.checked_add(u64::try_from(decimals).ok()?)?;
    let time = Duration::from_nanos(nanos);
    (time <= Duration::from_secs(24 * 3600)).then_some(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Listen, digits, name, time};

    #[test]
    fn times_have_a_unit() {
        let table = [
            ("0s", Some(0)),
            ("500ms", Some(500_000)),
            ("0.5ms", Some(500)),
            ("2s", Some(2_000_000)),
            ("4.5s", Some(4_500_000)),
            ("1m", Some(60_000_000)),
            ("0.5m", Some(30_000_000)),
            ("1h", Some(3_600_000_000)),
            ("24h", Some(86_400_000_000)),
            ("24.1h", None),
            ("99999999h", None),
            ("5", None),
            ("s", None),
            (".5s", None),
            ("5.s", None),
            ("-1s", None),
            ("+1s", None),
            ("1 s", None),
            ("1S", None),
            ("1d", None),
            ("1.0000000001s", None),
            ("1e3s", None),
            ("", None),
            ("١s", None),
        ];
        for (value, micros) in table {
            assert_eq!(time(value), micros.map(Duration::from_micros), "{value:?}");
        }
    }

    #[test]
    fn addresses_are_a_port_or_an_address_with_a_port() {
        for value in [":0", ":13300", "127.0.0.1:13300", "[::1]:13300", "0.0.0.0:1"] {
            assert_eq!(Listen::parse(value).unwrap().to_string(), value);
        }
        for value in ["", "13300", ":", ":65536", ":+1", "localhost:1", "::1", "[::1]", "1.2.3.4"] {
            assert_eq!(Listen::parse(value), None, "{value:?}");
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
