//! What the demo shows: headings, commands, and each program's lines with its name before them.
//!
//! In colour on a terminal, plain in a pipe; `NO_COLOR`, `CLICOLOR_FORCE` and the like count, as
//! anstream reads them.

use std::fmt::Display;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

const CONTEXT: usize = 2;

/// Whose line it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) name: &'static str,
    color: AnsiColor,
}

impl Who {
    pub(crate) const WEBHOOK: Self = Self { name: "webhook", color: AnsiColor::Blue };
    pub(crate) const LEGACY: Self = Self { name: "legacy", color: AnsiColor::Yellow };
    pub(crate) const SIDECAR: Self = Self { name: "sidecar", color: AnsiColor::Magenta };
    pub(crate) const KUBELET: Self = Self { name: "kubelet", color: AnsiColor::Cyan };
}

pub(crate) fn heading(text: &str) {
    show(&"", &"", Style::new());
    show(&"── ", &text, Style::new().bold());
}

pub(crate) fn say(text: impl Display) {
    show(&"   ", &text, Style::new());
}

pub(crate) fn line(who: Who, text: impl Display) {
    let Who { name, color } = who;
    let style = color.on_default();
    show(&format_args!("{style}{name:>8} │{style:#} "), &text, Style::new());
}

pub(crate) fn command(text: impl Display) {
    show(&"   $ ", &text, Style::new().bold());
}

pub(crate) fn output(text: &str, good: bool) {
    let color = if good { AnsiColor::Green } else { AnsiColor::Red };
    show(&"   ", &text, color.on_default());
}

pub(crate) fn difference(before: &Value, after: &Value) -> Result<()> {
    let (before, after) = (serde_saphyr::to_string(before)?, serde_saphyr::to_string(after)?);
    let difference = TextDiff::from_lines(&before, &after);
    for (number, group) in difference.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            show(&"   ", &"  …", Style::new().dimmed());
        }
        for change in group.iter().flat_map(|operation| difference.iter_changes(operation)) {
            let style = match change.tag() {
                ChangeTag::Equal => Style::new().dimmed(),
                ChangeTag::Insert => AnsiColor::Green.on_default(),
                ChangeTag::Delete => AnsiColor::Red.on_default(),
            };
            let text = change.value().trim_end_matches('\n');
            show(&"   ", &format_args!("{} {text}", change.tag()), style);
        }
    }
    Ok(())
}

fn show(before: &dyn Display, text: &dyn Display, style: Style) {
    // Nobody may be reading any more (`| head`): the demo goes on to its end all the same.
    let _ = writeln!(anstream::stdout().lock(), "{before}{style}{text}{style:#}");
}
