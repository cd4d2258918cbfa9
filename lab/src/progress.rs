//! What a person is told while something takes time, on standard error: standard output is for results.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressStyle};

pub fn say(line: &str) {
    // Nobody is left to be told of a standard error that is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// How far something is that has a known number of steps: a bar on a terminal, a line for each quarter
/// in a pipe.
pub(crate) struct Steps {
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
}

impl Steps {
    /// `total` steps of which each is one of `what`, in the plural.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "  {elapsed_precise} {bar:30} {pos}/{len} {prefix} {wide_msg}";
            let style = ProgressStyle::with_template(template);
            ProgressBar::new(total)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(what)
        });
        Self { what, total, done: 0, bar }
    }

    pub(crate) fn next(&mut self, name: &str) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
            bar.inc(1);
        } else if self.done.is_multiple_of(self.total.div_ceil(4).max(1)) {
            say(&format!("  {} of {} {}", self.done, self.total, self.what));
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
