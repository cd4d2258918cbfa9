//! The webhook's binary.

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;
use webhook::args::Args;
use webhook::{log, serve};

/// In the place of musl's own, which the static binary would have. `cargo e2e -- bench admission` measures
/// that binary; mimalloc is as quick as this one there and keeps twice the memory.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

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
