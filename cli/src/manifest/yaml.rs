//! One YAML document, as kubectl has it.
//!
//! The parser is a port of libyaml, which kubectl's own parser descends from; what its events mean
//! is decided here, as `go.yaml.in/yaml/v2` and sigs.k8s.io/yaml decide it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Event, EventData, MappingStyle, Mark, Parser, ScalarStyle, SequenceStyle};

use super::value::{Map, Value};
use super::{Duplicate, MAX_DEPTH, Problem, ReadError, scalar};

/// Anchored nodes are kept a second time; more of them than this have no honest use.
const MAX_ANCHORED: u64 = 4_000_000;

/// What was read, and the keys that came twice.
pub(super) struct Read {
    pub(super) value: Value,
    pub(super) duplicates: Vec<Duplicate>,
}

/// Reads the first document of `text`; null if there is none. Lines are counted from `first_line`.
pub(super) fn read(text: &str, first_line: usize) -> Result<Read, ReadError> {
    let mut text = Cow::Borrowed(text);
    loop {
        let mut reader = Reader::new(&text, first_line);
        let read = reader.document();
        let Reader { line, duplicates, escaped_quote, .. } = reader;
        match escaped_quote {
            // To kubectl it is a quote, to the parser an error.
            Some(at) => _ = text.to_mut().remove(at),
            None => {
                return read
                    .map(|value| Read { value, duplicates })
                    .map_err(|problem| ReadError { line, problem });
            }
        }
    }
}

struct Reader<'t> {
    parser: Parser<&'t [u8]>,
    text: &'t str,
    /// The line of the last event, or of what the parser could not read.
    line: usize,
    first_line: usize,
    /// What the anchors so far stand for; nothing while the node is being read.
    anchors: HashMap<String, Option<Anchored>>,
    /// Nodes decoded so far, those that aliases stand for included.
    nodes: u64,
    /// Those of them that came from aliases.
    aliased: u64,
    /// Nodes kept for aliases.
    anchored: u64,
    duplicates: Vec<Duplicate>,
    /// How many brackets and braces are open.
    brackets: usize,
    /// Where the parser met a `\'` in double quotes.
    escaped_quote: Option<usize>,
}

