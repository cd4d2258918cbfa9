//! How little CPU the sidecar can do with: the handshake's time under CPU limits.
//!
//! A limit is a share of each 100 ms of the kernel's clock; what has used its share up stands still
//! until the next. Legacy runs in this process, without a limit, so only the sidecar is measured.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::http::{self, probe};
use lab::image::{Container, Engine, cpus};
use lab::network::{free_port, localhost};
use legacy_mock::{Config, Legacy};
use tokio::time::{sleep, timeout};

use crate::footprint::handshake;
use crate::table::{Table, percentiles};

/// The limits that are compared, from the least that Docker takes; the last is none.
const LIMITS: [Option<&str>; 5] = [Some("10m"), Some("20m"), Some("50m"), Some("100m"), None];
/// How long Legacy takes to start: at once, as a container is restarted, and slowly.
const STARTS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(500), Duration::from_secs(3)];
const LIMIT: Duration = Duration::from_secs(30);

/// Measures `rounds` handshakes for each limit and each way in which Legacy starts, with the sidecar's
/// image `name`, and gives the table.
pub(super) async fn measure(engine: &Engine, name: &str, rounds: usize) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let half = folder.path().join("half");
    std::fs::write(&half, "-acknowledge")?;
    std::fs::set_permissions(&half, std::fs::Permissions::from_mode(0o444))?;
    let mut table = Table::new(&["CPU", "handshake p50, p90, max", "ready p50, p90, max"]);
    for cpu in LIMITS {
        let [handshake, ready] = under(engine, name, &half, rounds, cpu).await?.map(|times| {
            let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
            percentiles(times, [50, 90, 100]).map(ms).join(", ")
        });
        table.row([cpu.unwrap_or("no limit").to_owned(), handshake, ready]);
    }
    Ok(format!(
        "{table}\nmilliseconds from Legacy's first listen to the handshake, and from there to Ready"
    ))
}

/// The times under one limit: from Legacy's first listen to the accepted handshake, and from there to
/// the answer of the probe that was held for it.
async fn under(
    engine: &Engine,
    name: &str,
    half: &Path,
    rounds: usize,
    cpu: Option<&str>,
) -> Result<[Vec<Duration>; 2]> {
    let legacy = Legacy::reserve(Config::default())?;
    let listen = localhost(free_port()?);
    let mut flags =
        ["--network=host", "--memory=12m", "--memory-swap=12m"].map(str::to_owned).to_vec();
    flags.push(format!("--volume={}:/half:ro", half.display()));
    if let Some(cpu) = cpu {
        flags.push(format!("--cpus={}", cpus(cpu)?));
    }
    let arguments = [
        format!("--legacy-port={}", legacy.port()),
        format!("--listen={listen}"),
        "--half-file=/half".to_owned(),
    ];
    let sidecar = Container::run(engine, name, &flags, &arguments)?;
    let (mut handshakes, mut answers) = (Vec::new(), Vec::new());
    for round in 0..rounds * STARTS.len() {
        http::answers(listen, "/readyz", 503, LIMIT).await?;
        let at = Instant::now() + STARTS[round % STARTS.len()];
        let done = tokio::try_join!(ready(listen), handshake(&legacy, at));
        let (ready, (handshake, accepted)) =
            done.with_context(|| format!("the sidecar said: {:?}", sidecar.logs()))?;
        handshakes.push(handshake);
        answers.push(ready.saturating_duration_since(accepted));
        legacy.kill().await;
    }
    Ok([handshakes, answers])
}

/// Asks `/readyz` as a kubelet does until it says 200, and returns when that was.
async fn ready(address: SocketAddr) -> Result<Instant> {
    let asking = async {
        while !probe(address, "/readyz", LIMIT).await.is_ok_and(|answer| answer.status == 200) {
            sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    };
    timeout(LIMIT, asking).await.context("the probe wasn't answered")
}
