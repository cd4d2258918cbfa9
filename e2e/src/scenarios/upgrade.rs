//! `kubectl secret-handshake upgrade`: newer sidecars in running pods.

use std::ffi::OsString;

use cli::inject::{InjectArgs, inject};
use injection::Policy;
use lab::command::feed;

use super::prelude::*;
use crate::folders::workspace;
use crate::product::pods::full_name;
use crate::product::tool;

scenarios! {
    three: Node, Long, "upgrade/three",
        "three pods under load get the new sidecar: no call fails, Legacy is not restarted, nothing is sent to it";
    stops: Node, Alone, "upgrade/stops",
        "an image that can't be pulled: it stops at the first pod, and what it says leads back to the old image";
    single: Node, Alone, "upgrade/single",
        "a workload's only Ready pod is left unless it is told to take it";
}

const APP: &str = "legacy";
/// How many callers ask at a time.
const CALLERS: usize = 4;
/// Within which a change of endpoints has reached every caller.
const SETTLED: Duration = Duration::from_secs(2);

fn older() -> String {
    format!("{}:older", Product::SIDECAR.image)
}

/// Pods of a Deployment with a sidecar of another image, all Ready, behind a Service.
async fn with_older_sidecars(scene: &Scene, replicas: usize) -> Result<(String, Vec<Value>)> {
    let full = full_name(Product::SIDECAR);
    let tag = format!("docker.io/library/{}", older());
    scene.node()?.ctr(&["images", "tag", "--force", &full, &tag])?;
    let namespace = namespace_with_half(scene).await?;
    let mut deployment = legacy_deployment(&namespace, APP, &[]);
    deployment["spec"]["replicas"] = replicas.into();
    // The webhook leaves a sidecar alone that is there already.
    let policy = Policy { image: older(), ..Policy::default() };
    let done = inject(&deployment.to_string(), &InjectArgs::default(), policy)?;
    scene.api().create(&serde_json::from_str(&done.manifests)?).await?;
    scene.api().create(&service(&namespace, APP)).await?;
    let pods = ready_pods(scene, &namespace, APP, replicas).await?;
    ensure!(images(&pods)?.iter().all(|image| *image == older()), "not the older image");
    Ok((namespace, pods))
}

fn images(pods: &[Value]) -> Result<Vec<String>> {
    let image = |pod| Ok(the_sidecar(pod)?["image"].as_str().unwrap_or_default().to_owned());
    pods.iter().map(image).collect()
}

/// Runs a line in a shell that has kubectl, and this tool as its plugin, and gives its exit code and what
/// it printed.
async fn shell(scene: &Scene, line: &str) -> Result<(Option<i32>, String)> {
    let program = tool::program().await?;
    let mut shell = scene.kubectl().shell(line, workspace());
    let set = shell.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
    let path: OsString =
        set.map(ToOwned::to_owned).or(std::env::var_os("PATH")).unwrap_or_default();
    let own = program.parent().map(ToOwned::to_owned);
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))?;
    shell.env("PATH", path);
    let done = feed(shell, "", LONG).await?;
    let [out, error] = [&done.stdout, &done.stderr].map(|text| String::from_utf8_lossy(text));
    let printed = format!("{out}{error}");
    Ok((done.status.code(), printed))
}