struct Anchored {
    value: Value,
    nodes: u64,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, first_line: usize) -> Self {
        let mut parser = Parser::new();
        parser.set_input(text.as_bytes());
        Self {
            parser,
            text,
            line: first_line,
            first_line,
            anchors: HashMap::new(),
            nodes: 0,
            aliased: 0,
            anchored: 0,
            duplicates: Vec::new(),
            brackets: 0,
            escaped_quote: None,
        }
    }

    fn document(&mut self) -> Result<Value, Problem> {
        loop {
            match self.next()?.data {
                EventData::StreamStart { .. } => {}
                EventData::DocumentStart { .. } => break,
                _ => return Ok(Value::Null),
            }
        }
        let event = self.next()?;
        let value = self.node(event, 0)?;
        // A document that does not end here has more than one root.
        self.next()?;
        Ok(value)
    }

    fn next(&mut self) -> Result<Event, Problem> {
        // The parser panics at a tag that a comma ends, as in `[!a, b]`.
        let parser = &mut self.parser;
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse()))
            .map_err(|_| Problem::Syntax("a tag ends in a comma".to_owned()))?;
        match parsed {
            Ok(event) => {
                self.line = self.line_of(event.start_mark);
                self.check_brackets(&event.data)?;
                Ok(event)
            }
            Err(error) => {
                self.escaped_quote = error.problem_mark().and_then(|mark| self.quote_at(mark));
                self.line = match error.problem_mark() {
                    Some(mark) => self.line_of(mark),
                    None => self.line_of_control_character(),
                };
                let context = error.context().filter(|context| !context.is_empty());
                let context = context.map(|context| format!(" {context}")).unwrap_or_default();
                Err(Problem::Syntax(format!("{}{context}", error.problem())))
            }
        }
    }

    /// In brackets a `?` in a plain scalar ends it for kubectl, which then finds no comma.
    fn check_brackets(&mut self, event: &EventData) -> Result<(), Problem> {
        match event {
            EventData::SequenceStart { style: SequenceStyle::Flow, .. }
            | EventData::MappingStart { style: MappingStyle::Flow, .. } => self.brackets += 1,
            // What stands in brackets has brackets as well.
            EventData::SequenceEnd | EventData::MappingEnd => {
                self.brackets = self.brackets.saturating_sub(1);
            }
            EventData::Scalar { style: ScalarStyle::Plain, value, .. }
                if self.brackets > 0 && value.contains('?') =>
            {
                return Err(Problem::QuestionMark);
            }
            _ => {}
        }
        Ok(())
    }

    fn quote_at(&self, mark: Mark) -> Option<usize> {
        let at = usize::try_from(mark.index).ok()?;
        self.text.get(at..)?.starts_with("\\'").then_some(at)
    }

    fn line_of(&self, mark: Mark) -> usize {
        self.first_line + usize::try_from(mark.line).unwrap_or_default()
    }

    fn line_of_control_character(&self) -> usize {
        let lines = self.text.lines();
        self.first_line
            + lines.take_while(|line| !line.contains(|c: char| c.is_control() && c != '\t')).count()
    }

    fn node(&mut self, event: Event, depth: usize) -> Result<Value, Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::Depth);
        }
        let before = self.nodes;
        self.nodes += 1;
        self.check_aliases()?;
        let (anchor, value) = match event.data {
            EventData::Alias { anchor } => return self.alias(&anchor),
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                self.open(anchor.as_ref());
                (anchor, scalar::value(value, plain_implicit, tag.as_deref())?)
            }
            EventData::SequenceStart { anchor, .. } => {
                self.open(anchor.as_ref());
                (anchor, Value::List(self.list(depth)?))
            }
            EventData::MappingStart { anchor, .. } => {
                self.open(anchor.as_ref());
                (anchor, Value::Map(self.map(depth)?))
            }
            _ => return Err(Problem::Syntax("did not find expected node content".to_owned())),
        };
        if let Some(anchor) = anchor {
            let nodes = self.nodes - before;
            self.keep(anchor, value.clone(), nodes)?;
        }
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, Problem> {
        let mut items = Vec::new();
        loop {
            let event = self.next()?;
            if matches!(event.data, EventData::SequenceEnd) {
                return Ok(items);
            }
            let seen = self.duplicates.len();
            items.push(self.node(event, depth + 1)?);
            self.inside(seen, || format!("[{}]", items.len() - 1));
        }
    }

    fn map(&mut self, depth: usize) -> Result<Map, Problem> {
        let mut members = Map::new();
        let mut merged = HashSet::new();
        loop {
            let event = self.next()?;
            let line = self.line;
            match &event.data {
                EventData::MappingEnd => return Ok(members),
                EventData::Scalar { value, tag, plain_implicit, .. }
                    if value == "<<"
                        && (*plain_implicit
                            || tag.as_deref() == Some("tag:yaml.org,2002:merge")) =>
                {
                    for (key, value) in self.merge(depth)? {
                        merged.insert(key.clone());
                        members.insert(key, value);
                    }
                    continue;
                }
                _ => {}
            }
            let key = self.key(event, depth)?;
            let seen = self.duplicates.len();
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            self.inside(seen, || key.clone());
            if !merged.remove(&key) && members.contains_key(&key) {
                self.duplicates.push(Duplicate { line, path: key.clone() });
            }
            members.insert(key, value);
        }
    }

    fn key(&mut self, event: Event, depth: usize) -> Result<String, Problem> {
        match event.data {
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                self.nodes += 1;
                if let Some(anchor) = anchor {
                    self.open(Some(&anchor));
                    let value = scalar::value(value.clone(), plain_implicit, tag.as_deref())?;
                    self.keep(anchor, value, 1)?;
                }
                scalar::key(value, plain_implicit, tag.as_deref())
            }
            _ => match self.node(event, depth + 1)? {
                Value::String(text) | Value::Number(text) => Ok(text),
                Value::Bool(value) => Ok(value.to_string()),
                Value::Null => Err(Problem::Key("null".to_owned())),
                Value::List(_) | Value::Map(_) => Err(Problem::KeyKind),
            },
        }
    }

    /// The members that `<<` brings, in the order in which they are to be set: each takes the
    /// place of what stands before it, and of lists the first map counts most.
    fn merge(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Problem> {
        let event = self.next()?;
        let is_list = matches!(event.data, EventData::SequenceStart { .. });
        match self.node(event, depth + 1)? {
            Value::Map(members) => Ok(members.into_iter().collect()),
            Value::List(maps) if is_list => {
                let mut members = Vec::new();
                for map in maps.into_iter().rev() {
                    let Value::Map(map) = map else { return Err(Problem::Merge) };
                    members.extend(map);
                }
                Ok(members)
            }
            _ => Err(Problem::Merge),
        }
    }

    fn alias(&mut self, name: &str) -> Result<Value, Problem> {
        let anchored = match self.anchors.get(name) {
            Some(Some(anchored)) => anchored,
            Some(None) => return Err(Problem::AliasInItself),
            None => return Err(Problem::NoAnchor),
        };
        // Counted before it is copied, so that no copy is larger than what is allowed.
        self.nodes += anchored.nodes;
        self.aliased += anchored.nodes;
        let allowed = allowed(self.aliased, self.nodes);
        allowed.then(|| anchored.value.clone()).ok_or(Problem::Aliases)
    }

    fn check_aliases(&self) -> Result<(), Problem> {
        if allowed(self.aliased, self.nodes) { Ok(()) } else { Err(Problem::Aliases) }
    }

    fn open(&mut self, anchor: Option<&String>) {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor.clone(), None);
        }
    }

    fn keep(&mut self, anchor: String, value: Value, nodes: u64) -> Result<(), Problem> {
        self.anchored += nodes;
        if self.anchored > MAX_ANCHORED {
            return Err(Problem::Aliases);
        }
        // Inside of the node another may have taken the name.
        self.anchors.entry(anchor).or_default().get_or_insert(Anchored { value, nodes });
        Ok(())
    }

    /// The duplicates found since there were `seen` of them stand inside this member.
    fn inside(&mut self, seen: usize, member: impl Fn() -> String) {
        for duplicate in &mut self.duplicates[seen..] {
            let dot = if duplicate.path.starts_with('[') { "" } else { "." };
            duplicate.path = format!("{}{dot}{}", member(), duplicate.path);
        }
    }
}

/// How much of a document aliases may make up: what `go.yaml.in/yaml/v2` allows, all but a hundredth
/// of up to 400,000 nodes, and down to a tenth from 4,000,000 on.
#[expect(clippy::cast_precision_loss, reason = "nodes of at most 64 MiB of text")]
fn allowed(aliased: u64, nodes: u64) -> bool {
    let share = match nodes {
        0..=400_000 => 0.99,
        4_000_000.. => 0.10,
        _ => 0.99 - 0.89 * ((nodes - 400_000) as f64 / 3_600_000.0),
    };
    aliased <= 100 || nodes <= 1000 || aliased as f64 / nodes as f64 <= share
}
