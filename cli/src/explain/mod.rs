//! `explain`: who gets a sidecar and why, as a story in the order in which it happens.
//!
//! ```text
//! target ─▶ read (cluster, secret, shipped) ─┐
//!           files (manifests) ───────────────┴▶ facts ─▶ tell ─▶ story ─▶ text, JSON
//! ```

mod facts;
mod files;
mod read;
mod secret;
mod shipped;
mod story;
mod target;
mod tell;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use k8s_openapi::jiff::Timestamp;

use self::files::Beside;
use self::story::Story;
use self::target::Target;
use crate::cluster::{Cluster, Connection};

/// What to explain.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = JSON)]
pub struct ExplainArgs {
    /// A pod, a workload or a namespace of the cluster, as kubectl names it: pod/NAME, deploy/NAME,
    /// sts/NAME, ds/NAME, rs/NAME, job/NAME, cj/NAME, ns/NAME. `TYPE NAME` will do as well
    #[arg(
        value_name = "TYPE/NAME",
        num_args = 1..=2,
        required_unless_present = "files",
        conflicts_with = "files"
    )]
    pub object: Vec<String>,

    /// Explain manifests instead, without a cluster: a file or a folder, YAML or JSON; `-` is the
    /// standard input. May be repeated
    #[arg(short = 'f', long = "filename", visible_alias = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Read the folders in folders too
    #[arg(short = 'R', long, requires = "files")]
    pub recursive: bool,

    /// The value of the label `secret-handshake` of the namespace that the manifests are for. A
    /// Namespace among the manifests that has the label counts more
    #[arg(long, value_name = "VALUE", requires = "files")]
    pub namespace_label: Option<String>,

    /// How it is told
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub output: Output,

    /// Which cluster
    #[command(flatten)]
    pub connection: Connection,
}

/// For people or for machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One screen of plain text
    #[default]
    Text,
    /// The fields below; with -f a list of such objects
    Json,
}

/// The fields of `-o json`: told in the help alone, so that the help is right.
const JSON: &str = "\
The fields of -o json. New ones may come, none changes its name or its meaning:
  kind, namespace, name  what is explained
  verdict     what a pod like this, or of this, gets when it is created now: sidecar, none, refused
              or unknown
  label       the label that decides: of (pod, pod template, Job template, workload, namespace) and
              value; null if there is none
  entry       the entry of the MutatingWebhookConfiguration that is called for such a pod, or null
  notCalled   if none is called, why, in a word: not-asked, opted-out, excluded-namespace, done,
              mirror-pod
  outcome, reason  what the webhook decides, as in its log and its metrics
  warnings    what whoever creates it is warned about
  sidecar     of a running pod: mode, image, ready, restarts; null if it has none
  missing     whether a pod has no sidecar and would get one if it were made anew
  ready       whether the pod is Ready
  secret      name and key, and there: whether the key is there, null if it can't be looked for
  log         the last lines of the sidecar's log
  todo        what to do: why and command
  story       the text: title and lines";

/// Explains what `args` name.
///
/// # Errors
/// If it can't be read.
pub async fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let (stories, others) = if args.files.is_empty() {
        let target = Target::parse(&args.object)?;
        let cluster = Cluster::connect(&args.connection).await?;
        let facts = read::facts(&cluster, &target, Timestamp::now()).await?;
        (vec![tell::story(&facts)], 0)
    } else {
        let beside = Beside {
            namespace: args.connection.namespace.as_deref(),
            namespace_label: args.namespace_label.as_deref(),
        };
        let (facts, others) = files::read(&args.files, args.recursive, &beside)?;
        ensure!(!facts.is_empty() || others > 0, "there is no manifest in the input");
        (facts.iter().map(tell::story).collect(), others)
    };
    let told = match (args.output, stories.as_slice()) {
        (Output::Text, _) => text(&stories, others),
        (Output::Json, [story]) if args.files.is_empty() => {
            serde_json::to_string_pretty(story)? + "\n"
        }
        (Output::Json, stories) => serde_json::to_string_pretty(stories)? + "\n",
    };
    match io::stdout().lock().write_all(told.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("can't write the explanation")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One story after the other, and how many objects have none.
fn text(stories: &[Story], others: usize) -> String {
    let mut texts: Vec<String> = stories.iter().map(ToString::to_string).collect();
    if others > 0 {
        let objects = if others == 1 { "object is" } else { "objects are" };
        texts.push(format!(
            "{others} other {objects} neither a pod, nor a namespace, nor a workload of a kind that is known here.\n"
        ));
    }
    texts.join("\n")
}
