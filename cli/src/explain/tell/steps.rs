//! What to do, as commands.

use std::collections::BTreeSet;

use injection::{Outcome, Reason, WorkloadKind, keys};

use super::super::facts::{Configuration, PodSeen};
use super::super::story::{Step, Story, Verdict};
use super::super::target::Kind;
use super::known::Known;
use super::there::has_other_settings;
use crate::pod::is_over;

/// So many restarts are listed.
const LISTED: usize = 10;

pub(super) fn tell(known: &Known<'_>, story: &mut Story) {
    let mut steps = Vec::new();
    if matches!(known.facts.around.configuration, Configuration::Absent) {
        steps.push(step("Install the webhook:", "kubectl apply -k deploy/webhook"));
    }
    if story.verdict != Verdict::Sidecar {
        steps.extend(labels(known));
    }
    steps.extend(secret(known, story));
    steps.extend(pull(known, story));
    steps.extend(restarts(known, story));
    steps.extend(upgrade(known, story));
    story.todo = steps;
}

fn step(why: &str, command: &str) -> Step {
    Step { why: why.to_owned(), command: Some(command.to_owned()) }
}

/// Nobody asks, or a label says no: that may be what is wanted.
fn labels(known: &Known<'_>) -> Option<Step> {
    let (kind, name) = (known.facts.kind, &known.facts.name);
    let namespace = known.namespace();
    let is_known = !namespace.is_empty();
    let reason = match known.decided.as_ref().map(|decided| &decided.outcome) {
        Some(Outcome::Skipped(reason)) => Some(reason),
        _ => known.asked.reason.as_ref(),
    };
    match (reason, known.labels.deciding.as_ref().map(|label| label.place)) {
        (Some(Reason::NotAsked), _) if is_known => Some(step(
            "If it should have a sidecar, label its namespace:",
            &format!("kubectl label namespace {namespace} {}=true", keys::LABEL),
        )),
        (Some(Reason::OptedOut), Some("namespace")) if is_known => Some(step(
            "If it should have a sidecar, change the label of its namespace:",
            &format!("kubectl label --overwrite namespace {namespace} {}=true", keys::LABEL),
        )),
        (Some(Reason::OptedOut), Some("workload")) if !known.is_manifest() => Some(step(
            "If it should have a sidecar, change its label:",
            &format!(
                "kubectl -n {namespace} label --overwrite {}/{name} {}=true",
                kind.as_str().to_lowercase(),
                keys::LABEL
            ),
        )),
        (Some(Reason::OptedOut), Some(place)) => Some(Step {
            why: format!(
                "If it should have a sidecar, take the label {} from the {place}.",
                keys::LABEL
            ),
            command: None,
        }),
        (Some(Reason::Done), _) => Some(Step {
            why: format!("If it should have a sidecar, remove the annotation {}.", keys::DONE),
            command: None,
        }),
        _ => None,
    }
}

fn secret(known: &Known<'_>, story: &Story) -> Option<Step> {
    let secret = story.secret.as_ref().filter(|secret| secret.there == Some(false))?;
    let (name, key, namespace) = (&secret.name, &secret.key, known.namespace());
    Some(step(
        "Bring your half, as a file with nothing else in it:",
        &format!(
            "kubectl -n {namespace} create secret generic {name} --from-file={key}=FILE --dry-run=client -o yaml | kubectl apply -f -"
        ),
    ))
}

fn pull(known: &Known<'_>, story: &Story) -> Option<Step> {
    let running = known.facts.running.as_ref()?;
    let sidecar = story.sidecar.as_ref()?;
    let status = crate::sidecar::Sidecar::of(&running.pod)?.status?;
    let reason = status.state?.waiting?.reason?;
    let cannot_pull = matches!(
        reason.as_str(),
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"
    );
    let given = &known.facts.around.flags.policy.image;
    let is_given = known.facts.around.flags_assumed.is_some() || *given == sidecar.image;
    (cannot_pull && is_given).then(|| Step {
        why: format!(
            "The node can't pull {}: the webhook's flag --sidecar-image names another image, for pods that are created then.",
            sidecar.image
        ),
        command: None,
    })
}

