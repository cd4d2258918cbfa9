//! Namespaces, workloads, pods and limits: lists, a page at a time, of which little is kept.

use injection::{Policy, WorkloadKind};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Pod, PodTemplateSpec, ResourceQuota};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Resource, ResourceExt as _};

use super::super::configuration::{Strict, is_related};
use super::super::finding::Named;
use super::super::limits::Limits;
use super::super::namespace::Namespaces;
use super::super::pods::Pods;
use super::super::settings::Workloads;
use crate::cluster::{Cluster, Unreadable, unreadable};

/// How many are asked for at a time.
const PAGE: u32 = 500;

/// The most `LimitRanges` and quotas that are kept.
const MOST_LIMITS: usize = 2_000;

pub(super) async fn other_configurations(
    cluster: &Cluster,
) -> Result<Vec<MutatingWebhookConfiguration>, Unreadable> {
    type Configuration = MutatingWebhookConfiguration;
    let list = Api::<Configuration>::all(cluster.client.clone());
    let list = list.list(&ListParams::default()).await;
    let list = list.map_err(|error| unreadable::<Configuration>("list", None, error))?;
    Ok(list.items.into_iter().filter(is_related).collect())
}

pub(super) async fn namespaces(
    cluster: &Cluster,
    one: Option<&str>,
) -> Result<Namespaces, Unreadable> {
    let mut namespaces = Namespaces::default();
    if let Some(name) = one {
        let found = cluster.get_cluster_wide::<Namespace>(name).await?;
        let found =
            found.ok_or_else(|| Unreadable::Failed(format!("there is no namespace {name}")))?;
        namespaces.add(&found.metadata);
        return Ok(namespaces);
    }
    let api = Api::<Namespace>::all(cluster.client.clone());
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list_metadata(&params).await;
        let page = page.map_err(|error| unreadable::<Namespace>("list", None, error))?;
        page.items.iter().for_each(|namespace| namespaces.add(&namespace.metadata));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => return Ok(namespaces),
        }
    }
}

pub(super) async fn pods(
    cluster: &Cluster,
    one: Option<&str>,
    namespaces: &Namespaces,
    policy: &Policy,
    image: Option<&str>,
    now: Timestamp,
) -> Result<Pods, Unreadable> {
    let mut pods = Pods::default();
    let each = |pod: Pod| pods.add(&pod, namespaces, policy, image, now);
    cluster.for_each(one, &ListParams::default(), each).await?;
    Ok(pods)
}

/// A kind of workload: where its pod template is.
trait Templated: Resource<Scope = NamespaceResourceScope, DynamicType = ()> {
    const KIND: WorkloadKind;
    fn template(self) -> Option<(ObjectMeta, PodTemplateSpec)>;
}

macro_rules! templated {
    ($($kind:ident),*) => {$(
        impl Templated for $kind {
            const KIND: WorkloadKind = WorkloadKind::$kind;
            fn template(self) -> Option<(ObjectMeta, PodTemplateSpec)> {
                Some((self.metadata, self.spec.template))
            }
        }
    )*};
}
templated!(DaemonSet, Deployment, StatefulSet);

impl Templated for ReplicaSet {
    const KIND: WorkloadKind = WorkloadKind::ReplicaSet;
    fn template(self) -> Option<(ObjectMeta, PodTemplateSpec)> {
        Some((self.metadata, self.spec.template?))
    }
}

impl Templated for Job {
    const KIND: WorkloadKind = WorkloadKind::Job;
    fn template(self) -> Option<(ObjectMeta, PodTemplateSpec)> {
        Some((self.metadata, self.spec?.template))
    }
}

impl Templated for CronJob {
    const KIND: WorkloadKind = WorkloadKind::CronJob;
    fn template(self) -> Option<(ObjectMeta, PodTemplateSpec)> {
        Some((self.metadata, self.spec.job_template.spec?.template))
    }
}

pub(super) async fn workloads(
    cluster: &Cluster,
    one: Option<&str>,
    namespaces: &Namespaces,
    policy: &Policy,
) -> Result<Workloads, Unreadable> {
    let mut workloads = Workloads::default();
    let known = (namespaces, policy);
    each::<Deployment>(cluster, one, &mut workloads, known).await?;
    each::<StatefulSet>(cluster, one, &mut workloads, known).await?;
    each::<DaemonSet>(cluster, one, &mut workloads, known).await?;
    each::<ReplicaSet>(cluster, one, &mut workloads, known).await?;
    each::<Job>(cluster, one, &mut workloads, known).await?;
    each::<CronJob>(cluster, one, &mut workloads, known).await?;
    Ok(workloads)
}

async fn each<K>(
    cluster: &Cluster,
    one: Option<&str>,
    workloads: &mut Workloads,
    (namespaces, policy): (&Namespaces, &Policy),
) -> Result<(), Unreadable>
where
    K: Templated + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let each = |workload: K| {
        // What another workload has made says what that says.
        let mut owners = workload.owner_references().iter();
        if owners.any(|owner| owner.controller == Some(true)) {
            return;
        }
        if let Some((metadata, template)) = workload.template() {
            workloads.add(K::KIND, &metadata, &template, namespaces, policy);
        }
    };
    cluster.for_each(one, &ListParams::default(), each).await
}

pub(super) async fn limits(
    cluster: &Cluster,
    one: Option<&str>,
    namespaces: &Namespaces,
    policy: &Policy,
) -> Result<Limits, Unreadable> {
    let asks = |namespace: &Option<String>| {
        namespaces.asking(policy).any(|(name, _)| Some(name) == namespace.as_deref())
    };
    let mut limits = Limits::default();
    let (ranges, quotas) = (&mut limits.ranges, &mut limits.quotas);
    let all = ListParams::default();
    let ranges = cluster.for_each(one, &all, |range: LimitRange| {
        if ranges.len() < MOST_LIMITS && asks(&range.metadata.namespace) {
            ranges.push(range);
        }
    });
    ranges.await?;
    let quotas = cluster.for_each(one, &all, |quota: ResourceQuota| {
        if quotas.len() < MOST_LIMITS && asks(&quota.metadata.namespace) {
            quotas.push(quota);
        }
    });
    quotas.await?;
    Ok(limits)
}

/// The `PeerAuthentications` that demand mTLS.
pub(super) async fn strict(cluster: &Cluster) -> Strict {
    let resource = ApiResource {
        group: "security.istio.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "security.istio.io/v1".to_owned(),
        kind: "PeerAuthentication".to_owned(),
        plural: "peerauthentications".to_owned(),
    };
    let api = Api::<DynamicObject>::all_with(cluster.client.clone(), &resource);
    match api.list(&ListParams::default().limit(PAGE)).await {
        Ok(list) => {
            let is_strict = |it: &&DynamicObject| it.data["spec"]["mtls"]["mode"] == "STRICT";
            let name = |it: &DynamicObject| {
                format!("{}/{}", it.namespace().unwrap_or_default(), it.name_any())
            };
            Ok(Some(list.items.iter().filter(is_strict).map(name).collect::<Named>()))
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Err(Unreadable::Forbidden("list peerauthentications.security.istio.io".to_owned()))
        }
        Err(error) => Err(Unreadable::Failed(format!("{:#}", anyhow::Error::from(error)))),
    }
}
