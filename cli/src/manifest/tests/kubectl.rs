//! kubectl's own reader: the Go program in `tests/kubectl-reader`, or what it once answered.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, thread};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use crate::manifest::json;
use crate::manifest::value::Value;

/// What kubectl made of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) documents: Vec<Value>,
    pub(super) refused: Option<String>,
}

impl Answer {
    pub(super) fn parse(line: &str) -> Self {
        let raw: &RawValue = serde_json::from_str(line).unwrap();
        let answer = json::read(raw).unwrap();
        let Some(Value::List(documents)) = answer.get("documents").cloned() else {
            panic!("{line}")
        };
        let refused = answer.get("refused").and_then(Value::as_str).map(str::to_owned);
        Self { documents: documents.iter().map(sorted).collect(), refused }
    }
}

/// The value with its members in the order of their names, as kubectl's JSON has them.
pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Map(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Map(members.into_iter().collect())
        }
        Value::List(items) => Value::List(items.iter().map(sorted).collect()),
        _ => value.clone(),
    }
}

/// kubectl's reader, or nothing where Go or the modules are missing; with `CI` set that is a failure.
pub(super) struct Kubectl {
    _folder: tempfile::TempDir,
    program: std::path::PathBuf,
}

impl Kubectl {
    pub(super) fn build() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("kubectl-reader");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl-reader");
        let built = Command::new("go")
            .args(["build", "-o"])
            .args([program.as_path(), Path::new(".")])
            .current_dir(sources)
            .status();
        let is_built = built.is_ok_and(|status| status.success());
        assert!(is_built || std::env::var_os("CI").is_none(), "kubectl's reader can't be built");
        if !is_built {
            println!("skipped: Go or the modules of kubectl's reader are not to be had here");
        }
        is_built.then_some(Self { _folder: folder, program })
    }

    /// The lines that kubectl answers to each of the streams.
    pub(super) fn read<T: AsRef<[u8]>>(&self, streams: &[T]) -> Vec<String> {
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input: String =
            streams.iter().map(|stream| BASE64_STANDARD.encode(stream) + "\n").collect();
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let answers: Vec<String> = lines.collect();
        writer.join().unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(answers.len(), streams.len());
        answers
    }
}

/// The streams of the corpus, each with what kubectl answered.
pub(super) fn recorded() -> Vec<(String, String)> {
    let text = fs::read_to_string(RECORDED).unwrap();
    serde_json::Deserializer::from_str(&text)
        .into_iter::<(String, Box<RawValue>)>()
        .map(|entry| {
            let (stream, answer) = entry.unwrap();
            (stream, answer.get().to_owned())
        })
        .collect()
}

/// One pair a line: the stream as a JSON string and the answer.
pub(super) const RECORDED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kubectl-reader/recorded.jsonl");
