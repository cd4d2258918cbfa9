//! `cargo e2e`: the scenarios on a real Kubernetes. See `--help`.

use std::process::ExitCode;

use clap::Parser as _;
use e2e::args::Args;
use e2e::command_line;

fn main() -> ExitCode {
    e2e::main(&Args::parse_from(command_line::arguments()))
}
