//! The binary `kubectl-secret_handshake`, which kubectl runs as `kubectl secret-handshake`.

use std::process::ExitCode;

use cli::args::{Args, Command};
use cli::{check, explain, inject, upgrade};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Args::read().command {
        Command::Inject { inject, sidecar: policy } => {
            inject::run(&inject, policy).map(|()| ExitCode::SUCCESS)
        }
        Command::Explain(args) => explain::run(&args).await,
        Command::Check(args) => check::run(&args).await,
        Command::Upgrade(args) => upgrade::run(&args).await,
    }
}
