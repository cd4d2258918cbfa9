//! The main job: Legacy is initialised before anybody can call it, whatever happens to it.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use lab::command::feed;
use lab::proc;
use lab::process::Process;

use super::prelude::*;
use super::readiness::Readiness;
use super::stage::Skip;
use crate::folders::workspace;
use crate::table::percentiles;

scenarios! {
    quick_start: Node, Alone, "legacy/quick-start",
        "the README's quick start, line by line: its last command shows that Legacy is initialised";
    demo: Node, Alone, "legacy/demo",
        "deploy/demo applied: initialised, the sidecar's log tells it, no answer is `Uninitialized` in ten starts";
    killed: Node, Alone, "legacy/killed",
        "Legacy's container is killed: readiness drops, it is initialised again, the gap is measured";
    killed_often: Node, Alone, "legacy/killed-often",
        "the API server shows a Legacy's death within 100 ms, and Ready 50 ms after the new handshake (medians)";
    slow: Node, Alone, "legacy/slow",
        "a Legacy that takes 20 s is Ready at once when it listens, beside a plain probe";
}

const DEMO: &str = "legacy-automation-demo";
const STARTS: usize = 10;

fn quick_start_lines(readme: &str) -> Result<Vec<&str>> {
    let (_, section) =
        readme.split_once("\n## Quick start with a cluster\n").context("no quick start")?;
    let (_, block) = section.split_once("```console\n").context("no commands in it")?;
    let (block, _) = block.split_once("```").context("no end of them")?;
    Ok(block.lines().filter_map(|line| line.strip_prefix("$ ")).collect())
}

/// Makes sure that nobody else uses the demo's namespace, and has it removed at the end.
async fn take_demo(scene: &Scene) -> Result<()> {
    if scene.api().exists("Namespace", "", DEMO).await? {
        bail!(Skip("the demo's namespace is there already".to_owned()));
    }
    scene.adopt("Namespace", DEMO).await;
    Ok(())
}

async fn quick_start(scene: &Scene) -> Result<()> {
    take_demo(scene).await?;
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    let mut lines = quick_start_lines(&readme)?.into_iter();
    let images = lines.next().unwrap_or_default();
    ensure!(images.starts_with("cargo images "), "the first line loads no images: {images}");
    let last = lines.next_back().context("nothing but images")?;
    for line in lines {
        let done = feed(scene.kubectl().shell(line, workspace()), "", LONG).await?;
        let stderr = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{line}: {stderr}");
    }
    // The last one goes on for as long as the pod lives.
    let shell = scene.kubectl().shell(last, workspace()).into();
    let log = Process::start(last, shell, Box::new(|_| ()))?;
    log.line("the handshake", LONG, |line| line.contains("Legacy is initialised")).await?;
    scene.api().delete("Namespace", "", DEMO).await?;
    scene.api().wait_gone(("Namespace", "", DEMO), LONG).await
}

async fn demo(scene: &Scene) -> Result<()> {
    take_demo(scene).await?;
    let objects = install::render(scene.cluster(), "deploy/demo").await?;
    install::apply(scene.cluster(), &objects).await?;
    let route = Route::to(scene, DEMO, "legacy-mock-service").await?;
    let caller = Caller::start(route);
    let mut times = Vec::new();
    for start in 1..=STARTS {
        let asked = Instant::now();
        if start > 1 {
            let scale = |replicas: u32| json!({ "spec": { "replicas": replicas } });
            scene.api().merge("Deployment", DEMO, "legacy-mock", &scale(0)).await?;
            scene.pods(DEMO, "app=legacy-mock", 0).await?;
            scene.api().merge("Deployment", DEMO, "legacy-mock", &scale(1)).await?;
        }
        // Not an answer of the pod before: that one has gone.
        let since = if start > 1 { Instant::now() } else { asked };
        let works =
            caller.until(Seen::Works, since).await.with_context(|| format!("start {start}"))?;
        times.push(works.duration_since(since));
        let wrong = caller.count(Seen::Uninitialized).await;
        ensure!(wrong == 0, "start {start}: {wrong} answers were `Uninitialized`");
    }
    let answers = caller.count(Seen::Works).await;
    drop(caller);
    check_logs(scene).await?;
    let [median] = percentiles(times, [50]);
    let figures = format!(
        "{STARTS} starts, {answers} answers, none `Uninitialized`; from scaling to the first answer \
         {median:.1?} (median)"
    );
    scene.note(figures).await;
    Ok(())
}

