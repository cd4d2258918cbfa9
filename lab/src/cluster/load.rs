//! Objects created as fast as the API server takes them, and what became of each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::api::Api;

/// Clients that create objects. Each that is refused is tried again until it is there, as a controller
/// does.
pub struct Load {
    counted: watch::Sender<Counted>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub created: u64,
    /// Answers that were refusals.
    pub refused: u64,
    /// Objects that were created only after a refusal.
    pub retried: u64,
    /// Objects that were created and are not as they should be.
    pub wrong: u64,
    pub last_refusal: String,
    /// How long each creation took.
    pub times: Vec<Duration>,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, refused, retried, wrong, last_refusal, .. } = self;
        write!(f, "created {created}, refused {refused}, retried {retried}, wrong {wrong}")?;
        if !last_refusal.is_empty() {
            write!(f, "; last refusal: {last_refusal}")?;
        }
        Ok(())
    }
}

impl Load {
    /// Has so many clients create copies of `object`, each with a number behind its name, until it is
    /// stopped. `is_right` says whether one that was created is as it should be.
    pub fn start(api: &Api, object: &Value, clients: usize, is_right: fn(&Value) -> bool) -> Self {
        let counted = watch::Sender::new(Counted::default());
        let (stop, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let (api, counted, name) = (api.clone(), counted.clone(), name.clone());
            let (stop, numbers) = (Arc::clone(&stop), Arc::clone(&numbers));
            let mut object = object.clone();
            running.spawn(async move {
                let mut refused = false;
                while !stop.load(Ordering::Relaxed) {
                    if !refused {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        object["metadata"]["name"] = format!("{name}-{number}").into();
                    }
                    let asked = Instant::now();
                    let created = api.create(&object).await;
                    counted.send_modify(|counted| match &created {
                        Ok(created) => {
                            counted.created += 1;
                            counted.retried += u64::from(refused);
                            counted.wrong += u64::from(!is_right(created));
                            counted.times.push(asked.elapsed());
                        }
                        Err(error) => {
                            counted.refused += 1;
                            counted.last_refusal = format!("{error:#}");
                        }
                    });
                    refused = created.is_err();
                }
            });
        }
        Self { counted, stop, clients: running }
    }

    /// Waits until `more` objects have been created from now on.
    pub async fn more(&self, more: u64) -> Result<()> {
        let mut counted = self.counted.subscribe();
        let wanted = counted.borrow().created + more;
        let enough = counted.wait_for(|counted| counted.created >= wanted);
        let in_time = timeout(Duration::from_secs(120), enough).await.is_ok();
        in_time.then_some(()).with_context(|| format!("not {wanted}: {}", *self.counted.borrow()))
    }

    /// Lets each client end what it is creating, and tells what all of them have done.
    pub async fn stop(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        self.counted.borrow().clone()
    }
}
