//! `cargo demo`: the main job with no cluster, on real parts.

use anyhow::bail;
use clap::Parser as _;
use e2e::command_line::arguments;
use e2e::demo::{Options, run};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse_from(arguments());
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        told = run(&options) => told,
        _ = interrupt.recv() => bail!("interrupted; all that was started has been ended"),
        _ = terminate.recv() => bail!("terminated; all that was started has been ended"),
    }
}
