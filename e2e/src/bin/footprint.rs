//! `cargo footprint`: what the product costs, measured on this machine.

use anyhow::bail;
use clap::Parser as _;
use e2e::command_line::arguments;
use e2e::footprint::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse_from(arguments());
    tokio::select! {
        measured = run(&options) => measured,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}
