//! The webhook's binary.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use webhook::args::Args;
use webhook::{log, serve};

/// In the place of musl's own, which the static binary would have and which all threads wait for.
/// `cargo e2e -- bench admission` measures that binary. With transparent huge pages it keeps twice the
/// memory, hence `no_thp`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::read();
    let log = log::init(args.log_level, args.log_format)?;
    let ended = serve::run(args, log.dropped());
    if let Err(error) = &ended {
        // Not returned: what is printed of it would wait for whoever reads the standard error.
        tracing::error!(error = format!("{error:#}"), "the webhook has failed");
    }
    log.flush();
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
