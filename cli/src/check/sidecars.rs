//! How the sidecars of running pods are.

use injection::{SIDECAR, printable};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::finding::{Check, Finding, Named, line};
use super::pods::{PATIENCE, not_ready_since};
use crate::cluster::Unreadable;
use crate::sidecar::Sidecar;

/// The most pods whose logs or events are read.
const MOST_READ: usize = 20;

/// What was found on sidecars.
#[derive(Debug, Default)]
pub(crate) struct Sidecars {
    pub(crate) ready: usize,
    /// Those that are not ready, the first ones.
    pub(crate) not_ready: Vec<NotReady>,
    pub(crate) more_not_ready: usize,
    /// Those whose image can't be pulled, the first ones.
    pub(crate) not_pulled: Vec<NotPulled>,
    pub(crate) more_not_pulled: usize,
}

/// A pod whose sidecar is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotReady {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) since: Timestamp,
    /// What its container does: only one that runs has something to say.
    pub(crate) container: ContainerDoes,
    /// The last lines of the sidecar's log.
    pub(crate) log: Option<Result<String, Unreadable>>,
}

/// What a sidecar's container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerDoes {
    Start,
    Run,
    Crash,
}

/// A pod whose sidecar's image can't be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotPulled {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) image: String,
    /// What the kubelet says: `ImagePullBackOff`.
    pub(crate) reason: String,
    /// Its reason in a sentence, from the container's status or, better, from the pod's events.
    pub(crate) message: String,
}

impl Sidecars {
    pub(crate) fn add(&mut self, pod: &Pod, sidecar: &Sidecar, now: Timestamp) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let state = sidecar.status.as_ref().and_then(|status| status.state.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
        let pulls = [
            "ErrImagePull",
            "ImagePullBackOff",
            "InvalidImageName",
            "ErrImageNeverPull",
            "ImageInspectError",
            "RegistryUnavailable",
        ];
        if pulls.contains(&reason) {
            if self.not_pulled.len() < MOST_READ {
                let message = waiting.and_then(|it| it.message.clone()).unwrap_or_default();
                let (image, reason) = (sidecar.image.clone(), reason.to_owned());
                self.not_pulled.push(NotPulled { namespace, name, image, reason, message });
            } else {
                self.more_not_pulled += 1;
            }
            return;
        }
        if sidecar.status.as_ref().is_some_and(|status| status.ready) {
            self.ready += 1;
        } else if self.not_ready.len() < MOST_READ {
            let since = not_ready_since(pod).unwrap_or(now);
            let container = match state {
                Some(state) if state.running.is_some() => ContainerDoes::Run,
                Some(state) if state.terminated.is_some() || reason == "CrashLoopBackOff" => {
                    ContainerDoes::Crash
                }
                _ => ContainerDoes::Start,
            };
            self.not_ready.push(NotReady { namespace, name, since, container, log: None });
        } else {
            self.more_not_ready += 1;
        }
    }
}

pub(crate) fn images(sidecars: Result<&Sidecars, &Unreadable>) -> Finding {
    let check = Check::Images;
    let sidecars = match sidecars {
        Ok(sidecars) => sidecars,
        Err(error) => return Finding::unreadable(check, error),
    };
    if sidecars.not_pulled.is_empty() {
        return Finding::ok(check, "no pod waits for its sidecar's image");
    }
    let describe = |pod: &NotPulled| {
        let message = line(&pod.message, 700);
        let NotPulled { namespace, name, image, reason, .. } = pod;
        format!(
            "{namespace}/{name}: {} ({}): {message}",
            printable(image, 253),
            printable(reason, 63)
        )
    };
    let mut found: Named = sidecars.not_pulled.iter().map(describe).collect();
    found.more += sidecars.more_not_pulled;
    Finding::failed(check, format!("pods whose sidecar's image can't be pulled: {}", found.len()))
        .named(found)
        .means("In classic mode Legacy runs and the pod is not ready; in native mode Legacy waits.")
        .remedy("name an image that the nodes can pull: --sidecar-image of the webhook")
        .remedy("for a private registry: imagePullSecrets of the pod, or of its ServiceAccount")
        .remedy("then kubectl -n NAMESPACE rollout restart KIND/NAME")
}

