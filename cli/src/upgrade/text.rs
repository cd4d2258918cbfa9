//! What people read: the plan, and what came of it.

use std::fmt::Write as _;
use std::time::Duration;

use injection::{SIDECAR, printable};
use serde_json::json;

use super::plan::{Group, Left, Plan, Why};
use super::pod::Workload;
use super::renew::{Failed, Renewed};
use crate::cluster::Connection;
use crate::visible::is_visible;

/// The most characters of an image's name that are shown.
const IMAGE: usize = 300;

/// What is meant, for the words and the commands in the text.
pub(super) struct Scope<'a> {
    pub(super) image: &'a str,
    /// Whether the image is the user's word and not the webhook's.
    pub(super) told: bool,
    /// `None` if it is all namespaces.
    pub(super) namespace: Option<&'a str>,
    pub(super) connection: &'a Connection,
}

/// The plan, before anything is done.
pub(super) fn plan(plan: &Plan, scope: &Scope<'_>) -> String {
    let image = printable(scope.image, IMAGE);
    let mut text = if scope.told {
        format!("The sidecar's image is to be {image}.\n")
    } else {
        format!("The webhook gives new pods the sidecar {image}.\n")
    };
    let place =
        scope.namespace.map_or("all namespaces".to_owned(), |name| format!("namespace {name}"));
    let (all, have) = (plan.with_sidecar, plan.up_to_date);
    _ = match all {
        0 => writeln!(text, "None of these pods in {place} has a sidecar."),
        _ => writeln!(
            text,
            "{} in {place} with a sidecar: {have} with this one, {} with another.",
            pods(all),
            all - have
        ),
    };
    if plan.count() > 0 {
        text += "To upgrade, one pod at a time:\n";
    }
    for group in &plan.groups {
        _ = writeln!(
            text,
            "  {}: {}",
            scope.workload(&group.namespace, &group.workload),
            upgrades(group)
        );
    }
    if !plan.left.is_empty() {
        text += "Left as they are:\n";
    }
    // They come by workload.
    for left in plan
        .left
        .chunk_by(|a, b| (&a.namespace, &a.workload, a.why) == (&b.namespace, &b.workload, b.why))
    {
        let [first, rest @ ..] = left else { continue };
        let more =
            if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let workload = scope.workload(&first.namespace, &first.workload);
        _ = writeln!(text, "  {workload}: pod {}{more}: {}", first.pod, reason(first, scope));
    }
    text
}

fn upgrades(group: &Group) -> String {
    let mut images: Vec<_> = group.pods.iter().filter_map(|pod| pod.sidecar.as_ref()).collect();
    images.sort_by_key(|sidecar| &sidecar.image);
    images.dedup_by_key(|sidecar| &sidecar.image);
    let more = match images.len() {
        0 | 1 => String::new(),
        count => format!(" and {} other images", count - 1),
    };
    let first = images.first().map(|sidecar| printable(&sidecar.image, IMAGE)).unwrap_or_default();
    let gap = group.pods.iter().any(|pod| group.has_gap(pod));
    let gap = if gap {
        "; only one is Ready, so its Service has none for some seconds, longer if the image has to be pulled"
    } else {
        ""
    };
    format!("{}, now with {first}{more}{gap}", pods(group.pods.len()))
}

fn reason(left: &Left, scope: &Scope<'_>) -> String {
    match left.why {
        Why::OnlyReady => "the only Ready one, so its Service would have none for some seconds. \
            To upgrade it all the same: --allow-gap"
            .to_owned(),
        Why::Native => {
            "its sidecar is native and ends with the pod; the next pod gets the new one".to_owned()
        }
        Why::NotStarted => "its sidecar has not started yet; try again later".to_owned(),
        Why::NotReady => format!(
            "not Ready, so it would not be seen to come back. Why it is not: {} pod/{}",
            scope.tool("explain", &left.namespace),
            left.pod
        ),
    }
}

/// The last words. `all` is how many pods were to be upgraded.
pub(super) fn summary(renewed: &Renewed, all: usize, took: Duration, scope: &Scope<'_>) -> String {
    let Renewed { upgraded, left, failed, interrupted } = renewed;
    let mut text = String::new();
    if failed.is_some() {
        text += "Stopped: ";
    } else if *interrupted {
        text += "Interrupted: ";
    }
    _ = write!(text, "{} upgraded in {:.0} s", pods(*upgraded), took.as_secs_f64().ceil());
    if *left > 0 {
        _ = write!(text, ", {left} left after all");
    }
    if failed.as_ref().is_some_and(|failed| failed.changed) {
        text += ", 1 not back";
    }
    let rest = all - upgraded - left - usize::from(failed.as_ref().is_some_and(|it| it.changed));
    if rest > 0 {
        _ = write!(text, ", {rest} not touched");
    }
    text += ".\n";
    if let Some(Failed { pod, changed: true, others }) = failed {
        let (namespace, name) = (&pod.namespace, &pod.name);
        let kubectl = scope.kubectl(namespace);
        let old = pod.sidecar.as_ref().map(|sidecar| sidecar.image.as_str()).unwrap_or_default();
        let patch = json!({ "spec": { "containers": [{ "name": SIDECAR, "image": old }] } });
        _ = write!(
            text,
            "\nLegacy runs on in pod {name}, which gets no calls from its Services until its sidecar is Ready.\n\
            Its old sidecar again:\n  {kubectl} patch pod {name} -p {}\n\
            What is wrong:\n  {kubectl} describe pod {name}\n  {kubectl} logs {name} -c {SIDECAR}\n",
            quoted(&patch.to_string()),
        );
        if *others {
            _ = write!(
                text,
                "The old sidecar in all pods of its workload:\n  {} {} --to {}\n",
                scope.tool("upgrade", namespace),
                pod.workload,
                quoted(old)
            );
        }
    }
    text
}

impl Scope<'_> {
    fn workload(&self, namespace: &str, workload: &Workload) -> String {
        match self.namespace {
            Some(_) => workload.to_string(),
            None => format!("{workload} in {namespace}"),
        }
    }

    /// The beginning of a command for a person to run.
    fn kubectl(&self, namespace: &str) -> String {
        format!("kubectl{}", self.flags(namespace))
    }

    /// Its flags stand behind its command: kubectl passes on nothing from before.
    fn tool(&self, command: &str, namespace: &str) -> String {
        format!("kubectl secret-handshake {command}{}", self.flags(namespace))
    }

    fn flags(&self, namespace: &str) -> String {
        let Connection { kubeconfig, context, .. } = self.connection;
        let mut flags = String::new();
        if let Some(path) = kubeconfig {
            _ = write!(flags, " --kubeconfig={}", quoted(&path.to_string_lossy()));
        }
        if let Some(context) = context {
            _ = write!(flags, " --context={}", quoted(context));
        }
        flags + " -n " + namespace
    }
}

fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_./:@=,+".contains(char);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let word: String = word.chars().filter(|char| is_visible(*char)).collect();
    format!("'{}'", word.replace('\'', r"'\''"))
}
