//! Findings as people read them, and as machines do.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::finding::{Finding, State};

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// A line for each check, and below what is wrong what it means and what to do
    #[default]
    Text,
    /// Only what is not well, a line each
    Short,
    /// All of it, for machines
    Json,
}

/// What all findings come to together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Warnings,
    Failed,
}

impl Verdict {
    pub(crate) fn of(findings: &[Finding]) -> Self {
        let any = |state| findings.iter().any(|finding| finding.state == state);
        match (any(State::Failed), any(State::Warning)) {
            (true, _) => Self::Failed,
            (false, true) => Self::Warnings,
            (false, false) => Self::Ok,
        }
    }

    /// 0 for all well, 1 if something failed, 2 for warnings if they count.
    pub(crate) const fn exit_code(self, strict: bool) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Warnings if strict => 2,
            Self::Ok | Self::Warnings => 0,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    result: Verdict,
    checks: &'a [Finding],
}

impl State {
    const fn sign(self) -> &'static str {
        match self {
            Self::Ok => "√",
            Self::Warning => "‼",
            Self::Failed => "×",
            Self::Skipped => "-",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Ok => AnsiColor::Green.on_default(),
            Self::Warning => AnsiColor::Yellow.on_default(),
            Self::Failed => AnsiColor::Red.on_default(),
            Self::Skipped => Style::new().dimmed(),
        }
    }
}

/// The findings as a text that ends with a line break. It has colours: whoever prints it takes them out
/// where they are not wanted.
pub(crate) fn write(findings: &[Finding], output: Output) -> Result<String, serde_json::Error> {
    Ok(match output {
        Output::Text => text(findings),
        Output::Short => short(findings),
        Output::Json => {
            let report = Report { result: Verdict::of(findings), checks: findings };
            serde_json::to_string_pretty(&report)? + "\n"
        }
    })
}

fn text(findings: &[Finding]) -> String {
    let bold = Style::new().bold();
    let mut text = String::new();
    let mut category = "";
    for finding in findings {
        if finding.check.category() != category {
            category = finding.check.category();
            let gap = if text.is_empty() { "" } else { "\n" };
            _ = writeln!(text, "{gap}{bold}{category}{bold:#}");
        }
        text += &line(finding);
        for object in &finding.objects.named {
            _ = writeln!(text, "    {object}");
        }
        if finding.objects.more > 0 {
            _ = writeln!(text, "    … and {} more", finding.objects.more);
        }
        if !finding.means.is_empty() {
            _ = writeln!(text, "  {}", finding.means);
        }
        for remedy in &finding.remedy {
            _ = writeln!(text, "  → {remedy}");
        }
        if matches!(finding.state, State::Failed | State::Warning) {
            _ = writeln!(text, "  {}", finding.docs());
        }
    }
    _ = writeln!(text, "\n{}", sum(findings));
    text
}

fn short(findings: &[Finding]) -> String {
    let shown = |it: &&Finding| matches!(it.state, State::Failed | State::Warning);
    let mut text: String = findings.iter().filter(shown).map(line).collect();
    text += &sum(findings);
    text.push('\n');
    text
}

fn line(finding: &Finding) -> String {
    let (sign, style) = (finding.state.sign(), finding.state.style());
    format!("{style}{sign}{style:#} {}\n", finding.what)
}

fn sum(findings: &[Finding]) -> String {
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (verdict, style) = match Verdict::of(findings) {
        // What was not looked at may be anything.
        Verdict::Ok if count(State::Skipped) > count(State::Ok) => {
            ("Most could not be looked at", State::Warning.style())
        }
        Verdict::Ok => ("All is well", State::Ok.style()),
        Verdict::Warnings => ("There are warnings", State::Warning.style()),
        Verdict::Failed => ("Something is wrong", State::Failed.style()),
    };
    let counts = [
        (State::Failed, "failed"),
        (State::Warning, "warnings"),
        (State::Ok, "well"),
        (State::Skipped, "skipped"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(state, _)| count(*state) > 0)
        .map(|(state, word)| match (count(state), word) {
            (1, "warnings") => "1 warning".to_owned(),
            (count, word) => format!("{count} {word}"),
        })
        .collect();
    format!("{style}{verdict}{style:#}: {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Check;
    use super::*;

    fn findings() -> Vec<Finding> {
        let objects = (1..=12).map(|number| format!("legacy/legacy-{number}"));
        vec![
            Finding::ok(Check::ApiVersion, "the API server answers: v1.37.2"),
            Finding::skipped(Check::Permissions, "no permission to list pods"),
            Finding::warning(Check::Istio, "Istio is there"),
            Finding::failed(Check::Images, "12 images can't be pulled")
                .objects(objects)
                .means("The sidecar can't start.")
                .remedy("kubectl get pods")
                .remedy("kubectl get events"),
        ]
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn people_read_a_line_for_each_check_and_below_it_what_to_do() {
        let text = plain(&write(&findings(), Output::Text).unwrap());
        let expected = "\
API server
√ the API server answers: v1.37.2
- no permission to list pods

Configuration
‼ Istio is there
  docs/troubleshooting.md#istio

Sidecars
× 12 images can't be pulled
    legacy/legacy-1
    legacy/legacy-2
    legacy/legacy-3
    legacy/legacy-4
    legacy/legacy-5
    legacy/legacy-6
    legacy/legacy-7
    legacy/legacy-8
    legacy/legacy-9
    legacy/legacy-10
    … and 2 more
  The sidecar can't start.
  → kubectl get pods
  → kubectl get events
  docs/troubleshooting.md#images

Something is wrong: 1 failed, 1 warning, 1 well, 1 skipped
";
        assert_eq!(text, expected);
    }

    #[test]
    fn in_short_only_what_is_wrong_is_told() {
        let text = plain(&write(&findings(), Output::Short).unwrap());
        let expected = "\
‼ Istio is there
× 12 images can't be pulled
Something is wrong: 1 failed, 1 warning, 1 well, 1 skipped
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_exit_code_tells_failures_and_if_asked_for_warnings() {
        let all = findings();
        for (findings, expected) in [(&all[..2], [0, 0]), (&all[..3], [0, 2]), (&all[..], [1, 1])] {
            let verdict = Verdict::of(findings);
            assert_eq!([false, true].map(|strict| verdict.exit_code(strict)), expected);
        }
    }
}
