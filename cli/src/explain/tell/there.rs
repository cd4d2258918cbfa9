//! What is there now: the sidecar of a pod, whether the pod is Ready, what the log says, and the Secret.

use injection::{Entry, keys};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::jiff::Timestamp;

use super::super::facts::{Configuration, KeyFound, OfNamespace, Running, Source};
use super::super::story::{SecretNow, Section, SidecarNow, Story, Verdict};
use super::super::target::Kind;
use super::known::Known;
use super::text::{one_line, since};
use crate::pod::is_over;
use crate::sidecar::Sidecar;

/// So many lines of the log are shown.
const LINES: usize = 5;

pub(super) fn tell(known: &Known<'_>, story: &mut Story) {
    let mut lines = Vec::new();
    if let Some(brought) = &known.brought {
        let what = if known.facts.kind == Kind::Pod { "manifest" } else { "pod template" };
        lines
            .push(format!("the {what} has a sidecar of its own, with the image {}", brought.image));
    }
    if let (Some(running), Source::Cluster(now)) = (&known.facts.running, &known.facts.source) {
        let found = Sidecar::of(&running.pod);
        story.missing =
            found.is_none() && story.verdict == Verdict::Sidecar && !is_over(&running.pod);
        match &found {
            Some(found) => {
                lines.extend(of_sidecar(known, found, *now));
                story.sidecar = Some(SidecarNow {
                    mode: found.mode.as_str(),
                    image: found.image.clone(),
                    ready: found.status.as_ref().is_some_and(|status| status.ready),
                    restarts: found.status.as_ref().map_or(0, |status| status.restart_count),
                });
            }
            None => lines.extend(without_sidecar(known, story, &running.pod)),
        }
        lines.extend(ready(&running.pod, *now, story));
    }
    if let Some((name, key)) = sidecar(known).as_ref().and_then(Sidecar::secret) {
        lines.extend(secret(known, story, name, key));
    }
    if let Some(running) = &known.facts.running {
        lines.extend(log(running, story));
    }
    story.sections.push(Section { title: "What is there", lines });
}

/// The sidecar that is there, or else the one that a new pod gets.
pub(super) fn sidecar(known: &Known<'_>) -> Option<Sidecar> {
    let there = known.facts.running.as_ref().and_then(|running| Sidecar::of(&running.pod));
    let given = || known.decided.as_ref()?.sidecar.clone();
    there.or_else(|| known.brought.clone()).or_else(given)
}

/// Whether the pod's sidecar has other arguments than that of a new pod.
pub(super) fn has_other_settings(known: &Known<'_>) -> bool {
    let there = known.facts.running.as_ref().and_then(|running| Sidecar::of(&running.pod));
    let given = known.decided.as_ref().and_then(|decided| decided.sidecar.as_ref());
    let is_known = known.asked.certain && known.facts.around.flags_assumed.is_none();
    is_known && there.zip(given).is_some_and(|(there, given)| there.args != given.args)
}

fn of_sidecar(known: &Known<'_>, sidecar: &Sidecar, now: Timestamp) -> Vec<String> {
    let mode = sidecar.mode.as_str();
    let mut lines = vec![format!("a sidecar: a {mode} container with the image {}", sidecar.image)];
    let given = &known.facts.around.flags.policy.image;
    if known.facts.around.flags_assumed.is_none() {
        lines.push(if *given == sidecar.image {
            String::from("  the image that new pods get")
        } else {
            format!("  new pods get {given}")
        });
    }
    if has_other_settings(known) {
        lines.push(String::from("  its settings are not those that a new pod gets"));
    }
    let Some(status) = &sidecar.status else {
        lines.push(String::from("  no kubelet has said anything about it yet"));
        return lines;
    };
    lines.extend(status.state.as_ref().and_then(|it| state(it, now)).map(|it| format!("  {it}")));
    if status.restart_count > 0 {
        let last = status.last_state.as_ref().and_then(|last| state(last, now));
        let last = last.map(|last| format!("; before: {last}")).unwrap_or_default();
        lines.push(format!("  restarts: {}{last}", status.restart_count));
    }
    lines
}

fn state(state: &ContainerState, now: Timestamp) -> Option<String> {
    if let Some(running) = &state.running {
        let since = running.started_at.as_ref().map(|time| since(time.0, now));
        return Some(format!("running {}", since.unwrap_or_default()).trim_end().to_owned());
    }
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.as_deref().map(|it| format!(": {}", one_line(it)));
        let reason = waiting.reason.as_deref().unwrap_or("no reason given");
        return Some(format!("waiting ({reason}){}", message.unwrap_or_default()));
    }
    let ended = state.terminated.as_ref()?;
    let message = ended.message.as_deref().map(|it| format!(": {}", one_line(it)));
    Some(format!("ended with exit code {}{}", ended.exit_code, message.unwrap_or_default()))
}

