//! The webhook is away: what that stops, and all that it does not stop.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::objects::{NAME, labelled, no_sidecar, pod, template, the_sidecar, workload};
use super::scene::{PATIENCE, Scene};
use super::{Scenario, scenario};
use crate::product::install::{NAMESPACE, WEBHOOK};
use lab::until::until;

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario!(
        ControlPlane,
        ALONE,
        "outage/what-is-refused",
        "labelled pods, and workloads that need a copy: refused with a message that names the webhook",
        what_is_refused
    ),
    scenario!(
        ControlPlane,
        ALONE,
        "outage/what-goes-on",
        "scale, restart, set image, delete in all ways, eviction, resize, debug, namespaces: as if it were there",
        what_goes_on
    ),
    scenario!(
        ControlPlane,
        ALONE,
        "outage/recovery",
        "its own Deployment starts from nothing, and ReplicaSets catch up by themselves when it is back",
        recovery
    ),
];

/// Plays `scene` while no replica runs, and brings one back whatever comes of it.
async fn without_webhook(scene: &Scene, play: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let replicas = scene.replicas()?;
    replicas.kill_all().await?;
    let played = play().await;
    replicas.restore().await?;
    played
}

async fn what_is_refused(scene: &Scene) -> Result<()> {
    let labelled_namespace = scene.namespace(&[(NAME, "true")]).await?;
    let plain = scene.namespace(&[]).await?;
    without_webhook(scene, async || {
        for (case, object, entry) in [
            (
                "a pod that inherits",
                pod(&labelled_namespace, "a"),
                "namespace.secret-handshake.dev",
            ),
            (
                "a pod that asks itself",
                labelled(pod(&plain, "b"), "true"),
                "pod.secret-handshake.dev",
            ),
            (
                "a workload whose label is to be copied",
                labelled(workload("Deployment", &plain, "c"), "true"),
                "workload.secret-handshake.dev",
            ),
        ] {
            let printed = scene.kubectl().call(&["create", "-f", "-"], &object.to_string()).await?;
            ensure!(!printed.success, "{case}: created");
            ensure!(
                printed.stderr.contains("failed calling webhook") && printed.stderr.contains(entry),
                "{case}: kubectl printed {:?}",
                printed.stderr
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
        pods_of(scene, &namespace, app, 1).await?;
    }
    without_webhook(scene, async || worked_on(scene, &namespace).await).await?;
    // The namespace itself can go as well, with the webhook away; that is tried on another one, as the
    // scene removes this one later.
    let doomed = scene.namespace(&[(NAME, "true")]).await?;
    scene.api().create(&labelled(workload("Deployment", &doomed, "legacy"), "true")).await?;
    pods_of(scene, &doomed, "legacy", 1).await?;
    without_webhook(scene, async || {
        scene.api().delete("Namespace", "", &doomed, "Background").await?.object()?;
        until("the end of the namespace", PATIENCE, async || {
            ensure!(!scene.api().exists("Namespace", "", &doomed).await?, "still there");
            Ok(())
        })
        .await
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
    pods_of(scene, namespace, "worked-on", 0).await?;

    for (name, propagation) in
        [("background", "Background"), ("foreground", "Foreground"), ("orphan", "Orphan")]
    {
        scene.api().delete("Deployment", namespace, name, propagation).await?.object()?;
        until(&format!("a {propagation} deletion"), PATIENCE, async || {
            ensure!(
                !scene.api().exists("Deployment", namespace, name).await?,
                "the Deployment is there"
            );
            let query = format!("labelSelector=app%3D{name}");
            let sets = scene.api().list("ReplicaSet", namespace, &query).await?.len();
            let wanted = usize::from(propagation == "Orphan");
            ensure!(sets == wanted, "{sets} ReplicaSets are left instead of {wanted}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Evicts the pod that was made by hand, as `kubectl drain` does.
async fn evicted(scene: &Scene, namespace: &str) -> Result<()> {
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "namespace": namespace, "name": "by-hand" },
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/by-hand/eviction");
    let body = serde_json::to_vec(&eviction)?;
    scene
        .api()
        .send("POST", &path, "application/json", body)
        .await?
        .object()
        .context("eviction")?;
    until("the end of the evicted pod", PATIENCE, async || {
        ensure!(!scene.api().exists("Pod", namespace, "by-hand").await?, "still there");
        Ok(())
    })
    .await
}

/// Waits until an app has this many pods, and gives them.
async fn pods_of(scene: &Scene, namespace: &str, app: &str, count: usize) -> Result<Vec<Value>> {
    until(&format!("{count} pods of {app}"), PATIENCE, async || {
        let pods =
            scene.api().list("Pod", namespace, &format!("labelSelector=app%3D{app}")).await?;
        ensure!(pods.len() == count, "there are {}", pods.len());
        Ok(pods)
    })
    .await
}

async fn recovery(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    let stored =
        scene.api().create(&labelled(workload("Deployment", &namespace, "legacy"), "true")).await?;
    ensure!(template(&stored)["metadata"]["labels"][NAME] == "true", "no label in the template");
    let pods = pods_of(scene, &namespace, "legacy", 1).await?;
    the_sidecar(&pods[0])?;
    without_webhook(scene, async || {
        // Its own pods are never sent to it.
        let own = |replicas: u32| json!({ "spec": { "replicas": replicas } });
        let query = format!("labelSelector=app.kubernetes.io%2Fname%3D{WEBHOOK}");
        for replicas in [0, 2] {
            scene.api().merge("Deployment", NAMESPACE, WEBHOOK, &own(replicas)).await?.object()?;
            until("the webhook's own pods", PATIENCE, async || {
                let pods = scene.api().list("Pod", NAMESPACE, &query).await?;
                ensure!(pods.len() == replicas as usize, "there are {}", pods.len());
                pods.iter().try_for_each(no_sidecar)
            })
            .await?;
        }
        // Legacy's pod goes, and can't come back for now.
        let name = pods[0]["metadata"]["name"].as_str().context("no name")?;
        scene.api().delete("Pod", &namespace, name, "Background").await?.object()?;
        until("the refusal of the next pod", PATIENCE, async || {
            let events = scene.api().list("Event", &namespace, "").await?;
            let refused = events.iter().any(|event| {
                let text = event["message"].as_str().unwrap_or_default();
                event["reason"] == "FailedCreate" && text.contains("pod.secret-handshake.dev")
            });
            if !refused {
                bail!("there is no such event yet");
            }
            Ok(())
        })
        .await
    })
    .await?;
    // The ReplicaSet tries again by itself, at longer and longer intervals.
    let pods = pods_of(scene, &namespace, "legacy", 1).await?;
    the_sidecar(&pods[0])?;
    Ok(())
}
