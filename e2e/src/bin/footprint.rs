//! `cargo footprint`: what the product costs, measured on this machine.

use clap::Parser as _;
use e2e::command_line::{arguments, interruptible};
use e2e::footprint::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    interruptible(run(&Options::parse_from(arguments()))).await
}
