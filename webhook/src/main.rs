//! The webhook's binary.

use webhook::args::{Args, Command};
use webhook::{cert, inject, log, serve};

fn main() -> anyhow::Result<()> {
    let Args { log_level, log_format, command } = Args::read();
    log::init(log_level, log_format);
    match command {
        Command::Serve(args) => serve::run(*args),
        Command::Inject { inject, sidecar } => {
            let policy = sidecar.policy(None);
            inject::run(inject, policy)
        }
        Command::Cert(command) => cert::run(command),
    }
}
