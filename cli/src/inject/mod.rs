//! The same injection offline: manifests in, manifests with the sidecar out.
//!
//! ```text
//! input ─▶ manifest ─▶ list ─▶ object ─▶ previous ─▶ decision ─▶ patch ─▶ manifest ─▶ text
//!   └─▶ namespace ──────────────┴─▶ label     └─▶ report
//! ```

pub(crate) mod input;
pub(crate) mod label;
pub(crate) mod list;
mod namespace;
pub(crate) mod object;
pub(crate) mod previous;
mod report;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, ensure};
use injection::{Policy, says_yes};

use self::input::Input;
use self::object::Offline;
pub use self::report::{Line, Treatment};
use crate::manifest::{Parts, is_json};

/// Where `deploy/` puts the webhook.
const WEBHOOKS_NAMESPACE: &str = "secret-handshake";

/// `inject`: reads manifests and writes them with the sidecar in them.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct InjectArgs {
    /// A file or a folder with manifests, YAML or JSON; `-` is the standard input. May be repeated.
    /// Of a folder the files that end in .json, .yaml and .yml are read. Documents that are changed
    /// lose their comments, all others come out as they are
    #[arg(
        short = 'f',
        long = "filename",
        visible_alias = "file",
        value_name = "FILE",
        required = true
    )]
    pub files: Vec<PathBuf>,

    /// Read the folders in folders too
    #[arg(short = 'R', long)]
    pub recursive: bool,

    /// The value of the label `secret-handshake` of the namespace that the manifests are for. Left
    /// out, the namespace has no such label. A Namespace among the manifests that has the label counts
    /// more
    #[arg(long, value_name = "VALUE")]
    pub namespace_label: Option<String>,

    /// The namespace of objects that name none
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// Manifests that went through the injection.
#[derive(Clone, Debug, Default)]
pub struct Injected {
    /// All documents, those that needed no change word for word.
    pub manifests: String,
    /// A line about each object, in their order.
    pub report: Vec<Line>,
    /// A line about each key that comes twice.
    pub duplicates: Vec<String>,
}

/// Injects what `args` names; the manifests go to the standard output, a line about each object
/// to the standard error.
///
/// # Errors
///
/// If the input can't be read, or an object asks for what it cannot have: then nothing is written
/// to the standard output, so that nothing half-done is applied.
pub fn run(args: &InjectArgs, policy: Policy) -> anyhow::Result<()> {
    let inputs = input::read(&args.files, args.recursive)?;
    let Injected { manifests, report, duplicates } = inject_all(&inputs, args, policy)?;

    let lines = duplicates.into_iter().chain(report.iter().map(ToString::to_string));
    let lines: String = lines.map(|line| line + "\n").collect();
    // Where nobody can be told, the manifests are wanted all the same.
    _ = io::stderr().lock().write_all(lines.as_bytes());
    let refused = report.iter().filter(|line| line.treatment == Treatment::Refused).count();
    ensure!(refused == 0, "{refused} of {} objects refused: nothing is written", report.len());
    match io::stdout().lock().write_all(manifests.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("can't write the manifests"),
    }
}

/// Injects the manifests in `text`, with what `args` say about the cluster.
///
/// # Errors
///
/// If a document is neither YAML nor JSON.
pub fn inject(text: &str, args: &InjectArgs, policy: Policy) -> anyhow::Result<Injected> {
    let input = Input { name: "the manifests".to_owned(), text: text.to_owned() };
    inject_all(&[input], args, policy)
}

fn inject_all(inputs: &[Input], args: &InjectArgs, policy: Policy) -> anyhow::Result<Injected> {
    let own_namespace = policy.own_namespace.or_else(|| Some(WEBHOOKS_NAMESPACE.to_owned()));
    let mut offline = Offline {
        policy: Policy { own_namespace, ..policy },
        namespace: args.namespace.clone(),
        inherited: args.namespace_label.as_deref().map(says_yes),
        namespaces: namespace::find(inputs),
        report: Vec::new(),
    };
    let mut injected = Injected::default();
    let manifests = &mut injected.manifests;
    manifests.reserve(inputs.iter().map(|input| input.text.len() * 2).sum());
    // A stream can begin as JSON and go on as YAML only after a single value, so that JSON among YAML has to be
    // written as YAML that looks like JSON, between separators.
    let is_mixed = inputs.len() > 1 && !inputs.iter().all(|input| is_json(&input.text));
    for Input { name, text } in inputs {
        if !manifests.is_empty() {
            separate(manifests, is_mixed || !is_json(text));
        }
        let mut copied = 0;
        for (index, part) in Parts::of(text).enumerate() {
            let place = format!("{name}: document {}", index + 1);
            let part = part.map_err(|error| anyhow!("{place}: {error}"))?;
            let mut document = part.read().map_err(|error| anyhow!("{place}: {error}"))?;
            injected.duplicates.extend(document.duplicates.iter().map(|duplicate| {
                let (line, path) = (duplicate.line, &duplicate.path);
                format!("{name}: line {line}: {path} comes twice; the last one counts")
            }));
            let changed = offline.treat(&mut document.value, &place);
            let range = part.range();
            if is_mixed && is_json(text) && part.is_json() {
                if copied > 0 {
                    separate(manifests, true);
                }
                manifests.push_str(&part.write(&document.value));
                copied = range.end;
            } else if changed {
                manifests.push_str(&text[copied..range.start]);
                manifests.push_str(&part.write(&document.value));
                copied = range.end;
            }
        }
        manifests.push_str(&text[copied..]);
    }
    injected.report = offline.report;
    Ok(injected)
}

/// Ends a document, so that another can follow.
fn separate(manifests: &mut String, with_dashes: bool) {
    if !manifests.ends_with('\n') {
        manifests.push('\n');
    }
    if with_dashes {
        manifests.push_str("---\n");
    }
}
