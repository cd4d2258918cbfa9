//! Legacy as a process: `legacy-mock --help`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    legacy_mock::serve::run(std::env::args_os().skip(1)).await
}
