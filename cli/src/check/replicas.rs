//! The webhook's replicas, and whether the API server can get at them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt as _};

use super::configuration::APPLY;
use super::finding::{Check, Finding, line};
use crate::cluster::Unreadable;
use crate::pod;
use crate::webhook::ServiceName;

type Labels = BTreeMap<String, String>;

/// What was read of the replicas behind a Service.
pub(crate) struct Replicas {
    /// `None` if the API server calls the webhook by a URL: then it need not be in the cluster.
    pub(crate) service: Option<ServiceName>,
    /// The pods that the Service selects; `None` if there is no such Service.
    pub(crate) pods: Result<Option<Vec<Replica>>, Unreadable>,
    /// How many replicas the Deployments want whose pods the Service selects.
    pub(crate) wanted: Result<usize, Unreadable>,
    /// How many addresses of the Service's `EndpointSlices` are ready.
    pub(crate) endpoints: Result<usize, Unreadable>,
    /// How many nodes take pods.
    pub(crate) nodes: Result<usize, Unreadable>,
    /// The selectors of the namespace's `PodDisruptionBudgets`.
    pub(crate) budgets: Result<Vec<LabelSelector>, Unreadable>,
    pub(crate) policies: Result<Vec<NetworkPolicy>, Unreadable>,
    /// Where API servers may call from, if that is known: the endpoints of the Service `kubernetes`.
    pub(crate) api_servers: Vec<IpAddr>,
}

/// A pod of the webhook.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Replica {
    pub(crate) name: String,
    pub(crate) node: Option<String>,
    pub(crate) is_ready: bool,
    pub(crate) host_network: bool,
    pub(crate) labels: Labels,
    /// The ports of all its containers.
    pub(crate) ports: Vec<ContainerPort>,
    /// What the pod says about why it isn't ready.
    pub(crate) why: String,
    /// The command line of the webhook's container.
    pub(crate) args: Vec<String>,
}

impl Replica {
    /// Reads a pod; `None` for one that is going or has ended.
    pub(crate) fn of(pod: Pod) -> Option<Self> {
        if pod::is_over(&pod) {
            return None;
        }
        let is_ready = pod::is_ready(&pod);
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let conditions = status.conditions.unwrap_or_default();
        let mut waiting = status.container_statuses.iter().flatten().filter_map(|status| {
            let waiting = status.state.as_ref()?.waiting.as_ref()?;
            waiting.reason.clone()
        });
        let unschedulable = conditions
            .iter()
            .find(|it| it.type_ == "PodScheduled" && it.status == "False")
            .and_then(|it| it.message.clone());
        let phase = status.phase.unwrap_or_default();
        let why = waiting.next().or(unschedulable).unwrap_or(phase);
        let containers = &spec.containers;
        let named = containers.iter().find(|it| it.name == "webhook").or(containers.first());
        Some(Self {
            name: pod.metadata.name.unwrap_or_default(),
            node: spec.node_name,
            is_ready,
            host_network: spec.host_network == Some(true),
            labels: pod.metadata.labels.unwrap_or_default(),
            ports: containers.iter().flat_map(|it| it.ports.clone().unwrap_or_default()).collect(),
            why: line(&why, 200),
            args: named.and_then(|it| it.args.clone()).unwrap_or_default(),
        })
    }

    /// The value of a flag of the webhook, without `--`.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let mut words = self.args.iter();
        while let Some(word) = words.next() {
            let Some(rest) = word.strip_prefix("--").and_then(|word| word.strip_prefix(name))
            else {
                continue;
            };
            if rest.is_empty() {
                return words.next().map(String::as_str);
            }
            if let Some(value) = rest.strip_prefix('=') {
                return Some(value);
            }
        }
        None
    }

    /// The port that a Service's target means.
    pub(crate) fn port(&self, target: &IntOrString) -> Option<u16> {
        match target {
            IntOrString::Int(number) => u16::try_from(*number).ok(),
            IntOrString::String(name) => {
                let mut ports = self.ports.iter();
                let port = ports.find(|port| port.name.as_deref() == Some(name))?;
                u16::try_from(port.container_port).ok()
            }
        }
    }
}

