//! The operations half: missing, wrong, elsewhere; told in the log and healed with no restart.

use super::prelude::*;

scenarios! {
    missing: Node, Together, "secret/missing",
        "no Secret: the pod starts, not Ready, the log says what to create; created, it heals";
    wrong: Node, Together, "secret/wrong",
        "the wrong half: the log says so; corrected, it heals";
    elsewhere: Node, Together, "secret/elsewhere",
        "the Secret and its key named by annotations";
}

async fn missing(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    scene.api().create(&legacy(&namespace, "legacy", &[])).await?;
    let pod = running(scene, &namespace, "legacy", NAME).await?;
    let command = format!("kubectl create secret generic {NAME}");
    let line = sidecar_says(scene, &namespace, "legacy", &[&command, &namespace]).await?;
    ensure!(condition(&pod, "Ready")["status"] != "True", "the pod is Ready");
    // What the log says is to be pasted.
    let start = line.find("kubectl ").unwrap_or_default();
    ensure!(line[start..].contains("half"), "the command does not name the key: {line}");
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    ready_with_no_restart(scene, &namespace).await?;
    Ok(())
}

async fn wrong(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    set_half(scene, &namespace, NAME, "half", "-not-this-one").await?;
    set_half(scene, &namespace, "what-legacy-expects", "half", HALF).await?;
    let mut pod = legacy(&namespace, "legacy", &["-half-file", "/expected/half"]);
    pod["spec"]["volumes"] =
        json!([{ "name": "expected", "secret": { "secretName": "what-legacy-expects" } }]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "expected", "mountPath": "/expected" }]);
    scene.api().create(&pod).await?;
    running(scene, &namespace, "legacy", NAME).await?;
    sidecar_says(scene, &namespace, "legacy", &["400", NAME]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    ready_with_no_restart(scene, &namespace).await?;
    let told = log(scene, &namespace, "legacy", NAME).await?;
    ensure!(!told.contains("not-this-one") && !told.contains(HALF), "the log has a half in it");
    Ok(())
}

async fn elsewhere(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    set_half(scene, &namespace, "operations", "legacy.half", HALF).await?;
    let pod =
        annotated(legacy(&namespace, "legacy", &[]), "secret-handshake/secret-name", "operations");
    let pod = annotated(pod, "secret-handshake/secret-key", "legacy.half");
    scene.api().create(&pod).await?;
    ready(scene, &namespace, "legacy").await?;
    Ok(())
}

async fn ready_with_no_restart(scene: &Scene, namespace: &str) -> Result<()> {
    let pod = ready(scene, namespace, "legacy").await?;
    for container in ["legacy", NAME] {
        ensure!(restarts(&pod, container) == 0, "{container} has been restarted");
    }
    Ok(())
}
