//! What the project's own cargo commands (`cargo demo`, `cargo footprint` and so on) have in common.

use std::ffi::OsString;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// This process's arguments, for `clap::Parser::parse_from`.
///
/// The aliases in `.cargo/config.toml` end in `--`, so that flags need none; but those who know cargo
/// write `cargo demo -- --help`, and mean the same.
#[must_use]
pub fn arguments() -> Vec<OsString> {
    without_dashes(std::env::args_os().collect())
}

/// Does `work`, unless the process is asked to end: then what `work` has started ends with it.
///
/// # Errors
///
/// Those of `work`; or a signal has come.
pub async fn interruptible(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        done = work => done,
        how = asked_to_end() => bail!("{}; all that was started has been ended", how?),
    }
}

/// Waits for Ctrl-C, SIGTERM or the end of the terminal.
pub(crate) async fn asked_to_end() -> Result<&'static str> {
    let caught = |kind| signal(kind).context("signals can't be caught here");
    let mut interrupt = caught(SignalKind::interrupt())?;
    let mut terminate = caught(SignalKind::terminate())?;
    let mut hangup = caught(SignalKind::hangup())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        _ = hangup.recv() => "the terminal is gone",
    })
}

fn without_dashes(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_of_dashes_before_all_arguments_is_too_many() {
        for (given, wanted) in [
            (&["demo", "--", "--help"][..], &["demo", "--help"][..]),
            (&["demo", "--help"], &["demo", "--help"]),
            (&["demo", "--help", "--"], &["demo", "--help", "--"]),
            (&["demo"], &["demo"]),
        ] {
            let given = given.iter().map(OsString::from).collect();
            assert_eq!(without_dashes(given), wanted);
        }
    }
}