pub(crate) fn replicas(facts: &Replicas) -> Finding {
    let check = Check::Replicas;
    let Some(ServiceName { namespace, name }) = &facts.service else {
        return Finding::skipped(
            check,
            "the webhook is called by a URL: its replicas are not looked at",
        );
    };
    let pods = match &facts.pods {
        Ok(Some(pods)) => pods,
        Ok(None) => {
            return Finding::failed(check, format!("there is no Service {namespace}/{name}"))
                .means("The API server has nobody to ask.")
                .remedy(APPLY);
        }
        Err(error) => return Finding::unreadable(check, error),
    };
    let ready = pods.iter().filter(|pod| pod.is_ready).count();
    let wanted = facts.wanted.as_ref().map_or(pods.len(), |wanted| *wanted);
    let look = format!("kubectl -n {namespace} describe pods -l app.kubernetes.io/name={name}");
    let not_ready = pods
        .iter()
        .filter(|pod| !pod.is_ready)
        .map(|pod| format!("{namespace}/{}: {}", pod.name, pod.why));
    let scale = format!("kubectl -n {namespace} scale deployment/{name} --replicas=2");
    if wanted == 0 {
        return Finding::failed(check, "the webhook is scaled to no replica")
            .means("Pods that ask for a sidecar are refused until there is one; all others go on.")
            .remedy(scale);
    }
    if ready == 0 {
        return Finding::failed(check, "no replica of the webhook is ready")
            .objects(not_ready)
            .means("Pods that ask for a sidecar are refused until one is; all others go on.")
            .remedy(look)
            .remedy(format!(
                "kubectl -n {namespace} logs -l app.kubernetes.io/name={name} --prefix --tail=20"
            ));
    }
    if let Ok(0) = facts.endpoints {
        return Finding::failed(
            check,
            format!("the Service {namespace}/{name} has no ready endpoint"),
        )
        .means("Its pods are ready, but the Service does not lead to them.")
        .remedy(format!(
            "kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name} -o yaml"
        ))
        .remedy(APPLY);
    }
    if ready < wanted {
        return Finding::warning(check, format!("{ready} of {wanted} replicas are ready"))
            .objects(not_ready)
            .means("The webhook goes on with fewer; if the last one falls, pods that ask for a sidecar are refused.")
            .remedy(look);
    }
    if wanted < 2 {
        return Finding::warning(check, "there is a single replica of the webhook")
            .means("While it is away, during a drain for one, pods that ask for a sidecar are refused.")
            .remedy(scale);
    }
    let nodes: BTreeSet<_> = pods.iter().filter_map(|pod| pod.node.as_deref()).collect();
    if let (1, Ok(2..)) = (nodes.len(), &facts.nodes) {
        let node = nodes.first().copied().unwrap_or_default();
        return Finding::warning(check, format!("all replicas are on the node {node}"))
            .means("They fall together with it. The scheduler spreads them when they are made anew, if it can.")
            .remedy(format!("kubectl -n {namespace} rollout restart deployment/{name}"));
    }
    if let Ok(budgets) = &facts.budgets {
        let selected = |labels: &Labels| budgets.iter().any(|budget| selects(budget, labels));
        if !pods.iter().all(|pod| selected(&pod.labels)) {
            return Finding::warning(check, "no PodDisruptionBudget protects the replicas")
                .means("A drain of two nodes may take the last replica.")
                .remedy(APPLY);
        }
    }
    let place = match (nodes.len(), &facts.nodes) {
        (1, Ok(1)) => ", on the only node".to_owned(),
        (1, _) => String::new(),
        (nodes, _) => format!(", on {nodes} nodes"),
    };
    Finding::ok(check, format!("{ready} of {wanted} replicas are ready{place}"))
}

