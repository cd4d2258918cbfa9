//! Manifests, read as kubectl reads them.
//!
//! ```text
//! text ─▶ stream ─▶ part ─┬─▶ yaml ─▶ scalar ─┬─▶ value ─▶ patch ─▶ write ─▶ text
//!                         └─▶ json ───────────┘
//! ```

mod json;
pub(crate) mod patch;
mod scalar;
mod stream;
#[cfg(test)]
mod tests;
mod value;
mod write;
mod yaml;

pub(crate) use stream::{Parts, decode, is_json};
pub(crate) use value::Value;

/// How deep lists and maps may stand in each other.
const MAX_DEPTH: usize = 256;

/// A key that comes twice in a map; the last one counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Duplicate {
    pub(crate) line: usize,
    /// Where it stands, as in `metadata.labels.app`.
    pub(crate) path: String,
}

/// What can't be read, and on which line of its stream.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct ReadError {
    pub(crate) line: usize,
    pub(crate) problem: Problem,
}

/// None shows a value: it may be a Secret's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error("not valid JSON: {0}")]
    Json(String),
    #[error("only a comment may follow --- on its line")]
    Separator,
    #[error("a text with a question mark needs quotes in brackets")]
    QuestionMark,
    #[error("lists and maps more than {MAX_DEPTH} deep")]
    Depth,
    #[error("an alias of no anchor before it; a text that begins with * needs quotes")]
    NoAnchor,
    #[error("what an anchor names contains an alias of it")]
    AliasInItself,
    #[error("aliases make the document too large")]
    Aliases,
    #[error("<< takes a map, an alias of a map or a list of those")]
    Merge,
    #[error("{0:?} can't be a key, quotes make it one")]
    Key(String),
    #[error("a list or a map can't be a key")]
    KeyKind,
    #[error("{0} is not a number that JSON knows")]
    NotFinite(String),
    #[error("a value is not of the type !!{0} that stands before it")]
    Tag(String),
}
