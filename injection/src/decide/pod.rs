use super::annotations::{self, Settings};
use super::reason::Reason;
use super::{mode, resources};
use crate::keys;
use crate::pod::{Container, Metadata, Pod, PodSpec};
use crate::policy::{Policy, SIDECAR_UID};
use crate::printable::printable;
use crate::sidecar::{HALF_VOLUME, Half, NAME, NO_TOKEN_VOLUME, Sidecar};

/// What is known about a pod beside the pod itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The namespace the pod is in or will be in, if that is known.
    pub namespace: Option<&'a str>,
    /// The label of the workload that the pod's template belongs to. It counts as the pod's own: in a
    /// cluster it is copied to the template.
    pub workload_label: Option<&'a str>,
    /// What the label of the namespace says, if it has one.
    pub namespace_asks: Option<bool>,
    /// The Namespace's metadata, if it is at hand: its annotations set what the pod's don't.
    pub namespace_metadata: Option<&'a Metadata>,
}

/// The values of the label that refuse a sidecar, in whatever case: YAML and people write `False` too.
const NO: [&str; 5] = ["false", "disabled", "off", "no", "0"];

/// Whether a label's value asks for a sidecar: all but five do, the empty one too.
#[must_use]
pub fn says_yes(label: &str) -> bool {
    !NO.iter().any(|no| label.eq_ignore_ascii_case(no))
}

/// Whether a pod with this metadata asks for a sidecar, or why not.
///
/// # Errors
/// With the reason, which is never an obstacle.
pub fn asks(metadata: Option<&Metadata>, context: Context<'_>) -> Result<(), Reason> {
    let own_label = metadata.and_then(Metadata::label).or(context.workload_label);
    match own_label.map(says_yes).or(context.namespace_asks) {
        Some(true) => {}
        Some(false) => return Err(Reason::OptedOut),
        None => return Err(Reason::NotAsked),
    }
    left_to_others(metadata)
}

/// Mirrors of static pods, and pods that somebody else has done the handshake for, are left as they are.
pub(crate) fn left_to_others(metadata: Option<&Metadata>) -> Result<(), Reason> {
    let annotated = |key| metadata.is_some_and(|metadata| metadata.annotation(key).is_some());
    if annotated(keys::MIRROR) {
        return Err(Reason::MirrorPod);
    }
    if annotated(keys::DONE) {
        return Err(Reason::Done);
    }
    Ok(())
}

/// The sidecar that a pod gets, or why it gets none.
pub(crate) fn decide<'a>(
    pod: &'a Pod,
    context: Context<'a>,
    policy: &'a Policy,
) -> Result<Sidecar<'a>, Reason> {
    if context.namespace.is_some_and(|namespace| policy.excludes(namespace)) {
        return Err(Reason::ExcludedNamespace);
    }
    asks(pod.metadata.as_ref(), context)?;
    sidecar(pod, context, policy)
}

/// The sidecar for a pod that asks for one, or why it can't have one.
pub(super) fn sidecar<'a>(
    pod: &'a Pod,
    context: Context<'a>,
    policy: &'a Policy,
) -> Result<Sidecar<'a>, Reason> {
    let spec = pod.spec.as_ref().ok_or(Reason::NoContainers)?;
    let containers = || spec.containers().iter().chain(spec.init_containers());
    if containers().any(Container::is_sidecar) {
        return Err(Reason::AlreadyInjected);
    }
    if containers().any(|container| container.name == NAME) {
        return Err(Reason::ContainerTaken);
    }
    if spec.host_network == Some(true) {
        return Err(Reason::HostNetwork);
    }
    if spec.is_for_windows() {
        return Err(Reason::Windows);
    }
    if spec.containers().is_empty() {
        return Err(Reason::NoContainers);
    }
    let (own, of_namespace) = (pod.metadata.as_ref(), context.namespace_metadata);
    let settings = annotations::settings(own, of_namespace, policy)?;
    let place = annotations::place(own, of_namespace, keys::MODE);
    let mode = mode::choose(settings.mode, place, spec.ends())?;
    check_volumes(spec, settings.half)?;
    check_port(spec, &settings)?;

    Ok(Sidecar {
        mode,
        image: &policy.image,
        pull_policy: policy.pull_policy,
        legacy_port: settings.legacy_port,
        health_port: settings.health_port,
        half: settings.half,
        namespace: context.namespace,
        log_level: settings.log_level,
        resources: resources::follow(spec, &settings, policy),
        run_as_user: run_as_user(spec, policy),
        default_container: default_container(pod, spec),
    })
}

/// A volume of the sidecar's, without the container, is what `kubectl debug --copy-to` or an edit leaves:
/// it is used.
fn check_volumes(spec: &PodSpec, half: Half<'_>) -> Result<(), Reason> {
    for name in [HALF_VOLUME, NO_TOKEN_VOLUME] {
        let mut volumes = spec.volumes().iter().filter(|volume| volume.name == name);
        if volumes.any(|volume| !volume.is_sidecars(half)) {
            return Err(Reason::VolumeTaken { volume: name });
        }
    }
    Ok(())
}

/// Containers of a pod share its ports. A plain init container has ended before the sidecar starts, so
/// its ports are free again.
fn check_port(spec: &PodSpec, settings: &Settings<'_>) -> Result<(), Reason> {
    let port = settings.health_port;
    let native_sidecars =
        spec.init_containers().iter().filter(|container| container.is_native_sidecar());
    let mut beside = spec.containers().iter().chain(native_sidecars);
    match beside.find(|container| container.declares(port)) {
        Some(taken) => Err(Reason::PortTaken { port, container: printable(&taken.name, 63) }),
        None => Ok(()),
    }
}

/// Left out where the cluster is to choose; but a pod that runs its containers as root would hand that
/// down, and the kubelet would refuse to start a sidecar that must not be root.
fn run_as_user(spec: &PodSpec, policy: &Policy) -> Option<u32> {
    let root = spec.run_as_user() == Some(0);
    policy.run_as_user.or(root.then_some(SIDECAR_UID))
}

/// Without `-c` kubectl takes the first container, which Legacy stays in either mode; but where there is
/// more than one it says so on each call. A pod that had one alone is to go on without that line; one
/// that had several has it already.
fn default_container<'a>(pod: &Pod, spec: &'a PodSpec) -> Option<&'a str> {
    let [only] = spec.containers() else {
        return None;
    };
    let was_silent =
        spec.init_containers().is_empty() && pod.annotation(keys::DEFAULT_CONTAINER).is_none();
    was_silent.then_some(&only.name)
}