/// What the demo's operator reads: the sidecar's log, and Legacy's where nothing else is asked for.
async fn check_logs(scene: &Scene) -> Result<()> {
    let pod = ready_app(scene, DEMO, "legacy-mock").await?;
    the_sidecar(&pod)?;
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    let own = log(scene, DEMO, name, NAME).await?;
    ensure!(!own.contains(HALF), "the log has the half in it");
    ensure!(own.contains("handshake"), "the log does not speak of the handshake:\n{own}");
    // Without -c it is Legacy that kubectl means, and it says nothing about having chosen.
    let logs = scene.kubectl().call(&["logs", "deploy/legacy-mock", "-n", DEMO], "").await?;
    ensure!(logs.success && logs.stderr.is_empty(), "kubectl logs says {:?}", logs.stderr);
    ensure!(logs.stdout.contains("POST /internal/secret"), "kubectl logs shows {:?}", logs.stdout);
    let version = ["exec", "deploy/legacy-mock", "-n", DEMO, "--", "/legacy-mock", "-version"];
    let printed = scene.kubectl().call(&version, "").await?;
    ensure!(
        printed.success && printed.stdout.contains("legacy-mock") && printed.stderr.is_empty(),
        "kubectl exec shows {:?} and {:?}",
        printed.stdout,
        printed.stderr
    );
    Ok(())
}

async fn killed(scene: &Scene) -> Result<()> {
    let node = scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    scene.api().create(&legacy_deployment(&namespace, "legacy", &[])).await?;
    scene.api().create(&service(&namespace, "legacy")).await?;
    let pod = ready_app(scene, &namespace, "legacy").await?;
    let name = pod["metadata"]["name"].as_str().context("no name")?.to_owned();
    let caller = Caller::start(Route::to(scene, &namespace, "legacy").await?);
    caller.until(Seen::Works, Instant::now()).await?;

    let killed = Instant::now();
    node.signal(&pod, "legacy", "SIGKILL")?;
    let lost = |pod: &Value| {
        ensure!(condition(pod, "Ready")["status"] == "False", "it is Ready");
        Ok(killed.elapsed())
    };
    let lost = scene.api().wait(("Pod", &namespace, &name), LONG, lost).await?;
    let pod = restarted(scene, &namespace, &name, "legacy").await?;
    ensure!(restarts(&pod, NAME) == 0, "the sidecar has been restarted");
    let back = caller.until(Seen::Works, killed + lost).await?;

    let seen = caller.seen().await;
    let wrong = seen.iter().filter(|(when, what)| *when >= killed && *what == Seen::Uninitialized);
    let wrong: Vec<Instant> = wrong.map(|(when, _)| *when).collect();
    let gap = wrong.first().zip(wrong.last()).map(|(first, latest)| latest.duration_since(*first));
    let gap = gap.unwrap_or_default();
    // Readiness is asked for once a second; a tenth for the way through the API server to kube-proxy,
    // and a second for a machine that is busy with other things.
    ensure!(gap <= Duration::from_millis(2100), "`Uninitialized` was to be seen for {gap:?}");
    let twice = log(scene, &namespace, &name, "legacy").await?;
    ensure!(twice.contains("POST /internal/secret"), "the new Legacy was sent no secret");
    let (back, count) = (back.duration_since(killed), wrong.len());
    let seen = format!("`Uninitialized` {count} times in {gap:.0?}");
    scene.note(format!("not Ready after {lost:.0?}, back after {back:.1?}; {seen}")).await;
    Ok(())
}

/// Pods whose Legacy is killed once each: a second time, the kubelet would wait before it starts it again.
const KILLS: usize = 15;

