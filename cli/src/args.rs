//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use injection::Policy;

use crate::check::CheckArgs;
use crate::explain::ExplainArgs;
use crate::inject::InjectArgs;
use crate::upgrade::UpgradeArgs;

/// What the webhook of secret-handshake does, for people: adds sidecars to manifests, tells why a pod has one
/// or has none, checks the installation, renews sidecars.
#[derive(Clone, Debug, Parser)]
#[command(name = "kubectl secret-handshake", bin_name = "kubectl secret-handshake", version)]
#[command(display_name = "kubectl-secret-handshake")]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

impl Args {
    /// Reads the command line of this process; bad usage ends it with exit code 2 and a reason.
    #[must_use]
    pub fn read() -> Self {
        let args = Self::parse();
        if let Command::Inject { sidecar, .. } = &args.command
            && let Err(reason) = sidecar.check()
        {
            Self::command().error(ErrorKind::ValueValidation, reason).exit();
        }
        args
    }
}

/// What the binary can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read manifests, write them with the sidecar in them
    Inject {
        /// What to read, and what is known about the cluster
        #[command(flatten)]
        inject: InjectArgs,
        /// The sidecar
        #[command(flatten)]
        sidecar: Policy,
    },
    /// Tell why a pod, a workload or a namespace gets a sidecar or none, and what its sidecar does now
    Explain(ExplainArgs),
    /// Look for what is wrong with the installation and with the pods that have a sidecar
    Check(CheckArgs),
    /// Renew the sidecars of running pods; Legacy is not restarted
    Upgrade(UpgradeArgs),
    /// Print a script by which a shell completes this command
    #[command(after_help = COMPLETION)]
    Completion {
        /// Who completes
        #[arg(value_name = "FOR")]
        completer: Completer,
    },
    /// Write the manual's pages
    Man {
        /// The folder, such as ~/.local/share/man/man1
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Answer kubectl's question for the words that may come next
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words after `kubectl secret-handshake`; the last one is to be completed
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        words: Vec<String>,
    },
}

/// Who completes.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "the names of shells")]
pub enum Completer {
    /// kubectl's own completion: an executable `kubectl_complete-secret_handshake` for the PATH
    Kubectl,
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

const COMPLETION: &str = "\
With kubectl's own completion in your shell (`kubectl completion --help`), this adds `kubectl secret-handshake` to it; \
any folder of the PATH will do:

  kubectl secret-handshake completion kubectl > ~/.local/bin/kubectl_complete-secret_handshake
  chmod +x ~/.local/bin/kubectl_complete-secret_handshake

The scripts for shells complete the program's own name, kubectl-secret_handshake.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_flag_is_documented() {
        let command = Args::command();
        for command in command.get_subcommands() {
            for flag in command.get_arguments() {
                assert!(flag.get_help().is_some(), "{} {}", command.get_name(), flag.get_id());
            }
        }
    }
}
