//! What goes to the standard error: text for people, or JSON for machines.
//!
//! Never an object, a patch, or an annotation's value; of a panic, where it happened.

use std::io::{IsTerminal as _, stderr};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::review::Record;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Time, level, message, `key=value`.
    Text,
    /// One JSON object per line.
    Json,
}

/// From which severity on lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// What does not work.
    Error,
    /// What may soon not work.
    Warn,
    /// One line for each admission, and each change of state.
    Info,
    /// Each connection that broke off, and why.
    Debug,
}

/// Begins logging, panics included. The first call in a process counts.
pub fn init(level: Level, format: Format) {
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Libraries are told apart: at their lower levels some write down whole requests.
    let targets = Targets::new()
        .with_default(ours.min(LevelFilter::WARN))
        .with_targets([("webhook", ours), ("certs", ours)]);
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr).with_target(false);
    let lines = match format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        Format::Json => lines.with_ansi(false).json().flatten_event(true).boxed(),
    };
    // Fails if logging was begun before, and then that goes on.
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
    std::panic::set_hook(Box::new(panicked));
}

/// A message that was put together at run time may quote what a request said, so only one that stands
/// in the source is repeated.
fn panicked(panic: &PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().unwrap_or(&"(not shown)");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(message_in_source = message, place, "panic: a bug in the webhook");
}

/// The one line about an admission.
pub fn admission(endpoint: &'static str, record: &Record, took: Duration) {
    let Record { uid, namespace, name, kind, operation, outcome, reason, warnings } = record;
    tracing::info!(
        namespace,
        name,
        uid,
        kind,
        operation,
        endpoint,
        outcome = outcome.as_str(),
        reason,
        warnings,
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "admission"
    );
}
