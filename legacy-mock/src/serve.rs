//! The process: Legacy from its start to the signal that ends it.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{self, Command, Options};
use crate::config::Config;
use crate::faults::Faults;
use crate::legacy::Legacy;
use crate::record::timestamp;

/// The exit status of a Legacy that a signal has stopped.
const STOPPED: u8 = 2;

/// Does what the arguments after the program's name ask for, and returns the exit status: 2 for a
/// Legacy that was stopped, 127 for stray arguments.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "help, version and errors")]
pub async fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match args::parse(args) {
        Ok(Command::Serve(options)) => match serve(*options).await {
            Ok(()) => return ExitCode::from(STOPPED),
            Err(error) => {
                eprintln!("legacy-mock: {error:#}");
                return ExitCode::FAILURE;
            }
        },
        Ok(Command::Help) => print!("{}", args::HELP),
        Ok(Command::Version) => println!("legacy-mock {}", env!("CARGO_PKG_VERSION")),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(error.exit_code());
        }
    }
    ExitCode::SUCCESS
}

/// Serves until SIGTERM or SIGINT, then stops within 5 s.
async fn serve(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;
    let half = options.half_file.as_deref().map(read_half).transpose()?;
    let listen = options.config.listen;
    let legacy = Legacy::reserve(Config { half, ..options.config.clone() })
        .with_context(|| format!("{listen} can't be had"))?;
    tokio::select! {
        failed = start(&legacy, &options) => failed,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }?;
    announce("received interrupt, shutting down...");
    legacy.stop().await;
    Ok(())
}

/// Starts, and does what was asked for at its time. Returns only if it can't start.
async fn start(legacy: &Legacy, options: &Options) -> anyhow::Result<()> {
    tokio::time::sleep(options.late).await;
    legacy.listen().with_context(|| format!("can't listen on {}", legacy.bound()))?;
    announce(format_args!("server is listening on {}", legacy.bound()));
    let heal = async {
        after(options.faults_for).await;
        legacy.set_faults(Faults::default()).await;
    };
    let forget = async {
        after(options.forget_after).await;
        legacy.forget();
    };
    tokio::join!(heal, forget);
    std::future::pending().await
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn read_half(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut half = std::fs::read(file)
        .with_context(|| format!("the operations half can't be read from {}", file.display()))?;
    if half.last() == Some(&b'\n') {
        half.pop();
    }
    Ok(half)
}

/// One line on stderr, as Go's `log` writes it: with port 0, the way to learn the port.
fn announce(what: impl Display) {
    // A closed stderr is the reader's wish; Legacy goes on.
    let _ = writeln!(std::io::stderr().lock(), "{} [INFO] {what}", timestamp());
}
