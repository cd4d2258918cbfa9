//! Log lines. Nothing ever waits for the log: a line that can't be written at once is dropped, and counted.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The most bytes of a line. A pipe that `poll` calls writable takes so many at once (`PIPE_BUF`, pipe(7)).
const LINE_MAX: usize = 4096;

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
    const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The level with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }

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
    /// The format with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Where the lines go.
pub struct Log {
    level: Level,
    format: Format,
    out: Mutex<Box<dyn Write + Send>>,
    dropped: AtomicU64,
}

impl Log {
    /// A log that makes one write to `out` for each line.
    #[must_use]
    pub fn new(level: Level, format: Format, out: Box<dyn Write + Send>) -> Self {
        Self { level, format, out: Mutex::new(out), dropped: AtomicU64::new(0) }
    }

    /// A log on stdout.
    #[must_use]
    pub fn stdout(level: Level, format: Format) -> Self {
        Self::new(level, format, Box::new(Stdout))
    }

    /// Writes one line. `event` is a fixed word for machines, the message is for people.
    pub fn line(&self, level: Level, event: &str, message: &dyn Display) {
        if level > self.level {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = render(self.format, now, level, event, message);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if !out.write(line.as_bytes()).is_ok_and(|written| written == line.len()) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// How many lines could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// Stdout, which the container's runtime reads. If it stops reading, a write would block the only thread,
/// and a flag on the file itself (`O_NONBLOCK`) would be shared with other processes that have it open.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let stdout = rustix::stdio::stdout();
        let mut asked = [PollFd::new(&stdout, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut asked, Some(&at_once))?;
        if !asked[0].revents().contains(PollFlags::OUT) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(rustix::io::write(stdout, line)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    match format {
        Format::Text => {
            let mut upper = String::from(level);
            upper.make_ascii_uppercase();
            let _ = write!(line, "{time} {upper:<5} ");
            let _ = write!(Escaped { line: &mut line, json: false }, "{message}");
            line.push('\n');
        }
        Format::Json => {
            let _ = write!(line, r#"{{"time":"{time}","level":"{level}","event":"{event}","#);
            line.push_str(r#""message":""#);
            let _ = write!(Escaped { line: &mut line, json: true }, "{message}");
            line.push_str("\"}\n");
        }
    }
    line
}

/// Escapes what would end the line, and what JSON (RFC 8259, section 7) does not allow inside a string.
/// What does not fit into the line is left out.
struct Escaped<'a> {
    line: &'a mut String,
    json: bool,
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        /// The longest escape, and the end of the line.
        const ROOM: usize = "\\u0000\"}\n".len();
        for char in text.chars() {
            if self.line.len() + ROOM > LINE_MAX {
                break;
            }
            match char {
                '"' if self.json => self.line.push_str("\\\""),
                '\\' if self.json => self.line.push_str("\\\\"),
                '\n' => self.line.push_str("\\n"),
                control if control < ' ' => write!(self.line, "\\u{:04x}", u32::from(control))?,
                other => self.line.push(other),
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

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::time::Duration;

    use super::{Format, LINE_MAX, Level, Log, Rfc3339, render};

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
    fn a_line_of_text_is_time_level_message() {
        let line = render(Format::Text, Duration::ZERO, Level::Warn, "lost", &"Legacy is gone");
        assert_eq!(line, "1970-01-01T00:00:00.000Z WARN  Legacy is gone\n");
    }

    #[test]
    fn a_line_stays_one_line_whatever_it_says() {
        let message = "a \"quoted\" \\ and\na \u{1} bell, ünïcode";
        let line = render(Format::Json, Duration::ZERO, Level::Info, "idle", &message);
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:00.000Z","level":"info","event":"idle","#,
            r#""message":"a \"quoted\" \\ and\na \u0001 bell, ünïcode"}"#,
            "\n"
        );
        assert_eq!(line, expected);
        let line = render(Format::Text, Duration::ZERO, Level::Info, "idle", &message);
        let expected = concat!(
            r#"1970-01-01T00:00:00.000Z INFO  a "quoted" \ and\na \u0001 bell, ünïcode"#,
            "\n"
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn a_line_is_at_most_4_kib() {
        for message in ["x", "ü", "\u{1}", "\""].map(|char| char.repeat(5000)) {
            for (format, end) in [(Format::Text, "\n"), (Format::Json, "\"}\n")] {
                let line = render(format, Duration::ZERO, Level::Info, "x", &message);
                assert!((LINE_MAX - 20..=LINE_MAX).contains(&line.len()), "{}", line.len());
                assert!(line.ends_with(end));
            }
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        /// A sink that takes so many bytes at once.
        struct Takes(io::Result<usize>);
        impl Write for Takes {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                match &self.0 {
                    Ok(most) => Ok(line.len().min(*most)),
                    Err(error) => Err(error.kind().into()),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (takes, dropped) in [
            (Ok(LINE_MAX), 0),
            (Ok(3), 2),
            (Err(io::ErrorKind::WouldBlock.into()), 2),
            (Err(io::ErrorKind::BrokenPipe.into()), 2),
        ] {
            let log = Log::new(Level::Info, Format::Text, Box::new(Takes(takes)));
            log.line(Level::Info, "x", &"one");
            log.line(Level::Warn, "x", &"two");
            log.line(Level::Debug, "x", &"below its level: never written");
            assert_eq!(log.dropped(), dropped);
        }
    }
}
