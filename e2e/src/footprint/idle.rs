//! What a sidecar costs while there is nothing to do.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::time::MissedTickBehavior;

use super::sidecar::Pair;
use super::table::{Quantity, Row};
use lab::proc;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn memory(program: &Path) -> Result<[Row; 3]> {
    let pair = resting(program).await?;
    let pid = pair.pid()?;
    let (memory, threads) = (proc::memory(pid)?, proc::threads(pid)?);
    pair.end().await?;
    // 1.3 MiB.
    let goal = Quantity::Memory(1_363_148);
    Ok([
        Row::one("resident memory at rest", Quantity::Memory(memory.resident), Some(goal)),
        Row::one("  of it its own", Quantity::Memory(memory.private), None),
        Row::one("threads", Quantity::Count(threads), Some(Quantity::Count(1))),
    ])
}

/// CPU at rest, for a minute, measured for `time`: left alone, and probed by a kubelet.
pub(super) async fn cpu(program: &Path, time: Duration) -> Result<[Row; 2]> {
    let alone = async {
        let pair = resting(program).await?;
        let used = over(&pair, time).await?;
        pair.end().await?;
        anyhow::Ok(used)
    };
    let probed = async {
        let pair = resting(program).await?;
        let probes = async {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                pair.ready().await?;
            }
        };
        let used: Result<Duration> = tokio::select! {
            used = over(&pair, time) => used,
            failed = probes => failed,
        };
        pair.end().await?;
        used
    };
    let (alone, probed) = tokio::try_join!(alone, probed)?;
    let minute = |used: Duration| Quantity::Time(used.mul_f64(MINUTE.div_duration_f64(time)));
    let goal = Quantity::Time(Duration::from_millis(3));
    Ok([
        Row::one("CPU in a minute at rest", minute(alone), Some(goal)),
        Row::one("CPU in a minute, probed by a kubelet", minute(probed), None),
    ])
}

/// CPU while Legacy is not there, once the wait is long, in percent of a core.
pub(super) async fn waiting(program: &Path, time: Duration) -> Result<Row> {
    /// From here on the pause between two looks is at its longest, some 50 ms.
    const LONG: Duration = Duration::from_secs(10);
    let pair = Pair::start(program, false)?;
    tokio::time::sleep_until((pair.executed + LONG).into()).await;
    let used = over(&pair, time).await?;
    pair.end().await?;
    let percent = 100.0 * used.div_duration_f64(time);
    Ok(Row::one("CPU while Legacy is not there", Quantity::Percent(percent), None))
}

async fn resting(program: &Path) -> Result<Pair> {
    let pair = Pair::start(program, true)?;
    pair.at_rest().await?;
    Ok(pair)
}

async fn over(pair: &Pair, time: Duration) -> Result<Duration> {
    let pid = pair.pid()?;
    let before = proc::cpu(pid)?;
    tokio::time::sleep(time).await;
    Ok(proc::cpu(pid)?.saturating_sub(before))
}
