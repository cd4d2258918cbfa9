//! Objects created as fast as the API server takes them, and what became of each.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::cluster::api::Api;
use crate::until::until;

/// How many clients create objects at the same time, where there is no end to it.
const CLIENTS: usize = 4;

/// A load that runs until it is stopped. Each refused object is tried again until it is there, as a
/// controller does.
pub struct Load {
    counted: Arc<Mutex<Counted>>,
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
    /// What the last refusal said.
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
        let counted = Arc::new(Mutex::new(Counted::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (api, counted, stop) = (api.clone(), Arc::clone(&counted), Arc::clone(&stop));
            let mut object = object.clone();
            clients.spawn(async move {
                let mut number = 0_u64;
                let mut refused = false;
                while !stop.load(Ordering::Relaxed) {
                    object["metadata"]["name"] = format!("load-{client}-{number}").into();
                    let created = api.create(&object).await;
                    let mut counted = lock(&counted);
                    match created {
                        Ok(created) => {
                            counted.created += 1;
                            counted.retried += u64::from(refused);
                            counted.wrong += u64::from(!is_right(&created));
                            refused = false;
                            number += 1;
                        }
                        Err(error) => {
                            counted.refused += 1;
                            counted.last_refusal = format!("{error:#}");
                            refused = true;
                        }
                    }
                }
            });
        }
        Self { counted, stop, clients }
    }

    /// Waits until `more` objects have been created from now on.
    pub async fn more(&self, more: u64) -> Result<()> {
        let wanted = lock(&self.counted).created + more;
        until("more objects", Duration::from_secs(120), async || {
            let counted = lock(&self.counted);
            ensure!(counted.created >= wanted, "{counted}");
            Ok(())
        })
        .await
    }

    /// Ends the load and tells what became of the objects.
    pub async fn stop(mut self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        lock(&self.counted).clone()
    }
}

fn lock(counted: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Debug)]
pub struct Created {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    pub times: Vec<Duration>,
    pub last: Value,
}

/// Creates `count` copies of `object`, `clients` at a time, each with a name of its own.
///
/// # Errors
///
/// One is refused.
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
    let mut created =
        Created { elapsed: Duration::ZERO, times: Vec::with_capacity(count), last: Value::Null };
    while let Some(done) = running.join_next().await {
        let (times, last) = done??;
        created.times.extend(times);
        created.last = last;
    }
    created.elapsed = started.elapsed();
    Ok(created)
}
