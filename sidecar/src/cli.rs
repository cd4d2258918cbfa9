//! The process: signals, exit codes, usage errors.

use std::future::{Future, pending};
use std::io::Write as _;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Args, ArgsError, Parsed};
use crate::log::{Level, Log};

/// Completes at SIGTERM or SIGINT. The handlers are in place when this returns, not when it is first
/// polled: for process 1 of a container, a signal without a handler does nothing.
pub fn stop_signal() -> impl Future<Output = ()> {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    async {
        tokio::select! {
            () = received(terminate) => {}
            () = received(interrupt) => {}
        }
    }
}

async fn received(signal: std::io::Result<Signal>) {
    match signal {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => pending().await,
    }
}

/// Does what the command line asks for. The exit code is 0 when it was done or when `stop` completed,
/// 1 when the port can't be used, 2 when the command line is wrong.
pub async fn run(parsed: Result<Parsed, ArgsError>, stop: impl Future<Output = ()>) -> ExitCode {
    match parsed {
        Ok(Parsed::Run(args)) => serve(args, stop).await,
        Ok(Parsed::Print(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sidecar: {error}");
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
