//! `explain`: who gets a sidecar and why, as a story in the order in which it happens.

use std::process::ExitCode;

use anyhow::bail;

use crate::cluster::Connection;

/// What to explain.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ExplainArgs {
    /// Which cluster
    #[command(flatten)]
    pub connection: Connection,
}

/// Explains what `args` name.
///
/// # Errors
/// If it can't be read.
pub async fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    bail!("{args:?}")
}
