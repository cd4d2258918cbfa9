//! Completion of the command line by a shell, and the manual's pages.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::{Args, Completer};

/// The binary's name: kubectl's for a plugin with a dash in its name.
const PROGRAM: &str = "kubectl-secret_handshake";

/// What kubectl runs to complete `kubectl secret-handshake`.
const FOR_KUBECTL: &str = "#!/bin/sh\nexec kubectl-secret_handshake __complete \"$@\"\n";

/// Cobra's numbers for what the shell does with the answer, by which kubectl works.
const FILES_TOO: u32 = 0;
const NO_FILES: u32 = 4;

/// Writes the script for `completer` to the standard output.
///
/// # Errors
/// If it can't be written.
pub fn script(completer: Completer) -> anyhow::Result<()> {
    let shell = match completer {
        Completer::Kubectl => return print(FOR_KUBECTL),
        Completer::Bash => Shell::Bash,
        Completer::Elvish => Shell::Elvish,
        Completer::Fish => Shell::Fish,
        Completer::PowerShell => Shell::PowerShell,
        Completer::Zsh => Shell::Zsh,
    };
    // clap_complete ends the process where it can't write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), PROGRAM, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Answers kubectl, which asks for the words that may stand for the last one of `words`.
///
/// # Errors
/// If it can't be written.
pub fn complete(words: &[String]) -> anyhow::Result<()> {
    print(&completed(words, Args::command()))
}

/// Writes a page of the manual for each command into a folder.
///
/// # Errors
/// If it can't be written.
pub fn man(folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("can't write the manual's pages to {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Args::command(), folder).with_context(failed)
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().write_all(text.as_bytes()).context("can't write to the standard output")
}

fn completed(words: &[String], mut command: Command) -> String {
    command.build();
    let (last, before) = words.split_last().map_or(("", words), |(last, before)| (last, before));
    let mut command = &command;
    for word in before {
        command = command.find_subcommand(word).unwrap_or(command);
    }
    let mut text = String::new();
    let mut offer = |word: &str, help: &str| {
        if word.starts_with(last) {
            let help = help.lines().next().unwrap_or_default();
            _ = writeln!(text, "{word}\t{help}");
        }
    };
    let told = |help: Option<&clap::builder::StyledStr>| help.map(ToString::to_string);
    let mut files = false;
    let flag = before.last().and_then(|word| {
        let mut flags = command.get_arguments().filter(|flag| flag.get_action().takes_values());
        let short = |flag: &clap::Arg| flag.get_short().is_some_and(|it| *word == format!("-{it}"));
        flags.find(|flag| {
            flag.get_long_and_visible_aliases()
                .is_some_and(|names| names.iter().any(|name| *word == format!("--{name}")))
                || short(flag)
        })
    });
    if let Some(flag) = flag {
        let values = flag.get_possible_values();
        files = values.is_empty();
        for value in &values {
            offer(value.get_name(), &told(value.get_help()).unwrap_or_default());
        }
    } else if last.starts_with('-') {
        for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
            if let Some(long) = flag.get_long() {
                offer(&format!("--{long}"), &told(flag.get_help()).unwrap_or_default());
            }
        }
    } else {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            offer(sub.get_name(), &told(sub.get_about()).unwrap_or_default());
        }
        for value in command.get_positionals().flat_map(clap::Arg::get_possible_values) {
            offer(value.get_name(), &told(value.get_help()).unwrap_or_default());
        }
    }
    _ = writeln!(text, ":{}", if files { FILES_TOO } else { NO_FILES });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_told_what_may_come_next() {
        for (words, expected) in [
            (&["up"][..], &["upgrade", ":4"][..]),
            (&["upgrade", "--dry"], &["--dry-run", ":4"]),
            (&["upgrade", "--con"], &["--context", ":4"]),
            (&["upgrade", "deploy/x", "--allow"], &["--allow-gap", ":4"]),
            (&["inject", "-f", ""], &[":0"]),
            (&["inject", "--filename", "x"], &[":0"]),
            (&["completion", "z"], &["zsh", ":4"]),
            (&["__"], &[":4"]),
        ] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            let text = completed(&words, Args::command());
            let first = |line: &'_ str| line.split('\t').next().unwrap_or_default().to_owned();
            let told: Vec<String> = text.lines().map(first).collect();
            assert_eq!(told, expected, "{words:?}");
        }
        let text = completed(&[], Args::command());
        assert!(text.contains("upgrade\tRenew the sidecars"), "{text}");
    }

    #[test]
    fn a_page_of_the_manual_for_each_command() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("man1");
        man(&pages).unwrap();
        let page = |name: &str| fs::read_to_string(pages.join(name)).unwrap();
        assert!(page("kubectl-secret-handshake.1").contains("upgrade"));
        assert!(page("kubectl-secret-handshake-upgrade.1").contains("allow"));
        assert!(!pages.join("kubectl-secret-handshake-__complete.1").exists());
    }
}
