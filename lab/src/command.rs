//! Other programs, run to their end.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;

/// A command with its arguments and nothing on its standard input.
pub fn command<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `command` with its output shown, on stderr where this process's own progress goes.
pub fn show(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status =
        command.stdout(std::io::stderr()).status().with_context(|| format!("can't run {line}"))?;
    if !status.success() {
        bail!("{line} failed: {status}");
    }
    Ok(())
}

/// Runs `command` and gives what it wrote to stdout, without the last newline. What it wrote to stderr
/// is in the message if it fails.
pub fn read(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("can't run {line}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{line} failed: {}: {}", output.status, why.trim());
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("the output of {line}"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs `command` with `input` on its standard input and gives all that comes of it, a failure too. After
/// `limit` it is killed.
pub async fn feed(command: Command, input: &str, limit: Duration) -> Result<Output> {
    let line = line(&command);
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("can't run {line}"))?;
    let mut stdin = child.stdin.take().context("a child without standard input")?;
    let done = async {
        // A program that has read enough closes it first.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(limit, done).await;
    Ok(output.with_context(|| format!("{line} has not ended within {limit:?}"))??)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