async fn killed_often(scene: &Scene) -> Result<()> {
    let node = scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    // One that is back sooner than the kubelet looks for containers that run, which it does once a
    // second, is Ready only then.
    let mut deployment = legacy_deployment(&namespace, "often", &["-late", "2s"]);
    deployment["spec"]["replicas"] = KILLS.into();
    scene.api().create(&deployment).await?;
    let pods = ready_pods(scene, &namespace, "often", KILLS).await?;
    let readiness = Readiness::watch(scene, &namespace, "often");
    let (mut lost, mut back) = (Vec::new(), Vec::new());
    for (number, pod) in pods.iter().enumerate() {
        let name = pod["metadata"]["name"].as_str().context("no name")?;
        // At other moments of the probe's period each time.
        tokio::time::sleep(Duration::from_millis(137 * (number as u64 % 8))).await;
        let process = node.process_of(pod, "legacy")?;
        let killed = SystemTime::now();
        proc::kill(process)?;
        let unready = readiness.until(name, false, killed, LONG).await?;
        let ready = readiness.until(name, true, unready, LONG).await?;
        // The first handshake was that of the start.
        let log = log(scene, &namespace, name, NAME).await?;
        let mut handshakes = log.lines().filter(|line| line.contains("Legacy is initialised"));
        let handshake = handshakes.nth(1).context("there was no second handshake")?;
        let handshake: Timestamp = handshake.split(' ').next().unwrap_or_default().parse()?;
        lost.push(unready.duration_since(killed)?);
        // The line has milliseconds, and no more.
        back.push(ready.duration_since(handshake.into()).unwrap_or_default());
    }
    let ([lost, slowest], [back]) = (percentiles(lost, [50, 100]), percentiles(back, [50]));
    let death = format!("not Ready after {lost:.0?}, at most {slowest:.0?}");
    scene.note(format!("{KILLS} kills: {death}; Ready {back:.0?} after the handshake")).await;
    ensure!(lost <= Duration::from_millis(100), "not Ready only {lost:?} after the death");
    ensure!(slowest <= Duration::from_millis(1200), "once not Ready only after {slowest:?}");
    ensure!(back <= Duration::from_millis(50), "Ready only {back:?} after the handshake");
    Ok(())
}

const SLOW: &str = "20s";

async fn slow(scene: &Scene) -> Result<()> {
    scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    let held = legacy(&namespace, "held", &["-late", SLOW]);
    // The reference: no sidecar, and the probe that people write.
    let mut plain = legacy(&namespace, "plain", &["-late", SLOW]);
    plain["metadata"]["labels"][NAME] = json!("false");
    plain["spec"]["containers"][0]["readinessProbe"] =
        json!({ "httpGet": { "path": "/health", "port": 3000 }, "periodSeconds": 1 });
    for pod in [&held, &plain] {
        scene.api().create(pod).await?;
    }
    let (held, plain) = tokio::try_join!(
        ready_after(scene, &namespace, "held"),
        ready_after(scene, &namespace, "plain")
    )?;
    ready(scene, &namespace, "held").await?;
    sidecar_says(scene, &namespace, "held", &["initialised"]).await?;
    let beside = format!("with a plain probe of /health {plain:.0?}");
    scene.note(format!("Ready {held:.0?} after the first listen; {beside}")).await;
    ensure!(held <= Duration::from_millis(200), "Ready only {held:?} after Legacy listens");
    Ok(())
}

/// From Legacy's first listen until the API shows its pod as Ready.
async fn ready_after(scene: &Scene, namespace: &str, name: &str) -> Result<Duration> {
    let pod = running(scene, namespace, name, "legacy").await?;
    let legacy = address(&pod, 3000)?;
    let ready = |pod: &Value| is_ready(pod).map(|()| Instant::now());
    let ready = scene.api().wait(("Pod", namespace, name), LONG, ready);
    let listens = async { Ok(tokio::time::timeout(LONG, first_listen(legacy)).await?) };
    let (listens, ready) = tokio::try_join!(listens, ready)?;
    Ok(ready.saturating_duration_since(listens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_start_is_found_in_the_readme() {
        let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
        let lines = quick_start_lines(&readme).unwrap();
        assert!(lines.len() >= 4, "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("kubectl ")), "{lines:?}");
        assert!(lines[lines.len() - 1].contains("-c secret-handshake -f"), "{lines:?}");
    }
}
