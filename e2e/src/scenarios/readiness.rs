//! When pods became Ready and not Ready, as the API server's watch shows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::running::is_ready;
use super::scene::Scene;
use lab::until::until;

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) when: SystemTime,
    pub(super) pod: String,
    pub(super) ready: bool,
}

/// Watches the pods of an app, until it is dropped.
pub(super) struct Readiness {
    changes: Arc<Mutex<Vec<Change>>>,
    task: JoinHandle<()>,
}

impl Readiness {
    pub(super) fn watch(scene: &Scene, namespace: &str, app: &str) -> Self {
        const LIMIT: Duration = Duration::from_secs(3600);
        let changes = Arc::new(Mutex::new(Vec::new()));
        let (api, kept) = (scene.api().clone(), Arc::clone(&changes));
        let (namespace, selector) = (namespace.to_owned(), format!("app={app}"));
        let task = tokio::spawn(async move {
            let mut known = BTreeMap::new();
            let look = |pods: &[&Value]| -> Result<()> {
                let when = SystemTime::now();
                for pod in pods {
                    let name = pod["metadata"]["name"].as_str().context("no name")?.to_owned();
                    let ready = is_ready(pod).is_ok();
                    if known.insert(name.clone(), ready) != Some(ready) {
                        let change = Change { when, pod: name, ready };
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(change);
                    }
                }
                bail!("it goes on")
            };
            let _ = api.wait_all(("Pod", &namespace, &selector), LIMIT, look).await;
        });
        Self { changes, task }
    }

    pub(super) fn since(&self, when: SystemTime) -> Vec<Change> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().filter(|change| change.when >= when).cloned().collect()
    }

    /// Waits until this happens to a pod after `since`, and says when it did.
    pub(super) async fn until(
        &self,
        pod: &str,
        ready: bool,
        since: SystemTime,
        limit: Duration,
    ) -> Result<SystemTime> {
        let wanted = if ready { "Ready" } else { "not Ready" };
        until(&format!("{pod} to be {wanted}"), limit, async || {
            let changes = self.since(since);
            let found = changes.iter().find(|change| change.pod == pod && change.ready == ready);
            found.map(|change| change.when).with_context(|| format!("so far: {changes:?}"))
        })
        .await
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
