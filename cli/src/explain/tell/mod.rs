//! From what was read to what is told, in the order in which it happens.
//!
//! ```text
//! labels ─▶ settings ─▶ asked ─▶ decided ─▶ known ─▶ there (a pod), pods (all others) ─▶ steps
//! ```

mod asked;
mod decided;
mod known;
mod labels;
mod pods;
mod settings;
mod steps;
mod text;
mod there;

use injection::{Entry, Reason};

use super::facts::Facts;
use super::story::{Section, Story, Verdict};
use known::Known;
pub(super) use steps::restart;

/// The story of an object.
pub(super) fn story(facts: &Facts) -> Story {
    let mut story = Story {
        kind: facts.kind.as_str(),
        namespace: facts.namespace.clone(),
        name: facts.name.clone(),
        ..Story::default()
    };
    if let Err(error) = tell(facts, &mut story) {
        story.sections.push(Section { title: "Can't be read", lines: vec![format!("{error:#}")] });
    }
    story
}

/// Whether a pod like this one gets a sidecar; `None` if that can't be told.
pub(super) fn wants(facts: &Facts) -> Option<bool> {
    match Known::of(facts).map_or(Verdict::Unknown, |known| known.verdict()) {
        Verdict::Sidecar => Some(true),
        Verdict::None | Verdict::Refused => Some(false),
        Verdict::Unknown => None,
    }
}

/// The Secret and the key that the sidecar of this pod has its half from, or that a new one would.
pub(super) fn secret(facts: &Facts) -> Option<(String, String)> {
    let known = Known::of(facts).ok()?;
    let sidecar = there::sidecar(&known)?;
    let (name, key) = sidecar.secret()?;
    Some((name.to_owned(), key.to_owned()))
}

fn tell(facts: &Facts, story: &mut Story) -> anyhow::Result<()> {
    let known = Known::of(facts)?;
    story.verdict = known.verdict();
    story.label.clone_from(&known.labels.deciding);
    story.entry = known.asked.entry.map(Entry::name);
    story.not_called = known.asked.reason.as_ref().map(Reason::as_str);
    if let Some(decided) = &known.decided {
        story.outcome = Some(decided.outcome.as_str());
        story.reason = Some(decided.outcome.reason());
        story.warnings.clone_from(&decided.warnings);
    }
    story.warnings.extend(known.labels.warnings.iter().cloned());
    let mut section = |title, lines: &[String]| {
        story.sections.push(Section { title, lines: lines.to_vec() });
    };
    section("Labels", &known.labels.lines);
    section("Settings", &known.settings);
    section("Whom the API server asks", &known.asked.lines);
    section("What the webhook decides", &known.decision());
    there::tell(&known, story);
    pods::tell(&known, story);
    steps::tell(&known, story);
    Ok(())
}
