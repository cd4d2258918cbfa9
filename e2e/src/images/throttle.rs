//! How little CPU the sidecar can do with: the handshake's time under CPU limits.
//!
//! A limit is a share of each 100 ms of the kernel's clock; what has used its share up stands still
//! until the next. Legacy runs in this process, without a limit, so only the sidecar is measured.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::http::{get, probe};
use lab::image::{Container, Engine, cpus};
use lab::network::{free_port, localhost};
use lab::until::until;
use legacy_mock::{Config, Legacy};
use tokio::time::{sleep, timeout};

/// The limits that are compared, from the least that Docker takes; the last is none.
const LIMITS: [Option<&str>; 5] = [Some("10m"), Some("20m"), Some("50m"), Some("100m"), None];
/// How long Legacy takes to start: at once, as a container is restarted, and slowly.
const STARTS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(3)];
const LIMIT: Duration = Duration::from_secs(30);

/// Times of many handshakes under one limit.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The CPU limit, as in a pod; none without one.
    pub(super) cpu: Option<&'static str>,
    /// From Legacy's first listen to the accepted handshake, sorted.
    pub(super) handshake: Vec<Duration>,
    /// From the accepted handshake to the answer of the probe that was held for it, sorted.
    pub(super) ready: Vec<Duration>,
}

/// Measures `rounds` handshakes for each limit and each way in which Legacy starts, with the sidecar's
/// image `name`.
pub(super) async fn measure(engine: &Engine, name: &str, rounds: usize) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let half = folder.path().join("half");
    std::fs::write(&half, "-acknowledge")?;
    std::fs::set_permissions(&half, std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
    let mut rows = Vec::new();
    for cpu in LIMITS {
        let mut row = Row { cpu, handshake: Vec::new(), ready: Vec::new() };
        one(engine, name, &half, rounds, &mut row).await?;
        row.handshake.sort();
        row.ready.sort();
        rows.push(row);
    }
    Ok(rows)
}

async fn one(engine: &Engine, name: &str, half: &Path, rounds: usize, row: &mut Row) -> Result<()> {
    let legacy = Legacy::reserve(Config::default())?;
    let listen = localhost(free_port()?);
    let mut flags = vec![
        "--network=host".to_owned(),
        "--memory=12m".to_owned(),
        "--memory-swap=12m".to_owned(),
        format!("--volume={}:/half:ro", half.display()),
    ];
    if let Some(cpu) = row.cpu {
        flags.push(format!("--cpus={}", cpus(cpu)?));
    }
    let arguments = [
        format!("--legacy-port={}", legacy.port()),
        format!("--listen={listen}"),
        "--half-file=/half".to_owned(),
    ];
    let sidecar = Container::run(engine, name, &flags, &arguments)?;
    for round in 0..rounds * STARTS.len() {
        unready(listen).await?;
        let held = tokio::spawn(ready(listen));
        sleep(STARTS[round % STARTS.len()]).await;
        let before = legacy.counts().accepted;
        legacy.listen()?;
        let accepted = legacy.until(|counts| counts.accepted > before);
        timeout(LIMIT, accepted)
            .await
            .ok()
            .with_context(|| format!("no handshake; the sidecar said: {:?}", sidecar.logs()))?;
        let moments = legacy.moments();
        let (listening, accepted) =
            moments.listening.zip(moments.accepted).context("Legacy knows no times")?;
        row.handshake.push(accepted.duration_since(listening));
        let ready = timeout(LIMIT, held).await.context("the probe wasn't answered")???;
        row.ready.push(ready.saturating_duration_since(accepted));
        legacy.kill().await;
    }
    Ok(())
}

/// Asks `/readyz` as a kubelet does until it says 200, and returns when that was.
async fn ready(address: SocketAddr) -> Result<Instant> {
    while !probe(address, "/readyz", LIMIT).await.is_ok_and(|answer| answer.status == 200) {
        sleep(Duration::from_millis(1)).await;
    }
    Ok(Instant::now())
}

/// Waits until the sidecar knows that Legacy is gone.
async fn unready(address: SocketAddr) -> Result<()> {
    until("the sidecar not to be ready", LIMIT, async || {
        let answer = get(address, "/readyz", LIMIT).await?;
        ensure!(answer.status == 503, "{}", answer.status);
        Ok(())
    })
    .await
}
