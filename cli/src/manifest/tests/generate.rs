//! Seeded texts and values for the comparison with kubectl's reader.

use fastrand::Rng;

use crate::manifest::value::{Map, Value};

/// Scalars that one reader or another takes for something else.
const WORDS: &[&str] = &[
    "a",
    "legacy",
    "y",
    "N",
    "no",
    "nO",
    "On",
    "oN",
    "tRUE",
    "True",
    "null",
    "Null",
    "~",
    "0444",
    "0o17",
    "0x1F",
    "0b101",
    "0b+1",
    "08",
    "1__0",
    "1_000.5",
    "7e12345",
    "1e3",
    "1.00065e+09",
    "3e3",
    ".5",
    "-.5",
    "+1",
    "5.",
    "-0",
    "-0.0",
    "1e-7",
    "1e21",
    "2001-12-14",
    "12:30:45",
    "1.2.3",
    "<<",
    "=",
    "18446744073709551615",
    "9223372036854775808",
    "-9223372036854775809",
    "0.1",
    "100m",
    "99999999999999999999",
    "a b",
    "a#b",
    "- x",
    "-x",
    "it's",
    "say \"hi\"",
    "äöü",
    "😀",
    "a\tb",
    "http://x:80/y",
    "a=b",
    "--",
    "...",
    "k8s.io/x",
    "*.example.com",
    "@x",
    "%x",
    "80/tcp",
];

/// Scalars that can't be read plain everywhere, or at all.
const ODD_WORDS: &[&str] = &[
    "a: b",
    "a #b",
    "#c",
    "[x]",
    "{x",
    "x]",
    "*x",
    "&x",
    "!x",
    "`x",
    "|",
    ">",
    "'it''s'",
    "a,b",
    "a, b",
    "x:",
    ":x",
    "?x",
    "---a",
    "",
    "!!binary YWI=",
];

/// Keys that are no strings. Not those that can't be keys: kubectl overlooks them where the map that they
/// stand in is replaced by the value of a second key of the same name.
const KEYS: &[&str] =
    &["yes", "nO", "0444", "0x1F", "1__0", "1e3", "1.00065e+09", ".5", "2001-12-14", "a b"];

const ESCAPES: &[&str] = &[
    "a",
    " ",
    "\\n",
    "\\t",
    "\\\"",
    "\\\\",
    "\\x41",
    "\\u00e9",
    "\\U0001F600",
    "\\ ",
    "\\e",
    "\\0",
    "é",
    "#",
    ": ",
    "\n  ",
    "\\\n  ",
    "'",
    "{",
    "\\L",
    "\\_",
    "\\P",
    "\\N",
    "\\'",
];

/// What an edit puts into a text.
const EDITS: &[&str] = &[
    " ",
    "  ",
    "\n",
    "\n ",
    "\n  ",
    "\n    ",
    "\t",
    ":",
    ": ",
    ":\n",
    "-",
    "- ",
    "#",
    " #",
    ",",
    ", ",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "\\",
    "|",
    "|-",
    "|+",
    ">",
    "|2",
    ">1-",
    "&a ",
    "*a",
    "!!str ",
    "!!int ",
    "!!float ",
    "!foo ",
    "<<: ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "\r\n",
    "\r",
    "a",
    "1",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{7f}",
    "''",
    "~",
    "@",
    "`",
    "%",
    "=",
    "null",
    "yes",
    "0",
    "_",
    "? ",
];

/// A stream of a few documents in all styles of YAML.
pub(super) fn stream(rng: &mut Rng) -> String {
    let mut writer = Writer { rng, out: String::new() };
    writer.stream();
    let Writer { rng, out } = writer;
    if rng.u8(..8) == 0 { out.replace('\n', "\r\n") } else { out }
}

/// A stream with some edits, which often make it invalid.
pub(super) fn edited_stream(rng: &mut Rng) -> String {
    let mut text: Vec<char> = stream(rng).chars().collect();
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(..=text.len());
        let kept = (at + rng.usize(..2)).min(text.len());
        let put = if rng.u8(..3) == 0 { "" } else { choice(rng, EDITS) };
        text.splice(at..kept, put.chars());
    }
    text.into_iter().collect()
}

