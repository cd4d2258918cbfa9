//! YAML that kubectl reads back as the same values, and readers of YAML 1.2 as well.

use super::json::put_string;
use super::scalar::{Meaning, plain};
use super::value::{Map, Value};

/// Longer keys than this are announced with `?`: a parser looks only 1,024 characters ahead for
/// the colon.
const MAX_KEY: usize = 500;

/// Writes a value in block style, two spaces a level, lists not indented, as kubectl writes.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Map(members) if !members.is_empty() => put_members(&mut out, members, 0, false),
        Value::List(items) if !items.is_empty() => put_items(&mut out, items, 0, false),
        _ => {
            put_scalar(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

/// Writes the members of a map, the first on the present line if it is `begun`.
fn put_members(out: &mut String, members: &Map, indent: usize, mut begun: bool) {
    for (name, value) in members {
        if !begun {
            put_spaces(out, indent);
        }
        begun = false;
        if name.len() > MAX_KEY {
            out.push_str("? ");
            put_text(out, name);
            out.push('\n');
            put_spaces(out, indent);
        } else {
            put_text(out, name);
        }
        out.push(':');
        match value {
            Value::Map(members) if !members.is_empty() => {
                out.push('\n');
                put_members(out, members, indent + 2, false);
            }
            Value::List(items) if !items.is_empty() => {
                out.push('\n');
                put_items(out, items, indent, false);
            }
            _ => {
                out.push(' ');
                put_scalar(out, value, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn put_items(out: &mut String, items: &[Value], indent: usize, mut begun: bool) {
    for item in items {
        if !begun {
            put_spaces(out, indent);
        }
        begun = false;
        out.push_str("- ");
        match item {
            Value::Map(members) if !members.is_empty() => {
                put_members(out, members, indent + 2, true);
            }
            Value::List(items) if !items.is_empty() => put_items(out, items, indent + 2, true),
            _ => {
                put_scalar(out, item, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// Writes what fits on the line; a text of several lines goes on at `indent`.
fn put_scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        // Read as an integer, it would lose its sign.
        Value::Number(digits) if digits == "-0" => out.push_str("-0.0"),
        Value::Number(digits) => out.push_str(digits),
        Value::String(text) if fits_a_block(text) && indent > 0 => put_block(out, text, indent),
        Value::String(text) => put_text(out, text),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

fn put_spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// A text on one line: as it is where no reader could take it for something else, else in quotes.
fn put_text(out: &mut String, text: &str) {
    if is_plain(text) { out.push_str(text) } else { put_string(out, text) }
}

fn is_plain(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return false };
    let fits = if first.is_ascii_digit() {
        // Amounts such as 100m and 128Mi, but nothing with e, x, o, b, a point or a colon in it, of
        // which one reader or another makes a number.
        characters.all(|c| c.is_ascii_digit() || "mkKMGTPEis".contains(c))
            && !text.ends_with(|last: char| last.is_ascii_digit())
            && !text.contains('E')
    } else {
        (first.is_ascii_alphabetic() || first == '/')
            && !text.ends_with([' ', ':'])
            && !text.contains(": ")
            && !text.contains(" #")
            && characters.all(|c| is_word(c) || " :,@=+%#()".contains(c))
    };
    // `Yes` and its like in whatever case: other readers have longer lists than kubectl.
    fits && plain(text) == Meaning::Text && plain(&text.to_lowercase()) == Meaning::Text
}

/// Whether a text can be written line by line after a `|`.
fn fits_a_block(text: &str) -> bool {
    let is_printable = |c: char| {
        matches!(c, '\n' | '\t' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{fefe}'
            | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
    };
    text.trim_end_matches('\n').contains('\n')
        // The first line tells how far the block is indented.
        && !text.starts_with(['\n', ' ', '\t'])
        && text.lines().all(|line| line.is_empty() || !line.trim().is_empty())
        && text.chars().all(is_printable)
}

fn put_block(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    let ends = text.len() - body.len();
    out.push_str(match ends {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            put_spaces(out, indent);
            out.push_str(line);
        }
    }
    // The caller ends the last line.
    out.extend(std::iter::repeat_n('\n', ends.saturating_sub(1)));
}
