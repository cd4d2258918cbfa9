//! The same decision and the same change once more, the slow and obvious way: with Kubernetes' own
//! types, from the rules as they are written down, sharing no code with the webhook.

use std::collections::BTreeMap;

use injection::Policy;
use k8s_openapi::api::core::v1::{
    CSIVolumeSource, Capabilities, Container, ContainerPort, DownwardAPIVolumeSource,
    HTTPGetAction, KeyToPath, Pod, PodSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

type Quantities = BTreeMap<String, Quantity>;

/// What must come of a pod.
#[derive(Debug)]
pub(crate) enum Expected {
    /// The pod as it came.
    Unchanged,
    /// The pod as it came but for the status annotation, which tells this reason.
    Noted(&'static str),
    /// A refusal for this reason.
    Denied(&'static str),
    /// This pod.
    Injected(Box<Pod>),
}

/// What must come of a pod that is sent for review, in the namespace `legacy`.
pub(crate) fn expected(
    pod: &Pod,
    namespace: &BTreeMap<String, String>,
    policy: &Policy,
) -> Expected {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get("secret-handshake"));
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let everything: Vec<&Container> =
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).collect();
    let says_no = ["false", "disabled", "off", "no", "0"];
    let left_alone = label.is_some_and(|label| says_no.contains(&label.to_lowercase().as_str()))
        || annotations.contains_key("secret-handshake-done")
        || annotations.contains_key("kubernetes.io/config.mirror")
        || everything.iter().any(|container| is_sidecar(container));
    if left_alone {
        return Expected::Unchanged;
    }
    match injected(pod, &spec, &[annotations, namespace.clone()], policy) {
        Ok(pod) => Expected::Injected(Box::new(pod)),
        Err(reason) if label.is_some() => Expected::Denied(reason),
        Err(reason) => Expected::Noted(reason),
    }
}

fn is_sidecar(container: &Container) -> bool {
    let mut args = container.args.iter().flatten();
    container.name == "secret-handshake" && args.any(|arg| arg.starts_with("--legacy-port="))
}

/// Where the half comes from: a Secret, a `SecretProviderClass`, or a file.
enum Half {
    Secret(String),
    Provider(String),
    File(String),
}

/// What a pod gets, as its annotations and its spec have it.
struct Sidecar {
    native: bool,
    port: i32,
    health_port: i32,
    half: Half,
    secret_key: String,
    log_level: String,
    cpu: String,
    memory: String,
}

fn injected(
    pod: &Pod,
    spec: &PodSpec,
    places: &[BTreeMap<String, String>; 2],
    policy: &Policy,
) -> Result<Pod, &'static str> {
    let init = spec.init_containers.clone().unwrap_or_default();
    if spec.containers.iter().chain(&init).any(|container| container.name == "secret-handshake") {
        return Err("container-taken");
    }
    if spec.host_network == Some(true) {
        return Err("host-network");
    }
    if is_for_windows(spec) {
        return Err("windows");
    }
    if spec.containers.is_empty() {
        return Err("no-containers");
    }
    let wanted = wanted(spec, places)?;
    let volumes = spec.volumes.clone().unwrap_or_default();
    let is_other = |volume: &Volume| match volume.name.as_str() {
        "secret-handshake" => {
            let secret = volume.secret.as_ref().and_then(|secret| secret.secret_name.clone());
            let class = volume.csi.clone().and_then(|csi| {
                assert_eq!(csi.driver, "secrets-store.csi.k8s.io");
                csi.volume_attributes?.remove("secretProviderClass")
            });
            match &wanted.half {
                Half::Secret(name) => secret.as_ref() != Some(name),
                Half::Provider(name) => class.as_ref() != Some(name),
                Half::File(_) => true,
            }
        }
        "secret-handshake-no-token" => volume.downward_api.is_none(),
        _ => false,
    };
    if volumes.iter().any(is_other) {
        return Err("volume-taken");
    }
    let runs_on =
        init.iter().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec
        .containers
        .iter()
        .chain(runs_on)
        .flat_map(|container| container.ports.iter().flatten());
    if ports.any(|port| {
        port.container_port == wanted.health_port && port.protocol.as_deref() != Some("UDP")
    }) {
        return Err("port-taken");
    }

    let container = container(&wanted, spec, policy);
    let mut pod = pod.clone();
    let alone = spec.containers.len() == 1 && init.is_empty();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert("secret-handshake/status".to_owned(), "injected".to_owned());
    if alone {
        annotations
            .entry("kubectl.kubernetes.io/default-container".to_owned())
            .or_insert_with(|| spec.containers[0].name.clone());
    }
    let spec = pod.spec.get_or_insert_default();
    let list = if wanted.native {
        spec.init_containers.get_or_insert_default()
    } else {
        &mut spec.containers
    };
    list.push(container);
    let there: Vec<_> = volumes.iter().map(|volume| volume.name.as_str()).collect();
    let missing =
        volumes_for(&wanted).into_iter().filter(|volume| !there.contains(&volume.name.as_str()));
    spec.volumes.get_or_insert_default().extend(missing);
    Ok(pod)
}