/// How a sidecar is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Starting,
    Waiting,
    NoHalf,
    Refused,
    Failing,
    Crashing,
    NotReady,
}

impl Word {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "not started",
            Self::Waiting => "waiting",
            Self::NoHalf => "no half",
            Self::Refused => "refused",
            Self::Failing => "failing",
            Self::Crashing => "crashing",
            Self::NotReady => "not ready",
        }
    }

    /// What the sidecar's last line that says something tells. Its sentences are in
    /// `sidecar/src/messages.rs`, and are matched by the words that name the cause.
    fn of(log: &str) -> Self {
        let said = log.lines().rev().find_map(|line| {
            [
                ("waiting for Legacy to listen", Self::Waiting),
                ("is gone: nothing listens any more", Self::Waiting),
                ("The operations half is not the one", Self::Refused),
                ("the half is needed when it does", Self::NoHalf),
                ("the operations half", Self::NoHalf),
                ("Legacy is initialised", Self::NotReady),
                ("Next attempt in", Self::Failing),
                ("Retrying;", Self::Failing),
                ("does not answer any more", Self::Failing),
            ]
            .into_iter()
            .find(|(part, _)| line.contains(part))
        });
        said.map_or(Self::NotReady, |(_, word)| word)
    }
}

pub(crate) fn sidecar_states(sidecars: Result<&Sidecars, &Unreadable>, now: Timestamp) -> Finding {
    let check = Check::SidecarStates;
    let sidecars = match sidecars {
        Ok(sidecars) => sidecars,
        Err(error) => return Finding::unreadable(check, error),
    };
    let mut counts: Vec<(&str, usize)> = vec![("ready", sidecars.ready)];
    let mut count = |word: &'static str| match counts.iter_mut().find(|(known, _)| *known == word) {
        Some((_, count)) => *count += 1,
        None => counts.push((word, 1)),
    };
    let mut found = Named::default();
    let mut first = None;
    for pod in &sidecars.not_ready {
        let word = match &pod.log {
            _ if pod.container == ContainerDoes::Start => Word::Starting,
            _ if pod.container == ContainerDoes::Crash => Word::Crashing,
            Some(Ok(log)) => Word::of(log),
            _ => Word::NotReady,
        };
        count(word.as_str());
        let since = now.duration_since(pod.since);
        // A half that Legacy refuses does not become another by waiting.
        if since > PATIENCE || word == Word::Refused {
            first = first.or(Some(pod));
            let minutes = since.as_mins();
            found.push(|| {
                format!(
                    "{}/{}: {} for {minutes} min{}",
                    pod.namespace,
                    pod.name,
                    word.as_str(),
                    last_line(pod)
                )
            });
        }
    }
    let mut counts: Vec<String> =
        counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    if sidecars.more_not_ready > 0 {
        counts.push(format!("{} more not ready", sidecars.more_not_ready));
    }
    let what = format!("sidecars: {}", counts.join(", "));
    let Some(NotReady { namespace, name, .. }) = first else {
        return Finding::ok(check, what);
    };
    found.more += sidecars.more_not_ready;
    Finding::warning(check, what)
        .named(found)
        .means("They have not been ready for more than five minutes, or Legacy refuses their half: their pods are out of their Services.")
        .remedy(format!("kubectl -n {namespace} logs {name} -c {SIDECAR} --tail=20"))
        .remedy(format!("kubectl secret-handshake explain -n {namespace} pod/{name}"))
}

/// What the sidecar itself says to do is in its last line.
fn last_line(pod: &NotReady) -> String {
    let Some(Ok(log)) = &pod.log else { return String::new() };
    let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let last = line(last, 400);
    if last.is_empty() { last } else { format!(": {last}") }
}