/// A value with strings, numbers and keys that are hard to write.
pub(super) fn value(rng: &mut Rng, depth: usize) -> Value {
    match rng.u8(..if depth == 0 { 6 } else { 10 }) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => {
            let numbers = ["0", "-0", "1", "-1", "0.5", "1e-7", "1e+21", "18446744073709551615"];
            Value::Number(choice(rng, &numbers).to_owned())
        }
        3..=5 => Value::String(string(rng)),
        6 | 7 => Value::List((0..rng.usize(..4)).map(|_| value(rng, depth - 1)).collect()),
        _ => {
            let members = (0..rng.usize(..4)).map(|_| (string(rng), value(rng, depth - 1)));
            Value::Map(members.collect::<Map>())
        }
    }
}

fn string(rng: &mut Rng) -> String {
    let pieces = [
        "a", "b", " ", "  ", "\n", "\n\n", "\t", "#", ": ", "- ", "'", "\"", "\\", "{", "|", "%",
        "\r", "\0", "\u{7f}", "\u{85}", "\u{a0}", "\u{2028}", "\u{feff}", "\u{ffff}", "é", "😀",
        "---", "...", "!", "&",
    ];
    match rng.u8(..4) {
        0 => choice(rng, WORDS).to_owned(),
        1 => choice(rng, ODD_WORDS).to_owned(),
        2 => "k".repeat(rng.usize(..2000)),
        _ => (0..rng.usize(..8)).map(|_| choice(rng, &pieces)).collect(),
    }
}

fn choice<'t>(rng: &mut Rng, from: &[&'t str]) -> &'t str {
    from[rng.usize(..from.len())]
}

struct Writer<'r> {
    rng: &'r mut Rng,
    out: String,
}

