//! `cargo images`: builds the three images, says how large they are, and loads them into a cluster.

use clap::Parser as _;
use e2e::command_line::arguments;
use e2e::images::{Options, run};
use tokio::signal::ctrl_c;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse_from(arguments());
    tokio::select! {
        done = run(&options) => done,
        _ = ctrl_c() => anyhow::bail!("interrupted"),
    }
}