fn without_sidecar(known: &Known<'_>, story: &Story, pod: &Pod) -> Vec<String> {
    let mut lines = vec![String::from("no sidecar")];
    let annotations = pod.metadata.annotations.as_ref();
    if let Some(status) = annotations.and_then(|annotations| annotations.get(keys::STATUS)) {
        lines.push(format!("  the webhook noted on the pod: {}", one_line(status)));
    } else if story.missing {
        lines.push(format!("  {}", why_missing(known, pod)));
    }
    lines
}

/// Why a pod that would get a sidecar now has none, as far as that can be known.
fn why_missing(known: &Known<'_>, pod: &Pod) -> String {
    let Some(created) = pod.metadata.creation_timestamp.as_ref().map(|time| time.0) else {
        return String::from("when it was created is not known");
    };
    if let Configuration::There { created: Some(configured), .. } =
        &known.facts.around.configuration
        && created < *configured
    {
        return format!(
            "the pod is older than the webhook's configuration: created {created}, and that {configured}"
        );
    }
    if known.asked.entry != Some(Entry::Namespace) {
        return format!(
            "the pod was created {created}; a label that it got later has no effect, and when it got it is not known"
        );
    }
    let labelled = match &known.facts.around.of_namespace {
        OfNamespace::Known(namespace) => namespace.labelled_at,
        _ => None,
    };
    match labelled {
        Some(labelled) if created < labelled => format!(
            "the pod is older than the namespace's label: created {created}, and whoever labelled the namespace last wrote to it {labelled}"
        ),
        Some(labelled) if created > labelled => format!(
            "the pod was created {created}, when the namespace had its label (at the latest since {labelled}): the webhook was not there, or was not asked"
        ),
        _ => format!(
            "the pod was created {created}; whether that was before the namespace got its label is not known"
        ),
    }
}

fn ready(pod: &Pod, now: Timestamp, story: &mut Story) -> Vec<String> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if let Some(phase @ ("Succeeded" | "Failed")) = phase {
        return vec![format!("the pod has ended: {phase}")];
    }
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let Some(condition) = conditions.into_iter().find(|it| it.type_ == "Ready") else {
        story.ready = Some(false);
        return vec![format!(
            "not Ready: no kubelet has taken it (phase {})",
            phase.unwrap_or("?")
        )];
    };
    let is_ready = condition.status == "True";
    story.ready = Some(is_ready);
    let time = condition.last_transition_time.as_ref().map(|time| since(time.0, now));
    let word = if is_ready { "Ready" } else { "not Ready" };
    let message = condition.message.as_deref().filter(|message| !message.is_empty());
    let message = message.map(|message| format!(": {}", one_line(message))).unwrap_or_default();
    vec![format!("{word} {}{message}", time.unwrap_or_default())]
}

fn secret(known: &Known<'_>, story: &mut Story, name: &str, key: &str) -> Option<String> {
    let found = known.facts.secret.as_ref()?;
    let there = found.as_ref().ok().map(|found| *found == KeyFound::There);
    story.secret = Some(SecretNow { name: name.to_owned(), key: key.to_owned(), there });
    Some(match found {
        Ok(KeyFound::There) => format!("the Secret {name} is there, with the key {key}"),
        Ok(KeyFound::NoKey) => format!("the Secret {name} is there, but has no key {key}"),
        Ok(KeyFound::NoSecret) => format!("there is no Secret {name}"),
        Err(error) => format!("whether there is a Secret {name} with the key {key}: {error}"),
    })
}

/// The last lines that are more than details, in the sidecar's own words.
fn log(running: &Running, story: &mut Story) -> Vec<String> {
    match &running.log {
        None => Vec::new(),
        Some(Err(error)) => vec![format!("its log: {error}")],
        Some(Ok(log)) => {
            let told: Vec<&str> = log.lines().filter(|line| matters(line)).collect();
            let last = &told[told.len().saturating_sub(LINES)..];
            story.log = last.iter().map(|line| one_line(line)).collect();
            if story.log.is_empty() {
                return vec![String::from("its log is empty")];
            }
            let lines = story.log.iter().map(|line| format!("  {line}"));
            [String::from("its log ends with")].into_iter().chain(lines).collect()
        }
    }
}

/// Details come at the level debug, with a second word `DEBUG`.
fn matters(line: &str) -> bool {
    !line.trim().is_empty() && line.split_whitespace().nth(1) != Some("DEBUG")
}