fn is_for_windows(spec: &PodSpec) -> bool {
    let os_labels = ["kubernetes.io/os", "beta.kubernetes.io/os"];
    let by_name = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    let by_selector = spec
        .node_selector
        .iter()
        .flatten()
        .any(|(key, value)| os_labels.contains(&key.as_str()) && value == "windows");
    let terms = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|nodes| nodes.required_during_scheduling_ignored_during_execution.as_ref())
        .map(|required| required.node_selector_terms.clone())
        .unwrap_or_default();
    let by_affinity = !terms.is_empty()
        && terms.iter().all(|term| {
            term.match_expressions.iter().flatten().any(|expression| {
                os_labels.contains(&expression.key.as_str())
                    && expression.operator == "In"
                    && expression.values == Some(vec!["windows".to_owned()])
            })
        });
    let init = spec.init_containers.iter().flatten();
    let by_options =
        spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some())
            || spec.containers.iter().chain(init).any(|container| {
                let context = container.security_context.as_ref();
                context.is_some_and(|context| context.windows_options.is_some())
            });
    by_name || by_selector || by_affinity || by_options
}

fn wanted(spec: &PodSpec, places: &[BTreeMap<String, String>; 2]) -> Result<Sidecar, &'static str> {
    // The generator's values: these are the bad ones among them.
    let in_place = |place: &BTreeMap<String, String>, name: &str, bad: &[&str]| {
        let value = place.get(&format!("secret-handshake/{name}")).cloned();
        match value {
            Some(value) if bad.contains(&value.as_str()) => Err("invalid-annotation"),
            value => Ok(value),
        }
    };
    let setting = |name: &str, usual: &str, bad: &[&str]| -> Result<String, &'static str> {
        let [pod, namespace] = places;
        match in_place(pod, name, bad)? {
            Some(value) => Ok(value),
            None => Ok(in_place(namespace, name, bad)?.unwrap_or_else(|| usual.to_owned())),
        }
    };
    let health_port = setting("health-port", "13300", &["80"])?;
    let secret_key = setting("secret-key", "half", &["../half"])?;
    let mut half = None;
    for place in places {
        let mut here = Vec::new();
        here.extend(in_place(place, "half-file", &["half"])?.map(Half::File));
        here.extend(in_place(place, "secret-provider-class", &["A"])?.map(Half::Provider));
        here.extend(in_place(place, "secret-name", &["-"])?.map(Half::Secret));
        if here.len() > 1 {
            return Err("ambiguous-half");
        }
        half = here.pop();
        if half.is_some() {
            break;
        }
    }
    let mode = setting("mode", "auto", &["both"])?;
    let ends = spec.restart_policy.as_deref().is_some_and(|policy| policy != "Always");
    let native = mode == "native" || (mode == "auto" && ends);
    let wanted = Sidecar {
        native,
        port: setting("port", "3000", &["0", "http"])?.parse().expect("a number"),
        health_port: health_port.parse().expect("a number"),
        half: half.unwrap_or_else(|| Half::Secret("secret-handshake".to_owned())),
        secret_key,
        log_level: setting("log-level", "info", &["trace"])?,
        cpu: setting("cpu", "", &["0"])?,
        memory: setting("memory", "", &["12m"])?,
    };
    if wanted.port == wanted.health_port {
        return Err("same-port");
    }
    if mode == "classic" && ends {
        return Err("classic-in-pod-that-ends");
    }
    Ok(wanted)
}

