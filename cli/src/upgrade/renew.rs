//! Carries a plan out: one pod at a time, until one does not come back.

use std::io::Write;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use injection::SIDECAR;

use super::back::{Stand, stand};
use super::plan::{Group, Plan};
use super::pod::{Pod, one_line};
use crate::cluster::Cluster;

/// Between two looks at a pod that is waited for.
const LOOK: Duration = Duration::from_millis(250);

/// How long a pod stays Ready before the next one's turn: endpoints and the nodes' rules for Services follow a
/// Ready pod within a second or two, in a busy cluster within several. A Deployment has `minReadySeconds` for
/// the same.
const SERVED: Duration = Duration::from_secs(10);

/// How often a pod that others write at the same time is tried.
const CONFLICTS: u32 = 5;

/// Whom the object's `managedFields` name.
const MANAGER: &str = "kubectl-secret-handshake";

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Renewed {
    pub(super) upgraded: usize,
    /// Pods that were left after all: they had changed meanwhile.
    pub(super) left: usize,
    pub(super) failed: Option<Failed>,
    pub(super) interrupted: bool,
}

/// The pod with which it stopped.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) pod: Pod,
    /// Whether its image was changed, or may have been.
    pub(super) changed: bool,
    /// Whether others of its workload have been upgraded before.
    pub(super) others: bool,
}

/// What came of one pod.
enum Step {
    /// It has been Ready since then.
    Upgraded(Instant),
    Left(&'static str),
    Failed {
        why: String,
        changed: bool,
    },
}

/// What is needed for each pod.
pub(super) struct Renewal<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) image: &'a str,
    /// For one pod.
    pub(super) timeout: Duration,
    pub(super) allow_gap: bool,
    /// How often the user has interrupted: once ends it after the pod that is waited for, twice at once.
    pub(super) interrupts: watch::Receiver<u32>,
}

