//! The binary `kubectl-secret_handshake`, which kubectl runs as `kubectl secret-handshake`.

use std::process::ExitCode;

use cli::args::{Args, Command};
use cli::{check, completion, explain, inject, upgrade};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Args::read().command {
        Command::Inject { inject, sidecar: policy } => inject::run(&inject, policy)?,
        Command::Explain(args) => return explain::run(&args).await,
        Command::Check(args) => return check::run(&args).await,
        Command::Upgrade(args) => return upgrade::run(&args).await,
        Command::Completion { completer } => completion::script(completer)?,
        Command::Man { folder } => completion::man(&folder)?,
        Command::Complete { words } => completion::complete(&words)?,
    }
    Ok(ExitCode::SUCCESS)
}