/// The port that replicas serve at is what the Service's target port means.
pub(crate) fn network_policies(facts: &Replicas, target: &IntOrString) -> Finding {
    let check = Check::NetworkPolicies;
    let Some(ServiceName { namespace, name }) = &facts.service else {
        return Finding::skipped(
            check,
            "the webhook is called by a URL: NetworkPolicies are not looked at",
        );
    };
    let pods = match &facts.pods {
        Ok(pods) => pods.as_deref().unwrap_or_default(),
        Err(error) => return Finding::unreadable(check, error),
    };
    let Some(pod) = pods.first() else {
        return Finding::skipped(
            check,
            "there is no replica that NetworkPolicies could keep anybody from",
        );
    };
    let policies = match &facts.policies {
        Ok(policies) => policies,
        Err(error) => return Finding::unreadable(check, error),
    };
    // Of a pod in the node's own network they are not asked.
    let about = |policy: &&NetworkPolicy| !pod.host_network && is_about(policy, &pod.labels);
    let about: Vec<_> = policies.iter().filter(about).collect();
    let port = pod.port(target);
    let rules = about.iter().filter_map(|policy| policy.spec.as_ref()?.ingress.as_ref()).flatten();
    let mut best = if about.is_empty() { Way::Open } else { Way::Closed };
    for rule in rules.filter(|rule| allows_port(rule.ports.as_deref(), port, pod)) {
        best = best.max(way(rule.from.as_deref(), &facts.api_servers));
    }
    let names = || {
        about
            .iter()
            .map(|it| format!("{namespace}/{}", it.metadata.name.clone().unwrap_or_default()))
    };
    let port = port.map_or_else(|| "its port".to_owned(), |port| format!("port {port}"));
    let allow = format!(
        "allow TCP to {port} of the pods of {namespace}/{name} from everywhere, or from the API servers' addresses"
    );
    match best {
        Way::Open if about.is_empty() => Finding::ok(check, "no NetworkPolicy is about the replicas"),
        Way::Open => Finding::ok(check, "the NetworkPolicies let the API server in"),
        Way::Unknown => Finding::warning(check, "NetworkPolicies let only some addresses in")
            .objects(names())
            .means("It can't be told from here whether API servers are among them; the dry run below tells.")
            .remedy(allow),
        Way::Closed => Finding::failed(check, format!("NetworkPolicies keep the API server from {port} of the replicas"))
            .objects(names())
            .means("An API server has no pod that a selector could name. Where the cluster's network enforces the policies, calls time out and pods that ask for a sidecar are refused.")
            .remedy(allow)
            .remedy(APPLY),
    }
}

/// Whether the API server comes through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Closed,
    Unknown,
    Open,
}

fn is_about(policy: &NetworkPolicy, labels: &Labels) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let ingress = types.is_empty() || types.iter().any(|it| it == "Ingress");
    ingress && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
}

pub(crate) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// No ports are all ports.
fn allows_port(ports: Option<&[NetworkPolicyPort]>, port: Option<u16>, pod: &Replica) -> bool {
    let ports = ports.unwrap_or_default();
    let allows = |allowed: &NetworkPolicyPort| {
        if allowed.protocol.as_deref().is_some_and(|protocol| protocol != "TCP") {
            return false;
        }
        let (Some(first), Some(port)) = (&allowed.port, port) else {
            return allowed.port.is_none();
        };
        match (first, allowed.end_port) {
            (IntOrString::Int(first), Some(last)) => (*first..=last).contains(&i32::from(port)),
            (first, _) => pod.port(first) == Some(port),
        }
    };
    ports.is_empty() || ports.iter().any(allows)
}

/// No peers are all.
fn way(from: Option<&[NetworkPolicyPeer]>, api_servers: &[IpAddr]) -> Way {
    let from = from.unwrap_or_default();
    if from.is_empty() {
        return Way::Open;
    }
    let blocks: Vec<_> = from.iter().filter_map(|peer| peer.ip_block.as_ref()).collect();
    let holds = |address: &IpAddr| {
        blocks.iter().any(|block| {
            let except = block.except.iter().flatten();
            contains(&block.cidr, *address) && !except.into_iter().any(|it| contains(it, *address))
        })
    };
    match (blocks.is_empty(), api_servers) {
        (true, _) => Way::Closed,
        (false, [_, ..]) if api_servers.iter().all(holds) => Way::Open,
        (false, _) => Way::Unknown,
    }
}

/// Whether an address is of a block such as `10.0.0.0/8`.
fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((network, bits)) = cidr.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u32>() else { return false };
    let first =
        |a: u128, b: u128, width: u32| bits == 0 || (a ^ b) >> (width - bits.min(width)) == 0;
    match (network.parse(), address) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(address)) => {
            first(network.to_bits().into(), address.to_bits().into(), 32)
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(address)) => {
            first(network.to_bits(), address.to_bits(), 128)
        }
        _ => false,
    }
}
