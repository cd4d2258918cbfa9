//! How names, values and times are written.

use crate::visible::is_visible;
use injection::{keys, printable};
use k8s_openapi::jiff::Timestamp;

/// Lines of two columns, the first one as wide as its widest text.
pub(super) fn columns(rows: &[(String, String)]) -> Vec<String> {
    let width = rows.iter().map(|(first, _)| first.chars().count()).max().unwrap_or_default();
    rows.iter()
        .map(|(first, second)| format!("{first:width$}  {second}").trim_end().to_owned())
        .collect()
}

/// The label with its value, as kubectl takes it.
pub(super) fn label(value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{}={}", keys::LABEL, printable(value, 63)),
        None => String::from("–"),
    }
}

/// A text of somebody else, on one line of a bounded length.
pub(super) fn one_line(text: &str) -> String {
    let spaced = text.trim().chars().map(|char| if char.is_whitespace() { ' ' } else { char });
    let mut visible = spaced.filter(|char| is_visible(*char));
    let short: String = visible.by_ref().take(300).collect();
    if visible.next().is_some() { short + "…" } else { short }
}

/// `since TIME (3 h)`.
pub(super) fn since(time: Timestamp, now: Timestamp) -> String {
    format!("since {time} ({})", age(time, now))
}

/// As kubectl tells an age, in its largest unit alone.
fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// `1 pod`, `2 pods`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_one_unit() {
        let time = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for (seconds, expected) in [
            (-5, "0 s"),
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7199, "119 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(time(0), time(seconds)), expected);
        }
        assert_eq!(since(time(0), time(3)), "since 2027-01-15T08:00:00Z (3 s)");
    }

    #[test]
    fn a_strangers_text_stays_on_its_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m\tc"), "a b[31m c");
        assert_eq!(one_line(&"x".repeat(301)).chars().count(), 301);
        assert!(one_line(&"x".repeat(301)).ends_with("x…"));
    }
}
