use indexmap::IndexMap;

/// A JSON value that keeps the digits of its numbers and the order of its members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// The number as JSON text. `serde_json` would keep the digits as well, but with a feature that
    /// slows every crate of the build.
    Number(String),
    String(String),
    List(Vec<Value>),
    Map(Map),
}

/// The members of an object. What comes again takes the first one's place.
pub(crate) type Map = IndexMap<String, Value>;

impl Value {
    /// A member of an object.
    pub(crate) fn get(&self, member: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.get(member),
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, member: &str) -> Option<&mut Self> {
        match self {
            Self::Map(members) => members.get_mut(member),
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value in the type that typed structs are read from. A whole number is an integer there,
    /// however it is written, as it is in kubectl.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(digits) => number(digits),
            Self::String(text) => text.as_str().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(members) => {
                members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
            }
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::Number(number.to_string()),
            serde_json::Value::String(text) => Self::String(text.clone()),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            serde_json::Value::Object(members) => Self::Map(
                members.iter().map(|(name, value)| (name.clone(), Self::from(value))).collect(),
            ),
        }
    }
}

/// 2^63: from here on a float has no place in an `i64`.
const I64_END: f64 = 9_223_372_036_854_775_808.0;

fn number(digits: &str) -> serde_json::Value {
    if let Ok(whole) = digits.parse::<i64>() {
        return whole.into();
    }
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.into();
    }
    match digits.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
        Ok(float) if float.fract() == 0.0 && float.abs() < I64_END => (float as i64).into(),
        Ok(float) => float.into(),
        Err(_) => serde_json::Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_are_integers_however_they_are_written() {
        for (digits, expected) in [
            ("3000", json!(3000)),
            ("3e3", json!(3000)),
            ("1.0", json!(1)),
            ("-0", json!(0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("0.5", json!(0.5)),
            ("1e300", json!(1e300)),
        ] {
            assert_eq!(Value::Number(digits.to_owned()).to_json(), expected, "{digits}");
        }
    }
}