fn restarts(known: &Known<'_>, story: &Story) -> Vec<Step> {
    let namespace = known.namespace();
    if let Some(running) = &known.facts.running {
        let left = story.sidecar.is_some()
            && matches!(story.verdict, Verdict::None | Verdict::Refused)
            && !is_over(&running.pod);
        let is_other = has_other_settings(known) && !is_over(&running.pod);
        let why = match (story.missing, left, is_other) {
            (true, ..) => "It should have a sidecar and has none. A new pod gets it:",
            (_, true, _) => "It has a sidecar that a new pod would not get. To be rid of it:",
            (.., true) => "What was set since it was created reaches a new pod:",
            _ => return Vec::new(),
        };
        let restart = restart_of_pod(known);
        return vec![again(why, namespace, restart.as_deref(), &known.facts.name)];
    }
    let Some(Ok(pods)) = &known.facts.pods else { return Vec::new() };
    let mut steps = Vec::new();
    let missing = "Pods that should have a sidecar and have none. New ones get it:";
    let left = "Pods with a sidecar that new ones would not get. To be rid of it:";
    let is_workload = known.facts.kind != Kind::Namespace;
    for (why, which, told) in [
        (missing, PodSeen::is_missing as fn(&PodSeen) -> bool, true),
        // Of a namespace's other pods it isn't known whether their templates have the sidecar.
        (left, PodSeen::is_left, is_workload),
    ] {
        if !told {
            continue;
        }
        let chosen = pods.iter().filter(|pod| which(pod));
        let restarts: BTreeSet<Step> =
            chosen.map(|pod| again(why, namespace, pod.restart.as_deref(), &pod.name)).collect();
        let more = restarts.len().saturating_sub(LISTED);
        steps.extend(restarts.into_iter().take(LISTED));
        if more > 0 {
            steps.push(Step { why: format!("… and {more} more"), command: None });
        }
    }
    // One sentence for all commands of a kind.
    let mut last = String::new();
    for step in &mut steps {
        if step.why == last {
            step.why.clear();
        } else {
            last.clone_from(&step.why);
        }
    }
    steps
}

/// The step that makes a pod anew.
fn again(why: &str, namespace: &str, restart: Option<&str>, pod: &str) -> Step {
    let command = match restart {
        Some(what) if what.starts_with("job/") => {
            return Step {
                why: format!("{why} delete the Job {} and create it again.", &what[4..]),
                command: None,
            };
        }
        Some(what) if what.starts_with("pod/") => {
            format!("kubectl -n {namespace} delete {what}")
        }
        Some(what) => format!("kubectl -n {namespace} rollout restart {what}"),
        // Nobody makes it anew but who has its manifest.
        None => format!("kubectl -n {namespace} replace --force -f MANIFEST_OF_{pod}"),
    };
    step(why, &command)
}

/// What has to be restarted for a new pod in the place of this one.
fn restart_of_pod(known: &Known<'_>) -> Option<String> {
    let owners = known.facts.owners.iter().map(|owner| (owner.kind.as_str(), owner.name.as_str()));
    restart(&owners.collect::<Vec<_>>(), &known.facts.name)
}

/// The same, of a pod with these owners, the nearest first: kinds and names.
pub(in crate::explain) fn restart(owners: &[(&str, &str)], pod: &str) -> Option<String> {
    let (nearest, top) = (owners.first()?, owners.last()?);
    Some(match (nearest, top) {
        (_, (kind @ ("Deployment" | "StatefulSet" | "DaemonSet"), name)) => {
            format!("{}/{name}", kind.to_lowercase())
        }
        (("Job", name), _) => format!("job/{name}"),
        // Its owner makes another one.
        _ => format!("pod/{pod}"),
    })
}

/// The webhook's image is another one than a pod has.
fn upgrade(known: &Known<'_>, story: &Story) -> Option<Step> {
    if known.facts.around.flags_assumed.is_some() || story.verdict != Verdict::Sidecar {
        return None;
    }
    let given = &known.facts.around.flags.policy.image;
    let (namespace, name) = (known.namespace(), &known.facts.name);
    let is_older = |image: &String| image != given;
    let what = match (known.facts.kind, &known.facts.pods) {
        (Kind::Pod, _) => {
            let sidecar = story.sidecar.as_ref().filter(|sidecar| is_older(&sidecar.image))?;
            if sidecar.mode != "classic" {
                return None;
            }
            restart_of_pod(known).filter(|what| !what.starts_with("job/"))?
        }
        (kind, Some(Ok(pods))) => {
            pods.iter().find(|pod| !pod.over && pod.sidecar.as_ref().is_some_and(is_older))?;
            match kind {
                Kind::Workload(WorkloadKind::Job | WorkloadKind::CronJob) => return None,
                Kind::Workload(kind) => format!("{}/{name}", kind.as_str().to_lowercase()),
                _ => String::new(),
            }
        }
        _ => return None,
    };
    let command = format!("kubectl secret-handshake upgrade -n {namespace} {what}");
    Some(step("To renew the sidecar; Legacy is not restarted:", command.trim_end()))
}
