//! What goes to the standard error: text for people, or JSON for machines.
//!
//! ```text
//! tracing ─▶ one line ─▶ Lines (at most 1,024 wait) ─▶ a thread of its own ─▶ standard error
//!                          └▶ full: dropped, and counted
//! ```
//!
//! Never an object, a patch, or an annotation's value; of a panic, where it happened.

mod lines;

use std::io::{IsTerminal as _, stderr};
use std::panic::PanicHookInfo;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::review::Answer;
use lines::Lines;

/// For the last lines at the end of the process. Whoever reads them does so at once or not at all.
const FLUSH: Duration = Duration::from_secs(1);

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Time, level, message, `key=value`.
    Text,
    /// One JSON object per line.
    Json,
}

/// The log of this process.
#[derive(Debug)]
pub struct Log(Lines);

/// Begins logging, panics included. To be called once.
///
/// # Errors
/// If the thread that writes can't be started.
pub fn init(level: LevelFilter, format: Format) -> std::io::Result<Log> {
    // Libraries are told apart: at their lower levels some write down whole requests. kube does so at
    // `warn`, where it can't parse an answer, which may be a Secret; and whoever asks logs what failed.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets([("webhook", level), ("certs", level), ("listen", level)])
        .with_target("kube_client", LevelFilter::OFF);
    let lines = Lines::start(stderr())?;
    let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone()).with_target(false);
    let layer = match format {
        Format::Text => layer.with_ansi(stderr().is_terminal()).boxed(),
        Format::Json => layer.with_ansi(false).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init()
        .map_err(std::io::Error::other)?;
    std::panic::set_hook(Box::new(panicked));
    Ok(Log(lines))
}

impl Log {
    /// Counts the lines that could not be written.
    #[must_use]
    pub fn dropped(&self) -> Counter {
        self.0.dropped()
    }

    /// Waits until all lines are written, but not for a reader that doesn't read.
    pub fn flush(&self) {
        self.0.flush(FLUSH);
    }
}

/// A message that was put together at run time may quote what a request said, so only one that stands
/// in the source is repeated.
fn panicked(panic: &PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().unwrap_or(&"(not shown)");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(message_in_source = message, place, "panic: a bug in the webhook");
}

/// The one line about an admission.
pub fn admission(endpoint: &'static str, answer: &Answer, took: Duration) {
    let Answer { body: _, uid, namespace, name, kind, operation, outcome, warnings } = answer;
    tracing::info!(
        namespace,
        name,
        uid,
        kind,
        operation,
        endpoint,
        outcome = outcome.as_str(),
        reason = outcome.reason(),
        warnings,
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "admission"
    );
}
