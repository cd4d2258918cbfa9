//! What is there now of a workload's or a namespace's pods.

use super::super::facts::{PodSeen, Source};
use super::super::story::{Section, Story};
use super::super::target::Kind;
use super::known::Known;
use super::text::count;

/// So many pods are named.
const NAMED: usize = 5;

pub(super) fn tell(known: &Known<'_>, story: &mut Story) {
    let lines = match &known.facts.pods {
        None => return,
        Some(Err(error)) => vec![format!("its pods: {error}")],
        Some(Ok(pods)) => {
            story.missing = pods.iter().any(PodSeen::is_missing);
            lines(known, pods)
        }
    };
    let title = "What is there";
    match story.sections.iter_mut().find(|section| section.title == title) {
        Some(section) => section.lines.splice(0..0, lines).for_each(drop),
        None => story.sections.push(Section { title, lines }),
    }
}

impl PodSeen {
    /// Whether it has no sidecar and would get one if it were made anew.
    pub(super) fn is_missing(&self) -> bool {
        !self.over && self.sidecar.is_none() && self.wants == Some(true)
    }

    /// Whether it has a sidecar and would get none.
    pub(super) fn is_left(&self) -> bool {
        !self.over && self.sidecar.is_some() && self.wants == Some(false)
    }
}

fn lines(known: &Known<'_>, pods: &[PodSeen]) -> Vec<String> {
    let here = match (known.facts.kind, &known.facts.source) {
        (Kind::Pod, _) | (_, Source::File) => return Vec::new(),
        (Kind::Namespace, _) => "in it",
        (Kind::Workload(_), _) => "of it",
    };
    let alive: Vec<&PodSeen> = pods.iter().filter(|pod| !pod.over).collect();
    if alive.is_empty() {
        return vec![format!("no pods {here}")];
    }
    let with: Vec<_> = alive.iter().filter(|pod| pod.sidecar.is_some()).collect();
    let ready = with.iter().filter(|pod| pod.ready).count();
    let mut lines = vec![format!(
        "{} {here}: {} with a sidecar ({ready} Ready), {} without",
        count(alive.len(), "pod"),
        with.len(),
        alive.len() - with.len()
    )];
    let given = &known.facts.around.flags.policy.image;
    let other = with.iter().filter(|pod| pod.sidecar.as_ref() != Some(given)).count();
    if known.facts.around.flags_assumed.is_none() && other > 0 {
        lines.push(format!(
            "{} of another image than new pods get ({given})",
            count(other, "sidecar")
        ));
    }
    lines.extend(names("should have a sidecar and have none", &alive, PodSeen::is_missing));
    lines.extend(names(
        "have a sidecar, and nothing asks the webhook for one",
        &alive,
        PodSeen::is_left,
    ));
    lines
}

fn names(what: &str, pods: &[&PodSeen], which: fn(&PodSeen) -> bool) -> Option<String> {
    let names: Vec<&str> =
        pods.iter().filter(|pod| which(pod)).map(|pod| pod.name.as_str()).collect();
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let first = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| format!("{what}: {first}{more}"))
}
