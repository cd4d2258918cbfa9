use super::annotations::{self, Settings};
use super::mode;
use super::plan::{Injection, PodDecision, Verdict};
use super::{NO_TOKEN_VOLUME, Policy, Reason, SECRET_VOLUME, SIDECAR, keys, resources};
use crate::review::object::{Container, Pod, PodSpec};

/// What is known of a pod's wish for a sidecar beside the pod itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The namespace the pod is in or will be in, if that is known.
    pub namespace: Option<&'a str>,
    /// The label of the workload that the pod's template belongs to. It counts as the pod's own:
    /// in a cluster it is copied to the template.
    pub workload_label: Option<&'a str>,
    /// What a pod without a label of its own inherits from its namespace.
    pub inherited: Option<bool>,
}

/// Whether a label's value asks for a sidecar: all but `false`, `disabled` and `off` do, the empty
/// one too.
pub fn says_yes(label: &str) -> bool {
    !matches!(label, "false" | "disabled" | "off")
}

/// Decides about a pod, or about a pod template as if it were one.
pub fn decide<'a>(
    pod: &'a Pod<'a>,
    asked: Asked<'a>,
    policy: &'a Policy,
) -> Verdict<PodDecision<'a>> {
    let own_label = pod.label().or(asked.workload_label);
    let quiet = |reason| Verdict { decision: PodDecision::Skip(reason), warnings: Vec::new() };

    if asked.namespace.is_some_and(|namespace| policy.excludes(namespace)) {
        return quiet(Reason::ExcludedNamespace);
    }
    match own_label.map(says_yes).or(asked.inherited) {
        Some(true) => {}
        Some(false) => return quiet(Reason::OptedOut),
        None => return quiet(Reason::NotAsked),
    }
    if pod.annotation(keys::MIRROR).is_some() {
        return quiet(Reason::MirrorPod);
    }
    if pod.annotation(keys::DONE).is_some() {
        return quiet(Reason::Done);
    }

    let decision = match plan(pod, asked.namespace, policy) {
        Ok(injection) => PodDecision::Inject(injection),
        Err(Reason::AlreadyInjected) => return quiet(Reason::AlreadyInjected),
        Err(reason) if own_label.is_some() => PodDecision::Deny(reason),
        Err(reason) => PodDecision::Skip(reason),
    };
    let warnings = annotations::unknown_annotations(pod.metadata.as_ref()).into_iter().collect();
    Verdict { decision, warnings }
}

/// Why a pod that wants a sidecar could not have one, if so.
pub(super) fn obstacle<'a>(
    pod: &'a Pod<'a>,
    namespace: Option<&'a str>,
    policy: &'a Policy,
) -> Option<Reason<'a>> {
    plan(pod, namespace, policy).err().filter(Reason::is_unmet_wish)
}

fn plan<'a>(
    pod: &'a Pod<'a>,
    namespace: Option<&'a str>,
    policy: &'a Policy,
) -> Result<Injection<'a>, Reason<'a>> {
    let spec = pod.spec.as_ref().ok_or(Reason::NoContainers)?;
    let every_container = || spec.containers().iter().chain(spec.init_containers());
    if every_container().any(|container| *container.name == *SIDECAR) {
        return Err(Reason::AlreadyInjected);
    }
    if spec.host_network == Some(true) {
        return Err(Reason::HostNetwork);
    }
    if is_for_windows(spec) {
        return Err(Reason::Windows);
    }
    if spec.containers().is_empty() {
        return Err(Reason::NoContainers);
    }
    let settings = annotations::settings(pod)?;
    let mode = mode::choose(settings.mode, spec.runs_for_ever())?;
    claim_names(spec)?;
    claim_port(spec, &settings)?;

    Ok(Injection {
        mode,
        image: &policy.image,
        pull_policy: policy.pull_policy,
        legacy_port: settings.legacy_port,
        health_port: settings.health_port,
        secret_name: settings.secret_name,
        secret_key: settings.secret_key,
        namespace,
        log_level: settings.log_level,
        resources: resources::follow(spec, &settings, policy),
        run_as_user: run_as_user(spec, policy),
        default_container: default_container(pod, spec),
    })
}

fn is_for_windows(spec: &PodSpec<'_>) -> bool {
    spec.os.as_ref().is_some_and(|os| *os.name == *"windows")
        || spec.node_selector.get(keys::OS) == Some("windows")
}

fn claim_names(spec: &PodSpec<'_>) -> Result<(), Reason<'static>> {
    for volume in [SECRET_VOLUME, NO_TOKEN_VOLUME] {
        if spec.volumes().iter().any(|taken| *taken.name == *volume) {
            return Err(Reason::VolumeTaken { volume });
        }
    }
    Ok(())
}

/// Containers of a pod share its ports. A plain init container has ended before the sidecar
/// starts, so its ports are free again.
fn claim_port<'a>(spec: &'a PodSpec<'a>, settings: &Settings<'_>) -> Result<(), Reason<'a>> {
    let port = settings.health_port;
    let declares = |container: &&Container<'_>| {
        container.ports.iter().flatten().any(|declared| {
            let tcp = declared.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
            declared.container_port == i64::from(port) && tcp
        })
    };
    let native_sidecars =
        spec.init_containers().iter().filter(|container| container.is_native_sidecar());
    match spec.containers().iter().chain(native_sidecars).find(declares) {
        Some(container) => Err(Reason::PortTaken { port, container: &container.name }),
        None => Ok(()),
    }
}

/// Left out where the cluster is to choose; but a pod that runs its containers as root would hand
/// that down, and the kubelet would refuse to start a sidecar that must not be root.
fn run_as_user(spec: &PodSpec<'_>, policy: &Policy) -> Option<u32> {
    let root = spec.security_context.as_ref().and_then(|context| context.run_as_user) == Some(0);
    policy.run_as_user.or(root.then_some(Policy::RUN_AS_USER))
}

/// Without `-c` kubectl takes the first container, which Legacy stays in either mode; but where
/// there is more than one it says so on each call. A pod that had one alone is to go on without
/// that line; one that had several has it already.
fn default_container<'a>(pod: &Pod<'_>, spec: &'a PodSpec<'a>) -> Option<&'a str> {
    let [only] = spec.containers() else {
        return None;
    };
    let was_silent =
        spec.init_containers().is_empty() && pod.annotation(keys::DEFAULT_CONTAINER).is_none();
    was_silent.then_some(&only.name)
}
