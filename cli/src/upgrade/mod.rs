//! `upgrade`: newer sidecars in running pods, whose Legacy is left alone.

use std::process::ExitCode;

use anyhow::bail;

use crate::cluster::Connection;

/// What to upgrade.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct UpgradeArgs {
    /// Which cluster
    #[command(flatten)]
    pub connection: Connection,
}

/// Upgrades what `args` name.
///
/// # Errors
/// If it can't be read.
pub async fn run(args: &UpgradeArgs) -> anyhow::Result<ExitCode> {
    bail!("{args:?}")
}
