use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Billionths of a unit: the finest that a Kubernetes quantity can say (`n`).
const NANO: i128 = 1_000_000_000;
const MEBI: i128 = 1024 * 1024 * NANO;

/// A Kubernetes quantity as it was written, such as `50m` or `12Mi`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantity(String);

impl Quantity {
    /// An amount of CPU that the sidecar can have.
    ///
    /// # Errors
    /// If it isn't a quantity from 1m to 16.
    pub fn cpu(text: &str) -> Result<Self, &'static str> {
        Self::within(text, NANO / 1000, 16 * NANO).ok_or("CPU from 1m to 16, such as 50m")
    }

    /// An amount of memory that the sidecar can have.
    ///
    /// # Errors
    /// If it isn't a quantity from 6Mi, the least that a container runtime takes, to 16Gi.
    pub fn memory(text: &str) -> Result<Self, &'static str> {
        let amount = Self::within(text, 6 * MEBI, 16 * 1024 * MEBI);
        amount.ok_or("memory from 6Mi to 16Gi, such as 12Mi")
    }

    fn within(text: &str, least: i128, most: i128) -> Option<Self> {
        let allowed = nanos(text).is_some_and(|amount| (least..=most).contains(&amount));
        allowed.then(|| Self(text.to_owned()))
    }

    /// What any quantity of Kubernetes amounts to, in billionths of a unit, rounded down; `None` if it isn't
    /// a quantity, is negative or is too big to be of use.
    #[must_use]
    pub fn billionths(text: &str) -> Option<i128> {
        nanos(text)
    }

    pub(crate) fn zero() -> Self {
        Self::unchecked("0")
    }

    /// A quantity out of this code.
    pub(crate) fn unchecked(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The quantity as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What isn't a quantity is less than nothing.
    pub(crate) fn is_less_than(&self, other: &Self) -> bool {
        nanos(&self.0).zip(nanos(&other.0)).is_some_and(|(own, other)| own < other)
    }

    /// Kubernetes treats a zero as nothing when it tells a pod's quality-of-service class.
    pub(crate) fn is_zero(&self) -> bool {
        nanos(&self.0) == Some(0)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// The API server sends strings; a manifest may have numbers.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringOrNumber;

        impl Visitor<'_> for StringOrNumber {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }

        deserializer.deserialize_any(StringOrNumber)
    }
}

/// A quantity in billionths of a unit, rounded down; `None` if it isn't a quantity, is negative or is
/// too big to be of use. The grammar is that of k8s.io/apimachinery's `resource.Quantity`.
fn nanos(text: &str) -> Option<i128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Eighteen digits on either side are more than any amount in use, and fit into an i128.
    if number.len() == number.matches('.').count()
        || fraction.contains('.')
        || whole.len() > 18
        || fraction.len() > 18
    {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes());
    let digits = digits.fold(0, |number, digit| 10 * number + i128::from(digit - b'0'));

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
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    if power_of_ten.unsigned_abs() > 18 {
        return None;
    }
    let scaled = digits.checked_mul(factor)?;
    let shift = 9 + power_of_ten - i32::try_from(fraction.len()).ok()?;
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
            ("1e-2147483648", None),
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
            assert_eq!(Quantity::cpu(text).unwrap().as_str(), text);
        }
        for text in ["0", "0.1m", "16001m", "1Ki", "-1", "fast", ""] {
            assert!(Quantity::cpu(text).unwrap_err().contains("from 1m to 16"), "{text}");
        }
        for text in ["6Mi", "12Mi", "12M", "16Gi", "12000000"] {
            assert_eq!(Quantity::memory(text).unwrap().as_str(), text);
        }
        // `12m` is the typing error that this catches: twelve thousandths of a byte.
        for text in ["0", "12m", "12", "5Mi", "17Gi", "-1Gi", "big", ""] {
            assert!(Quantity::memory(text).unwrap_err().contains("from 6Mi to 16Gi"), "{text}");
        }
    }

    #[test]
    fn a_zero_is_known_in_every_notation_and_a_number_is_a_quantity() {
        for (json, zero) in [
            ("\"0\"", true),
            ("\"0m\"", true),
            ("\"0Mi\"", true),
            ("\"0.0\"", true),
            ("\"0e3\"", true),
            ("\"+0\"", true),
            ("\"00\"", true),
            ("\".0\"", true),
            ("0", true),
            ("0.0", true),
            ("\"0.1\"", false),
            ("\"10m\"", false),
            ("\"0.001Mi\"", false),
            ("2", false),
            ("0.5", false),
            ("-1", false),
        ] {
            assert_eq!(serde_json::from_str::<Quantity>(json).unwrap().is_zero(), zero, "{json}");
        }
        assert!(serde_json::from_str::<Quantity>("[]").is_err());
    }
}
