//! `cargo images`: builds the three images, says how large they are, and loads them into a cluster.

use clap::Parser as _;
use e2e::command_line::{arguments, interruptible};
use e2e::images::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    interruptible(run(&Options::parse_from(arguments()))).await
}
