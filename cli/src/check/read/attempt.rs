//! A dry run of something that asks for a sidecar: the whole way through the API server and the webhook,
//! and nothing is stored.

use std::time::{Duration, Instant};

use injection::{Policy, keys};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::super::admission::{Answer, Attempt, Cause};
use crate::cluster::{Cluster, Unreadable, unreadable};
use crate::sidecar::Sidecar;

const NAME: &str = "secret-handshake-check";

/// Longer than the API server waits for all webhooks together.
const LIMIT: Duration = Duration::from_secs(40);

/// Tries a pod in `namespace`. Where there is none, or where its own rules refuse the pod for a reason that
/// is not the webhook's, a workload is tried: its label is copied by the same webhook, and it counts
/// towards no quota.
pub(super) async fn try_it(
    cluster: &Cluster,
    namespace: Option<&str>,
    labels_itself: bool,
    policy: &Policy,
) -> Attempt {
    if let Some(namespace) = namespace {
        let attempt = pod(cluster, namespace, labels_itself, policy).await;
        let other = match &attempt.answer {
            Err(Unreadable::Failed(text)) => matches!(Cause::of(text), Cause::Quota | Cause::Other),
            _ => false,
        };
        if !other {
            return attempt;
        }
        let instead = workload(cluster, namespace, policy).await;
        return if instead.answer.is_ok() { instead } else { attempt };
    }
    let own = cluster.namespace.as_str();
    let namespace = if policy.excludes(own) { "default" } else { own };
    workload(cluster, namespace, policy).await
}

/// It meets the `restricted` Pod Security Standard.
fn spec(policy: &Policy) -> Value {
    json!({
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": "legacy",
            "image": policy.image,
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
            },
        }],
    })
}

async fn pod(cluster: &Cluster, namespace: &str, labels_itself: bool, policy: &Policy) -> Attempt {
    let labels = if labels_itself { json!({ keys::LABEL: "true" }) } else { json!({}) };
    let pod = json!({ "metadata": { "generateName": format!("{NAME}-"), "labels": labels }, "spec": spec(policy) });
    let what = format!("a pod in {namespace}");
    attempt::<Pod>(cluster, namespace, what, pod, |pod| {
        let annotations = pod.metadata.annotations.as_ref();
        let status = annotations.and_then(|annotations| annotations.get(keys::STATUS));
        match (Sidecar::of(pod), status) {
            (Some(_), _) => Answer::Changed,
            (None, Some(status)) => Answer::Declined(status.clone()),
            (None, None) => Answer::Unchanged,
        }
    })
    .await
}

async fn workload(cluster: &Cluster, namespace: &str, policy: &Policy) -> Attempt {
    let labels = json!({ "app": NAME });
    let deployment = json!({
        "metadata": { "name": NAME, "labels": { keys::LABEL: "true" } },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": spec(policy) },
        },
    });
    let what = format!("a Deployment in {namespace}");
    attempt::<Deployment>(cluster, namespace, what, deployment, |deployment| {
        let template = deployment.spec.template.metadata.as_ref();
        let labels = template.and_then(|metadata| metadata.labels.as_ref());
        let is_copied = labels.is_some_and(|labels| labels.contains_key(keys::LABEL));
        if is_copied { Answer::Changed } else { Answer::Unchanged }
    })
    .await
}

async fn attempt<K>(
    cluster: &Cluster,
    namespace: &str,
    what: String,
    object: Value,
    look: impl Fn(&K) -> Answer,
) -> Attempt
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let started = Instant::now();
    let answer = async {
        let object: K = serde_json::from_value(object)
            .map_err(|error| Unreadable::Failed(error.to_string()))?;
        let api = Api::<K>::namespaced(cluster.client.clone(), namespace);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let created = tokio::time::timeout(LIMIT, api.create(&params, &object)).await;
        match created {
            Ok(Ok(created)) => Ok(look(&created)),
            Ok(Err(error)) => Err(refused::<K>(namespace, error)),
            Err(_) => Err(Unreadable::Failed(format!("no answer within {LIMIT:?}"))),
        }
    };
    let answer = answer.await;
    Attempt { what, took: started.elapsed(), answer }
}

/// A quota and a webhook refuse with 403 as well: of a right that is missing the API server says whose it
/// is.
fn refused<K: kube::Resource<DynamicType = ()>>(namespace: &str, error: kube::Error) -> Unreadable {
    match error {
        kube::Error::Api(status) if !status.message.contains(" cannot create resource ") => {
            Unreadable::Failed(status.message.clone())
        }
        error => unreadable::<K>("create", Some(namespace), error),
    }
}
