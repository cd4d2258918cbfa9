//! What is told, as text for people and as JSON for machines.

use std::fmt;

use crate::visible::is_visible;
use serde::Serialize;

/// The answer about one object. Its JSON is described in `kubectl secret-handshake explain --help`:
/// fields are added, never renamed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Story {
    pub(super) kind: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) label: Option<Label>,
    pub(super) entry: Option<&'static str>,
    pub(super) not_called: Option<&'static str>,
    pub(super) outcome: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    pub(super) warnings: Vec<String>,
    pub(super) sidecar: Option<SidecarNow>,
    pub(super) missing: bool,
    pub(super) ready: Option<bool>,
    pub(super) secret: Option<SecretNow>,
    pub(super) log: Vec<String>,
    pub(super) todo: Vec<Step>,
    #[serde(rename = "story")]
    pub(super) sections: Vec<Section>,
}

/// What a pod like this, or of this, gets when it is created now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Sidecar,
    None,
    Refused,
    #[default]
    Unknown,
}

/// The label that decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Label {
    /// Where it stands: `pod`, `pod template`, `workload`, `namespace`.
    #[serde(rename = "of")]
    pub(super) place: &'static str,
    pub(super) value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SidecarNow {
    pub(super) mode: &'static str,
    pub(super) image: String,
    pub(super) ready: bool,
    pub(super) restarts: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SecretNow {
    pub(super) name: String,
    pub(super) key: String,
    /// Whether the key is there; `None` if it could not be looked for.
    pub(super) there: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Step {
    pub(super) why: String,
    pub(super) command: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) lines: Vec<String>,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (self.kind, shown(&self.name));
        match &self.namespace {
            Some(namespace) if kind != "Namespace" => {
                writeln!(f, "{kind} {name} in the namespace {namespace}")?;
            }
            _ => writeln!(f, "{kind} {name}")?,
        }
        for Section { title, lines } in
            self.sections.iter().filter(|section| !section.lines.is_empty())
        {
            writeln!(f, "\n{title}")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {}", shown(line)))?;
        }
        if self.todo.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nWhat to do")?;
        self.todo.iter().try_for_each(|Step { why, command }| {
            if !why.is_empty() {
                writeln!(f, "  {}", shown(why))?;
            }
            command.iter().try_for_each(|command| writeln!(f, "    {}", shown(command)))
        })
    }
}

/// A line as a terminal may get it, whoever wrote what is in it.
fn shown(line: &str) -> String {
    line.chars().map(|char| if is_visible(char) { char } else { '?' }).collect()
}
