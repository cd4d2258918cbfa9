//! Waiting for a condition, with a deadline. Nothing here sleeps for a time and hopes.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, MissedTickBehavior};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// An error that no further look can mend: waiting ends with it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Hopeless(pub String);

/// Looks with `probe` until it succeeds. An error means "not yet" unless it is [`Hopeless`], and the
/// last one is the reason in the message if `limit` passes before.
///
/// # Errors
///
/// `limit` has passed, or a look was hopeless.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = anyhow!("the first look has not come back");
    loop {
        ticks.tick().await;
        match tokio::time::timeout_at(started + limit, probe()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if error.is::<Hopeless>() => return Err(error),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
        if started.elapsed() >= limit {
            return Err(
                last.context(format!("waited {} s in vain for {what}", limit.as_secs_f32()))
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_reason_of_the_last_look_is_told() {
        let mut looks = 0;
        let waited = until("the tide", Duration::from_secs(1), async || -> Result<()> {
            looks += 1;
            bail!("look {looks}")
        });
        let message = format!("{:#}", waited.await.unwrap_err());
        assert!(message.starts_with("waited 1 s in vain for the tide: look "), "{message}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_hopeless_is_not_waited_for() {
        let started = Instant::now();
        let waited = until("a dead man", Duration::from_secs(60), async || -> Result<()> {
            bail!(Hopeless("he has ended".to_owned()))
        });
        assert_eq!(waited.await.unwrap_err().to_string(), "he has ended");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
