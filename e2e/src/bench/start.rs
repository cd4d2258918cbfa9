//! `cargo e2e -- bench start`: what the sidecar costs from a pod's creation until it is Ready.
//!
//! ```text
//!   create ──▶ Legacy listens ──▶ initialised ──▶ Ready in the API
//!      └ seen from inside the pod's network namespace ┘      └ seen by a watch
//! ```

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::cluster::node::Node;
use lab::network::{self, localhost};
use lab::{http, progress::say};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::scenarios::objects::{NAME, in_mode};
use crate::scenarios::running::{first_listen, is_ready, legacy, namespace_with_half};
use crate::scenarios::scene::{LONG, Scene};
use crate::table::{Table, median, percentile};

const WAYS: [&str; 3] = ["no sidecar", "classic", "native"];

/// Two Legacies, and how long each takes until it listens.
const LEGACIES: [(&str, &str); 2] = [("fast", "0ms"), ("slow", "5s")];

#[derive(Clone, Copy)]
struct Start {
    listens: f64,
    initialised: Option<f64>,
    ready: f64,
}

/// Starts pods in turn, `starts` of each way and each Legacy, and gives the table.
pub(crate) async fn start(scene: &Scene, starts: usize) -> Result<String> {
    let namespace = namespace_with_half(scene).await?;
    let kinds: Vec<_> = LEGACIES.iter().flat_map(|legacy| WAYS.map(|way| (*legacy, way))).collect();
    let mut all: Vec<Vec<Start>> = vec![Vec::new(); kinds.len()];
    // In turn, so that a machine that gets slower gets slower for all of them.
    for round in 0..starts {
        say(&format!("start {} of {starts}", round + 1));
        for (((_, late), way), starts) in kinds.iter().zip(&mut all) {
            let name = format!("start-{}", scene.number());
            let measured = one(scene, &namespace, &name, way, late).await;
            starts.push(measured.with_context(|| format!("{way} {name}"))?);
        }
    }
    let mut table = Table::new(&[
        "Legacy",
        "sidecar",
        "create → listens (ms)",
        "listens → initialised (ms)",
        "initialised → Ready (ms)",
        "create → Ready (ms)",
        "create → listens, of no sidecar's",
    ]);
    for (place, (((legacy, _), way), starts)) in kinds.iter().zip(&all).enumerate() {
        let spread = |time: fn(&Start) -> Option<f64>| spread(starts.iter().filter_map(time));
        let listens = |starts: &[Start]| median(starts.iter().map(|start| start.listens).collect());
        let alone = listens(&all[place - place % WAYS.len()]);
        table.row([
            (*legacy).to_owned(),
            (*way).to_owned(),
            spread(|start| Some(start.listens)),
            spread(|start| Some(start.initialised? - start.listens)),
            spread(|start| Some(start.ready - start.initialised?)),
            spread(|start| Some(start.ready)),
            format!("{:.3}", listens(starts) / alone),
        ]);
    }
    Ok(format!(
        "{table}\nmin / p50 / p99 of {starts} starts each, in turn (the last column: of medians); the \
         slow Legacy listens after {}\n",
        LEGACIES[1].1
    ))
}

async fn one(scene: &Scene, namespace: &str, name: &str, way: &str, late: &str) -> Result<Start> {
    let node = scene.node()?;
    let mut pod = legacy(namespace, name, &["-late", late]);
    let alone = way == WAYS[0];
    if alone {
        pod["metadata"]["labels"][NAME] = json!("false");
    } else {
        pod = in_mode(pod, way);
    }
    let before: BTreeSet<PathBuf> = node.network_namespaces()?.into_iter().collect();
    let created = Instant::now();
    scene.api().create(&pod).await?;
    let ready = |pod: &Value| is_ready(pod).map(|()| Instant::now());
    let ready = scene.api().wait(("Pod", namespace, name), LONG, ready);
    let inside = async {
        let file = appeared(node, &before).await?;
        network::inside(&file, async move || Ok(look(!alone).await)).await
    };
    let inside = async { timeout(LONG, inside).await.context("it never listened")? };
    let (ready, (listens, initialised)) = tokio::try_join!(ready, inside)?;
    scene.api().delete("Pod", namespace, name).await?;
    scene.api().wait_gone(("Pod", namespace, name), LONG).await?;
    let ms = |when: Instant| when.saturating_duration_since(created).as_secs_f64() * 1000.0;
    Ok(Start { listens: ms(listens), initialised: initialised.map(ms), ready: ms(ready) })
}

async fn appeared(node: &Node, before: &BTreeSet<PathBuf>) -> Result<PathBuf> {
    let mut ticks = interval(Duration::from_millis(1));
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
fn is_namespace(file: &Path) -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
    file.parent().is_some_and(|folder| device(folder) != device(file))
}

/// When Legacy listens, and when it is initialised, as seen from the pod's own localhost.
async fn look(will_be_initialised: bool) -> (Instant, Option<Instant>) {
    let legacy = localhost(3000);
    let listens = first_listen(legacy).await;
    if !will_be_initialised {
        return (listens, None);
    }
    let mut ticks = interval(Duration::from_micros(500));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Ok(answer) = http::get(legacy, "/", Duration::from_secs(2)).await
            && answer.status == 200
        {
            return (listens, Some(Instant::now()));
        }
        ticks.tick().await;
    }
}

fn spread(times: impl Iterator<Item = f64>) -> String {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    let at = |percent| percentile(&times, percent).map(|time| format!("{time:.0}"));
    let found = [0, 50, 99].map(|percent| at(percent).unwrap_or_else(|| "–".to_owned()));
    found.join(" / ")
}
