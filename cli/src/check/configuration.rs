//! The `MutatingWebhookConfiguration`: whether it is there and whole, its place among others, its caBundles.

use certs::bundle::Entry;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;

use super::finding::{Check, Finding, Named};
use crate::cluster::Unreadable;
use crate::webhook::{CONFIGURATION, NAMESPACE, SERVICE};

/// What applies the whole installation again.
pub(crate) const APPLY: &str = "kubectl apply -k deploy/webhook";

/// The names of its entries; they are never changed.
const ENTRIES: [&str; 3] =
    ["namespace.secret-handshake.dev", "pod.secret-handshake.dev", "workload.secret-handshake.dev"];
const DOMAIN: &str = ".secret-handshake.dev";

/// What the entries of Istio's injector are named after.
const ISTIO: &str = "sidecar-injector.istio.io";

/// What was read of the configurations.
pub(crate) struct Configurations {
    /// Ours.
    pub(crate) own: Result<Option<MutatingWebhookConfiguration>, Unreadable>,
    /// Those beside it that may have to do with ours: see [`is_related`].
    pub(crate) others: Result<Vec<MutatingWebhookConfiguration>, Unreadable>,
    /// Whether the webhook serves with a certificate from files, so that somebody else keeps the caBundles.
    pub(crate) has_own_certificate: bool,
}

/// Injected pods that Istio's proxy runs in as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BesideIstio {
    pub(crate) pods: usize,
    /// Those whose readinessProbe Istio has not rewritten.
    pub(crate) plain_probe: Named,
    /// Those that have been not ready for long.
    pub(crate) not_ready: Named,
}

/// The `PeerAuthentications` in the cluster that ask for mTLS, as `namespace/name`; `None` without that CRD.
pub(crate) type Strict = Result<Option<Named>, Unreadable>;

/// Whether a configuration other than ours has to be looked at.
pub(crate) fn is_related(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration.metadata.name.as_deref() != Some(CONFIGURATION)
        && (is_ours(configuration) || is_istios(configuration))
}

fn is_ours(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration.webhooks.iter().flatten().any(|entry| {
        let service = entry.client_config.service.as_ref();
        entry.name.ends_with(DOMAIN)
            || service.is_some_and(|it| it.namespace == NAMESPACE && it.name == SERVICE)
    })
}

fn is_istios(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration.webhooks.iter().flatten().any(|entry| entry.name.ends_with(ISTIO))
}

fn name(configuration: &MutatingWebhookConfiguration) -> &str {
    configuration.metadata.name.as_deref().unwrap_or_default()
}

/// `pre` is the look before anything is installed.
pub(crate) fn configuration(facts: &Configurations, pre: bool) -> Finding {
    let check = Check::Configuration;
    let own = match &facts.own {
        Ok(own) => own,
        Err(error) => return Finding::unreadable(check, error),
    };
    let seconds: Vec<_> =
        facts.others.iter().flatten().filter(|other| is_ours(other)).map(name).collect();
    if !seconds.is_empty() {
        let delete =
            seconds.iter().map(|it| format!("kubectl delete mutatingwebhookconfiguration {it}"));
        return Finding::failed(check, "there is more than one configuration of secret-handshake")
            .objects(seconds.iter().map(ToString::to_string))
            .means("The API server asks about each pod twice, or asks a webhook that is gone.")
            .remedies(delete);
    }
    let Some(own) = own else {
        return if pre {
            Finding::ok(
                check,
                "there is no configuration of secret-handshake yet, nor an older one",
            )
        } else {
            Finding::failed(
                check,
                format!("there is no MutatingWebhookConfiguration {CONFIGURATION}"),
            )
            .means("The API server asks nobody: pods get no sidecar.")
            .remedy(APPLY)
        };
    };
    let entries: Vec<_> = own.webhooks.iter().flatten().collect();
    let has = |wanted: &&str| entries.iter().any(|entry| entry.name == *wanted);
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(ENTRIES.iter().filter(|it| !has(it)).map(|it| format!("{it} is missing")));
    let strange = entries.iter().filter(|entry| !ENTRIES.contains(&&*entry.name));
    wrong.extend(strange.map(|entry| format!("{} is not one of ours", entry.name)));
    if !wrong.is_empty() {
        return Finding::failed(check, format!("{CONFIGURATION} has not the three entries that it should"))
            .objects(wrong)
            .means("Exactly one entry is called for each pod that asks; without one some pods get no sidecar.")
            .remedy(APPLY);
    }
    let lets_through = entries.iter().filter(|it| it.failure_policy.as_deref() == Some("Ignore"));
    let lets_through: Vec<_> = lets_through.map(|entry| entry.name.clone()).collect();
    if !lets_through.is_empty() {
        return Finding::warning(check, "the failurePolicy of an entry is not Fail")
            .objects(lets_through)
            .means("While the webhook is away, pods start without a sidecar and Legacy stays uninitialised.")
            .remedy(APPLY);
    }
    Finding::ok(check, format!("{CONFIGURATION} is there with its three entries, and no other"))
}

