//! What a scalar means to kubectl: the words and numbers of `go.yaml.in/yaml/v2`, which knows YAML 1.1
//! but for sexagesimal numbers, and floats printed as Go's `encoding/json` prints them.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::Problem;
use super::value::Value;

const TAGS: &str = "tag:yaml.org,2002:";

/// As lenient as Go's.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// What the text of a scalar stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    /// From `i64::MIN` to `u64::MAX`.
    Int(i128),
    Float(f64),
    Text,
}

/// The value of a scalar; `plain` says that neither quotes nor a block style mark it as a string.
pub(super) fn value(text: String, plain: bool, tag: Option<&str>) -> Result<Value, Problem> {
    Ok(match meaning(&text, plain, tag)? {
        Meaning::Null => Value::Null,
        Meaning::Bool(value) => Value::Bool(value),
        Meaning::Int(value) => Value::Number(value.to_string()),
        Meaning::Float(value) if value.is_finite() => Value::Number(go_json(value)),
        Meaning::Float(_) => return Err(Problem::NotFinite(text)),
        Meaning::Text => Value::String(decoded(text, tag)?),
    })
}

/// The name of a member, which JSON wants to be a string.
pub(super) fn key(text: String, plain: bool, tag: Option<&str>) -> Result<String, Problem> {
    Ok(match meaning(&text, plain, tag)? {
        Meaning::Bool(value) => value.to_string(),
        Meaning::Int(value) if value <= i64::MAX.into() => value.to_string(),
        Meaning::Float(value) => go_key(value),
        Meaning::Text => decoded(text, tag)?,
        Meaning::Null | Meaning::Int(_) => return Err(Problem::Key(text)),
    })
}

/// What a plain scalar without a tag means; the writer asks it which strings need quotes.
pub(super) fn plain(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Meaning::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Meaning::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Meaning::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'.' => float(text),
        b'0'..=b'9' | b'+' | b'-' => {
            let digits = text.replace('_', "");
            integer(&digits).or_else(|| float(&digits)).or_else(|| signed_binary(&digits))
        }
        _ => None,
    };
    number.unwrap_or(Meaning::Text)
}

fn meaning(text: &str, is_plain: bool, tag: Option<&str>) -> Result<Meaning, Problem> {
    let Some(tag) = tag else {
        return Ok(if is_plain { plain(text) } else { Meaning::Text });
    };
    let wanted = tag.strip_prefix(TAGS).unwrap_or_default();
    match (wanted, plain(text)) {
        ("bool", found @ Meaning::Bool(_))
        | ("int", found @ Meaning::Int(_))
        | ("float", found @ Meaning::Float(_))
        | ("null", found @ Meaning::Null) => Ok(found),
        #[expect(clippy::cast_precision_loss, reason = "what the tag asks for")]
        ("float", Meaning::Int(value)) if value <= i64::MAX.into() => {
            Ok(Meaning::Float(value as f64))
        }
        // Only whether it looks like a date: kubectl keeps the text and refuses impossible dates.
        ("timestamp", Meaning::Text) if looks_like_a_date(text) => Ok(Meaning::Text),
        ("bool" | "int" | "float" | "null" | "timestamp", _) => {
            Err(Problem::Tag(wanted.to_owned()))
        }
        _ => Ok(Meaning::Text),
    }
}

/// Go's `strconv.ParseInt` and `ParseUint` with base 0.
fn integer(text: &str) -> Option<Meaning> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    // `from_str_radix` takes a sign, which here would be a second one.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    let value = if text.starts_with('-') { -size } else { size };
    let most = if unsigned.len() == text.len() { u64::MAX.into() } else { i64::MAX.into() };
    (i128::from(i64::MIN)..=most).contains(&value).then_some(Meaning::Int(value))
}

/// A decimal number with a point or an exponent, or one too large for an integer; what no `f64` can hold
/// is a string.
fn float(text: &str) -> Option<Meaning> {
    let digits_end = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits_end(unsigned);
    let mut rest = &unsigned[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let places = digits_end(fraction);
        if whole + places == 0 {
            return None;
        }
        rest = &fraction[places..];
    } else if whole == 0 {
        return None;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.is_empty() || digits_end(exponent) != exponent.len() {
            return None;
        }
    } else if !rest.is_empty() {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Meaning::Float)
}

/// `0b-101`, which the library takes for a number as well: it reads what follows `0b` with its sign.
fn signed_binary(text: &str) -> Option<Meaning> {
    let digits = text.strip_prefix("0b").filter(|digits| digits.starts_with(['+', '-']))?;
    i64::from_str_radix(digits, 2).ok().map(|value| Meaning::Int(value.into()))
}

fn looks_like_a_date(text: &str) -> bool {
    text.len() >= 8
        && text.as_bytes()[4] == b'-'
        && text.bytes().take(4).all(|digit| digit.is_ascii_digit())
}

/// The text that `!!binary` encodes, any other as it is. What is not UTF-8 is replaced, as Go's JSON does.
fn decoded(text: String, tag: Option<&str>) -> Result<String, Problem> {
    if tag != Some("tag:yaml.org,2002:binary") {
        return Ok(text);
    }
    let bytes = BASE64.decode(text.replace(['\r', '\n'], ""));
    let bytes = bytes.map_err(|_| Problem::Tag("binary".to_owned()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// As Go's `encoding/json` prints a finite `float64`.
fn go_json(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return if text.contains("e-") { text } else { text.replace('e', "e+") };
    }
    value.to_string()
}

/// As sigs.k8s.io/yaml prints a float that is a key: `%g` of the nearest `float32`.
fn go_key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "kubectl's reader rounds as well")]
    let value = value as f32;
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{value:e}");
    match text.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
        Some((digits, Ok(exponent))) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
}
