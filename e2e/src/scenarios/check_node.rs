//! `kubectl secret-handshake check` where the webhook and Legacy run in pods.

use super::check::{check, finds, tells};
use super::prelude::*;
use crate::product::pods::available;

scenarios! {
    all_well: Node, Alone, "check/all-well-in-pods",
        "the shipped installation and a Legacy that is ready: nothing is found, each replica's certificate verified";
    replicas: Node, Alone, "check/replicas",
        "a single replica, and none: found";
    network_policies: Node, Alone, "check/network-policies",
        "a NetworkPolicy that lets nobody in: found";
    serving_certificates: Node, Alone, "check/serving-certificates",
        "one replica of three serves a certificate for another name: found, and that replica named";
    old_sidecars: Node, Alone, "check/old-sidecars",
        "a pod whose sidecar is another image than new pods get: found; one that can't be pulled as well";
}

/// A Legacy that is ready, in a labelled namespace.
async fn ready_legacy(scene: &Scene) -> Result<String> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    scene.api().create(&legacy(&namespace, "legacy", &[])).await?;
    ready(scene, &namespace, "legacy").await?;
    finds(scene, &[]).await?;
    Ok(namespace)
}

async fn all_well(scene: &Scene) -> Result<()> {
    ready_legacy(scene).await?;
    let checked = check(scene, &["--strict"]).await?;
    ensure!(checked.code == Some(0), "{}", checked.stdout);
    for expected in [
        "every entry has the same caBundle",
        "every replica serves a certificate for secret-handshake-webhook.secret-handshake.svc that the API server trusts; replicas: 2",
        "2 of 2 replicas are ready",
        "the NetworkPolicies let the API server in",
        "(a dry run) comes back with the sidecar, after ",
        "the API server reaches the webhook",
        "every sidecar is secret-handshake-sidecar:",
        "sidecars: 1 ready",
    ] {
        ensure!(checked.stdout.contains(expected), "{expected} is not in {}", checked.stdout);
    }
    ensure!(!checked.stdout.contains("\n- "), "something was skipped: {}", checked.stdout);
    Ok(())
}

async fn replicas(scene: &Scene) -> Result<()> {
    ready_legacy(scene).await?;
    let scale = async |count: &str| {
        let deployment = format!("deployment/{WEBHOOK}");
        let replicas = format!("--replicas={count}");
        scene.kubectl().run(&["scale", &deployment, "-n", NAMESPACE, &replicas]).await
    };
    let done = async {
        scale("1").await?;
        let found = finds(scene, &[("replicas", "warning")]).await?;
        tells(&found[0], "a single replica of the webhook")?;
        tells(&found[0], "scale deployment/secret-handshake-webhook --replicas=2")?;
        scale("0").await?;
        let found = finds(scene, &[("replicas", "failed"), ("call", "failed")]).await?;
        tells(&found[0], "the webhook is scaled to no replica")
    };
    let done = done.await;
    scale("2").await?;
    available(scene.cluster()).await?;
    done?;
    finds(scene, &[]).await.map(drop)
}

async fn network_policies(scene: &Scene) -> Result<()> {
    ready_legacy(scene).await?;
    let rules =
        scene.api().get("NetworkPolicy", NAMESPACE, WEBHOOK).await?["spec"]["ingress"].clone();
    let set = async |rules: &Value| {
        let patch = json!({ "spec": { "ingress": rules } });
        scene.api().merge("NetworkPolicy", NAMESPACE, WEBHOOK, &patch).await
    };
    // Only the admin port is left.
    set(&json!([rules[1]])).await?;
    let found = finds(scene, &[("network-policies", "failed")]).await;
    set(&rules).await?;
    tells(&found?[0], "NetworkPolicies keep the API server from port 8443")?;
    finds(scene, &[]).await.map(drop)
}

/// A replica with the flags and the labels of the others, but for the Service's name in its certificate.
async fn serving_certificates(scene: &Scene) -> Result<()> {
    ready_legacy(scene).await?;
    let deployment = scene.api().get("Deployment", NAMESPACE, WEBHOOK).await?;
    let mut spec = deployment["spec"]["template"]["spec"].clone();
    let args = spec["containers"][0]["args"].as_array_mut().context("no args")?;
    args.push(json!("--service=another-service"));
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": NAMESPACE, "name": "another",
            "labels": deployment["spec"]["template"]["metadata"]["labels"] },
        "spec": spec,
    });
    scene.api().create(&pod).await?;
    let done = async {
        ready(scene, NAMESPACE, "another").await?;
        // The dry run may meet it, or not.
        let alone = finds(scene, &[("serving-certificates", "failed")]).await;
        let both = [("serving-certificates", "failed"), ("call", "failed")];
        let found = match alone {
            Ok(found) => found,
            Err(_) => finds(scene, &both).await?,
        };
        tells(&found[0], "replicas that serve no certificate that the API server trusts: 1 of 3")?;
        tells(&found[0], &format!("{NAMESPACE}/another: "))
    };
    let done = done.await;
    scene.api().delete("Pod", NAMESPACE, "another").await?;
    done?;
    finds(scene, &[]).await.map(drop)
}

async fn old_sidecars(scene: &Scene) -> Result<()> {
    let namespace = ready_legacy(scene).await?;
    let pod = scene.api().get("Pod", &namespace, "legacy").await?;
    let containers = pod["spec"]["containers"].as_array().context("no containers")?;
    let own =
        containers.iter().find(|container| container["name"] == NAME).context("no sidecar")?;
    let image = own["image"].as_str().context("no image")?;
    let set = async |image: &str| {
        let image = format!("{NAME}={image}");
        scene.kubectl().run(&["set", "image", "pod/legacy", &image, "-n", &namespace]).await
    };
    // The same image by its full name.
    set(&format!("docker.io/library/{image}")).await?;
    let found = finds(scene, &[("old-sidecars", "warning")]).await?;
    tells(&found[0], &format!("{namespace}/pod/legacy, 1 pod: docker.io/library/{image}"))?;
    tells(&found[0], &format!("kubectl secret-handshake upgrade -n {namespace}"))?;
    set("nowhere.invalid/sidecar:1").await?;
    let found = finds(scene, &[("old-sidecars", "warning"), ("images", "failed")]).await?;
    tells(&found[1], "nowhere.invalid/sidecar:1 (")?;
    tells(&found[1], "no such host")
}
