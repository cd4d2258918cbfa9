//! The webhook's Service, what is behind it and what is around it.

use std::net::IpAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};

use super::super::replicas::{Replica, Replicas};
use crate::cluster::{Cluster, Unreadable, unreadable};
use crate::webhook::ServiceName;

/// The most pods that are looked at; the shipped Deployment has two.
const MOST_PODS: usize = 50;

/// Gives the Service's target port as well.
pub(super) async fn read(
    cluster: &Cluster,
    service: Option<&ServiceName>,
) -> (Replicas, IntOrString) {
    let https = IntOrString::String("https".to_owned());
    let unknown = || Unreadable::Failed("it is not known where the replicas are".to_owned());
    let mut replicas = Replicas {
        service: service.cloned(),
        pods: Ok(None),
        wanted: Err(unknown()),
        endpoints: Err(unknown()),
        nodes: Err(unknown()),
        budgets: Err(unknown()),
        policies: Err(unknown()),
        api_servers: Vec::new(),
    };
    let Some(ServiceName { namespace, name }) = service else { return (replicas, https) };
    let spec = match cluster.get::<Service>(namespace, name).await {
        Ok(Some(service)) => service.spec.unwrap_or_default(),
        Ok(None) => return (replicas, https),
        Err(error) => {
            replicas.pods = Err(error);
            return (replicas, https);
        }
    };
    let target = spec.ports.iter().flatten().next().and_then(|port| port.target_port.clone());
    let selector = spec.selector.unwrap_or_default();
    let labels: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let chosen = ListParams::default().labels(&labels.join(","));
    let slices = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let all = ListParams::default();
    let here = Some(namespace.as_str());

    let mut pods = Vec::new();
    let read_pods = cluster.for_each(here, &chosen, |pod: Pod| {
        if pods.len() < MOST_PODS {
            pods.extend(Replica::of(pod));
        }
    });
    let mut wanted = 0;
    let read_wanted = cluster.for_each(here, &all, |deployment: Deployment| {
        let spec = deployment.spec;
        let labels =
            spec.template.metadata.and_then(|metadata| metadata.labels).unwrap_or_default();
        if selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            wanted += usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        }
    });
    let mut endpoints = 0;
    let read_endpoints = cluster.for_each(here, &slices, |slice: EndpointSlice| {
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|conditions| conditions.ready) != Some(false)
        });
        endpoints += ready.count();
    });
    let mut budgets = Vec::new();
    let read_budgets = cluster.for_each(here, &all, |budget: PodDisruptionBudget| {
        budgets.extend(budget.spec.and_then(|spec| spec.selector));
    });
    let mut policies = Vec::new();
    let read_policies = cluster.for_each(here, &all, |policy: NetworkPolicy| policies.push(policy));
    let (read_pods, read_wanted, read_endpoints, read_budgets, read_policies, nodes, api_servers) = tokio::join!(
        read_pods,
        read_wanted,
        read_endpoints,
        read_budgets,
        read_policies,
        nodes(cluster),
        api_servers(cluster),
    );
    replicas.pods = read_pods.map(|()| Some(pods));
    replicas.wanted = read_wanted.map(|()| wanted);
    replicas.endpoints = read_endpoints.map(|()| endpoints);
    replicas.budgets = read_budgets.map(|()| budgets);
    replicas.policies = read_policies.map(|()| policies);
    replicas.nodes = nodes;
    replicas.api_servers = api_servers;
    (replicas, target.unwrap_or(https))
}

/// How many nodes take pods.
async fn nodes(cluster: &Cluster) -> Result<usize, Unreadable> {
    let list = Api::<Node>::all(cluster.client.clone()).list(&ListParams::default()).await;
    let list = list.map_err(|error| unreadable::<Node>("list", None, error))?;
    let takes_pods = |node: &&Node| {
        let spec = node.spec.as_ref();
        let tainted = spec
            .and_then(|spec| spec.taints.as_ref())
            .is_some_and(|taints| taints.iter().any(|taint| taint.effect != "PreferNoSchedule"));
        !tainted && spec.and_then(|spec| spec.unschedulable) != Some(true)
    };
    Ok(list.items.iter().filter(takes_pods).count())
}

/// Where API servers are; none if that can't be read, which most users may not.
async fn api_servers(cluster: &Cluster) -> Vec<IpAddr> {
    let params = ListParams::default().labels("kubernetes.io/service-name=kubernetes");
    let mut addresses = Vec::new();
    let read = cluster.for_each(Some("default"), &params, |slice: EndpointSlice| {
        let endpoints = slice.endpoints.unwrap_or_default().into_iter();
        let all = endpoints.flat_map(|endpoint| endpoint.addresses);
        addresses.extend(all.filter_map(|address| address.parse::<IpAddr>().ok()));
    });
    // What was read before an error is true all the same.
    _ = read.await;
    addresses
}
