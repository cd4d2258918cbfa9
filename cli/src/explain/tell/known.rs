//! What the rules say about an object: what is told of its pods builds on that.

use injection::Outcome;

use super::super::facts::{Facts, Source};
use super::super::story::Verdict;
use super::asked::{self, Asked};
use super::decided::{self, Decided};
use super::labels::{self, Labels};
use super::settings;
use crate::sidecar::Sidecar;

pub(super) struct Known<'a> {
    pub(super) facts: &'a Facts,
    pub(super) labels: Labels,
    pub(super) settings: Vec<String>,
    pub(super) asked: Asked,
    /// The sidecar that the pod template or the manifest has before the webhook sees the pod.
    pub(super) brought: Option<Sidecar>,
    /// `None` if the webhook isn't asked.
    pub(super) decided: Option<Decided>,
}

impl<'a> Known<'a> {
    pub(super) fn of(facts: &'a Facts) -> anyhow::Result<Self> {
        let labels = labels::find(facts)?;
        let template = decided::template(facts, labels.of_pods.as_deref());
        let settings = settings::lines(facts, &template);
        let mut asked = asked::about_pods(facts, &labels, &template)?;
        asked.lines.splice(0..0, asked::about_workload(facts, &labels));
        let brought = decided::sidecar_in(&template);
        let decided = asked.entry.map(|_| decided::decide(facts, template)).transpose()?;
        Ok(Self { facts, labels, settings, asked, brought, decided })
    }

    pub(super) fn decision(&self) -> Vec<String> {
        let decided = self.decided.as_ref().map(|decided| decided.lines.iter().cloned());
        let mut lines: Vec<String> = decided.into_iter().flatten().collect();
        if !lines.is_empty()
            && let Some(assumed) = &self.facts.around.flags_assumed
        {
            lines.push(format!("(with default flags: {assumed})"));
        }
        let warnings = self.labels.warnings.iter().map(|warning| format!("warning: {warning}"));
        lines.extend(warnings);
        lines
    }

    pub(super) fn verdict(&self) -> Verdict {
        let brought = self.brought.is_some() || self.facts.owners.iter().any(|it| it.has_sidecar);
        match &self.decided {
            _ if brought => Verdict::Sidecar,
            _ if !self.asked.certain => Verdict::Unknown,
            None => Verdict::None,
            Some(decided) => match decided.outcome {
                Outcome::Injected(_) => Verdict::Sidecar,
                Outcome::Denied(_) => Verdict::Refused,
                _ => Verdict::None,
            },
        }
    }

    pub(super) fn namespace(&self) -> &str {
        self.facts.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn is_manifest(&self) -> bool {
        matches!(self.facts.source, Source::File)
    }
}
