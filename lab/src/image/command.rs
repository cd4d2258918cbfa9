//! Other programs, run to their end.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A command with its arguments and nothing on its standard input.
pub(super) fn command<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `command` with its output shown, on stderr where this process's own progress goes.
///
/// # Errors
///
/// When it can't be started, or ends with anything but 0.
pub(super) fn show(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status =
        command.stdout(std::io::stderr()).status().with_context(|| format!("can't run {line}"))?;
    if !status.success() {
        bail!("{line} failed: {status}");
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to stdout, without the last newline.
///
/// # Errors
///
/// When it can't be started, ends with anything but 0 (what it wrote to stderr is in the message), or
/// writes what isn't UTF-8.
pub(super) fn read(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("can't run {line}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{line} failed: {}: {}", output.status, why.trim());
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("the output of {line}"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Whether `command` can be run and ends with 0.
pub(super) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
