//! `cargo e2e -- bench node`: what the probes of many idle pods cost a node.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::cluster::node::Node;
use lab::proc;
use lab::progress::say;
use serde_json::{Value, json};

use crate::scenarios::objects::NAME;
use crate::scenarios::running::{HALF, LONG, is_ready, legacy_deployment, set_half};
use crate::scenarios::scene::Scene;
use crate::table::{Table, median};

/// What is in the pods beside Legacy.
const KINDS: [&str; 3] = ["no sidecar", "sidecar", "a plain probe every second"];

/// A sidecar may cost so much of what a plain probe costs, in percent.
const GOAL: f64 = 45.0;

/// After pods have become Ready: their start is not what is measured.
const SETTLE: Duration = Duration::from_secs(20);

/// CPU in a minute, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    kubelet: f64,
    containerd: f64,
    sidecars: f64,
}

impl Minute {
    fn sum(self) -> f64 {
        self.kubelet + self.containerd + self.sidecars
    }
}

/// Runs so many pods of each kind in turn, and gives the table.
///
/// # Errors
/// When the pods don't become Ready, or the goal is missed.
pub(crate) async fn node(
    scene: &Scene,
    pods: usize,
    rounds: usize,
    time: Duration,
) -> Result<String> {
    let mut all = KINDS.map(|_| Vec::new());
    for round in 0..rounds {
        for (kind, minutes) in KINDS.iter().zip(&mut all) {
            say(&format!("round {} of {rounds}: {pods} pods with {kind}", round + 1));
            minutes.push(measure(scene, kind, pods, time).await?);
        }
    }
    let middle = |minutes: &[Minute], part: fn(Minute) -> f64| {
        median(minutes.iter().map(|minute| part(*minute)).collect())
    };
    let beyond = |minutes: &[Minute]| middle(minutes, Minute::sum) - middle(&all[0], Minute::sum);
    let mut table = Table::new(&[
        "CPU in a minute, ms",
        "kubelet",
        "containerd",
        "sidecars",
        "together",
        "beyond no sidecar",
    ]);
    for (kind, minutes) in KINDS.iter().zip(&all) {
        table.row([
            format!("{pods} pods, {kind}"),
            format!("{:.0}", middle(minutes, |minute| minute.kubelet)),
            format!("{:.0}", middle(minutes, |minute| minute.containerd)),
            format!("{:.0}", middle(minutes, |minute| minute.sidecars)),
            format!("{:.0}", middle(minutes, Minute::sum)),
            format!("{:.0}", beyond(minutes)),
        ]);
    }
    let share = 100.0 * beyond(&all[1]) / beyond(&all[2]);
    let seconds = time.as_secs();
    let text = format!(
        "{table}\nmedians of {rounds} rounds of {seconds} s. The sidecar costs {share:.0} % of what the \
         plain probe does; the goal is at most {GOAL} %\n"
    );
    ensure!(share <= GOAL, "the goal is missed:\n{text}");
    Ok(text)
}

async fn measure(scene: &Scene, kind: &str, pods: usize, time: Duration) -> Result<Minute> {
    let node = scene.node()?;
    let namespace = scene.namespace(&[]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    let mut deployment = legacy_deployment(&namespace, "idle", &[]);
    deployment["spec"]["replicas"] = pods.into();
    let template = &mut deployment["spec"]["template"];
    if kind != KINDS[1] {
        template["metadata"]["labels"][NAME] = json!("false");
    }
    if kind == KINDS[2] {
        template["spec"]["containers"][0]["readinessProbe"] =
            json!({ "httpGet": { "path": "/health", "port": 3000 }, "periodSeconds": 1 });
    }
    scene.api().create(&deployment).await?;
    let all_ready = |found: &[&Value]| {
        ensure!(found.len() == pods, "there are {}", found.len());
        found.iter().try_for_each(|pod| is_ready(pod))
    };
    scene.api().wait_all(("Pod", &namespace, "app=idle"), 5 * LONG, all_ready).await?;
    tokio::time::sleep(SETTLE).await;

    let before = used(node)?;
    tokio::time::sleep(time).await;
    let after = used(node)?;
    let minute = |before: Duration, after: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1000.0 * 60.0 / time.as_secs_f64()
    };
    let [kubelet, containerd, sidecars] = [0, 1, 2].map(|part| minute(before[part], after[part]));

    scene.api().delete("Deployment", &namespace, "idle").await?;
    let gone = |found: &[&Value]| {
        ensure!(found.is_empty(), "{} are left", found.len());
        Ok(())
    };
    scene.api().wait_all(("Pod", &namespace, "app=idle"), 5 * LONG, gone).await?;
    Ok(Minute { kubelet, containerd, sidecars })
}

/// The CPU that kubelet, containerd and all sidecars have used so far.
fn used(node: &Node) -> Result<[Duration; 3]> {
    let mut sidecars = Duration::ZERO;
    for pid in proc::all()? {
        if proc::program(pid).is_ok_and(|program| program == "/sidecar") {
            sidecars += proc::cpu(pid)?;
        }
    }
    let own = |name| proc::cpu(node.process(name)?);
    Ok([own("kubelet")?, own("containerd")?, sidecars])
}
