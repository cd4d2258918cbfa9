//! The webhook's binary.

use webhook::args::Args;
use webhook::log;
use webhook::serve::run;

fn main() -> anyhow::Result<()> {
    let Args { log_level, log_format, serve } = Args::read();
    log::init(log_level, log_format);
    run(serve)
}
