//! Waiting for a condition, with a deadline. Nothing waits for a fixed time.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

const PAUSE: Duration = Duration::from_millis(25);

/// An error that trying again can't help: waiting ends with it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Permanent(pub String);

/// Tries until `attempt` succeeds. An error means "not yet" unless it is [`Permanent`]; when `limit` has
/// passed, the last one is the reason in the message.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = anyhow!("the first attempt has not ended");
    loop {
        match timeout_at(deadline, attempt()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if error.is::<Permanent>() => return Err(error),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            let seconds = limit.as_secs_f32();
            return Err(last.context(format!("waited {seconds} s for {what}")));
        }
        sleep(PAUSE).await;
    }
}

/// Tries for up to `limit` where nothing can be awaited: in a `Drop`, in the guard. Says whether it was
/// done.
pub(crate) fn retry(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = std::time::Instant::now();
    while !done() {
        if started.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_reason_of_the_last_attempt_is_told() {
        let mut attempts = 0;
        let waited = until("the server", Duration::from_secs(1), async || -> Result<()> {
            attempts += 1;
            bail!("attempt {attempts}")
        });
        let message = format!("{:#}", waited.await.unwrap_err());
        assert_eq!(message, "waited 1 s for the server: attempt 41");
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_error_ends_the_wait() {
        let started = Instant::now();
        let waited = until("a dead process", Duration::from_secs(60), async || -> Result<()> {
            bail!(Permanent("it has ended".to_owned()))
        });
        assert_eq!(waited.await.unwrap_err().to_string(), "it has ended");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
