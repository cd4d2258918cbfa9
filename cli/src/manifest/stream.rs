//! Finds the documents of a stream, as kubectl's `YAMLOrJSONDecoder` does: JSON values one after the other
//! while there are any, then YAML, cut at each line that begins with `---`.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::value::RawValue;

use super::value::Value;
use super::{Duplicate, Problem, ReadError, json, write, yaml};

/// How far kubectl looks for the brace that makes a stream JSON.
const JSON_WITHIN: usize = 4096;

/// The text of a stream, from whatever encoding its byte order mark names; what is not valid is replaced,
/// as kubectl does.
pub(crate) fn decode(bytes: Vec<u8>) -> String {
    match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8_lossy(text).into_owned(),
        [0xff, 0xfe, text @ ..] => utf16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf16(text, u16::from_be_bytes),
        _ => String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn utf16(text: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = text.chunks(2).map(|pair| match *pair {
        [first, second] => unit([first, second]),
        _ => 0xfffd,
    });
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Whether a stream begins with JSON.
pub(crate) fn is_json(text: &str) -> bool {
    let brace = text.len() - text.trim_start().len();
    brace < JSON_WITHIN && text[brace..].starts_with('{')
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Yaml,
}

/// A stretch of the stream that holds one document, not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Part<'t> {
    /// The line on which `source` begins.
    line: usize,
    /// Where in the stream `source` begins.
    start: usize,
    /// What is read, with the separator before it where kubectl reads that too.
    source: &'t str,
    /// The length of that separator.
    separator: usize,
    format: Format,
}

/// A document that was read.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) duplicates: Vec<Duplicate>,
}

impl Part<'_> {
    /// The bytes of the stream whose place another document would take.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start + self.separator..self.start + self.source.len()
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether the text stands in the document; escapes are not looked through.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.source.contains(text)
    }

    pub(crate) fn read(&self) -> Result<Document, ReadError> {
        if self.is_json() {
            let error = |problem| ReadError { line: self.line, problem };
            let value = raw(self.source).and_then(json::read).map_err(error)?;
            return Ok(Document { value, duplicates: Vec::new() });
        }
        // As kubectl hands it on, with a \n at the end of each line.
        let mut source = Cow::Borrowed(self.source);
        if source.contains("\r\n") {
            source = Cow::Owned(source.replace("\r\n", "\n"));
        }
        if !source.ends_with('\n') {
            source.to_mut().push('\n');
        }
        let yaml::Read { value, duplicates } = yaml::read(&source, self.line)?;
        Ok(Document { value, duplicates })
    }

    /// The text for a value in this place: JSON stays JSON.
    pub(crate) fn write(&self, value: &Value) -> String {
        let text = self.source[self.separator..].trim();
        if self.is_json() || text.starts_with('{') && raw(text).is_ok() {
            let end = if self.source.ends_with('\n') { "\n" } else { "" };
            return json::write(value, text.contains('\n')) + end;
        }
        write::write(value)
    }
}

fn raw(text: &str) -> Result<&RawValue, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::Json(error.to_string()))
}

/// The parts of a stream. After an error there are no more.
pub(crate) struct Parts<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    /// How many parts there were.
    number: usize,
    format: Format,
}

impl<'t> Parts<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let format = if is_json(text) { Format::Json } else { Format::Yaml };
        Self { text, at: 0, line: 1, number: 0, format }
    }

    fn json(&mut self) -> Option<Result<Part<'t>, ReadError>> {
        let rest = &self.text[self.at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        match values.next()? {
            Ok(value) => {
                let end = values.byte_offset();
                let start = end - value.get().len();
                self.line += lines(&rest[..start]);
                let part = self.part(self.at + start, value.get(), 0);
                self.line += lines(value.get());
                self.at += end;
                Some(Ok(part))
            }
            // One value may be the start of YAML, two are JSON.
            Err(error) if self.number > 1 => Some(Err(self.not_json(&error))),
            Err(error) => {
                let Some(space) = space(rest) else { return Some(Err(self.not_json(&error))) };
                self.format = Format::Yaml;
                self.line += lines(&rest[..space]);
                self.at += space;
                self.yaml()
            }
        }
    }

    fn not_json(&mut self, error: &serde_json::Error) -> ReadError {
        self.at = self.text.len();
        let line = self.line + error.line().saturating_sub(1);
        ReadError { line, problem: Problem::Json(error.to_string()) }
    }

    fn yaml(&mut self) -> Option<Result<Part<'t>, ReadError>> {
        let rest = &self.text[self.at..];
        let (mut end, mut separator, mut is_empty) = (0, 0, true);
        for line in rest.split_inclusive('\n') {
            let Some(after) = line.strip_prefix("---") else {
                is_empty = false;
                end += line.len();
                continue;
            };
            let after = after.trim();
            if !after.is_empty() && !after.starts_with('#') {
                let line = self.line + lines(&rest[..end]);
                let problem = Problem::Separator;
                self.at = self.text.len();
                return Some(Err(ReadError { line, problem }));
            }
            if !is_empty {
                let part = self.part(self.at, &rest[..end], separator);
                self.line += lines(&rest[..end + line.len()]);
                self.at += end + line.len();
                return Some(Ok(part));
            }
            is_empty = false;
            end += line.len();
            separator = end;
        }
        let part = (!is_empty).then(|| self.part(self.at, rest, separator));
        self.at = self.text.len();
        part.map(Ok)
    }

    fn part(&mut self, start: usize, source: &'t str, separator: usize) -> Part<'t> {
        self.number += 1;
        Part { line: self.line, start, source, separator, format: self.format }
    }
}

impl<'t> Iterator for Parts<'t> {
    type Item = Result<Part<'t>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.format {
            Format::Json => self.json(),
            Format::Yaml => self.yaml(),
        }
    }
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'\n').count()
}

/// The length of the white space at the start, up to and with its first line end. kubectl looks at four
/// bytes a time, and goes on with YAML only while there are as many.
fn space(text: &str) -> Option<usize> {
    let mut length = 0;
    loop {
        let rest = text.get(length..).filter(|rest| rest.len() >= 4)?;
        let first = rest.chars().next().filter(|first| first.is_whitespace());
        let Some(first) = first else { return Some(length) };
        length += first.len_utf8();
        if first == '\n' {
            return Some(length);
        }
    }
}
