//! Pods that end: deleted, evicted, drained. And a sidecar that has been busy for a long time.

use lab::cluster::node::NAME as NODE;

use super::prelude::*;

scenarios! {
    deleted: Node, Together, "ends/deleted",
        "a pod that is deleted is gone in a second or two, also while a probe is held";
    drained: Node, Alone, "ends/drained",
        "kubectl drain evicts the pod";
    busy_hour: Node, Alone, "ends/busy-hour",
        "thousands of probes and hundreds of Legacy restarts within the sidecar's memory limit";
}

async fn deleted(scene: &Scene) -> Result<()> {
    let namespace = namespace_with_half(scene).await?;
    for mode in ["classic", "native"] {
        let pod =
            |name: &str, arguments: &[&str]| in_mode(legacy(&namespace, name, arguments), mode);
        let initialised = format!("{mode}-initialised");
        scene.api().create(&pod(&initialised, &[])).await?;
        // This one does not listen for a long time, so its probe is held nearly always.
        let waiting = format!("{mode}-waiting");
        scene.api().create(&pod(&waiting, &["-late", "10m"])).await?;
        ready(scene, &namespace, &initialised).await?;
        running(scene, &namespace, &waiting, NAME).await?;
        let mut slowest = Duration::ZERO;
        for name in [&initialised, &waiting] {
            let asked = Instant::now();
            scene.api().delete("Pod", &namespace, name).await?;
            scene.api().wait_gone(("Pod", &namespace, name), LONG).await?;
            slowest = slowest.max(asked.elapsed());
        }
        // The grace period is 30 s; the kubelet itself takes one or two, and this machine may be busy.
        ensure!(slowest < Duration::from_secs(10), "{mode}: gone only after {slowest:?}");
        scene.note(format!("{mode}: gone after {:.1} s", slowest.as_secs_f32())).await;
    }
    Ok(())
}

async fn drained(scene: &Scene) -> Result<()> {
    scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    scene.api().create(&legacy_deployment(&namespace, "drained", &[])).await?;
    let pod = ready_app(scene, &namespace, "drained").await?;
    let name = pod["metadata"]["name"].as_str().context("no name")?.to_owned();
    // Only this pod: the webhook's own would have nowhere to go. Nothing is forced, so a volume of the
    // sidecar's that held data would be in the way.
    let drain = ["drain", NODE, "--pod-selector=app=drained", "--timeout=90s"];
    let printed = scene.kubectl().call(&drain, "").await?;
    let uncordoned = scene.kubectl().run(&["uncordon", NODE]).await;
    ensure!(printed.success, "kubectl drain: {}{}", printed.stdout, printed.stderr);
    uncordoned?;
    ensure!(printed.stdout.contains(&name), "kubectl drain says {:?}", printed.stdout);
    ready_app(scene, &namespace, "drained").await?;
    Ok(())
}

const RESTARTS: usize = 300;
const PROBES: usize = 4000;

async fn busy_hour(scene: &Scene) -> Result<()> {
    let node = scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    // The pod's own Legacy listens elsewhere, so that another can take its place, again and again. With
    // limits on Legacy the sidecar has its own.
    let mut pod = legacy(&namespace, "legacy", &["-listen", ":3999"]);
    pod["spec"]["containers"][0]["resources"] =
        json!({ "limits": { "cpu": "100m", "memory": "64Mi" } });
    let before = node.network_namespaces()?;
    scene.api().create(&pod).await?;
    let pod = running(scene, &namespace, "legacy", NAME).await?;
    let probes = address(&pod, 13300)?;
    let mut after = node.network_namespaces()?.into_iter();
    let inside = after.find(|file| !before.contains(file));
    let inside = inside.context("the pod has no network namespace")?;

    let asking = tokio::spawn(async move {
        let mut answered = 0_usize;
        while answered < PROBES {
            let limit = Duration::from_secs(10);
            let asked = match answered % 8 {
                // One that may be held.
                0 => http::probe(probes, "/readyz", limit).await,
                _ => http::get(probes, "/readyz", limit).await,
            };
            asked.context("a probe")?;
            answered += 1;
        }
        anyhow::Ok(answered)
    });
    let (handshakes, asked) = network::inside(&inside, async || {
        let config = legacy_mock::Config { listen: network::localhost(3000), ..Default::default() };
        let legacy = legacy_mock::Legacy::start(config).await?;
        let mut handshakes = 0_usize;
        // As long as probes come, somebody has to answer the sidecar: without a Legacy each one is held.
        while handshakes < RESTARTS || !asking.is_finished() {
            let handshake = http::answers(network::localhost(3000), "/", 200, LONG).await;
            handshake.context("a handshake")?;
            handshakes += 1;
            legacy.restart().await?;
        }
        Ok((handshakes, asking.await??))
    })
    .await?;
    let pod = scene.api().get("Pod", &namespace, "legacy").await?;
    ensure!(restarts(&pod, NAME) == 0, "the sidecar has been restarted: {}", state_of(&pod));
    let limit = &the_sidecar(&pod)?["resources"]["limits"]["memory"];
    scene.note(format!("{handshakes} handshakes, {asked} probes, memory limit {limit}")).await;
    Ok(())
}
