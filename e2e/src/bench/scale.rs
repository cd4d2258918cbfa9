//! `cargo e2e -- bench scale`: what the webhook costs a cluster in which many pods are created.
//!
//! ```text
//!   clients ──▶ API server ──▶ webhook       labelled and unlabelled pods, block by block in turn;
//!                  │                         with the configuration, then without it
//!                  └─ audit log: what the webhook asked meanwhile
//! ```
//!
//! There is a control plane alone, with the webhook as it is shipped as a process: no pod is scheduled.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::cluster::load::Load;
use lab::image::Architecture;
use lab::proc;
use lab::progress::say;
use serde_json::{Value, json};

use crate::args::Args;
use crate::product::Product;
use crate::product::compile;
use crate::product::install::{CONFIGURATION, NAMESPACE, WEBHOOK};
use crate::scenarios::objects::{labelled, pod, sidecar};
use crate::scenarios::scene::Scene;
use crate::scenarios::stage;
use crate::table::{Table, percentiles};

/// How many pods are created before it is the other kind's turn.
const BLOCK: u64 = 500;
pub(super) const CLIENTS: usize = 8;

struct Kind {
    name: &'static str,
    labelled: bool,
    times: Vec<Duration>,
    /// How long the blocks took, together.
    elapsed: Duration,
    cpu: Duration,
    asked: BTreeMap<String, u32>,
}

/// Creates `pods` pods of each kind, twice, and gives the figures.
pub(crate) async fn run(args: &Args, pods: u64) -> Result<String> {
    let shipped = compile(Product::WEBHOOK, Architecture::host()).await?;
    let stage = stage::control_plane_of(args, shipped).await?;
    let scene = Scene::new(Arc::new(stage));
    let replicas = scene.replicas()?;
    let pid = replicas.pid().await?;
    let memory = proc::memory(pid)?.resident;
    let with = kinds(&scene, pid, pods).await?;
    let memory_after = proc::memory(pid)?.resident;
    scene.api().delete("MutatingWebhookConfiguration", "", CONFIGURATION).await?;
    let without = kinds(&scene, pid, pods).await?;

    let mut table = Table::new(&["pods", "webhook", "creates a second", "p50", "p99"]);
    for (webhook, kinds) in [("configured", &with), ("not configured", &without)] {
        for kind in kinds {
            let [rate, p50, p99] = figures(&kind.times, kind.elapsed)?;
            table.row([kind.name.to_owned(), webhook.to_owned(), rate, p50, p99]);
        }
    }
    let mut text = format!("{table}\n{pods} pods of each kind by {CLIENTS} clients\n\n");
    for Kind { name, cpu, asked, times, .. } in &with {
        let each = cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(times.len())?);
        let asked: Vec<_> = asked.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
        writeln!(
            text,
            "{name}: {each:.0} µs of the webhook's CPU a pod; it asked of the API server: {asked}"
        )?;
    }
    let [before, after] = [memory, memory_after].map(|bytes| bytes >> 20);
    writeln!(text, "the webhook's memory: {before} MiB before, {after} MiB after")?;
    Ok(text)
}

/// How many were created a second, and the time that one took: p50 and p99.
pub(super) fn figures(times: &[Duration], elapsed: Duration) -> Result<[String; 3]> {
    let rate = f64::from(u32::try_from(times.len())?) / elapsed.as_secs_f64();
    let times = percentiles(times.to_vec(), [50, 99]);
    let [p50, p99] = times.map(|time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
    Ok([format!("{rate:.0}"), p50, p99])
}

/// Creates the pods, block by block in turn, so that a cluster that gets slower gets slower for both.
async fn kinds(scene: &Scene, pid: u32, pods: u64) -> Result<[Kind; 2]> {
    let namespace = scene.namespace(&[]).await?;
    let kind = |name, labelled| Kind {
        name,
        labelled,
        times: Vec::new(),
        elapsed: Duration::ZERO,
        cpu: Duration::ZERO,
        asked: BTreeMap::new(),
    };
    let mut kinds = [kind("labelled", true), kind("unlabelled", false)];
    let account = format!("system:serviceaccount:{NAMESPACE}:{WEBHOOK}");
    let audit = scene.cluster().audit()?;
    let configured = scene.api().exists("MutatingWebhookConfiguration", "", CONFIGURATION).await?;
    for block in 0..pods.div_ceil(BLOCK) {
        say(&format!("{} of {pods} pods of each kind", block * BLOCK));
        for kind in &mut kinds {
            let mut pod = pod(&namespace, &format!("{}-{block}", kind.name));
            // No scheduler need look at them.
            pod["spec"]["schedulerName"] = json!("nobody");
            if kind.labelled {
                pod = labelled(pod, "true");
            }
            let (audited, cpu) = (audit.size()?, proc::cpu(pid)?);
            let is_right: fn(&Value) -> bool = if configured && kind.labelled {
                |pod| sidecar(pod).is_some()
            } else {
                |pod| sidecar(pod).is_none()
            };
            let started = Instant::now();
            let load = Load::start(scene.api(), &pod, CLIENTS, is_right);
            load.more(BLOCK.min(pods - block * BLOCK)).await?;
            let counted = load.stop().await;
            kind.elapsed += started.elapsed();
            kind.cpu += proc::cpu(pid)?.saturating_sub(cpu);
            ensure!(counted.refused + counted.wrong == 0, "{counted}");
            kind.times.extend(counted.times);
            for event in audit.events_from(audited, &account)? {
                if event.user.username == account {
                    let what = format!("{} {}", event.verb, event.object_ref.resource);
                    *kind.asked.entry(what).or_default() += 1;
                }
            }
        }
    }
    Ok(kinds)
}
