//! `certs`: certificates for the webhook from the command line.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match certs::args::Args::parse().run(&mut out, jiff::Timestamp::now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads stderr any more there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "certs: {error:#}");
            ExitCode::FAILURE
        }
    }
}
