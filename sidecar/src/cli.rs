//! The process: signals, exit codes, usage errors.

use std::future::Future;
use std::io::{self, Write as _};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, ArgsError, Parsed};
use crate::log::{Level, Log};

/// Completes at SIGTERM or SIGINT. The handlers are in place when this returns, not when it is first
/// polled: for process 1 of a container, a signal without a handler does nothing.
///
/// # Errors
/// When the system does not take a handler.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Does what the command line asks for. The exit code is 0 when it was done or when `stop` completed,
/// 1 when the port can't be used, 2 when the command line is wrong.
pub async fn run(parsed: Result<Parsed, ArgsError>, stop: impl Future<Output = ()>) -> ExitCode {
    match parsed {
        Ok(Parsed::Run(args)) => serve(args, stop).await,
        Ok(Parsed::Print(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "sidecar: {error}");
            ExitCode::from(2)
        }
    }
}

async fn serve(args: Args, stop: impl Future<Output = ()>) -> ExitCode {
    let log = Log::stdout(args.log_level, args.log_format);
    let bound = match args.bind() {
        Ok(bound) => bound,
        Err(error) => {
            log.line(Level::Error, "port", &error);
            return ExitCode::FAILURE;
        }
    };
    match bound.serve(stop).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.line(Level::Error, "port", &format_args!("cannot serve: {error}"));
            ExitCode::FAILURE
        }
    }
}
