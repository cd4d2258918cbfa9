//! Native and classic, on pods that run for ever and on those that end.

use super::prelude::*;
use crate::product::pods;

scenarios! {
    jobs: Node, Together, "modes/jobs",
        "Jobs complete, native and auto";
    cron_jobs: Node, Together, "modes/cron-jobs",
        "a CronJob's Job completes";
    deployments: Node, Together, "modes/deployments",
        "native and classic on a Deployment";
    sidecar_killed: Node, Alone, "modes/sidecar-killed",
        "the sidecar's container is killed: Legacy sees nothing, in either mode";
    image_missing: Node, Alone, "modes/image-missing",
        "the sidecar's image can't be had: Legacy runs all the same, and is initialised when it can";
}

/// A Job's pod: Legacy beside a program that runs until SIGTERM and then exits 0: the sidecar's own,
/// with no half, so that it can only wait.
fn job(namespace: &str, name: &str, mode: &str) -> Value {
    let pod = legacy(namespace, name, &[]);
    let mut legacy = pod["spec"]["containers"][0].clone();
    legacy["restartPolicy"] = json!("Always");
    let worker = json!({
        "name": "worker",
        "image": Product::SIDECAR.reference(),
        "imagePullPolicy": "IfNotPresent",
        "args": ["--half-file=/nowhere", "--listen=:13301"],
    });
    let spec = json!({
        "backoffLimit": 0,
        "template": {
            "metadata": { "annotations": { "secret-handshake/mode": mode } },
            "spec": { "restartPolicy": "Never", "initContainers": [legacy], "containers": [worker] },
        },
    });
    labelled(object("batch/v1", "Job", namespace, name, &spec), "true")
}

/// Ends the program of a Job's pod when Legacy is initialised, waits until the Job is complete, and
/// gives its pod.
async fn complete(scene: &Scene, namespace: &str, name: &str) -> Result<Value> {
    let selector = format!("job-name={name}");
    let pods = ("Pod", namespace, selector.as_str());
    let initialised = |pods: &[&Value]| {
        let pod = pods.first().copied().context("there is no pod yet")?;
        is_ready(pod).map(|()| pod.clone())
    };
    let pod = scene.api().wait_all(pods, LONG, initialised).await?;
    scene.node()?.signal(&pod, "worker", "SIGTERM")?;
    let complete = |job: &Value| {
        ensure!(condition(job, "Complete")["status"] == "True", "it is not complete");
        Ok(())
    };
    scene.api().wait(("Job", namespace, name), LONG, complete).await?;
    let pod = scene.api().list("Pod", namespace, &selector).await?;
    pod.into_iter().next().context("the pod is gone")
}

async fn jobs(scene: &Scene) -> Result<()> {
    let namespace = namespace_with_half(scene).await?;
    for mode in ["auto", "native"] {
        scene.api().create(&job(&namespace, mode, mode)).await?;
    }
    for mode in ["auto", "native"] {
        let pod = complete(scene, &namespace, mode).await?;
        ensure!(names(&pod, "initContainers").contains(&NAME), "{mode}: it is in the wrong list");
        ensure!(pod["status"]["phase"] == "Succeeded", "{mode}: {}", state_of(&pod));
    }
    Ok(())
}

async fn cron_jobs(scene: &Scene) -> Result<()> {
    let namespace = namespace_with_half(scene).await?;
    let job = job(&namespace, "x", "auto");
    // Its own time would be a long time to wait.
    let spec = json!({ "schedule": "0 0 1 1 *", "jobTemplate": { "spec": job["spec"] } });
    let cron = object("batch/v1", "CronJob", &namespace, "nightly", &spec);
    scene.api().create(&labelled(cron, "true")).await?;
    let now = ["create", "job", "now", "--from=cronjob/nightly", "-n", &namespace];
    scene.kubectl().run(&now).await?;
    let pod = complete(scene, &namespace, "now").await?;
    the_sidecar(&pod)?;
    Ok(())
}

async fn deployments(scene: &Scene) -> Result<()> {
    let namespace = namespace_with_half(scene).await?;
    for mode in ["native", "classic"] {
        let mut deployment = legacy_deployment(&namespace, mode, &[]);
        deployment["spec"]["template"]["metadata"]["annotations"] =
            json!({ "secret-handshake/mode": mode });
        scene.api().create(&deployment).await?;
    }
    for mode in ["native", "classic"] {
        let pod = ready_app(scene, &namespace, mode).await?;
        let native = names(&pod, "initContainers").contains(&NAME);
        ensure!(native == (mode == "native"), "{mode}: the sidecar is in the wrong list");
    }
    Ok(())
}

async fn sidecar_killed(scene: &Scene) -> Result<()> {
    let node = scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    for mode in ["native", "classic"] {
        scene.api().create(&in_mode(legacy(&namespace, mode, &[]), mode)).await?;
        scene.api().create(&service(&namespace, mode)).await?;
        let pod = ready(scene, &namespace, mode).await?;
        let caller = Caller::start(Route::to(scene, &namespace, mode).await?);
        caller.until(Seen::Works, Instant::now()).await?;
        node.signal(&pod, NAME, "SIGKILL")?;
        let pod = restarted(scene, &namespace, mode, NAME).await?;
        ensure!(restarts(&pod, "legacy") == 0, "{mode}: Legacy has been restarted");
        let wrong = caller.count(Seen::Uninitialized).await;
        ensure!(wrong == 0, "{mode}: {wrong} answers were `Uninitialized`");
        // It was initialised all the time, so it was sent nothing a second time.
        let log = log(scene, &namespace, mode, "legacy").await?;
        let secrets = log.lines().filter(|line| line.contains("POST /internal/secret")).count();
        ensure!(secrets == 1, "{mode}: {secrets} secrets were sent");
    }
    Ok(())
}

async fn image_missing(scene: &Scene) -> Result<()> {
    let node = scene.node()?;
    let namespace = namespace_with_half(scene).await?;
    node.forget_image(&pods::full_name(Product::SIDECAR))?;
    let done = async {
        scene.api().create(&legacy(&namespace, "legacy", &[])).await?;
        let pod = running(scene, &namespace, "legacy", "legacy").await?;
        let image_missed = |pod: &Value| {
            let state = &container_status(pod, NAME)["state"];
            let reason = state["waiting"]["reason"].as_str().unwrap_or_default();
            ensure!(reason.contains("Image"), "the sidecar's state is {state}");
            Ok(())
        };
        scene.api().wait(("Pod", &namespace, "legacy"), LONG, image_missed).await?;
        http::answers(address(&pod, 3000)?, "/health", 200, LONG).await
    }
    .await;
    pods::load_image(scene.cluster(), Product::SIDECAR)?;
    done?;
    // The kubelet tries again after some time, and finds it.
    ready(scene, &namespace, "legacy").await?;
    Ok(())
}