impl Writer<'_> {
    fn one_in(&mut self, count: usize) -> bool {
        self.rng.usize(..count) == 0
    }

    fn put(&mut self, from: &[&str]) {
        self.out.push_str(choice(self.rng, from));
    }

    fn spaces(&mut self, count: usize) {
        self.out.push_str(&" ".repeat(count));
    }

    fn stream(&mut self) {
        for index in 0..self.rng.usize(1..3) {
            if index > 0 || self.one_in(3) {
                self.put(&["---\n", "---\n", "--- # x\n", "---   \n"]);
            }
            if self.one_in(6) {
                self.out.push_str("# head\n");
            }
            let depth = self.rng.usize(1..5);
            self.block(depth, 0, true);
            if !self.one_in(20) {
                self.out.push('\n');
            }
        }
    }

    /// A node in block style; at the start of a line it brings its own indentation.
    fn block(&mut self, depth: usize, indent: usize, at_line_start: bool) {
        if depth == 0 || self.one_in(8) {
            if at_line_start {
                self.spaces(indent);
            } else {
                self.out.push(' ');
            }
            return self.scalar(indent);
        }
        if !at_line_start {
            self.out.push('\n');
        }
        let is_map = self.rng.u8(..5) < 3;
        for index in 0..self.rng.usize(1..4) {
            if index > 0 {
                self.out.push('\n');
            }
            self.spaces(indent);
            if !is_map {
                self.out.push('-');
                self.value(depth - 1, indent, true);
            } else if self.one_in(12) {
                self.out.push_str("<<: ");
                self.put(&["*a", "*b", "[*a, *b]", "{x: 1}"]);
            } else {
                self.key(true);
                self.out.push(':');
                self.value(depth - 1, indent, false);
            }
            self.comment(indent);
        }
    }

    fn comment(&mut self, indent: usize) {
        match self.rng.u8(..12) {
            0 => self.out.push_str(" # c: ["),
            1 => {
                self.out.push('\n');
                self.spaces(indent);
                self.out.push_str("# own - line");
            }
            2 => self.out.push('\n'),
            3 => self.out.push_str("  "),
            _ => {}
        }
    }

    /// What follows a key or a dash.
    fn value(&mut self, depth: usize, indent: usize, in_list: bool) {
        if self.one_in(10) {
            self.out.push(' ');
            return self.put(&["*a", "*b", "&a x", "&b {x: 1}", "&a {y: 2, <<: *b}", ""]);
        }
        if depth > 0 && !self.one_in(3) {
            if self.one_in(4) {
                self.out.push(' ');
                self.properties();
                return self.flow(depth, indent);
            }
            if self.one_in(8) {
                self.out.push(' ');
                self.properties();
            }
            let step = if !in_list && self.one_in(4) { 0 } else { self.rng.usize(1..4) };
            return self.block(depth, indent + step, false);
        }
        self.out.push(' ');
        self.properties();
        self.scalar(indent + 1);
    }

    /// An anchor and a tag.
    fn properties(&mut self) {
        if self.one_in(12) {
            self.put(&["&a ", "&b ", "&long-name_1 "]);
        }
        if self.one_in(15) {
            self.put(&[
                "!!str ",
                "!!int ",
                "!!float ",
                "!!bool ",
                "!!null ",
                "!foo ",
                "! ",
                "!!map ",
                "!!seq ",
                "!<tag:yaml.org,2002:str> ",
            ]);
        }
    }

    fn key(&mut self, in_block: bool) {
        match self.rng.u8(..12) {
            0 | 1 => self.quoted(),
            2 | 3 => self.put(KEYS),
            4 if in_block => self.put(&["? a\n", "<<", "a b"]),
            _ => self.put(&["a", "b", "name", "kind", "x-y", "k8s.io/z", "metadata"]),
        }
    }

    fn quoted(&mut self) {
        let quote = if self.rng.bool() { '"' } else { '\'' };
        self.out.push(quote);
        for _ in 0..self.rng.usize(..4) {
            if quote == '"' {
                self.put(ESCAPES);
            } else {
                self.put(&["a", " ", "''", "\"", "\\n", "é", "#", ": ", "\n  ", "{", "- "]);
            }
        }
        self.out.push(quote);
    }

    fn scalar(&mut self, indent: usize) {
        match self.rng.u8(..10) {
            0 | 1 => self.quoted(),
            2 | 3 => self.block_scalar(indent),
            4 => {
                self.out.push_str("word");
                for _ in 0..self.rng.usize(..3) {
                    self.out.push('\n');
                    let deeper = self.rng.usize(..3);
                    self.spaces(indent + deeper);
                    self.put(&["more", "words # c", "", "a"]);
                }
            }
            5 => self.put(ODD_WORDS),
            _ => self.put(WORDS),
        }
    }

    fn block_scalar(&mut self, indent: usize) {
        self.put(&["|", "|-", "|+", ">", ">-", ">+", "|2", "|1-", ">2+"]);
        self.put(&["", " # c", " "]);
        let indent = indent + self.rng.usize(..3);
        for _ in 0..self.rng.usize(..5) {
            self.out.push('\n');
            if !self.one_in(6) {
                self.spaces(indent);
                self.put(&["line", "a: b", "- x", "x  ", "\"q\"", "  more", "# text", "\ttab"]);
            }
        }
    }

    fn flow(&mut self, depth: usize, indent: usize) {
        let is_list = self.rng.bool();
        self.out.push(if is_list { '[' } else { '{' });
        for index in 0..self.rng.usize(..4) {
            if index > 0 {
                self.out.push(',');
                match self.rng.u8(..6) {
                    0 => {
                        self.out.push('\n');
                        self.spaces(indent + 2);
                    }
                    1 => {}
                    _ => self.out.push(' '),
                }
            }
            if !is_list {
                self.key(false);
                if self.one_in(6) {
                    continue;
                }
                self.put(&[": ", ": ", ": ", ":  "]);
            }
            if depth > 1 && self.one_in(3) {
                self.flow(depth - 1, indent);
            } else if self.one_in(3) {
                self.quoted();
            } else {
                self.properties();
                self.put(WORDS);
            }
        }
        if self.one_in(8) {
            self.out.push(',');
        }
        self.out.push(if is_list { ']' } else { '}' });
    }
}
