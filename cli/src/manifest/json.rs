//! JSON text and values, digit for digit.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::value::{Map, Value};
use super::{MAX_DEPTH, Problem};

/// Reads a value; of a member that comes twice the last one counts.
pub(super) fn read(json: &RawValue) -> Result<Value, Problem> {
    value(json, 0)
}

fn value(json: &RawValue, depth: usize) -> Result<Value, Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::Depth);
    }
    let text = json.get();
    Ok(match text.as_bytes()[0] {
        b'n' => Value::Null,
        b't' => Value::Bool(true),
        b'f' => Value::Bool(false),
        b'"' => Value::String(parse::<Text>(text)?.0),
        b'[' => {
            let items = parse::<Vec<&RawValue>>(text)?;
            let items = items.into_iter().map(|item| value(item, depth + 1));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        b'{' => {
            let mut members = Map::new();
            for (Text(name), member) in parse::<Members<'_>>(text)?.0 {
                members.insert(name, value(member, depth + 1)?);
            }
            Value::Map(members)
        }
        _ => Value::Number(text.to_owned()),
    })
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::Json(error.to_string()))
}

/// The members of an object, with those that come twice.
struct Members<'t>(Vec<(Text, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A string in which half of a surrogate pair is replaced, as in Go, and not refused.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                let mut text = String::with_capacity(bytes.len());
                for chunk in bytes.utf8_chunks() {
                    text.push_str(chunk.valid());
                    // serde_json leaves a half as the three bytes that UTF-8 would give it, and
                    // 0xed is the first of them.
                    if chunk.invalid().first() == Some(&0xed) {
                        text.push(char::REPLACEMENT_CHARACTER);
                    }
                }
                Ok(Text(text))
            }
        }

        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// Writes a value as JSON, indented if `pretty`; readable as YAML too.
pub(super) fn write(value: &Value, pretty: bool) -> String {
    let mut out = String::new();
    put(&mut out, value, pretty.then_some(0));
    out
}

fn put(out: &mut String, value: &Value, indent: Option<usize>) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(digits) => out.push_str(digits),
        Value::String(text) => put_string(out, text),
        Value::List(items) => {
            put_all(out, ['[', ']'], indent, items, put);
        }
        Value::Map(members) => {
            put_all(out, ['{', '}'], indent, members, |out, (name, member), indent| {
                put_string(out, name);
                out.push_str(if indent.is_some() { ": " } else { ":" });
                put(out, member, indent);
            });
        }
    }
}

fn put_all<T>(
    out: &mut String,
    [open, close]: [char; 2],
    indent: Option<usize>,
    items: impl IntoIterator<Item = T>,
    put_item: impl Fn(&mut String, T, Option<usize>),
) {
    let new_line = |out: &mut String, indent: Option<usize>| {
        if let Some(indent) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    let inner = indent.map(|indent| indent + 4);
    let mut is_empty = true;
    out.push(open);
    for item in items {
        if !is_empty {
            out.push(',');
        }
        is_empty = false;
        new_line(out, inner);
        put_item(out, item, inner);
    }
    if !is_empty {
        new_line(out, indent);
    }
    out.push(close);
}

/// A string in double quotes, as both JSON and YAML 1.1 read it.
pub(super) fn put_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Control characters, line breaks of YAML 1.1, the byte order mark, no characters.
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                // Writing to a string never fails.
                _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}
