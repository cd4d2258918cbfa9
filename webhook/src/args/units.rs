//! Durations and sizes as flags take them.

use std::time::Duration;

/// Ten years: longer is a slip of the pen, and keeps every sum of times within bounds.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A duration of at least a millisecond, such as `500ms`, `2s`, `4.5s`, `1m`, `24h` or `365d`.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("must be more than zero"),
        duration => Ok(duration),
    }
}

/// The same, and zero too.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a number and a unit: ms, s, m, h or d, such as 500ms or 4.5s";
    let (number, unit) = split(text).ok_or(EXPECTED)?;
    let milliseconds: f64 = match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return Err(EXPECTED),
    };
    Duration::try_from_secs_f64((number * milliseconds).round() / 1_000.0)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or("must be at most 3650d")
}

/// A size in bytes of at least 1 KiB, such as `6MiB`, `512KiB` or `1GiB`.
pub(super) fn size(text: &str) -> Result<usize, &'static str> {
    const EXPECTED: &str = "expected a whole number and a unit: KiB, MiB or GiB, such as 6MiB";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(EXPECTED),
    };
    let number: usize = number.parse().map_err(|_| EXPECTED)?;
    // 4 GiB is as much as one wait for a share of the budget can ask for.
    number
        .checked_mul(factor)
        .filter(|bytes| (1 << 10..=4 << 30).contains(bytes))
        .ok_or("must be from 1KiB to 4GiB")
}

/// Digits, perhaps with a point, and what follows them.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(end);
    let first_is_digit = number.starts_with(|first: char| first.is_ascii_digit());
    first_is_digit.then(|| number.parse().ok()).flatten().map(|number| (number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("2s", Some(2_000)),
            ("4.5s", Some(4_500)),
            ("0.25s", Some(250)),
            ("1m", Some(60_000)),
            ("24h", Some(86_400_000)),
            ("365d", Some(31_536_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            (".5s", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("1 s", None),
            ("1S", None),
            ("1w", None),
            ("1e3s", None),
            ("3651d", None),
            ("99999999999999999999999d", None),
        ] {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(duration_or_zero(text).ok(), expected, "{text}");
            let expected = expected.filter(|duration| !duration.is_zero());
            assert_eq!(duration(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("6MiB", Some(6 << 20)),
            ("1KiB", Some(1024)),
            ("4GiB", Some(4 << 30)),
            ("0MiB", None),
            ("5GiB", None),
            ("6", None),
            ("6MB", None),
            ("6.5MiB", None),
            ("-6MiB", None),
            ("", None),
            ("99999999999999999999GiB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }
}