pub(crate) fn istio(
    facts: &Configurations,
    beside: &Result<BesideIstio, Unreadable>,
    strict: &Strict,
) -> Finding {
    let check = Check::Istio;
    let others = match &facts.others {
        Ok(others) => others,
        Err(error) => return Finding::unreadable(check, error),
    };
    let istio: Vec<_> = others.iter().filter(|other| is_istios(other)).map(name).collect();
    let own = facts.own.iter().flatten().next().map_or(CONFIGURATION, name);
    let before: Vec<_> = istio.iter().filter(|it| **it < own).collect();
    if !before.is_empty() {
        return Finding::failed(check, format!("Istio's injector is called before {own}"))
            .objects(before.iter().map(ToString::to_string))
            .means(
                "Configurations are called in the order of their names, and Istio rewrites only the probes that it sees: with mTLS the sidecar's probe would never get through.",
            )
            .remedy("give Istio's configuration a name that sorts after ours (istioctl's `--revision`)");
    }
    let beside = match beside {
        Ok(beside) => beside,
        Err(error) if !istio.is_empty() => return Finding::unreadable(check, error),
        Err(_) => return Finding::ok(check, "there is no injector of Istio"),
    };
    if !beside.plain_probe.is_empty() {
        let what = format!(
            "pods in which Istio has not rewritten the sidecar's probe: {}",
            beside.plain_probe.len()
        );
        let (finding, means) = match strict {
            Ok(Some(strict)) if !strict.is_empty() => {
                let by = &strict.named[0];
                (Finding::failed(check, what), format!("mTLS is demanded (PeerAuthentication {by}), so the kubelet's probe does not get through."))
            }
            _ => (
                Finding::warning(check, what),
                "As soon as mTLS is demanded (PeerAuthentication STRICT), the kubelet's probe does not get through.".to_owned(),
            ),
        };
        return finding
            .named(beside.plain_probe.clone())
            .means(means)
            .remedy("take the annotation sidecar.istio.io/rewriteAppHTTPProbers: \"false\" away, and make the pods anew: kubectl rollout restart");
    }
    if !beside.not_ready.is_empty() {
        return Finding::warning(
            check,
            format!("pods beside Istio that are not ready: {}", beside.not_ready.len()),
        )
        .named(beside.not_ready.clone())
        .remedy("kubectl describe pod NAME")
        .remedy("kubectl secret-handshake explain pod/NAME");
    }
    if istio.is_empty() && beside.pods == 0 {
        return Finding::ok(check, "there is no injector of Istio");
    }
    Finding::ok(
        check,
        format!("Istio's injector is called after {own}; pods with both: {}", beside.pods),
    )
}

pub(crate) fn ca_bundles(facts: &Configurations) -> Finding {
    let check = Check::CaBundles;
    let own = match &facts.own {
        Ok(Some(own)) => own,
        Ok(None) => return Finding::skipped(check, "no configuration, no caBundle"),
        Err(error) => return Finding::unreadable(check, error),
    };
    let entries = Entry::all_of(own);
    let writer = |entry: &Entry| match &entry.foreign_writer {
        Some(writer) => format!("{}, last written by {writer}", entry.name),
        None => entry.name.clone(),
    };
    let means = "The API server trusts only what is in an entry's caBundle; the webhook puts its own in and keeps it right.";
    let look = if facts.has_own_certificate {
        "see to whoever keeps the caBundles (cert-manager.io/inject-ca-from)"
    } else {
        "kubectl -n secret-handshake logs -l app.kubernetes.io/name=secret-handshake-webhook --tail=20"
    };
    let finding = |what: &str, chosen: &mut dyn Iterator<Item = &Entry>| {
        let finding = Finding::failed(check, what).objects(chosen.map(writer));
        finding.means(means).remedy(look)
    };
    let is_empty = |entry: &&Entry| entry.bundle.is_empty() && !entry.is_broken;
    if entries.iter().any(|entry| is_empty(&entry)) {
        return finding("a caBundle is empty", &mut entries.iter().filter(is_empty));
    }
    if entries.iter().any(|entry| entry.is_broken) {
        let mut broken = entries.iter().filter(|entry| entry.is_broken);
        return finding("there is something in a caBundle that is not a certificate", &mut broken);
    }
    let Some(first) = entries.first() else {
        return Finding::skipped(check, "no entry, no caBundle");
    };
    if entries.iter().any(|entry| !entry.holds_exactly(&first.bundle)) {
        return finding("the entries have different caBundles", &mut entries.iter());
    }
    let foreign: Vec<_> =
        entries.iter().filter(|entry| entry.foreign_writer.is_some()).map(writer).collect();
    if !foreign.is_empty() && !facts.has_own_certificate {
        return Finding::warning(check, "somebody else writes the caBundles as well")
            .objects(foreign)
            .means("The webhook puts its own back, and both go on for ever; calls can fail in between.")
            .remedy("take the webhook's configuration out of what that writer looks after");
    }
    let cas = first.bundle.len();
    let cas = if cas == 1 { "one CA".to_owned() } else { format!("{cas} CAs") };
    Finding::ok(check, format!("every entry has the same caBundle, with {cas}"))
}
