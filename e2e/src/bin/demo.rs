//! `cargo demo`: the main job with no cluster, on real parts.

use clap::Parser as _;
use e2e::command_line::{arguments, interruptible};
use e2e::demo::{Options, run};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    interruptible(run(&Options::parse_from(arguments()))).await
}
