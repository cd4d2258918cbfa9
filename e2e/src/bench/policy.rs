//! `cargo e2e -- bench policy`: what a labelled pod costs whoever creates it, by the webhook, by the policy
//! and by neither, block by block in turn.
//!
//! There is a control plane alone, with the webhook as it is shipped as a process: no pod is scheduled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::cluster::load::Load;
use lab::image::Architecture;
use lab::progress::say;
use serde_json::{Value, json};

use super::scale::{CLIENTS, figures};
use crate::args::Args;
use crate::product::Product;
use crate::product::compile;
use crate::product::injector::Injector;
use crate::scenarios::objects::{labelled, pod, sidecar};
use crate::scenarios::scene::Scene;
use crate::scenarios::stage;
use crate::table::Table;

/// How many pods are created before it is the next one's turn.
const BLOCK: u64 = 500;
/// How many are created before each block and not counted: connections are made, programs warmed up.
const WARM: u64 = 50;

/// Creates `blocks` blocks of pods by each, and gives the figures.
pub(crate) async fn run(args: &Args, blocks: u64) -> Result<String> {
    let shipped = compile(Product::WEBHOOK, Architecture::host()).await?;
    let scene = Scene::new(Arc::new(stage::control_plane_of(args, shipped).await?));
    let namespace = scene.namespace(&[]).await?;
    let mut measured = [
        ("webhook", Injector::Webhook, Vec::new(), Duration::ZERO),
        ("policy", Injector::Policy, Vec::new(), Duration::ZERO),
        ("neither", Injector::Nobody, Vec::new(), Duration::ZERO),
    ];
    for block in 1..=blocks {
        say(&format!("round {block} of {blocks}"));
        for (name, injector, times, elapsed) in &mut measured {
            injector.install(scene.cluster(), scene.replicas()?).await?;
            let mut pod = labelled(pod(&namespace, &format!("{name}-warm-{block}")), "true");
            // No scheduler need look at them.
            pod["spec"]["schedulerName"] = json!("nobody");
            let is_right: fn(&Value) -> bool = if *injector == Injector::Nobody {
                |pod| sidecar(pod).is_none()
            } else {
                |pod| sidecar(pod).is_some()
            };
            let warm = Load::start(scene.api(), &pod, CLIENTS, is_right);
            warm.more(WARM).await?;
            warm.stop().await;
            pod["metadata"]["name"] = json!(format!("{name}-{block}"));
            let started = Instant::now();
            let load = Load::start(scene.api(), &pod, CLIENTS, is_right);
            load.more(BLOCK).await?;
            let counted = load.stop().await;
            *elapsed += started.elapsed();
            ensure!(counted.refused + counted.wrong == 0, "{counted}");
            times.extend(counted.times);
        }
    }
    let mut table = Table::new(&["labelled pods by", "creates a second", "p50", "p99"]);
    for (name, _, times, elapsed) in measured {
        let [rate, p50, p99] = figures(&times, elapsed)?;
        table.row([name.to_owned(), rate, p50, p99]);
    }
    Ok(format!("{table}\n{} pods of each by {CLIENTS} clients, {BLOCK} in turn\n", blocks * BLOCK))
}
