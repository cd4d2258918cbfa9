//! `cargo e2e -- bench start`: what the sidecar costs from a pod's creation until it is Ready.
//!
//! ```text
//!   create ──▶ Legacy listens ──▶ initialised ──▶ Ready in the API
//!      └ seen from inside the pod's network namespace ┘      └ seen by a watch
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::objects::{NAME, annotated};
use super::running::{HALF, LONG, is_ready, legacy, set_half};
use super::scene::Scene;
use lab::cluster::node::Node;
use lab::progress::say;
use lab::{http, network};

/// How a pod is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Alone,
    Classic,
    Native,
}

impl Way {
    const ALL: [Self; 3] = [Self::Alone, Self::Classic, Self::Native];

    fn name(self) -> &'static str {
        match self {
            Self::Alone => "no sidecar",
            Self::Classic => "classic",
            Self::Native => "native",
        }
    }
}

/// The times of one start.
struct Start {
    listens: Duration,
    initialised: Option<Duration>,
    ready: Duration,
}

/// Starts pods in turn, `starts` of each way and each Legacy, and gives the table.
///
/// # Errors
///
/// A pod does not start.
pub(super) async fn start(scene: &Scene, starts: usize, slow: Duration) -> Result<String> {
    let namespace = scene.namespace(&[]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    let slow = format!("{}ms", slow.as_millis());
    let legacies = [("fast", "0ms"), ("slow", slow.as_str())];
    let mut all: Vec<Vec<Start>> = (0..6).map(|_| Vec::new()).collect();
    // In turn, so that a machine that gets slower gets slower for all of them.
    for round in 0..starts {
        say(&format!("start {} of {starts}", round + 1));
        let kinds = legacies.iter().flat_map(|(_, late)| Way::ALL.map(|way| (*late, way)));
        for (place, (late, way)) in kinds.enumerate() {
            let name = format!("start-{round}-{place}");
            let measured = one(scene, &namespace, &name, way, late).await;
            all[place].push(measured.with_context(|| format!("{} {name}", way.name()))?);
        }
    }
    let mut table = String::from(
        "| Legacy | sidecar | create → listens (ms) | listens → initialised (ms) | initialised → Ready (ms) | create → Ready (ms) |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (place, starts) in all.iter().enumerate() {
        let (legacy, _) = legacies[place / 3];
        let way = Way::ALL[place % 3];
        let after = |from: fn(&Start) -> Option<Duration>, to: fn(&Start) -> Option<Duration>| {
            let times = starts.iter().filter_map(|start| to(start)?.checked_sub(from(start)?));
            spread(times.collect())
        };
        writeln!(
            table,
            "| {legacy} | {} | {} | {} | {} | {} |",
            way.name(),
            after(|_| Some(Duration::ZERO), |s| Some(s.listens)),
            after(|s| Some(s.listens), |s| s.initialised),
            after(|s| s.initialised, |s| Some(s.ready)),
            after(|_| Some(Duration::ZERO), |s| Some(s.ready)),
        )?;
    }
    for (place, (name, _)) in legacies.iter().enumerate() {
        let median = |way: usize| {
            let listens = all[place * 3 + way].iter().map(|start| start.listens).collect();
            percentile(&sorted(listens), 50).as_secs_f64()
        };
        writeln!(
            table,
            "\n{name} Legacy, create → listens beside no sidecar (ratio of medians): classic {:.3}, native {:.3}",
            median(1) / median(0),
            median(2) / median(0)
        )?;
    }
    writeln!(
        table,
        "\nmin / p50 / p99 of {starts} starts each, in turn; the slow Legacy listens after {slow}"
    )?;
    Ok(table)
}

/// Starts one pod, sees it through and removes it.
async fn one(scene: &Scene, namespace: &str, name: &str, way: Way, late: &str) -> Result<Start> {
    let node = scene.node()?;
    let mut pod = legacy(namespace, name, &["-late", late]);
    match way {
        Way::Alone => pod["metadata"]["labels"][NAME] = json!("false"),
        Way::Classic => pod = annotated(pod, "secret-handshake/mode", "classic"),
        Way::Native => pod = annotated(pod, "secret-handshake/mode", "native"),
    }
    let before: BTreeSet<PathBuf> = node.network_namespaces()?.into_iter().collect();
    let created = Instant::now();
    scene.api().create(&pod).await?;
    let ready = |pod: &Value| is_ready(pod).map(|()| Instant::now());
    let ready = scene.api().wait(("Pod", namespace, name), LONG, ready);
    let inside = async {
        let file = appeared(node, &before).await?;
        network::inside(&file, async move || Ok(look(way != Way::Alone).await)).await
    };
    let inside = async { tokio::time::timeout(LONG, inside).await.context("it never listened")? };
    let (ready, (listens, initialised)) = tokio::try_join!(ready, inside)?;
    scene.api().delete("Pod", namespace, name).await?;
    scene.api().wait_gone(("Pod", namespace, name), LONG).await?;
    Ok(Start {
        listens: listens.saturating_duration_since(created),
        initialised: initialised.map(|when| when.saturating_duration_since(created)),
        ready: ready.saturating_duration_since(created),
    })
}

/// The network namespace that was not there before.
async fn appeared(node: &Node, before: &BTreeSet<PathBuf>) -> Result<PathBuf> {
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    loop {
        ticks.tick().await;
        let new = node.network_namespaces()?.into_iter().find(|file| !before.contains(file));
        // It is a plain file until the namespace is mounted on it.
        if let Some(file) = new
            && is_namespace(&file)
        {
            return Ok(file);
        }
    }
}

/// Whether something is mounted on this file. The file itself is on an ordinary file system.
fn is_namespace(file: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &std::path::Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    file.parent().is_some_and(|folder| device(folder) != device(file))
}

/// When Legacy listens, and when it is initialised, as seen from the pod's own localhost.
async fn look(will_be_initialised: bool) -> (Instant, Option<Instant>) {
    let legacy = network::localhost(3000);
    let mut ticks = tokio::time::interval(Duration::from_micros(500));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let listens = loop {
        ticks.tick().await;
        if TcpStream::connect(legacy).await.is_ok() {
            break Instant::now();
        }
    };
    if !will_be_initialised {
        return (listens, None);
    }
    loop {
        if let Ok(answer) = http::get(legacy, "/", Duration::from_secs(2)).await
            && answer.status == 200
        {
            return (listens, Some(Instant::now()));
        }
        ticks.tick().await;
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

/// The smallest time that `percent` of the times are not above.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Minimum, median and 99th percentile in milliseconds.
fn spread(times: Vec<Duration>) -> String {
    if times.is_empty() {
        return "–".to_owned();
    }
    let times = sorted(times);
    let ms = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1000.0);
    format!("{} / {} / {}", ms(times[0]), ms(percentile(&times, 50)), ms(percentile(&times, 99)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=20).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(10));
        assert_eq!(percentile(&times, 99), Duration::from_millis(20));
        assert_eq!(percentile(&times[..1], 50), Duration::from_millis(1));
        assert_eq!(spread(times), "1 / 10 / 20");
        assert_eq!(spread(Vec::new()), "–");
    }
}
