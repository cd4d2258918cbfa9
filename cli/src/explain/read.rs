//! The facts that a cluster tells, as far as the user may read them.

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use injection::{SIDECAR, WorkloadKind, keys};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::{Api, ListParams, LogParams};
use kube::core::Selector;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::facts::{
    Facts, NamespaceSeen, OfNamespace, Owner, OwnersLabel, PodSeen, Running, Source, Surroundings,
    labelled_at,
};
use super::secret::key_found;
use super::shipped;
use super::target::{Kind, Target};
use super::tell;
use crate::cluster::{Cluster, Unreadable, unreadable};
use crate::manifest::Value;
use crate::pod;
use crate::sidecar::Sidecar;
use crate::webhook::Webhook;

/// So much of the log is asked for: lines are far shorter than a kilobyte.
const LOG_LINES: i64 = 50;
const LOG_BYTES: i64 = 64 << 10;

/// A Pod's owner's owner is as far as it goes.
const MOST_OWNERS: usize = 2;

/// Reads what has to do with an object.
///
/// # Errors
/// If the object itself can't be read.
pub(super) async fn facts(
    cluster: &Cluster,
    target: &Target,
    now: Timestamp,
) -> anyhow::Result<Facts> {
    let Target { kind, name } = target;
    let namespace = match kind {
        Kind::Namespace => name,
        _ => &cluster.namespace,
    };
    let what = || format!("{} {name} in the namespace {namespace}", kind.as_str());
    let object = object(cluster, *kind, namespace, name).await.with_context(what)?;
    let object = object.ok_or_else(|| anyhow!("there is no {}", what()))?;
    let (webhook, of_namespace) =
        tokio::join!(Webhook::read(cluster), of_namespace(cluster, namespace));
    let mut facts = Facts {
        kind: *kind,
        name: name.clone(),
        namespace: Some(namespace.clone()),
        source: Source::Cluster(now),
        owners: owners(cluster, namespace, &object).await,
        object: Value::from(&object),
        around: Arc::new(Surroundings {
            of_namespace,
            configuration: shipped::compare(&webhook.configuration),
            flags: webhook.flags_or_default(),
            flags_assumed: webhook.flags.err().map(|error| error.to_string()),
        }),
        running: None,
        pods: None,
        secret: None,
    };
    match kind {
        Kind::Pod => facts.running = Some(running(cluster, namespace, object).await?),
        Kind::Namespace => facts.pods = Some(pods(cluster, &facts, &ListParams::default()).await),
        Kind::Workload(_) => {
            let selector = object.pointer("/spec/selector").cloned();
            let selector = selector.and_then(|it| serde_json::from_value::<LabelSelector>(it).ok());
            let selector = selector.and_then(|it| Selector::try_from(it).ok());
            if let Some(selector) = selector {
                let chosen = ListParams::default().labels_from(&selector);
                facts.pods = Some(pods(cluster, &facts, &chosen).await);
            }
        }
    }
    if let Some((secret, key)) = tell::secret(&facts) {
        facts.secret = Some(key_found(cluster, namespace, &secret, &key).await);
    }
    Ok(facts)
}

