//! Legacy as a process: `legacy-mock --help`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "help, version and errors"
)]

use std::process::ExitCode;

use legacy_mock::args::{self, Command};
use legacy_mock::serve;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Serve(options)) => match serve::serve(*options).await {
            Ok(()) => return ExitCode::from(serve::STOPPED),
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
