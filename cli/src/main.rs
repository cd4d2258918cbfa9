//! The binary `kubectl-secret_handshake`, which kubectl runs as `kubectl secret-handshake`.

use cli::args::{Args, Command};
use cli::inject;

fn main() -> anyhow::Result<()> {
    let Command::Inject { inject, sidecar: policy } = Args::read().command;
    inject::run(&inject, policy)
}
