//! How long starts take: the sidecar's own, and Legacy's until it is initialised.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::sidecar::{Pair, handshake};
use super::table::Row;

/// From exec to the first connection to a Legacy that listens already.
pub(super) async fn first_looks(program: &Path, runs: u32) -> Result<Row> {
    let mut times = Vec::new();
    for _ in 0..runs {
        let pair = Pair::start(program, true)?;
        pair.initialized().await?;
        let connected = pair.legacy.moments().connected.context("nobody came")?;
        times.push(connected.saturating_duration_since(pair.executed));
        pair.end().await?;
    }
    Ok(Row::many("exec to first look", times, Some(Duration::from_millis(1))))
}

/// From Legacy's first listen to the secret that it accepts, where it listens within half a second;
/// and from there to the answer of a `/readyz` that was held. One start after the other.
pub(super) async fn fast(program: &Path, runs: u32) -> Result<[Row; 2]> {
    let (mut handshakes, mut answers) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let pair = Pair::start(program, false)?;
        // Spread over 50 to 500 ms, so that no run has the rhythm of another.
        let late = Duration::from_millis(50) + Duration::from_millis(450) * run / runs.max(1);
        let starts = handshake(&pair.legacy, pair.executed + late);
        let (ready, (handshake, accepted)) = tokio::try_join!(pair.ready(), starts)?;
        handshakes.push(handshake);
        answers.push(ready.saturating_duration_since(accepted));
        pair.end().await?;
    }
    let what = "listen to handshake, Legacy starts in 0.05 to 0.5 s";
    Ok([
        Row::many(what, handshakes, Some(Duration::from_millis(10))),
        Row::many("handshake to held /readyz", answers, Some(Duration::from_millis(2))),
    ])
}

/// From Legacy's first listen to the secret that it accepts, where it takes long: at the same time, as
/// they wait most of it, and listening one after the other.
pub(super) async fn slow(program: &Path, runs: u32) -> Result<Row> {
    /// How long Legacy takes until it listens: by then the pause between two looks is at its longest.
    const LATE: Duration = Duration::from_secs(12);
    /// Between two listens: far more than a handshake takes.
    const APART: Duration = Duration::from_millis(100);
    let mut pairs = Vec::new();
    for _ in 0..runs {
        pairs.push(Pair::start(program, false)?);
    }
    let mut times = Vec::new();
    for (pair, apart) in pairs.into_iter().zip(0..) {
        times.push(handshake(&pair.legacy, pair.executed + LATE + APART * apart).await?.0);
        pair.end().await?;
    }
    let what = format!("listen to handshake, Legacy starts in {} s and more", LATE.as_secs());
    Ok(Row::many(what, times, Some(Duration::from_millis(60))))
}
