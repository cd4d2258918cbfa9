//! What people read when a sidecar is not possible.

use super::prelude::*;

scenarios! {
    by_own_label: ControlPlane, Together, "refusals/by-own-label",
        "hostNetwork, Windows, a wrong annotation: refused, and kubectl prints why";
    inherited: ControlPlane, Together, "refusals/inherited",
        "the same by the namespace's label: let through; kubectl prints a warning, the pod keeps the reason";
    unknown_annotation: ControlPlane, Together, "refusals/unknown-annotation",
        "an annotation that nobody reads draws a warning";
    of_a_controller: ControlPlane, Together, "refusals/of-a-controller",
        "the event of a refused ReplicaSet names the reason";
}

const STATUS: &str = "secret-handshake/status";

/// Pods that can't have a sidecar, and what must be said of each.
fn impossible(namespace: &str) -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let mut on_host = pod(namespace, "on-host");
    on_host["spec"]["hostNetwork"] = json!(true);
    let mut windows = pod(namespace, "windows");
    windows["spec"]["os"] = json!({ "name": "windows" });
    let port = annotated(pod(namespace, "port"), "secret-handshake/port", "0");
    let mode = annotated(pod(namespace, "mode"), "secret-handshake/mode", "nativ");
    let memory = annotated(pod(namespace, "memory"), "secret-handshake/memory", "1");
    vec![
        ("hostNetwork", on_host, vec!["hostNetwork"]),
        ("Windows", windows, vec!["Windows"]),
        ("a wrong port", port, vec!["secret-handshake/port", "\"0\"", "1 to 65535"]),
        ("a wrong mode", mode, vec!["secret-handshake/mode", "\"nativ\"", "native or classic"]),
        ("too little memory", memory, vec!["secret-handshake/memory", "\"1\""]),
    ]
}

async fn by_own_label(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    for (case, pod, words) in impossible(&namespace) {
        let printed = scene.create(&labelled(pod, "true")).await?;
        ensure!(!printed.success, "{case}: created");
        let said = &printed.stderr;
        for word in words.into_iter().chain(["pod.secret-handshake.dev"]) {
            ensure!(said.contains(word), "{case}: no word of {word} in {said:?}");
        }
        ensure!(said.trim().lines().count() == 1, "{case}: several lines: {said:?}");
    }
    Ok(())
}

async fn inherited(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    for (case, pod, words) in impossible(&namespace) {
        let printed = scene.create(&pod).await?;
        ensure!(printed.success, "{case}: refused: {}", printed.stderr);
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let stored = scene.api().get("Pod", &namespace, name).await?;
        no_sidecar(&stored)?;
        let status = stored["metadata"]["annotations"][STATUS].as_str().unwrap_or_default();
        let warning = printed.warnings().first().copied().unwrap_or_default();
        for word in words {
            ensure!(warning.contains(word), "{case}: no word of {word} in {:?}", printed.stderr);
            ensure!(status.contains(word), "{case}: no word of {word} in the status {status:?}");
        }
    }
    Ok(())
}

async fn unknown_annotation(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let pod = annotated(pod(&namespace, "typo"), "secret-handshake/secret-nmae", "x");
    let printed = scene.create(&pod).await?;
    ensure!(printed.success, "refused: {}", printed.stderr);
    let warnings = printed.warnings();
    let warned = warnings.iter().any(|text| text.contains("secret-handshake/secret-nmae"));
    ensure!(warned, "the warnings are {warnings:?}");
    the_sidecar(&scene.api().get("Pod", &namespace, "typo").await?)?;
    Ok(())
}

async fn of_a_controller(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    let mut deployment = labelled(workload("Deployment", &namespace, "on-host"), "true");
    deployment["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    // kubectl warns at once: the refusals themselves are seen by the controller alone.
    let printed = scene.create(&deployment).await?;
    let said = printed.stderr;
    ensure!(printed.success, "refused: {said}");
    ensure!(said.contains("Warning:") && said.contains("hostNetwork"), "kubectl printed {said:?}");
    scene.failed_create(&namespace, "hostNetwork").await
}
