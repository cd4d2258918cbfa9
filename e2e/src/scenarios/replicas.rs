//! Two replicas, of which one is killed or replaced while pods are created as fast as they can.

use lab::cluster::load::{Counted, Load};

use super::prelude::*;
use crate::product::replicas::Replicas;

scenarios! {
    killed: ControlPlane, Alone, "replicas/killed",
        "kill -9 of one replica of two under load: no pod without its sidecar";
    rolling_restart: ControlPlane, Alone, "replicas/rolling-restart",
        "both replicas are replaced under load, one by one: not one pod refused";
}

const STEP: u64 = 60;
/// How many create pods at the same time.
const CLIENTS: usize = 4;

/// Two replicas and a load on them. What is left running afterwards is one replica, as before.
pub(super) async fn under_load(
    scene: &Scene,
    flags: &[&str],
    steps: impl AsyncFnOnce(&Replicas, &Load) -> Result<()>,
) -> Result<Counted> {
    let replicas = scene.replicas()?;
    replicas.kill_all().await?;
    for name in ["replica-a", "replica-b"] {
        replicas.start(name, flags).await?;
    }
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let mut template = pod(&namespace, "load");
    // No scheduler need look at them.
    template["spec"]["schedulerName"] = json!("nobody");
    let loaded = async || {
        replicas.ready().await?;
        let load = Load::start(scene.api(), &template, CLIENTS, |pod| sidecar(pod).is_some());
        let done = async {
            load.more(STEP).await?;
            steps(replicas, &load).await?;
            load.more(STEP).await
        };
        let done = done.await;
        let counted = load.stop().await;
        done.map(|()| counted)
    };
    let counted = replicas.restored_after(loaded).await?;
    scene.note(counted.to_string()).await;
    ensure!(counted.wrong == 0, "{counted}");
    Ok(counted)
}

async fn killed(scene: &Scene) -> Result<()> {
    let counted = under_load(scene, &[], async |replicas, load| {
        replicas.kill("replica-a").await?;
        load.more(STEP).await?;
        replicas.start("replica-a", &[]).await?;
        replicas.ready().await?;
        replicas.kill("replica-b").await?;
        load.more(STEP).await
    })
    .await?;
    let came_back = counted.refused == 0 || counted.retried > 0;
    ensure!(came_back, "a refused pod never came back: {counted}");
    Ok(())
}

async fn rolling_restart(scene: &Scene) -> Result<()> {
    let counted = under_load(scene, &[], async |replicas, load| {
        for (new, old) in [("replica-c", "replica-a"), ("replica-d", "replica-b")] {
            replicas.start(new, &[]).await?;
            replicas.ready().await?;
            load.more(STEP).await?;
            replicas.terminate(old).await?;
            load.more(STEP).await?;
        }
        Ok(())
    })
    .await?;
    ensure!(counted.refused == 0, "{counted}");
    Ok(())
}
