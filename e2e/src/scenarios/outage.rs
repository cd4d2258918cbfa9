//! The webhook is away: what that stops, and all that it does not stop.

use k8s_openapi::api::core::v1 as core;
use kube::api::{DeleteParams, EvictParams};

use super::prelude::*;

scenarios! {
    what_is_refused: ControlPlane, Alone, "outage/what-is-refused",
        "labelled pods, and workloads that need a copy: refused with a message that names the webhook";
    what_goes_on: ControlPlane, Alone, "outage/what-goes-on",
        "scale, restart, set image, delete in all ways, eviction, resize, debug, namespaces: as if it were there";
    recovery: ControlPlane, Alone, "outage/recovery",
        "its own Deployment starts from nothing, and ReplicaSets catch up by themselves when it is back";
}

/// Takes `steps` while no replica runs, and brings one back whatever comes of them.
async fn without_webhook(scene: &Scene, steps: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let replicas = scene.replicas()?;
    replicas.kill_all().await?;
    replicas.restored_after(steps).await
}

async fn what_is_refused(scene: &Scene) -> Result<()> {
    let labelled_namespace = scene.namespace(&[(NAME, "true")]).await?;
    let plain = scene.namespace(&[]).await?;
    without_webhook(scene, async || {
        // A pod that inherits, one that asks itself, and a workload whose label is to be copied.
        for (object, entry) in [
            (pod(&labelled_namespace, "a"), "namespace.secret-handshake.dev"),
            (labelled(pod(&plain, "b"), "true"), "pod.secret-handshake.dev"),
            (
                labelled(workload("Deployment", &plain, "c"), "true"),
                "workload.secret-handshake.dev",
            ),
        ] {
            let printed = scene.create(&object).await?;
            ensure!(!printed.success, "{entry}: created");
            let said = printed.stderr;
            ensure!(
                said.contains("failed calling webhook") && said.contains(entry),
                "{entry}: kubectl printed {said:?}"
            );
        }
        // Who has said no, or nothing, does not notice.
        let no = labelled(pod(&labelled_namespace, "no"), "false");
        for object in [no, pod(&plain, "nothing"), workload("Deployment", &plain, "nothing")] {
            scene.api().create(&object).await?;
        }
        Ok(())
    })
    .await
}

async fn what_goes_on(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    // Everything labelled and injected, made while the webhook is there.
    for name in ["worked-on", "background", "foreground", "orphan"] {
        scene.api().create(&labelled(workload("Deployment", &namespace, name), "true")).await?;
    }
    scene.api().create(&labelled(workload("Job", &namespace, "job"), "true")).await?;
    scene.api().create(&labelled(workload("CronJob", &namespace, "cron"), "true")).await?;
    let mut sized = labelled(pod(&namespace, "by-hand"), "true");
    sized["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "50m" } });
    scene.api().create(&sized).await?;
    for app in ["worked-on", "background", "foreground", "orphan"] {
        scene.pods(&namespace, &format!("app={app}"), 1).await?;
    }
    without_webhook(scene, async || worked_on(scene, &namespace).await).await?;
    // The namespace itself can go as well, with the webhook away; that is tried on another one, as the
    // scene removes this one later.
    let deleted = scene.namespace(&[(NAME, "true")]).await?;
    scene.api().create(&labelled(workload("Deployment", &deleted, "legacy"), "true")).await?;
    scene.pods(&deleted, "app=legacy", 1).await?;
    without_webhook(scene, async || {
        scene.api().delete("Namespace", "", &deleted).await?;
        scene.api().wait_gone(("Namespace", "", &deleted), PATIENCE).await
    })
    .await
}

async fn worked_on(scene: &Scene, namespace: &str) -> Result<()> {
    for command in [
        &["scale", "deployment/worked-on", "--replicas=0"][..],
        &["set", "image", "deployment/worked-on", "legacy=legacy-mock:2"],
        &["rollout", "restart", "deployment/worked-on"],
        &["annotate", "deployment/worked-on", "a=b"],
        &["annotate", "pod/by-hand", "a=b"],
        &["label", "pod/by-hand", "a=b"],
        &["label", "deployment/worked-on", "a=b"],
        &["patch", "job/job", "-p", r#"{"spec":{"suspend":true}}"#],
        &["patch", "cronjob/cron", "-p", r#"{"spec":{"suspend":true}}"#],
        &[
            "patch",
            "pod/by-hand",
            "--subresource=resize",
            "-p",
            r#"{"spec":{"containers":[{"name":"legacy","resources":{"requests":{"cpu":"60m"}}}]}}"#,
        ],
        &["debug", "by-hand", "--image=legacy-mock", "--attach=false", "--quiet"],
        &["delete", "job/job", "--cascade=foreground", "--timeout=60s"],
        &["delete", "cronjob/cron", "--cascade=background", "--timeout=60s"],
    ] {
        scene.kubectl().run(&[command, &["-n", namespace]].concat()).await?;
    }
    evicted(scene, namespace).await?;
    // The controller brings the Deployment to what was asked of it: no pod is left, and none is due.
    scene.pods(namespace, "app=worked-on", 0).await?;

    for (name, how, left) in [
        ("background", DeleteParams::background(), 0),
        ("foreground", DeleteParams::foreground(), 0),
        ("orphan", DeleteParams::orphan(), 1),
    ] {
        scene.api().of("Deployment", namespace)?.delete(name, &how).await?;
        scene.api().wait_gone(("Deployment", namespace, name), PATIENCE).await?;
        let expected = |sets: &[&Value]| {
            ensure!(sets.len() == left, "{} are left instead of {left}", sets.len());
            Ok(())
        };
        let sets = format!("app={name}");
        scene.api().wait_all(("ReplicaSet", namespace, &sets), PATIENCE, expected).await?;
    }
    Ok(())
}

async fn evicted(scene: &Scene, namespace: &str) -> Result<()> {
    let pods = kube::Api::<core::Pod>::namespaced(scene.api().client(), namespace);
    pods.evict("by-hand", &EvictParams::default()).await.context("eviction")?;
    scene.api().wait_gone(("Pod", namespace, "by-hand"), PATIENCE).await
}

async fn recovery(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    let stored =
        scene.api().create(&labelled(workload("Deployment", &namespace, "legacy"), "true")).await?;
    ensure!(template(&stored)["metadata"]["labels"][NAME] == "true", "no label in the template");
    let pods = scene.pods(&namespace, "app=legacy", 1).await?;
    the_sidecar(&pods[0])?;
    without_webhook(scene, async || {
        // Its own pods are never sent to it.
        let own = format!("app.kubernetes.io/name={WEBHOOK}");
        for replicas in [0, 2] {
            let patch = json!({ "spec": { "replicas": replicas } });
            scene.api().merge("Deployment", NAMESPACE, WEBHOOK, &patch).await?;
            scene.pods(NAMESPACE, &own, replicas).await?.iter().try_for_each(no_sidecar)?;
        }
        // Legacy's pod goes, and can't come back for now.
        let name = pods[0]["metadata"]["name"].as_str().context("no name")?;
        scene.api().delete("Pod", &namespace, name).await?;
        scene.failed_create(&namespace, "pod.secret-handshake.dev").await
    })
    .await?;
    // The ReplicaSet tries again by itself, at longer and longer intervals.
    let pods = scene.pods(&namespace, "app=legacy", 1).await?;
    the_sidecar(&pods[0]).map(drop)
}
