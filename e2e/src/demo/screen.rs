//! What the demo shows: headings, commands, and each program's lines with its name before them.
//!
//! In colour on a terminal, plain in a pipe; `NO_COLOR`, `CLICOLOR_FORCE` and the like count, as
//! anstream reads them.

use std::fmt::Display;
use std::io::Write as _;

use anstyle::{AnsiColor, Style};

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Webhook,
    Legacy,
    Sidecar,
    Kubelet,
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Legacy => "legacy",
            Self::Sidecar => "sidecar",
            Self::Kubelet => "kubelet",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Webhook => AnsiColor::Blue,
            Self::Legacy => AnsiColor::Yellow,
            Self::Sidecar => AnsiColor::Magenta,
            Self::Kubelet => AnsiColor::Cyan,
        }
        .on_default()
    }
}

/// What has become of a line of the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Added,
    Removed,
}

/// Begins a step of the story.
pub(crate) fn heading(text: &str) {
    show(&"", &"", Style::new());
    show(&"── ", &text, Style::new().bold());
}

/// Says something in the demo's own voice.
pub(crate) fn say(text: impl Display) {
    show(&"   ", &text, Style::new());
}

/// Shows a line of a program.
pub(crate) fn line(who: Who, text: impl Display) {
    let style = who.style();
    show(&format_args!("{style}{:>8} │{style:#} ", who.name()), &text, Style::new());
}

/// Shows a command that a person could type.
pub(crate) fn command(text: impl Display) {
    show(&"   $ ", &text, Style::new().bold());
}

/// Shows what a command answered.
pub(crate) fn output(text: &str, good: bool) {
    let color = if good { AnsiColor::Green } else { AnsiColor::Red };
    show(&"   ", &text, color.on_default());
}

/// Shows a line of a file that has changed.
pub(crate) fn change(fate: Fate, text: &str) {
    let (sign, style) = match fate {
        Fate::Kept => (' ', Style::new().dimmed()),
        Fate::Added => ('+', AnsiColor::Green.on_default()),
        Fate::Removed => ('-', AnsiColor::Red.on_default()),
    };
    show(&"   ", &format_args!("{sign} {text}"), style);
}

fn show(before: &dyn Display, text: &dyn Display, style: Style) {
    // Nobody may be reading any more (`| head`): the story goes on to its end all the same.
    let _ = writeln!(anstream::stdout().lock(), "{before}{style}{text}{style:#}");
}
