//! Log lines, written directly: one line is one write, so lines never mix.

use std::fmt::{self, Display, Write as _};
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much a line matters; a [`Log`] drops what is below its own level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Somebody has to act.
    Error,
    /// Something failed, and is tried again.
    Warn,
    /// What an operator wants to know.
    Info,
    /// Each step.
    Debug,
}

impl Level {
    /// Every level, with its name on the command line.
    pub const ALL: [(&'static str, Self); 4] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Time, level, message: for people.
    Text,
    /// An object with `time`, `level`, `event` and `message`: for machines.
    Json,
}

impl Format {
    /// Every format, with its name on the command line.
    pub const ALL: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

/// Where the lines go. A line that cannot be written is lost: the handshake matters more.
pub struct Log {
    level: Level,
    format: Format,
    out: Mutex<Box<dyn Write + Send>>,
}

impl Log {
    /// A log that writes to `out`.
    #[must_use]
    pub fn new(level: Level, format: Format, out: Box<dyn Write + Send>) -> Self {
        Self { level, format, out: Mutex::new(out) }
    }

    /// A log on stdout.
    #[must_use]
    pub fn stdout(level: Level, format: Format) -> Self {
        Self::new(level, format, Box::new(std::io::stdout()))
    }

    /// Writes one line. `event` is a fixed word for machines, the message is for people.
    pub fn line(&self, level: Level, event: &str, message: &dyn Display) {
        if level > self.level {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = render(self.format, now, level, event, message);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

fn render(
    format: Format,
    now: Duration,
    level: Level,
    event: &str,
    message: &dyn Display,
) -> String {
    let mut line = String::with_capacity(200);
    let time = Rfc3339(now);
    let level = level.name();
    // Writing to a String cannot fail.
    let _ = match format {
        Format::Text => {
            let mut upper = String::from(level);
            upper.make_ascii_uppercase();
            writeln!(line, "{time} {upper:<5} {message}")
        }
        Format::Json => {
            let _ = write!(line, r#"{{"time":"{time}","level":"{level}","event":"{event}","#);
            line.push_str(r#""message":""#);
            let _ = write!(Escaped(&mut line), "{message}");
            line.push_str("\"}\n");
            Ok(())
        }
    };
    line
}

/// Escapes what JSON (RFC 8259, section 7) does not allow inside a string.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match char {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                control if control < ' ' => write!(self.0, "\\u{:04x}", u32::from(control))?,
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

/// Time since 1970 as RFC 3339 in UTC with milliseconds.
struct Rfc3339(Duration);

impl Display for Rfc3339 {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let millis = self.0.subsec_millis();
        write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. The years begin in
/// March, which puts the leap day last: <https://howardhinnant.github.io/date_algorithms.html>.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// A length of time as people say it: `under 1 ms`, `350 ms`, `2.3 s`, `1 min 15 s`, `2 h 5 min`.
#[derive(Clone, Copy, Debug)]
pub struct Spoken(pub Duration);

impl Display for Spoken {
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

    use super::{Format, Level, Rfc3339, Spoken, render};

    #[test]
    fn times_are_rfc_3339() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_001, "2024-02-29T00:00:00.001Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, expected) in table {
            assert_eq!(Rfc3339(Duration::from_millis(millis)).to_string(), expected);
        }
    }

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
            assert_eq!(Spoken(Duration::from_millis(millis)).to_string(), expected);
        }
    }

    #[test]
    fn a_line_of_text_is_time_level_message() {
        let line = render(Format::Text, Duration::ZERO, Level::Warn, "lost", &"Legacy is gone");
        assert_eq!(line, "1970-01-01T00:00:00.000Z WARN  Legacy is gone\n");
    }

    #[test]
    fn a_line_of_json_stays_one_line_whatever_is_said() {
        let message = "a \"quoted\" \\ and\na \u{1} bell, ünïcode";
        let line = render(Format::Json, Duration::ZERO, Level::Info, "idle", &message);
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","level":"info","event":"idle","#,
            r#""message":"a \"quoted\" \\ and\na \u0001 bell, ünïcode"}"#,
            "\n"
        );
        assert_eq!(line, expected);
    }
}
