//! The sidecar that the webhook adds to a pod.

use std::process::ExitCode;

use sidecar::args::Args;
use sidecar::cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<ExitCode> {
    let stop = cli::stop_signal()?;
    Ok(cli::run(Args::parse(std::env::args_os().skip(1)), stop).await)
}
