//! What a person is told while something takes time, on standard error: standard output is for results.

use std::io::Write as _;

use indicatif::{ProgressBar, ProgressStyle};

pub fn say(line: &str) {
    // Nobody is left to be told of a standard error that is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How far something is that has a known number of steps: a bar on a terminal, a line for each quarter
/// in a pipe.
pub(crate) struct Steps(ProgressBar);

impl Steps {
    /// `total` steps of which each is one of `what`, in the plural.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let template = "  {elapsed_precise} {bar:30} {pos}/{len} {prefix} {wide_msg}";
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(total).with_style(style).with_prefix(what))
    }

    pub(crate) fn next(&mut self, name: &str) {
        let Self(bar) = self;
        bar.set_message(name.to_owned());
        bar.inc(1);
        let (done, total) = (bar.position(), bar.length().unwrap_or_default());
        if bar.is_hidden() && done.is_multiple_of(total.div_ceil(4).max(1)) {
            say(&format!("  {done} of {total} {}", bar.prefix()));
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