async fn three(scene: &Scene) -> Result<()> {
    const PODS: usize = 3;
    let (namespace, before) = with_older_sidecars(scene, PODS).await?;
    let (code, printed) =
        shell(scene, &format!("kubectl secret-handshake upgrade -n {namespace} --dry-run")).await?;
    ensure!(code == Some(0) && printed.contains("deployment/legacy: 3 pods"), "{printed}");
    let now = ready_pods(scene, &namespace, APP, PODS).await?;
    ensure!(images(&now)? == images(&before)?, "--dry-run has changed something");

    let route = Route::to(scene, &namespace, APP).await?;
    let callers: Vec<Caller> = (0..CALLERS).map(|_| Caller::start(route.clone())).collect();
    for caller in &callers {
        caller.until(Seen::Works, Instant::now()).await?;
    }
    let began = Instant::now();
    let (code, printed) =
        shell(scene, &format!("kubectl secret-handshake upgrade -n {namespace}")).await?;
    let took = began.elapsed();
    ensure!(code == Some(0) && printed.contains("3 pods upgraded"), "{printed}");
    // What happens to the last pod's endpoint is seen by callers a moment later.
    for caller in &callers {
        caller.until(Seen::Works, Instant::now() + SETTLED).await?;
    }
    let (mut calls, mut failed) = (0, Vec::new());
    for caller in &callers {
        let seen = caller.seen().await;
        calls += seen.len();
        failed.extend(seen.into_iter().filter(|(_, what)| *what != Seen::Works));
    }
    drop(callers);
    ensure!(failed.is_empty(), "{} of {calls} calls failed: {:?}", failed.len(), failed.first());

    let after = ready_pods(scene, &namespace, APP, PODS).await?;
    for (before, after) in before.iter().zip(&after) {
        let name = after["metadata"]["name"].as_str().context("no name")?;
        ensure!(before["metadata"]["uid"] == after["metadata"]["uid"], "{name} is another pod");
        let image = the_sidecar(after)?["image"].as_str();
        ensure!(image == Some(&Product::SIDECAR.reference()), "{name} has {image:?}");
        let counts = [restarts(after, "legacy"), restarts(after, NAME)];
        ensure!(counts == [0, 1], "{name}: Legacy and the sidecar were restarted {counts:?} times");
        let own = log(scene, &namespace, name, NAME).await?;
        ensure!(own.contains("Legacy is initialised already, nothing was sent"), "{own}");
        let legacy = log(scene, &namespace, name, "legacy").await?;
        let sent = legacy.matches("POST /internal/secret").count();
        ensure!(sent == 1, "{name}: Legacy was sent the secret {sent} times");
    }
    let per_pod = took.as_secs_f64() / f64::from(u32::try_from(PODS)?);
    scene.note(format!("{calls} calls, none failed; {per_pod:.1} s a pod")).await;
    Ok(())
}

async fn stops(scene: &Scene) -> Result<()> {
    const PODS: usize = 3;
    let (namespace, before) = with_older_sidecars(scene, PODS).await?;
    let line =
        format!("kubectl secret-handshake upgrade -n {namespace} --to nowhere.invalid/sidecar:1");
    let (code, printed) = shell(scene, &line).await?;
    ensure!(code == Some(1), "{printed}");
    ensure!(printed.contains("Stopped: 0 pods upgraded"), "{printed}");
    ensure!(printed.contains("ImagePull"), "{printed}");

    let now = scene.pods(&namespace, &format!("app={APP}"), PODS).await?;
    let hit = |pod: &&Value| the_sidecar(pod).is_ok_and(|it| it["image"] != older());
    let hit: Vec<&Value> = now.iter().filter(hit).collect();
    ensure!(hit.len() == 1, "{} pods have been changed", hit.len());
    let name = hit[0]["metadata"]["name"].as_str().context("no name")?;
    ensure!(printed.contains(&format!("pod {name}: ")), "it does not name {name}: {printed}");
    ensure!(is_ready(hit[0]).is_err(), "{name} is Ready without its sidecar");

    let mut lines = printed.lines().map(str::trim);
    let back = lines.find(|line| line.contains(" patch pod ")).context("no way back")?;
    let (code, said) = shell(scene, back).await?;
    ensure!(code == Some(0), "{back}: {said}");
    let after = ready_pods(scene, &namespace, APP, PODS).await?;
    ensure!(images(&after)? == images(&before)?, "not the old images again");
    for (before, after) in before.iter().zip(&after) {
        let own = &after["metadata"]["name"];
        ensure!(before["metadata"]["uid"] == after["metadata"]["uid"], "{own} is another pod");
        ensure!(restarts(after, "legacy") == 0, "{own}: Legacy was restarted");
        ensure!(own == name || restarts(after, NAME) == 0, "{own}: its sidecar was restarted");
    }
    Ok(())
}

async fn single(scene: &Scene) -> Result<()> {
    let (namespace, before) = with_older_sidecars(scene, 1).await?;
    let line = format!("kubectl secret-handshake upgrade -n {namespace}");
    let (code, printed) = shell(scene, &line).await?;
    ensure!(code == Some(0) && printed.contains("the only Ready one"), "{printed}");
    let now = ready_pods(scene, &namespace, APP, 1).await?;
    ensure!(images(&now)? == images(&before)? && restarts(&now[0], NAME) == 0, "it was upgraded");

    let (code, printed) = shell(scene, &format!("{line} deploy/{APP} --allow-gap")).await?;
    ensure!(code == Some(0) && printed.contains("1 pod upgraded"), "{printed}");
    let now = ready_pods(scene, &namespace, APP, 1).await?;
    ensure!(images(&now)? == [Product::SIDECAR.reference()], "it was not upgraded");
    ensure!(restarts(&now[0], "legacy") == 0, "Legacy was restarted");
    Ok(())
}