impl Renewal<'_> {
    /// Upgrades what is planned, with a line about each pod.
    ///
    /// # Errors
    /// If nothing can be written.
    pub(super) async fn carry_out(
        &self,
        plan: &Plan,
        out: &mut impl Write,
    ) -> anyhow::Result<Renewed> {
        let (mut renewed, count, mut number) = (Renewed::default(), plan.count(), 0);
        for group in &plan.groups {
            let before = renewed.upgraded;
            for pod in &group.pods {
                if *self.interrupts.borrow() > 0 {
                    renewed.interrupted = true;
                    return Ok(renewed);
                }
                number += 1;
                write!(out, "{number}/{count} {} pod {}: ", group.workload, pod.name)?;
                // It is to be seen which one is waited for.
                out.flush()?;
                let began = Instant::now();
                match self.upgrade(group, pod).await {
                    Step::Upgraded(ready) => {
                        renewed.upgraded += 1;
                        let took = ready.saturating_duration_since(began).as_secs_f64();
                        writeln!(out, "Ready again after {took:.1} s")?;
                    }
                    Step::Left(why) => {
                        renewed.left += 1;
                        writeln!(out, "left: {why}")?;
                    }
                    Step::Failed { why, changed } => {
                        writeln!(out, "{why}")?;
                        let others = renewed.upgraded > before;
                        renewed.failed = Some(Failed { pod: pod.clone(), changed, others });
                        return Ok(renewed);
                    }
                }
            }
        }
        Ok(renewed)
    }

    async fn upgrade(&self, group: &Group, planned: &Pod) -> Step {
        let pods = Api::<core::Pod>::namespaced(self.cluster.client.clone(), &planned.namespace);
        let mut conflicts = 0;
        let before = loop {
            let now = match get(&pods, &planned.name).await {
                Ok(now) => now.filter(|now| now.uid == planned.uid),
                Err(why) => return Step::Failed { why, changed: false },
            };
            let Some(now) = now else {
                return Step::Left("it is gone");
            };
            if !is_as_planned(planned, &now) {
                return Step::Left("it has changed meanwhile");
            }
            if now.ready && !self.allow_gap {
                match other_ready(&pods, group, &now).await {
                    Ok(true) => {}
                    Ok(false) => {
                        return Step::Left("no other pod of its workload is Ready any more");
                    }
                    Err(why) => return Step::Failed { why, changed: false },
                }
            }
            let params =
                PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
            let patch = patch(&now, self.image);
            match pods.patch(&now.name, &params, &Patch::Strategic(patch)).await {
                Ok(_) => break now,
                Err(kube::Error::Api(status)) if status.code == 409 && conflicts < CONFLICTS => {
                    conflicts += 1;
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Step::Left("it is gone");
                }
                Err(kube::Error::Api(status)) => {
                    let why = format!("the API server refuses: {}", one_line(&status.message));
                    return Step::Failed { why, changed: false };
                }
                Err(error) => return Step::Failed { why: told(error), changed: true },
            }
        };
        self.wait(&pods, &before).await
    }

    /// Waits until the pod is back and has been for a moment. An API server that does not answer meanwhile is asked again.
    async fn wait(&self, pods: &Api<core::Pod>, before: &Pod) -> Step {
        let deadline = Instant::now() + self.timeout;
        let mut waits = "the API server has not told how it is".to_owned();
        let mut interrupts = self.interrupts.clone();
        let mut ready = None;
        loop {
            let looked = tokio::select! {
                looked = timeout_at(deadline, get(pods, &before.name)) => looked,
                Ok(_) = interrupts.wait_for(|count| *count > 1) => {
                    return Step::Failed { why: format!("interrupted: {waits}"), changed: true };
                }
            };
            match looked {
                Ok(Ok(now)) => match stand(before, now.as_ref()) {
                    Stand::Back => {
                        let since = *ready.get_or_insert_with(Instant::now);
                        if since.elapsed() >= SERVED {
                            return Step::Upgraded(since);
                        }
                    }
                    Stand::Gone => return Step::Left("it was deleted meanwhile"),
                    Stand::Failed(why) => return Step::Failed { why, changed: true },
                    Stand::Waits(why) => (waits, ready) = (why, None),
                },
                Ok(Err(why)) => waits = why,
                Err(_) => {}
            }
            if Instant::now() >= deadline && ready.is_none() {
                let seconds = self.timeout.as_secs();
                let why = format!("not back after {seconds} s: {waits}");
                return Step::Failed { why, changed: true };
            }
            sleep(LOOK).await;
        }
    }
}

/// Whether nothing has happened to the pod that would have kept it out of the plan.
fn is_as_planned(planned: &Pod, now: &Pod) -> bool {
    match (&planned.sidecar, &now.sidecar) {
        (Some(old), Some(new)) => {
            let ready = now.ready || new.trouble.is_some();
            old.image == new.image && ready
        }
        _ => false,
    }
}

/// Whether one of the workload's other pods that were Ready still is.
async fn other_ready(pods: &Api<core::Pod>, group: &Group, pod: &Pod) -> Result<bool, String> {
    for name in group.others_ready(pod) {
        if get(pods, name)
            .await?
            .is_some_and(|other| other.ready && other.workload == group.workload)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn get(pods: &Api<core::Pod>, name: &str) -> Result<Option<Pod>, String> {
    match pods.get_opt(name).await {
        Ok(pod) => Ok(pod.as_ref().and_then(Pod::of)),
        Err(error) => Err(told(error)),
    }
}

fn told(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => one_line(&status.message),
        error => one_line(&format!("{:#}", anyhow::Error::from(error))),
    }
}

/// Of this very pod as it was read: the API server refuses it if anything else has changed.
fn patch(pod: &Pod, image: &str) -> serde_json::Value {
    json!({
        "metadata": { "uid": pod.uid, "resourceVersion": pod.version },
        "spec": { "containers": [{ "name": SIDECAR, "image": image }] },
    })
}
