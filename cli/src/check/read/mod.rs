//! What the checks need, read from the cluster: nothing is decided here, and nothing is kept that no
//! finding needs.
//!
//! ```text
//! api_server ─▶ webhook ─▶ replicas ─▶ handshake      certificates, as they are served
//!                  ├─▶ secret                         the CAs; which keys a Secret has
//!                  ├─▶ attempt                        a dry run
//!                  └─▶ objects ─▶ sidecars            namespaces, workloads, pods; their logs and events
//! ```

mod api_server;
mod attempt;
mod handshake;
mod objects;
mod replicas;
mod rights;
mod secret;
mod sidecars;

use futures_util::StreamExt as _;
use futures_util::stream;
use injection::Policy;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::admission::Attempt;
use super::api_server::ApiServer;
use super::certificates::Certificates;
use super::configuration::{Configurations, Strict};
use super::limits::Limits;
use super::namespace::Namespaces;
use super::pods::{HalfState, Pods, SecretKey};
use super::replicas::Replicas;
use super::settings::Workloads;
use crate::cluster::{Cluster, Unreadable};
use crate::webhook::Webhook;

/// How many calls of a kind are made at the same time.
pub(super) const AT_ONCE: usize = 10;

/// What to look at.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Whether nothing is installed yet.
    pub(crate) pre: bool,
    /// The one namespace to look at.
    pub(crate) namespace: Option<String>,
}

/// Everything that was read. What could not be read is told in its place.
pub(crate) struct Facts {
    /// By the API server's clock, where that is known.
    pub(crate) now: Timestamp,
    pub(crate) api_server: ApiServer,
    /// Nothing else is read of an API server that does not answer.
    pub(crate) rest: Option<Rest>,
}

/// What was read of everything but the API server itself.
pub(crate) struct Rest {
    pub(crate) webhook: Webhook,
    pub(crate) policy: Policy,
    pub(crate) image: Result<String, Unreadable>,
    pub(crate) configurations: Configurations,
    pub(crate) strict: Strict,
    pub(crate) replicas: Replicas,
    pub(crate) target: IntOrString,
    pub(crate) certificates: Certificates,
    pub(crate) attempt: Result<Attempt, Unreadable>,
    pub(crate) namespaces: Result<Namespaces, Unreadable>,
    pub(crate) workloads: Result<Workloads, Unreadable>,
    pub(crate) pods: Result<Pods, Unreadable>,
    pub(crate) secrets: Vec<(SecretKey, Result<HalfState, Unreadable>)>,
    pub(crate) limits: Result<Limits, Unreadable>,
}

pub(crate) async fn read(cluster: &Cluster, scope: &Scope) -> Facts {
    let api_server = api_server::read(cluster, scope).await;
    let now = api_server.clocks.as_ref().map_or_else(|_| Timestamp::now(), |clocks| clocks.server);
    let rest = match &api_server.version {
        Err(Unreadable::Failed(_)) => None,
        _ => Some(Box::pin(read_rest(cluster, scope, now)).await),
    };
    Facts { now, api_server, rest }
}

async fn read_rest(cluster: &Cluster, scope: &Scope, now: Timestamp) -> Rest {
    let one = scope.namespace.as_deref();
    let (webhook, others, namespaces) = tokio::join!(
        Webhook::read(cluster),
        objects::other_configurations(cluster),
        objects::namespaces(cluster, one),
    );
    let policy = webhook.flags_or_default().policy;
    let image = webhook.flags.as_ref().map(|flags| flags.policy.image.clone());
    let image = image.map_err(Clone::clone);
    let own = webhook.configuration.as_ref().ok().and_then(Option::as_ref);
    let (replicas, target) = replicas::read(cluster, webhook.service.as_ref()).await;

    let none = Namespaces::default();
    let known = namespaces.as_ref().unwrap_or(&none);
    let asking = one.is_none().then(|| known.asking(&policy).next()).flatten();
    let in_namespace = one.or(asking.map(|(name, _)| name));
    let labels_itself =
        in_namespace.is_some_and(|name| !known.asking(&policy).any(|(asking, _)| asking == name));
    let try_it = async {
        if scope.pre {
            Err(Unreadable::Failed("nothing is installed yet".to_owned()))
        } else {
            Ok(attempt::try_it(cluster, in_namespace, labels_itself, &policy).await)
        }
    };
    let about_pods = async {
        let image = image.as_deref().ok();
        let pods = objects::pods(cluster, one, known, &policy, image, now).await;
        let mut pods = pods?;
        sidecars::read(cluster, &mut pods.sidecars).await;
        Ok(pods)
    };
    let (attempt, workloads, pods, limits, strict, certificates) = tokio::join!(
        try_it,
        objects::workloads(cluster, one, known, &policy),
        about_pods,
        objects::limits(cluster, one, known, &policy),
        objects::strict(cluster),
        read_certificates(cluster, &webhook, &replicas, &target),
    );
    let wanted = pods.iter().flat_map(|pods: &Pods| pods.secrets.iter().cloned());
    let read = |wanted: SecretKey| async {
        let state = secret::half(cluster, &wanted).await;
        (wanted, state)
    };
    let secrets = stream::iter(wanted).map(read).buffered(AT_ONCE).collect().await;
    let has_own_certificate = has_own_certificate(&replicas);
    let own = Ok(own.cloned());
    let own = match &webhook.configuration {
        Ok(_) => own,
        Err(error) => Err(error.clone()),
    };
    let configurations = Configurations { own, others, has_own_certificate };
    Rest {
        webhook,
        policy,
        image,
        configurations,
        strict,
        replicas,
        target,
        certificates,
        attempt,
        namespaces,
        workloads,
        pods,
        secrets,
        limits,
    }
}

fn has_own_certificate(replicas: &Replicas) -> bool {
    let pods = replicas.pods.iter().flatten().flatten();
    pods.into_iter().any(|pod| pod.flag("tls-cert").is_some())
}

async fn read_certificates(
    cluster: &Cluster,
    webhook: &Webhook,
    replicas: &Replicas,
    target: &IntOrString,
) -> Certificates {
    let pod = replicas.pods.iter().flatten().flatten().next();
    let flag = |name: &str| pod.and_then(|pod| pod.flag(name));
    let settings = super::certificates::settings(flag);
    let cas = async {
        if has_own_certificate(replicas) {
            return None;
        }
        Some(secret::cas(cluster, webhook.service.as_ref(), flag("ca-secret")).await)
    };
    let (cas, served) = tokio::join!(cas, handshake::all(cluster, webhook, replicas, target));
    Certificates { settings, cas, served }
}
