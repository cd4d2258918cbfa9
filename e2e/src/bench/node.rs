//! `cargo e2e -- bench node`: what the probes of many idle pods cost a node.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cli::inject::{InjectArgs, inject};
use injection::Policy;
use lab::cluster::node::Node;
use lab::proc;
use lab::progress::say;
use serde_json::json;

use crate::scenarios::objects::NAME;
use crate::scenarios::running::{legacy_deployment, namespace_with_half, ready_pods};
use crate::scenarios::scene::Scene;
use crate::table::{Table, median};

const KINDS: [&str; 4] =
    ["no sidecar", "sidecar", "sidecar that holds no probe", "no sidecar, a plain probe of Legacy"];

/// A sidecar that holds its probe may cost so much of what it costs when it is probed every second, in
/// percent.
const GOAL: f64 = 45.0;

/// After pods have become Ready: their start is not what is measured.
const SETTLE: Duration = Duration::from_secs(20);

/// What kubelet, containerd and all sidecars have used of a core in a minute, in milliseconds.
type Minute = [f64; 3];

/// Runs so many pods of each kind in turn, and gives the table.
///
/// # Errors
/// When the pods don't become Ready, or the goal is missed.
pub(crate) async fn node(scene: &Scene, pods: usize, rounds: u32) -> Result<String> {
    let mut all = KINDS.map(|_| Vec::new());
    for round in 0..rounds {
        for (kind, minutes) in KINDS.iter().zip(&mut all) {
            say(&format!("round {} of {rounds}: {pods} pods with {kind}", round + 1));
            minutes.push(measure(scene, kind, pods).await?);
        }
    }
    let together =
        |minutes: &[Minute]| median(minutes.iter().map(|minute| minute.iter().sum()).collect());
    let beyond = |minutes: &[Minute]| together(minutes) - together(&all[0]);
    let parts = ["kubelet", "containerd", "sidecars", "together", "beyond no sidecar"];
    let mut table = Table::new(&[&["CPU in a minute, ms"], &parts[..]].concat());
    for (kind, minutes) in KINDS.iter().zip(&all) {
        let each =
            [0, 1, 2].map(|part| median(minutes.iter().map(|minute| minute[part]).collect()));
        let figures = each.into_iter().chain([together(minutes), beyond(minutes)]);
        let figures = figures.map(|figure| format!("{figure:.0}"));
        table.row([format!("{pods} pods, {kind}")].into_iter().chain(figures));
    }
    let share = 100.0 * beyond(&all[1]) / beyond(&all[2]);
    let text = format!(
        "{table}\nmedians of {rounds} rounds of a minute. The sidecar costs {share:.0} % of what it does \
         when it is probed every second; the goal is at most {GOAL} %\n"
    );
    ensure!(share <= GOAL, "the goal is missed:\n{text}");
    Ok(text)
}

async fn measure(scene: &Scene, kind: &str, pods: usize) -> Result<Minute> {
    let node = scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    let mut deployment = legacy_deployment(&namespace, "idle", &[]);
    deployment["spec"]["replicas"] = pods.into();
    let path = "/spec/template/spec/containers";
    if kind == KINDS[2] {
        let args = InjectArgs { namespace_label: Some("true".to_owned()), ..InjectArgs::default() };
        let injected = inject(&deployment.to_string(), &args, Policy::default())?.manifests;
        deployment = serde_json::from_str(&injected)?;
        let sidecar = deployment.pointer_mut(path).context("no containers")?[1]["args"]
            .as_array_mut()
            .context("no sidecar")?;
        sidecar.push(json!("--hold=0s"));
    }
    if kind == KINDS[3] {
        deployment.pointer_mut(path).context("no containers")?[0]["readinessProbe"] =
            json!({ "httpGet": { "path": "/health", "port": 3000 }, "periodSeconds": 1 });
    }
    if kind != KINDS[1] {
        deployment["spec"]["template"]["metadata"]["labels"][NAME] = json!("false");
    }
    scene.api().create(&deployment).await?;
    ready_pods(scene, &namespace, "idle", pods).await?;
    tokio::time::sleep(SETTLE).await;

    let before = used(node)?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let after = used(node)?;
    let minute =
        [0, 1, 2].map(|part| after[part].saturating_sub(before[part]).as_secs_f64() * 1000.0);

    scene.api().delete("Deployment", &namespace, "idle").await?;
    ready_pods(scene, &namespace, "idle", 0).await?;
    Ok(minute)
}

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
