//! A JSON value held against a JSON Schema, of which only a few words are known (`KNOWN`).
//! A schema with any other word that demands something is an error, so that nothing passes unchecked.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// What is written for people.
const COMMENTS: [&str; 5] = ["$schema", "$id", "title", "description", "examples"];
const KNOWN: [&str; 7] =
    ["type", "enum", "minimum", "required", "properties", "additionalProperties", "items"];

/// Holds `value` against `schema`; `at` is where it stands, for the error.
///
/// # Errors
/// If it does not meet the schema, or the schema says something that is not known here.
pub fn meets(value: &Value, schema: &Value, at: &str) -> Result<()> {
    let words = schema.as_object().with_context(|| format!("{at}: the schema is no object"))?;
    for word in words.keys().map(String::as_str) {
        ensure!(KNOWN.contains(&word) || COMMENTS.contains(&word), "{at}: {word} is not known");
    }
    if let Some(expected) = schema.get("type") {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        ensure!(expected == found, "{at} is of the type {found}, not {expected}");
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        ensure!(allowed.contains(value), "{at} is {value}, which is none of {allowed:?}");
    }
    if let Some(least) = schema.get("minimum").and_then(Value::as_i64) {
        ensure!(
            value.as_i64().is_none_or(|value| value >= least),
            "{at} is {value}, below {least}"
        );
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().with_context(|| format!("{at}: a name that is no text"))?;
        ensure!(value.get(name).is_some(), "{at}.{name} is missing");
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => meets(field, schema, &format!("{at}.{name}"))?,
            None if schema["additionalProperties"] == false => bail!("{at}.{name} is not known"),
            None => {}
        }
    }
    for (place, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(schema) = schema.get("items") {
            meets(item, schema, &format!("{at}[{place}]"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_meet_the_schema_is_named_with_its_place() {
        let schema = json!({
            "title": "a list",
            "type": "object",
            "required": ["list"],
            "additionalProperties": false,
            "properties": {"list": {"type": "array", "items": {"type": "object", "required": ["n"],
                "properties": {"n": {"type": "integer", "minimum": 0}, "s": {"enum": ["a", "b"]}}}}},
        });
        let of = |value: &Value| meets(value, &schema, "it").map_err(|error| error.to_string());
        assert_eq!(of(&json!({"list": [{"n": 1, "s": "a", "more": null}]})), Ok(()));
        for (value, expected) in [
            (json!([]), "it is of the type array, not \"object\""),
            (json!({}), "it.list is missing"),
            (json!({"list": [], "x": 1}), "it.x is not known"),
            (json!({"list": [{"n": 1}, {"n": -1}]}), "it.list[1].n is -1, below 0"),
            (json!({"list": [{"n": 1.5}]}), "it.list[0].n is of the type number"),
            (json!({"list": [{"n": 1, "s": "c"}]}), "it.list[0].s is \"c\""),
        ] {
            let error = of(&value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(meets(&json!(1), &json!({"maximum": 1}), "it").is_err());
    }
}
