//! What sidecars that are not ready say, and why images are not pulled.

use futures_util::StreamExt as _;
use futures_util::stream;
use injection::SIDECAR;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};

use super::super::sidecars::{ContainerDoes, NotPulled, NotReady, Sidecars};
use super::AT_ONCE;
use crate::cluster::{Cluster, unreadable};

const LINES: i64 = 20;
const BYTES: i64 = 16 * 1024;

pub(super) async fn read(cluster: &Cluster, sidecars: &mut Sidecars) {
    let logs = stream::iter(sidecars.not_ready.iter_mut()).map(|pod| read_log(cluster, pod));
    let events = stream::iter(sidecars.not_pulled.iter_mut()).map(|pod| read_event(cluster, pod));
    let logs = logs.buffer_unordered(AT_ONCE).for_each(std::future::ready);
    let events = events.buffer_unordered(AT_ONCE).for_each(std::future::ready);
    tokio::join!(logs, events);
}

async fn read_log(cluster: &Cluster, pod: &mut NotReady) {
    if pod.container != ContainerDoes::Run {
        return;
    }
    let params = LogParams {
        container: Some(SIDECAR.to_owned()),
        tail_lines: Some(LINES),
        limit_bytes: Some(BYTES),
        ..LogParams::default()
    };
    let api = Api::<Pod>::namespaced(cluster.client.clone(), &pod.namespace);
    let log = api.logs(&pod.name, &params).await;
    pod.log = Some(log.map_err(|error| unreadable::<Pod>("get", Some(&pod.namespace), error)));
}

/// The events name the cause; the container's status often only that the kubelet waits. Without the
/// right to read them the status has to do.
async fn read_event(cluster: &Cluster, pod: &mut NotPulled) {
    let of_pod = format!("involvedObject.kind=Pod,involvedObject.name={}", pod.name);
    let params = ListParams::default().fields(&of_pod);
    let mut newest = None;
    let events = cluster.for_each(Some(&pod.namespace), &params, |event: Event| {
        let message = event.message.unwrap_or_default();
        let time = event.last_timestamp.map(|time| time.0);
        if message.starts_with("Failed to pull image")
            && newest.as_ref().is_none_or(|(known, _)| *known <= time)
        {
            newest = Some((time, message));
        }
    });
    if events.await.is_ok()
        && let Some((_, message)) = newest
    {
        pod.message = message;
    }
}