async fn object(
    cluster: &Cluster,
    kind: Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<serde_json::Value>, Unreadable> {
    match kind {
        Kind::Namespace => json(cluster.get_cluster_wide::<Namespace>(name).await),
        Kind::Pod => get::<Pod>(cluster, namespace, name).await,
        Kind::Workload(kind) => workload(cluster, kind, namespace, name).await,
    }
}

async fn workload(
    cluster: &Cluster,
    kind: WorkloadKind,
    namespace: &str,
    name: &str,
) -> Result<Option<serde_json::Value>, Unreadable> {
    match kind {
        WorkloadKind::Deployment => get::<Deployment>(cluster, namespace, name).await,
        WorkloadKind::StatefulSet => get::<StatefulSet>(cluster, namespace, name).await,
        WorkloadKind::DaemonSet => get::<DaemonSet>(cluster, namespace, name).await,
        WorkloadKind::ReplicaSet => get::<ReplicaSet>(cluster, namespace, name).await,
        WorkloadKind::Job => get::<Job>(cluster, namespace, name).await,
        WorkloadKind::CronJob => get::<CronJob>(cluster, namespace, name).await,
    }
}

async fn get<K>(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Option<serde_json::Value>, Unreadable>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    json(cluster.get::<K>(namespace, name).await)
}

fn json(
    got: Result<Option<impl Serialize>, Unreadable>,
) -> Result<Option<serde_json::Value>, Unreadable> {
    let object = got?.map(serde_json::to_value).transpose();
    object.map_err(|error| Unreadable::Failed(error.to_string()))
}

async fn of_namespace(cluster: &Cluster, name: &str) -> OfNamespace {
    let namespace = match cluster.get_cluster_wide::<Namespace>(name).await {
        Ok(Some(namespace)) => namespace,
        Ok(None) => return OfNamespace::Absent,
        Err(error) => return OfNamespace::Unreadable(error),
    };
    let labelled_at = labelled_at(&namespace.metadata);
    let label = namespace.metadata.labels.as_ref().and_then(|labels| labels.get(keys::LABEL));
    let label = label.cloned();
    let read = serde_json::to_value(&namespace).and_then(|object| {
        let metadata = serde_json::from_value(object["metadata"].clone())?;
        Ok((Value::from(&object), metadata))
    });
    match read {
        Ok((object, metadata)) => {
            OfNamespace::Known(Box::new(NamespaceSeen { label, metadata, object, labelled_at }))
        }
        Err(error) => OfNamespace::Unreadable(Unreadable::Failed(error.to_string())),
    }
}

/// Whom an object belongs to, and whom that belongs to.
async fn owners(cluster: &Cluster, namespace: &str, object: &serde_json::Value) -> Vec<Owner> {
    let mut owners = Vec::new();
    let mut next = controller(object);
    while let Some(OwnerReference { api_version, kind, name, .. }) = next.take() {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let known = WorkloadKind::of(group, &kind);
        let mut has_sidecar = false;
        let read = match known {
            Some(kind) => workload(cluster, kind, namespace, &name).await,
            // Somebody else's kind, which has no label for us.
            None => Ok(None),
        };
        let label = match read {
            Ok(read) => {
                let label = |it: &serde_json::Value| {
                    it["metadata"]["labels"][keys::LABEL].as_str().map(str::to_owned)
                };
                next = read.as_ref().and_then(controller);
                has_sidecar =
                    read.as_ref().zip(known).is_some_and(|(it, kind)| has_sidecar_in(it, kind));
                OwnersLabel::Known(read.as_ref().and_then(label))
            }
            Err(error) => OwnersLabel::Unreadable(error),
        };
        owners.push(Owner { kind, name, label, has_sidecar });
        if owners.len() == MOST_OWNERS {
            break;
        }
    }
    owners
}

fn has_sidecar_in(workload: &serde_json::Value, kind: WorkloadKind) -> bool {
    let path = kind.template_path().iter();
    let template = path.copied().try_fold(workload, |value, member| value.get(member));
    let template = template.and_then(|template| serde_json::from_value(template.clone()).ok());
    template.is_some_and(|template| Sidecar::of(&template).is_some())
}

fn controller(object: &serde_json::Value) -> Option<OwnerReference> {
    let owners = object["metadata"]["ownerReferences"].clone();
    let owners: Vec<OwnerReference> = serde_json::from_value(owners).ok()?;
    owners.into_iter().find(|owner| owner.controller == Some(true))
}

async fn running(
    cluster: &Cluster,
    namespace: &str,
    object: serde_json::Value,
) -> anyhow::Result<Running> {
    let pod: Pod = serde_json::from_value(object)?;
    let status = Sidecar::of(&pod).and_then(|sidecar| sidecar.status);
    let has_run = status.is_some_and(|status| {
        let is_waiting = status.state.is_none_or(|state| state.waiting.is_some());
        !is_waiting || status.restart_count > 0
    });
    if !has_run {
        return Ok(Running { pod, log: None });
    }
    let params = LogParams {
        container: Some(SIDECAR.to_owned()),
        tail_lines: Some(LOG_LINES),
        limit_bytes: Some(LOG_BYTES),
        ..LogParams::default()
    };
    let name = pod.metadata.name.clone().unwrap_or_default();
    let log = Api::<Pod>::namespaced(cluster.client.clone(), namespace).logs(&name, &params).await;
    let log = log.map_err(|error| match unreadable::<Pod>("get", Some(namespace), error) {
        Unreadable::Forbidden(_) => {
            Unreadable::Forbidden(format!("get pods/log in namespace {namespace}"))
        }
        failed @ Unreadable::Failed(_) => failed,
    });
    Ok(Running { pod, log: Some(log) })
}

/// The pods of a workload or of a namespace; each is looked at and dropped, so that memory stays small.
async fn pods(
    cluster: &Cluster,
    facts: &Facts,
    params: &ListParams,
) -> Result<Vec<PodSeen>, Unreadable> {
    let mut seen = Vec::new();
    let workload = match facts.kind {
        Kind::Workload(kind) => Some((kind.as_str(), facts.name.as_str())),
        _ => None,
    };
    // What a workload's pods get, its template says, and not the pods that are there.
    let of_workload = workload.map(|_| tell::wants(facts));
    let namespace = facts.namespace.as_deref();
    let listed = cluster.for_each(namespace, params, |pod: Pod| {
        let wants = of_workload.unwrap_or_else(|| tell::wants(&facts.of_pod(&pod)));
        seen.push(PodSeen { wants, ..pod_seen(workload, &pod) });
    });
    listed.await?;
    seen.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(seen)
}

fn pod_seen(workload: Option<(&str, &str)>, pod: &Pod) -> PodSeen {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let owner = pod::controller(&pod.metadata);
    let deployment = pod::deployment(&pod.metadata).map(|name| ("Deployment", name));
    let nearest = owner.map(|owner| (owner.kind.as_str(), owner.name.as_str()));
    let owners: Vec<_> = nearest.into_iter().chain(workload.or(deployment)).collect();
    PodSeen {
        restart: tell::restart(&owners, &name),
        sidecar: Sidecar::of(pod).map(|sidecar| sidecar.image),
        ready: pod::is_ready(pod),
        over: pod::is_over(pod),
        wants: None,
        name,
    }
}
