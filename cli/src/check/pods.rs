//! Pods that should have a sidecar and have none, those with an old one, and the Secrets that they need.

use std::collections::{BTreeMap, BTreeSet};

use injection::{Context, Outcome, Policy, decide_pod, printable, says_yes};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::configuration::BesideIstio;
use super::finding::{Check, Finding, Named};
use super::namespace::{Namespaces, ours};
use super::sidecars::Sidecars;
use super::workload::Owner;
use crate::cluster::Unreadable;
use crate::pod;
use crate::sidecar::Sidecar;

/// How long a pod may be not ready before that is a finding.
pub(crate) const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// The most groups of pods, and the most Secrets, that are kept; the pods beyond are only counted.
const MOST_GROUPS: usize = 2_000;
pub(crate) const MOST_SECRETS: usize = 500;

/// What was found on pods, as they were read.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    pub(crate) with_sidecar: usize,
    pub(crate) missing: Groups,
    pub(crate) old: Groups,
    pub(crate) secrets: BTreeSet<SecretKey>,
    pub(crate) more_secrets: bool,
    pub(crate) beside_istio: BesideIstio,
    pub(crate) sidecars: Sidecars,
}

/// Pods by the workload that they are of, and by a reason that they share.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    pub(crate) by_owner: BTreeMap<(Owner, String), usize>,
    pub(crate) more: usize,
}

impl Groups {
    pub(crate) fn add(&mut self, owner: Owner, reason: String) {
        if self.by_owner.len() < MOST_GROUPS
            || self.by_owner.contains_key(&(owner.clone(), reason.clone()))
        {
            *self.by_owner.entry((owner, reason)).or_default() += 1;
        } else {
            self.more += 1;
        }
    }

    fn pods(&self) -> usize {
        self.by_owner.values().sum::<usize>() + self.more
    }

    fn lines(&self) -> Named {
        let line = |((owner, reason), count): (&(Owner, String), &usize)| {
            let pods = if *count == 1 { "1 pod".to_owned() } else { format!("{count} pods") };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("{owner}, {pods}{reason}")
        };
        self.by_owner.iter().map(line).collect()
    }
}

/// A key of a Secret that a sidecar reads its half from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SecretKey {
    pub(crate) namespace: String,
    pub(crate) secret: String,
    pub(crate) key: String,
}

impl Pods {
    /// Looks at a pod, and keeps of it only what a finding may need. `policy` is what the webhook runs
    /// with, or if that is not known what it does by default; `image` is the sidecar's, if it is known.
    pub(crate) fn add(
        &mut self,
        pod: &Pod,
        namespaces: &Namespaces,
        policy: &Policy,
        image: Option<&str>,
        now: Timestamp,
    ) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        if pod::is_over(pod) || namespaces.going.contains(namespace) {
            return;
        }
        match Sidecar::of(pod) {
            Some(sidecar) => {
                self.with_sidecar += 1;
                if image.is_some_and(|image| image != sidecar.image) {
                    let reason = printable(&sidecar.image, 253);
                    self.old.add(Owner::of(pod), reason);
                }
                self.add_secret(pod, &sidecar);
                self.add_beside_istio(pod, now);
                self.sidecars.add(pod, &sidecar, now);
            }
            None => self.add_without(pod, namespaces, policy),
        }
    }

    /// Most pods of a cluster have nothing to do with us.
    fn add_without(&mut self, pod: &Pod, namespaces: &Namespaces, policy: &Policy) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let inherited = namespaces.all.get(namespace);
        let namespace_asks = inherited.and_then(|it| it.label.as_deref()).map(says_yes);
        if namespace_asks != Some(true) && ours(&pod.metadata).is_none() {
            return;
        }
        let Ok(own) = serde_json::to_value(pod).and_then(serde_json::from_value::<injection::Pod>)
        else {
            return;
        };
        let context = Context {
            namespace: Some(namespace),
            workload_label: None,
            namespace_asks,
            namespace_metadata: inherited.map(|it| &it.metadata),
        };
        match decide_pod(&own, context, policy, &[]).outcome {
            Outcome::Injected(_) => self.missing.add(Owner::of(pod), String::new()),
            Outcome::Skipped(reason) | Outcome::Denied(reason) if reason.is_obstacle() => {
                self.missing.add(Owner::of(pod), reason.to_string());
            }
            _ => {}
        }
    }

    fn add_secret(&mut self, pod: &Pod, sidecar: &Sidecar) {
        let Some((secret, key)) = sidecar.secret() else {
            return;
        };
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let secret = SecretKey { namespace, secret: secret.to_owned(), key: key.to_owned() };
        if self.secrets.len() < MOST_SECRETS {
            self.secrets.insert(secret);
        } else if !self.secrets.contains(&secret) {
            self.more_secrets = true;
        }
    }

    fn add_beside_istio(&mut self, pod: &Pod, now: Timestamp) {
        let Some(spec) = &pod.spec else { return };
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        if !containers.any(|container| container.name == "istio-proxy") {
            return;
        }
        self.beside_istio.pods += 1;
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let probe = containers
            .find(|container| crate::sidecar::is_sidecar(container))
            .and_then(|sidecar| sidecar.readiness_probe.as_ref()?.http_get.as_ref()?.path.clone());
        let name = || {
            format!(
                "{}/{}",
                pod.metadata.namespace.as_deref().unwrap_or_default(),
                pod.metadata.name.as_deref().unwrap_or_default()
            )
        };
        // Istio's agent answers for the pod's containers below this path.
        if !probe.is_some_and(|path| path.starts_with("/app-health/")) {
            self.beside_istio.plain_probe.push(name);
        } else if not_ready_since(pod).is_some_and(|since| now.duration_since(since) > PATIENCE) {
            self.beside_istio.not_ready.push(name);
        }
    }
}

