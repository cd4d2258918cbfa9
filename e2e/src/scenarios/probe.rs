//! The held probe on a real kubelet, for longer than a start.

use std::time::SystemTime;

use lab::cluster::node::NAME as NODE;

use super::prelude::*;
use super::readiness::Readiness;

scenarios! {
    kubelet_restarts: Node, Alone, "probe/kubelet-restarts",
        "the kubelet is restarted under Ready pods: with 1.35 they stay Ready, before they are again in 2 s";
    idle_minutes: Node, Long, "probe/idle-minutes",
        "ten idle minutes, and no pod ceases to be Ready for a moment";
}

const APP: &str = "idle";

/// Starts so many pods of Legacy, and watches them from when all of them are Ready.
async fn watched(scene: &Scene, count: usize) -> Result<Readiness> {
    let namespace = namespace_with_half(scene).await?;
    let mut deployment = legacy_deployment(&namespace, APP, &[]);
    deployment["spec"]["replicas"] = count.into();
    scene.api().create(&deployment).await?;
    ready_pods(scene, &namespace, APP, count).await?;
    Ok(Readiness::watch(scene, &namespace, APP))
}

async fn kubelet_restarts(scene: &Scene) -> Result<()> {
    const PODS: usize = 5;
    const RESTARTS: usize = 3;
    /// Far longer than a kubelet takes to look after its pods again.
    const SETTLED: Duration = Duration::from_secs(15);
    let node = scene.node()?;
    let readiness = watched(scene, PODS).await?;
    let about = scene.api().get("Node", "", NODE).await?;
    let version = about["status"]["nodeInfo"]["kubeletVersion"].as_str().context("no version")?;
    let minor: u32 = version.split('.').nth(1).context("no minor version")?.parse()?;
    let mut slowest = Duration::ZERO;
    for _ in 0..RESTARTS {
        node.restart_kubelet().await?;
        let started = SystemTime::now();
        tokio::time::sleep(SETTLED).await;
        let changes = readiness.since(started);
        let unready = changes.iter().filter(|change| !change.ready).count();
        let again = changes.iter().filter(|change| change.ready).count();
        ensure!(unready == again, "not Ready again: {changes:?}");
        // Before, a kubelet that starts takes every container for not ready.
        ensure!(minor < 35 || unready == 0, "{version}: {changes:?}");
        if let Some(last) = changes.last() {
            slowest = slowest.max(last.when.duration_since(started)?);
        }
    }
    ensure!(slowest <= Duration::from_secs(2), "{version}: Ready again only after {slowest:?}");
    let slowest = slowest.as_millis();
    scene.note(format!("kubelet {version}: Ready {slowest} ms after its start at most")).await;
    Ok(())
}

async fn idle_minutes(scene: &Scene) -> Result<()> {
    const PODS: usize = 20;
    const IDLE: Duration = Duration::from_secs(600);
    scene.node()?;
    let readiness = watched(scene, PODS).await?;
    let began = SystemTime::now();
    tokio::time::sleep(IDLE).await;
    // What the watch began with counts as no change: all were Ready before.
    let changes = readiness.since(began);
    let unready: Vec<_> = changes.iter().filter(|change| !change.ready).collect();
    ensure!(unready.is_empty(), "{unready:?}");
    scene.note(format!("{PODS} pods, {} minutes", IDLE.as_secs() / 60)).await;
    Ok(())
}
