//! Objects created as fast as the API server takes them, and what became of each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::api::Api;

/// How many clients create objects at the same time, where there is no end to it.
const CLIENTS: usize = 4;

/// A load that runs until it is stopped. Each refused object is tried again until it is there, as a
/// controller does.
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
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, refused, retried, wrong, last_refusal } = self;
        write!(f, "created {created}, refused {refused}, retried {retried}, wrong {wrong}")?;
        if !last_refusal.is_empty() {
            write!(f, "; last refusal: {last_refusal}")?;
        }
        Ok(())
    }
}

impl Load {
    /// Starts creating copies of `object`, each with a name of its own. `is_right` says whether one that
    /// was created is as it should be.
    pub fn start(api: &Api, object: &Value, is_right: fn(&Value) -> bool) -> Self {
        let counted = watch::Sender::new(Counted::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (api, counted, stop) = (api.clone(), counted.clone(), Arc::clone(&stop));
            let mut object = object.clone();
            clients.spawn(async move {
                let mut number = 0_u64;
                let mut refused = false;
                while !stop.load(Ordering::Relaxed) {
                    object["metadata"]["name"] = format!("load-{client}-{number}").into();
                    let created = api.create(&object).await;
                    counted.send_modify(|counted| match &created {
                        Ok(created) => {
                            counted.created += 1;
                            counted.retried += u64::from(refused);
                            counted.wrong += u64::from(!is_right(created));
                        }
                        Err(error) => {
                            counted.refused += 1;
                            counted.last_refusal = format!("{error:#}");
                        }
                    });
                    refused = created.is_err();
                    number += u64::from(!refused);
                }
            });
        }
        Self { counted, stop, clients }
    }

    /// Waits until `more` objects have been created from now on.
    pub async fn more(&self, more: u64) -> Result<()> {
        let mut counted = self.counted.subscribe();
        let wanted = counted.borrow().created + more;
        let enough = counted.wait_for(|counted| counted.created >= wanted);
        let in_time = timeout(Duration::from_secs(120), enough).await.is_ok();
        in_time.then_some(()).with_context(|| format!("not {wanted}: {}", *self.counted.borrow()))
    }

    pub async fn stop(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        self.counted.borrow().clone()
    }
}

#[derive(Clone, Debug)]
pub struct Created {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    pub times: Vec<Duration>,
    pub last: Value,
}

/// Creates `count` copies of `object`, `clients` at a time, each with a name of its own.
pub async fn create_many(
    api: &Api,
    object: &Value,
    count: usize,
    clients: usize,
) -> Result<Created> {
    let name = object["metadata"]["name"].as_str().context("no name to begin with")?.to_owned();
    let started = Instant::now();
    let mut running = JoinSet::new();
    for client in 0..clients {
        let (api, mut object, name) = (api.clone(), object.clone(), name.clone());
        running.spawn(async move {
            let mut times = Vec::new();
            let mut last = Value::Null;
            for number in (client..count).step_by(clients) {
                object["metadata"]["name"] = format!("{name}-{number}").into();
                let asked = Instant::now();
                last = api.create(&object).await?;
                times.push(asked.elapsed());
            }
            anyhow::Ok((times, last))
        });
    }
    let (mut times, mut last) = (Vec::with_capacity(count), Value::Null);
    while let Some(done) = running.join_next().await {
        let (more, object) = done??;
        times.extend(more);
        last = object;
    }
    Ok(Created { elapsed: started.elapsed(), times, last })
}
