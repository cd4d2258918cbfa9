use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Billionths of a unit: the finest that a Kubernetes quantity can say (`n`).
const NANO: i128 = 1_000_000_000;
const MEBI: i128 = 1024 * 1024 * NANO;

/// An amount of CPU for the sidecar, such as `50m`: a Kubernetes quantity from 1m to 16.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu(Box<str>);

/// An amount of memory for the sidecar, such as `12Mi`: a Kubernetes quantity from 6Mi, the least
/// that a container runtime takes, to 16Gi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory(Box<str>);

/// Why a text is not an amount that a sidecar can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidQuantity {
    /// Not a Kubernetes quantity at all, or out of the bounds of CPU.
    #[error("expected a Kubernetes quantity of CPU from 1m to 16, such as 50m")]
    Cpu,
    /// Not a Kubernetes quantity at all, or out of the bounds of memory.
    #[error("expected a Kubernetes quantity of memory from 6Mi to 16Gi, such as 12Mi")]
    Memory,
}

impl Cpu {
    /// The quantity as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Memory {
    /// The quantity as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Cpu {
    /// 50m.
    fn default() -> Self {
        Self("50m".into())
    }
}

impl Default for Memory {
    /// 12Mi.
    fn default() -> Self {
        Self("12Mi".into())
    }
}

impl FromStr for Cpu {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match nanos(text) {
            Some(amount) if (NANO / 1000..=16 * NANO).contains(&amount) => Ok(Self(text.into())),
            _ => Err(InvalidQuantity::Cpu),
        }
    }
}

impl FromStr for Memory {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match nanos(text) {
            Some(amount) if (6 * MEBI..=16 * 1024 * MEBI).contains(&amount) => {
                Ok(Self(text.into()))
            }
            _ => Err(InvalidQuantity::Memory),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Whether a quantity that the API server has accepted already is zero, whatever its unit: `0`,
/// `0m`, `0.0`, `0e3`. Kubernetes treats such a request as none when it tells a pod's quality-of-service class.
pub fn is_zero(quantity: &str) -> bool {
    let mantissa = quantity.trim_start_matches(['+', '-']);
    let digits = mantissa.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.');
    digits.into_iter().all(|byte| matches!(byte, b'0' | b'.'))
}

/// A quantity in billionths of a unit, rounded down; `None` if it is none, is negative or is too
/// big to be of use. The grammar is that of k8s.io/apimachinery's `resource.Quantity`.
fn nanos(text: &str) -> Option<i128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Eighteen digits on either side are more than any amount in use, and cannot overflow below.
    if number.len() == number.matches('.').count()
        || fraction.contains('.')
        || whole.len() > 18
        || fraction.len() > 18
    {
        return None;
    }
    let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let digits_after_point = u32::try_from(fraction.len()).ok()?;

    let (factor, power_of_ten): (i128, i32) = match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (
            1,
            suffix
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|exponent| (-18..=18).contains(exponent))?,
        ),
    };
    let scaled = digits.checked_mul(factor)?;
    let shift = 9 + power_of_ten - i32::try_from(digits_after_point).ok()?;
    let ten = 10_i128.checked_pow(shift.unsigned_abs())?;
    if shift >= 0 { scaled.checked_mul(ten) } else { Some(scaled / ten) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_mean_what_kubernetes_says_they_mean() {
        for (text, expected) in [
            ("1", Some(NANO)),
            ("+1", Some(NANO)),
            ("0.5", Some(NANO / 2)),
            (".5", Some(NANO / 2)),
            ("5.", Some(5 * NANO)),
            ("50m", Some(NANO / 20)),
            ("100u", Some(NANO / 10_000)),
            ("7n", Some(7)),
            ("2k", Some(2000 * NANO)),
            ("12Mi", Some(12 * MEBI)),
            ("1.5Gi", Some(1536 * MEBI)),
            ("1e3", Some(1000 * NANO)),
            ("1E3", Some(1000 * NANO)),
            ("1E", Some(1_000_000_000_000_000_000 * NANO)),
            ("123e-3", Some(123 * NANO / 1000)),
            ("0", Some(0)),
            ("", None),
            (".", None),
            ("-1", None),
            ("1.2.3", None),
            ("1 Mi", None),
            (" 1", None),
            ("1mi", None),
            ("1MB", None),
            ("1K", None),
            ("0x10", None),
            ("1e", None),
            ("1e99", None),
            ("1e1.5", None),
            ("١", None),
            ("9999999999999999999", None),
            ("999999999999999999Ei", None),
        ] {
            assert_eq!(nanos(text), expected, "{text}");
        }
    }

    #[test]
    fn amounts_outside_the_bounds_are_refused() {
        for text in ["1m", "50m", "0.05", "1", "16", "16000m", "5e-2"] {
            assert_eq!(text.parse::<Cpu>().unwrap().as_str(), text);
        }
        for text in ["0", "0.1m", "16001m", "1Ki", "-1", "fast", ""] {
            assert_eq!(text.parse::<Cpu>(), Err(InvalidQuantity::Cpu), "{text}");
        }
        for text in ["6Mi", "12Mi", "12M", "16Gi", "12000000"] {
            assert_eq!(text.parse::<Memory>().unwrap().as_str(), text);
        }
        // `12m` is the slip of the pen that this catches: twelve thousandths of a byte.
        for text in ["0", "12m", "12", "5Mi", "17Gi", "-1Gi", "big", ""] {
            assert_eq!(text.parse::<Memory>(), Err(InvalidQuantity::Memory), "{text}");
        }
    }

    #[test]
    fn zero_is_zero_in_every_notation() {
        for text in ["0", "0m", "0Mi", "0.0", "0e3", "+0", "-0", "00", ".0"] {
            assert!(is_zero(text), "{text}");
        }
        for text in ["1", "0.1", "10m", "0.001Mi", "1e0"] {
            assert!(!is_zero(text), "{text}");
        }
    }
}
