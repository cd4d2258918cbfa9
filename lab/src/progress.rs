//! What a person is told while something takes time, on standard error: standard output is for results.

use std::io::Write as _;

/// One line of progress.
pub fn say(line: &str) {
    eprint(&format!("{line}\n"));
}

pub(crate) fn eprint(text: &str) {
    // Nobody is left to be told of a standard error that is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