/// Since when a pod is not ready; `None` for one that is.
pub(crate) fn not_ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    match ready {
        Some(ready) if ready.status == "True" => None,
        Some(ready) => ready.last_transition_time.as_ref().map(|time| time.0).or_else(created),
        None => created(),
    }
}

pub(crate) fn missing_sidecars(pods: &Result<Pods, Unreadable>) -> Finding {
    let check = Check::MissingSidecars;
    let pods = match pods {
        Ok(pods) => pods,
        Err(error) => return Finding::unreadable(check, error),
    };
    let missing = &pods.missing;
    if missing.pods() == 0 {
        let what = format!(
            "every pod that asks for a sidecar has one; pods with a sidecar: {}",
            pods.with_sidecar
        );
        return Finding::ok(check, what);
    }
    let without_reason = missing.by_owner.keys().filter(|(_, reason)| reason.is_empty());
    let restarts: Vec<String> = without_reason.map(|(owner, _)| owner.renew()).take(10).collect();
    let means = if restarts.is_empty() {
        "They inherit the wish from their namespace, and can't have one for the reason that stands beside them."
    } else {
        "They are older than the label, or were made while nobody asked the webhook. A pod that runs is never changed."
    };
    let finding = Finding::warning(
        check,
        format!("pods that ask for a sidecar and have none: {}", missing.pods()),
    )
    .named(missing.lines())
    .means(means)
    .remedies(restarts.iter().cloned());
    if missing.by_owner.keys().any(|(_, reason)| !reason.is_empty()) {
        finding.remedy("where a reason stands: mend it, or let the pod say no with the label secret-handshake=false")
    } else {
        finding
    }
}

/// `image` is what the webhook gives to new pods.
pub(crate) fn old_sidecars(
    pods: &Result<Pods, Unreadable>,
    image: &Result<String, Unreadable>,
) -> Finding {
    let check = Check::OldSidecars;
    let image = match image {
        Ok(image) => image,
        Err(error) => {
            let what = format!("which sidecar new pods get is not known: {error}");
            return Finding::skipped(check, what);
        }
    };
    let old = match pods {
        Ok(pods) => &pods.old,
        Err(error) => return Finding::unreadable(check, error),
    };
    let image = printable(image, 253);
    if old.pods() == 0 {
        return Finding::ok(check, format!("every sidecar is {image}, which new pods get"));
    }
    let namespaces: BTreeSet<&str> =
        old.by_owner.keys().map(|(owner, _)| owner.namespace.as_str()).collect();
    let upgrades = namespaces.iter().take(5);
    Finding::warning(check, format!("pods with another sidecar than new pods get: {}", old.pods()))
        .named(old.lines())
        .means(format!("New pods get {image}. A pod keeps the sidecar that it has until it is made anew or upgraded."))
        .remedies(upgrades.map(|it| format!("kubectl secret-handshake upgrade -n {it}")))
}

/// What is there of a Secret. Its values are never kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HalfState {
    NoSecret,
    NoKey,
    Empty,
    There,
}

/// `read` is what was found of each Secret that pods need.
pub(crate) fn secrets(
    pods: &Result<Pods, Unreadable>,
    read: &[(SecretKey, Result<HalfState, Unreadable>)],
) -> Finding {
    let check = Check::Secrets;
    if let Err(error) = pods {
        return Finding::unreadable(check, error);
    }
    let mut found = Named::default();
    let mut remedies = Vec::new();
    for (SecretKey { namespace, secret, key }, state) in read {
        let (secret, key) = (printable(secret, 253), printable(key, 253));
        let problem = match state {
            Ok(HalfState::There) | Err(_) => continue,
            Ok(HalfState::NoSecret) => format!("{namespace}/{secret}: there is no such Secret"),
            Ok(HalfState::NoKey) => format!("{namespace}/{secret}: it has no key {key}"),
            Ok(HalfState::Empty) => format!("{namespace}/{secret}: its key {key} is empty"),
        };
        found.push(|| problem);
        if remedies.len() < 5 {
            remedies.push(format!(
                "kubectl -n {namespace} create secret generic {secret} --from-file={key}=FILE --dry-run=client -o yaml | kubectl apply -f -"
            ));
        }
    }
    let more = pods.as_ref().is_ok_and(|pods| pods.more_secrets);
    let more = if more { ", the others were not looked at" } else { "" };
    if !found.is_empty() {
        return Finding::failed(check, format!("Secrets with a half that are missing or incomplete: {}{more}", found.len()))
            .named(found)
            .means("The sidecars wait for them, and Legacy stays uninitialised. They go on by themselves within about a minute.")
            .remedies(remedies);
    }
    if let Some(error) = read.iter().find_map(|(_, state)| state.as_ref().err()) {
        return Finding::unreadable(check, error);
    }
    match read.len() {
        0 => Finding::ok(check, "no pod needs a Secret with a half"),
        count => Finding::ok(
            check,
            format!("every Secret with a half is there with its key; Secrets: {count}{more}"),
        ),
    }
}
