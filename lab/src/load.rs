//! Pods created as fast as the API server takes them, and what became of each.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::cluster::api::Api;

/// How many clients create pods at the same time.
const CLIENTS: usize = 4;

/// A running load.
pub struct Load {
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    created: AtomicU64,
    refused: AtomicU64,
    retried: AtomicU64,
    without_sidecar: AtomicU64,
    last_refusal: std::sync::Mutex<String>,
}

/// What became of the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Pods that were created.
    pub created: u64,
    /// Answers that were refusals.
    pub refused: u64,
    /// Pods that were created only after a refusal.
    pub retried: u64,
    /// Pods that were created and have no sidecar.
    pub without_sidecar: u64,
    /// What the last refusal said.
    pub last_refusal: String,
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "created {}, refused {}, retried {}, without sidecar {}",
            self.created, self.refused, self.retried, self.without_sidecar
        )?;
        if !self.last_refusal.is_empty() {
            write!(f, "; last refusal: {}", self.last_refusal)?;
        }
        Ok(())
    }
}

impl Load {
    /// Starts creating copies of `pod`, each with a name of its own. `has_sidecar` says whether one that
    /// was created has got what it should.
    pub fn start(api: &Api, pod: &Value, has_sidecar: fn(&Value) -> bool) -> Self {
        let counts = Arc::new(Counts::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (api, counts, stop) = (api.clone(), Arc::clone(&counts), Arc::clone(&stop));
            let pod = pod.clone();
            clients.spawn(async move {
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut pod = pod.clone();
                    pod["metadata"]["name"] = format!("load-{client}-{number}").into();
                    create(&api, &pod, &counts, &stop, has_sidecar).await;
                }
            });
        }
        Self { counts, stop, clients }
    }

    /// What has become of the pods so far.
    pub fn so_far(&self) -> Counted {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let last = self.counts.last_refusal.lock();
        Counted {
            created: count(&self.counts.created),
            refused: count(&self.counts.refused),
            retried: count(&self.counts.retried),
            without_sidecar: count(&self.counts.without_sidecar),
            last_refusal: last.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Waits until `more` pods have been created from now on.
    ///
    /// # Errors
    ///
    /// They are not, in time.
    pub async fn more(&self, more: u64) -> Result<()> {
        let wanted = self.so_far().created + more;
        crate::until::until("more pods", std::time::Duration::from_secs(120), async || {
            let counted = self.so_far();
            ensure!(counted.created >= wanted, "{counted}");
            Ok(())
        })
        .await
    }

    /// Ends the load and tells what became of the pods.
    pub async fn stop(mut self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        self.so_far()
    }
}

/// Creates one pod, as a controller does: again and again until it is there.
async fn create(
    api: &Api,
    pod: &Value,
    counts: &Counts,
    stop: &AtomicBool,
    has_sidecar: fn(&Value) -> bool,
) {
    let mut refused = false;
    loop {
        match api.create(pod).await {
            Ok(created) => {
                counts.created.fetch_add(1, Ordering::Relaxed);
                counts.retried.fetch_add(u64::from(refused), Ordering::Relaxed);
                if !has_sidecar(&created) {
                    counts.without_sidecar.fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
            Err(error) => {
                refused = true;
                counts.refused.fetch_add(1, Ordering::Relaxed);
                let mut last = counts.last_refusal.lock().unwrap_or_else(PoisonError::into_inner);
                *last = format!("{error:#}");
            }
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