fn container(wanted: &Sidecar, spec: &PodSpec, policy: &Policy) -> Container {
    let file = match &wanted.half {
        Half::Secret(_) => "/etc/secret-handshake/half".to_owned(),
        Half::Provider(_) => format!("/etc/secret-handshake/{}", wanted.secret_key),
        Half::File(path) => path.clone(),
    };
    let mut args = vec![
        format!("--legacy-port={}", wanted.port),
        format!("--half-file={file}"),
        format!("--listen=:{}", wanted.health_port),
    ];
    if let Half::Secret(name) = &wanted.half {
        args.push(format!("--secret={name}"));
        args.push(format!("--secret-key={}", wanted.secret_key));
    }
    args.push("--namespace=legacy".to_owned());
    args.push(format!("--log-level={}", wanted.log_level));
    let mount = |name: &str, path: &str| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    let mut mounts =
        vec![mount("secret-handshake-no-token", "/var/run/secrets/kubernetes.io/serviceaccount")];
    if !matches!(wanted.half, Half::File(_)) {
        mounts.insert(0, mount("secret-handshake", "/etc/secret-handshake"));
    }
    Container {
        name: "secret-handshake".to_owned(),
        image: Some(policy.image.clone()),
        image_pull_policy: policy.pull_policy.map(|policy| policy.to_string()),
        restart_policy: wanted.native.then(|| "Always".to_owned()),
        args: Some(args),
        ports: Some(vec![ContainerPort {
            name: Some("handshake".to_owned()),
            container_port: wanted.health_port,
            ..ContainerPort::default()
        }]),
        resources: resources(spec, &wanted.cpu, &wanted.memory, policy),
        volume_mounts: Some(mounts),
        readiness_probe: Some(Probe {
            http_get: Some(HTTPGetAction {
                path: Some("/readyz".to_owned()),
                port: IntOrString::Int(wanted.health_port),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(1),
            timeout_seconds: Some(5),
            failure_threshold: Some(2),
            ..Probe::default()
        }),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(security_context(spec, policy)),
        ..Container::default()
    }
}

fn security_context(spec: &PodSpec, policy: &Policy) -> SecurityContext {
    let root = spec.security_context.as_ref().and_then(|context| context.run_as_user) == Some(0);
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: policy.run_as_user.or(root.then_some(65532)).map(i64::from),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..SecurityContext::default()
    }
}

fn volumes_for(wanted: &Sidecar) -> Vec<Volume> {
    let mut half = Volume { name: "secret-handshake".to_owned(), ..Volume::default() };
    let no_token = Volume {
        name: "secret-handshake-no-token".to_owned(),
        downward_api: Some(DownwardAPIVolumeSource::default()),
        ..Volume::default()
    };
    match &wanted.half {
        Half::Secret(name) => {
            let key = wanted.secret_key.clone();
            half.secret = Some(SecretVolumeSource {
                secret_name: Some(name.clone()),
                optional: Some(true),
                default_mode: Some(0o444),
                items: Some(vec![KeyToPath {
                    key,
                    path: "half".to_owned(),
                    ..KeyToPath::default()
                }]),
                ..SecretVolumeSource::default()
            });
        }
        Half::Provider(class) => {
            half.csi = Some(CSIVolumeSource {
                driver: "secrets-store.csi.k8s.io".to_owned(),
                read_only: Some(true),
                volume_attributes: Some(BTreeMap::from([(
                    "secretProviderClass".to_owned(),
                    class.clone(),
                )])),
                ..CSIVolumeSource::default()
            });
        }
        Half::File(_) => return vec![no_token],
    }
    vec![half, no_token]
}

fn resources(
    spec: &PodSpec,
    cpu: &str,
    memory: &str,
    policy: &Policy,
) -> Option<ResourceRequirements> {
    let pods = spec.resources.clone().unwrap_or_default();
    let (pods_requests, pods_limits) =
        (pods.requests.unwrap_or_default(), pods.limits.unwrap_or_default());
    let of = |is_limit: bool| {
        let quantities = |resources: &ResourceRequirements| {
            if is_limit { resources.limits.clone() } else { resources.requests.clone() }
        };
        let value = |name: &str, wanted: &str, usual: &str| {
            let set = |value: &str| Some((name.to_owned(), Quantity(value.to_owned())));
            if !wanted.is_empty() {
                return set(wanted);
            }
            match (pods_requests.get(name), pods_limits.get(name)) {
                (None, None) => {}
                (Some(_), _) if !is_limit => return set("0"),
                (None, Some(_)) | (Some(_), None) => return None,
                (Some(_), Some(limit)) => {
                    // The generator's amounts that are less than any of ours.
                    return set(if is_zero(limit) { &limit.0 } else { usual });
                }
            }
            let all: Vec<Quantity> = spec
                .containers
                .iter()
                .filter_map(|container| {
                    quantities(container.resources.as_ref()?)?.get(name).cloned()
                })
                .collect();
            if all.len() < spec.containers.len() {
                return None;
            }
            set(if all.iter().all(is_zero) { "0" } else { usual })
        };
        let values: Quantities = value("cpu", cpu, policy.cpu.as_str())
            .into_iter()
            .chain(value("memory", memory, policy.memory.as_str()))
            .collect();
        (!values.is_empty()).then_some(values)
    };
    let (requests, limits) = (of(false), of(true));
    (requests.is_some() || limits.is_some()).then_some(ResourceRequirements {
        requests,
        limits,
        claims: None,
    })
}

fn is_zero(quantity: &Quantity) -> bool {
    ["0", "0m"].contains(&quantity.0.as_str())
}

/// A pod's quality-of-service class, as the API server tells it (`ComputePodQOS`).
pub(crate) fn qos_class(pod: &Pod) -> &'static str {
    let spec = pod.spec.clone().unwrap_or_default();
    let pod_level = spec.resources.filter(|it| {
        [&it.requests, &it.limits]
            .into_iter()
            .flatten()
            .flat_map(BTreeMap::keys)
            .any(|name| name == "cpu" || name == "memory")
    });
    let containers = spec.containers.into_iter().chain(spec.init_containers.into_iter().flatten());
    let of_containers = containers.map(|container| container.resources.unwrap_or_default());
    let all: Vec<ResourceRequirements> =
        pod_level.map_or_else(|| of_containers.collect(), |resources| vec![resources]);
    let value = |quantities: &Option<Quantities>, name: &str| {
        quantities
            .as_ref()
            .and_then(|it| it.get(name))
            .filter(|it| !is_zero(it))
            .map(|it| it.0.clone())
    };
    let mut guaranteed = true;
    let mut best_effort = true;
    for resources in &all {
        for name in ["cpu", "memory"] {
            let limit = value(&resources.limits, name);
            // The API server sets a request that is left out to the limit.
            let left_out = resources.requests.as_ref().is_none_or(|it| !it.contains_key(name));
            let request =
                value(&resources.requests, name).or_else(|| limit.clone().filter(|_| left_out));
            best_effort &= limit.is_none() && request.is_none();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (best_effort, guaranteed) {
        (true, _) => "BestEffort",
        (false, true) => "Guaranteed",
        (false, false) => "Burstable",
    }
}
