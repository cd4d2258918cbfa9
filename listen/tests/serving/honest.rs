//! What an API server and a kubelet notice of an attack: a request every 50 ms on a fresh connection
//! and one on a kept connection.

use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::client::{Answer, Connection, HONEST, Target};

/// The API server waits as long for an answer (`timeoutSeconds` in the manifest).
const PATIENCE: Duration = Duration::from_secs(5);

const EVERY: Duration = Duration::from_millis(50);

/// How long requests took, and what became of those that failed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    took: Vec<Duration>,
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    fn add(&mut self, (took, answered): (Duration, io::Result<Answer>)) {
        match answered {
            Ok(answer) if answer.status == 200 => self.took.push(took),
            Ok(answer) => self.failures.push(format!("{} after {took:?}", answer.status)),
            Err(error) => self.failures.push(format!("{error} after {took:?}")),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.took.len() + self.failures.len()
    }

    pub(crate) fn max(&self) -> Duration {
        self.took.iter().max().copied().unwrap_or_default()
    }

    pub(crate) fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let index = (took.len() * 99).div_ceil(100).saturating_sub(1);
        took.get(index).copied().unwrap_or_default()
    }
}

/// A connection that is kept, to be opened before the attack begins.
pub(crate) async fn kept(target: Target, request: &[u8]) -> io::Result<Connection> {
    let mut connection = target.connect(HONEST).await?;
    connection.ask(request).await?;
    Ok(connection)
}

/// Asks for as long as said, on fresh connections and on the kept one. If the kept connection breaks, that is a failure, and it is opened anew.
pub(crate) async fn ask(
    target: Target,
    mut kept: Connection,
    request: &[u8],
    during: Duration,
) -> (Outcome, Outcome) {
    let end = Instant::now() + during;
    let on_fresh = async {
        let mut requests = JoinSet::new();
        let mut every = interval(EVERY);
        while Instant::now() < end {
            every.tick().await;
            let request = request.to_vec();
            requests.spawn(async move { timed(target.ask(HONEST, &request)).await });
        }
        let mut outcome = Outcome::default();
        while let Some(done) = requests.join_next().await {
            outcome.add(done.unwrap());
        }
        outcome
    };
    let on_kept = async {
        let mut outcome = Outcome::default();
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            every.tick().await;
            let done = timed(kept.ask(request)).await;
            let broken = done.1.is_err();
            outcome.add(done);
            if broken && let (_, Ok(again)) = timed(target.connect(HONEST)).await {
                kept = again;
            }
        }
        outcome
    };
    tokio::join!(on_fresh, on_kept)
}

async fn timed<T>(answer: impl Future<Output = io::Result<T>>) -> (Duration, io::Result<T>) {
    let began = Instant::now();
    let answer = timeout(PATIENCE, answer).await.unwrap_or_else(|late| Err(late.into()));
    (began.elapsed(), answer)
}
