use anyhow::Context;
use serde_json::Value;

/// One object of a manifest, and the text it came from.
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    pub(super) value: Value,
}

/// Splits a YAML stream at its `---` lines, as kubectl does: what else stands on such a line is
/// dropped with it.
pub(super) fn split(stream: &str) -> impl Iterator<Item = &str> {
    let is_separator = |line: &str| {
        line.strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    };
    let mut lines = stream.split_inclusive('\n');
    let mut from = 0;
    let mut at = 0;
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        for line in lines.by_ref() {
            let before = at;
            at += line.len();
            if is_separator(line) {
                let part = &stream[from..before];
                from = at;
                return Some(part);
            }
        }
        done = true;
        Some(&stream[from..])
    })
}

/// Ends a document, so that another can follow.
pub(super) fn separate(manifests: &mut String) {
    if !manifests.is_empty() && !manifests.ends_with('\n') {
        manifests.push('\n');
    }
    manifests.push_str("---\n");
}

impl<'a> Document<'a> {
    /// Reads what stands between two separators: a YAML document, or JSON values one after the
    /// other. Comments and directives alone are a null, which nobody changes.
    pub(super) fn read(text: &'a str) -> anyhow::Result<Vec<Self>> {
        if text.trim_start().starts_with('{')
            && let Some(documents) = Self::read_json(text)
        {
            return Ok(documents);
        }
        let says_nothing = |line: &str| {
            line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%')
        };
        if text.lines().all(says_nothing) {
            return Ok(vec![Self { text, value: Value::Null }]);
        }
        // What kubectl reads is YAML 1.1, where `0444` is an octal number and `yes` is true.
        let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
        let value = serde_saphyr::from_str_with_options(text, options).context("not valid YAML")?;
        Ok(vec![Self { text, value }])
    }

    fn read_json(text: &'a str) -> Option<Vec<Self>> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut documents = Vec::new();
        let mut from = 0;
        while let Some(value) = values.next() {
            let value = value.ok()?;
            // The last one takes the white space at the end with it.
            let end = values.byte_offset();
            let end = if text[end..].trim().is_empty() { text.len() } else { end };
            documents.push(Self { text: text[from..end].trim_start(), value });
            from = end;
        }
        Some(documents)
    }
}

/// Writes an object as YAML that readers of YAML 1.1 and 1.2 understand alike.
pub(super) fn write(value: &Value) -> anyhow::Result<String> {
    // Text of several lines as a block; but no long line is folded into several.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).context("can't be written as YAML")
}
