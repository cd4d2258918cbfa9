//! `check`: whether all is well with the webhook, the certificates and the sidecars of a cluster.

use std::process::ExitCode;

use anyhow::bail;

use crate::cluster::Connection;

/// What to check.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Which cluster
    #[command(flatten)]
    pub connection: Connection,
}

/// Checks what `args` name.
///
/// # Errors
/// If it can't be read.
pub async fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    bail!("{args:?}")
}
