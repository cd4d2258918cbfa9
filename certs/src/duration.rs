//! Durations as people write and read them.

use std::time::Duration;

use jiff::Timestamp;

/// Reads `500ms`, `90s`, `5m`, `24h`, `365d`: a whole number and a unit.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no duration: a whole number and ms, s, m, h or d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refused)
}

/// How far apart two moments are, for people: see [`show`].
#[must_use]
pub fn between(earlier: Timestamp, later: Timestamp) -> String {
    show(later.duration_since(earlier).try_into().unwrap_or_default())
}

/// A duration in its two largest units: `2 d 3 h`, `5 min 20 s`, `0 s`.
#[must_use]
pub fn show(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let mut rest = duration.as_secs();
    let first = UNITS.iter().position(|(size, _)| rest >= *size).unwrap_or(UNITS.len() - 1);
    let mut words = Vec::new();
    for (size, unit) in UNITS.iter().skip(first).take(2) {
        let count = rest / size;
        rest %= size;
        if count > 0 || words.is_empty() {
            words.push(format!("{count} {unit}"));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        let read =
            [("500ms", 0.5), ("90s", 90.0), ("5m", 300.0), ("24h", 86_400.0), ("1d", 86_400.0)];
        for (text, seconds) in read {
            assert_eq!(parse(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "h",
            "-5s",
            "5 s",
            "1.5h",
            "5w",
            "99999999999999999999s",
            "300000000000000000d",
        ] {
            parse(text).unwrap_err();
        }
    }

    #[test]
    fn people_read_two_units() {
        let shown =
            [(0, "0 s"), (59, "59 s"), (320, "5 min 20 s"), (3_600, "1 h"), (183_600, "2 d 3 h")];
        for (seconds, text) in shown {
            assert_eq!(show(Duration::from_secs(seconds)), text);
        }
    }
}
