//! A workload's label on its way to the pods.

use super::prelude::*;

scenarios! {
    followed_client_side: ControlPlane, Together, "labels/followed-by-client-side-apply",
        "a Deployment's label reaches its pods: at first, later, changed, removed; diffs are empty, one rollout each";
    followed_server_side: ControlPlane, Together, "labels/followed-by-server-side-apply",
        "the same with server-side apply";
    of_the_template_stays: ControlPlane, Together, "labels/of-the-template-stays",
        "a template's own label is its author's, whatever the Deployment says";
    every_kind: ControlPlane, Together, "labels/every-kind",
        "StatefulSet, DaemonSet, ReplicaSet, Job and CronJob pass their label on";
    job_update: ControlPlane, Together, "labels/job-update",
        "a Job can be labelled, suspended and resumed: its template is left alone";
    commands: ControlPlane, Together, "labels/commands",
        "kubectl label, scale, set image, rollout restart and edit work on a labelled Deployment";
}

const NOTE: &str = "secret-handshake/label-copied";

async fn followed_client_side(scene: &Scene) -> Result<()> {
    followed(scene, &["apply", "-f", "-"], &["diff", "-f", "-"]).await
}

async fn followed_server_side(scene: &Scene) -> Result<()> {
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let diff = ["diff", "--server-side", "--force-conflicts", "-f", "-"];
    followed(scene, &apply, &diff).await
}

/// Takes a Deployment through all that can happen to its label, as its author applies it.
async fn followed(scene: &Scene, apply: &[&str], diff: &[&str]) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    let deployment = || workload("Deployment", &namespace, "legacy");
    let steps = [
        ("with the label", labelled(deployment(), "true"), Some("true")),
        ("with it changed", labelled(deployment(), "false"), Some("false")),
        ("with it changed back", labelled(deployment(), "yes"), Some("yes")),
        ("with it removed", deployment(), None),
        ("with it put on later", labelled(deployment(), "later"), Some("later")),
    ];
    for (number, (step, manifest, label)) in (1_u64..).zip(steps) {
        scene.kubectl().run_with(apply, &manifest.to_string()).await.context(step)?;
        let stored = scene.api().get("Deployment", &namespace, "legacy").await?;
        let copied = template(&stored)["metadata"]["labels"][NAME].as_str();
        ensure!(copied == label, "{step}: the template's label is {copied:?}");
        let note = stored["metadata"]["annotations"][NOTE].as_str();
        ensure!(note == label, "{step}: the note says {note:?}");

        // What was applied is what is there, as far as its author can see. The controller may be
        // writing the status at this very moment.
        until("an empty kubectl diff", PATIENCE, async || {
            let printed = scene.kubectl().call(diff, &manifest.to_string()).await?;
            ensure!(printed.success, "it finds\n{}{}", printed.stdout, printed.stderr);
            Ok(())
        })
        .await
        .context(step)?;
        scene.kubectl().run_with(apply, &manifest.to_string()).await.context(step)?;

        // One rollout for each step, none by itself: a generation and a ReplicaSet each.
        let set = settled(scene, &namespace, number).await.context(step)?;
        let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().context("no hash")?;
        let newest = format!("pod-template-hash={hash}");
        let pod = scene.a_pod(&namespace, &newest).await.context(step)?;
        match label {
            Some("false") | None => no_sidecar(&pod).context(step)?,
            Some(_) => drop(the_sidecar(&pod).context(step)?),
        }
    }
    let events = scene.cluster().audit()?.events(&namespace)?;
    let of_sets = events.iter().filter(|event| event.object_ref.resource == "replicasets");
    for event in of_sets.filter(|event| event.verb != "get") {
        let calls = event.webhook_calls()?;
        ensure!(calls.is_empty(), "a ReplicaSet of a Deployment went to {}", calls[0].webhook);
    }
    Ok(())
}

/// Waits until the Deployment's controller has seen generation `number`, and gives the ReplicaSet of it.
async fn settled(scene: &Scene, namespace: &str, number: u64) -> Result<Value> {
    until("the rollout", PATIENCE, async || {
        let deployment = scene.api().get("Deployment", namespace, "legacy").await?;
        let generation = deployment["metadata"]["generation"].as_u64();
        ensure!(generation == Some(number), "its generation is {generation:?} instead of {number}");
        ensure!(deployment["status"]["observedGeneration"] == number, "not seen yet");
        let revision = |object: &Value| {
            object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone()
        };
        let sets = scene.api().list("ReplicaSet", namespace, "").await?;
        let count = sets.len() as u64;
        ensure!(count <= number, "there are {count} ReplicaSets after {number} steps");
        let mut sets = sets.into_iter();
        sets.find(|set| revision(set) == revision(&deployment))
            .context("there is no ReplicaSet of this revision yet")
    })
    .await
}

async fn of_the_template_stays(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    for (name, own, templates) in
        [("a", "true", "off"), ("b", "false", "true"), ("c", "true", ""), ("d", "true", "true")]
    {
        let mut deployment = labelled(workload("Deployment", &namespace, name), own);
        deployment["spec"]["template"]["metadata"]["labels"][NAME] = json!(templates);
        scene.api().create(&deployment).await?;
        // Changed and taken away, it still does not matter.
        for label in [json!("disabled"), Value::Null] {
            let patch = json!({ "metadata": { "labels": { NAME: label } } });
            let stored = scene.api().merge("Deployment", &namespace, name, &patch).await?;
            let label = template(&stored)["metadata"]["labels"][NAME].as_str();
            ensure!(label == Some(templates), "{name}: the template's label is {label:?}");
            ensure!(stored["metadata"]["annotations"][NOTE].is_null(), "{name}: there is a note");
            ensure!(stored["metadata"]["generation"] == 1, "{name}: a rollout");
        }
    }
    Ok(())
}

async fn every_kind(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    // A DaemonSet has a pod for each node, ready or not.
    let node = format!("e2e-{}", scene.number());
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } });
    scene.create_outside(&node).await?;
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"] {
        let name = kind.to_lowercase();
        let workload = labelled(workload(kind, &namespace, &name), "true");
        let stored = scene.api().create(&workload).await?;
        let label = &template(&stored)["metadata"]["labels"][NAME];
        ensure!(label == "true", "{kind}: the template's label is {label}");
        ensure!(stored["metadata"]["annotations"][NOTE] == "true", "{kind}: no note");
        if kind == "CronJob" {
            let job = ["create", "job", "nightly", "--from=cronjob/cronjob", "-n", &namespace];
            scene.kubectl().run(&job).await?;
        }
    }
    for (kind, selector) in [
        ("Deployment", "app=deployment"),
        ("StatefulSet", "app=statefulset"),
        ("DaemonSet", "app=daemonset"),
        ("ReplicaSet", "app=replicaset"),
        ("Job", "job-name=job"),
        ("CronJob", "job-name=nightly"),
    ] {
        let pod = scene.a_pod(&namespace, selector).await.context(kind)?;
        let sidecar = the_sidecar(&pod).context(kind)?;
        let native = sidecar["restartPolicy"] == "Always";
        let ends = matches!(kind, "Job" | "CronJob");
        ensure!(native == ends, "{kind}: that the sidecar is native is {native}");
    }
    Ok(())
}

async fn job_update(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    let mut job = workload("Job", &namespace, "job");
    job["spec"]["suspend"] = json!(true);
    scene.api().create(&job).await?;
    // Its template has no label, so a copy would be due, and would be refused.
    for value in ["true", "off", "other"] {
        let label = format!("{NAME}={value}");
        scene.kubectl().run(&["label", "--overwrite", "job/job", &label, "-n", &namespace]).await?;
    }
    for suspend in [false, true, false] {
        let patch = json!({ "spec": { "suspend": suspend } });
        scene.api().merge("Job", &namespace, "job", &patch).await?;
    }
    no_sidecar(&scene.a_pod(&namespace, "").await?)?;
    for event in scene.cluster().audit()?.events(&namespace)? {
        if event.object_ref.resource == "jobs" && event.verb != "create" {
            let calls = event.webhook_calls()?;
            ensure!(calls.is_empty(), "a Job's {} went to {}", event.verb, calls[0].webhook);
        }
    }
    Ok(())
}

async fn commands(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    scene.api().create(&workload("Deployment", &namespace, "legacy")).await?;
    for command in [
        &["label", "deployment/legacy", "secret-handshake=true"][..],
        &["scale", "deployment/legacy", "--replicas=2"],
        &["set", "image", "deployment/legacy", "legacy=legacy-mock:2"],
        &["rollout", "restart", "deployment/legacy"],
        &["annotate", "deployment/legacy", "a=b"],
        &["set", "env", "deployment/legacy", "A=b"],
        &["rollout", "undo", "deployment/legacy"],
    ] {
        scene.kubectl().run(&[command, &["-n", &namespace]].concat()).await?;
    }
    let stored = scene.api().get("Deployment", &namespace, "legacy").await?;
    ensure!(template(&stored)["metadata"]["labels"][NAME] == "true", "the label is gone");
    // A pod by hand, for comparison: nobody's label, no sidecar.
    no_sidecar(&scene.api().create(&pod(&namespace, "by-hand")).await?)?;
    let injected = |pods: &[&Value]| {
        let with = pods.iter().filter(|pod| the_sidecar(pod).is_ok()).count();
        ensure!(with >= 2, "{with} pods of {} have a sidecar", pods.len());
        Ok(())
    };
    scene.api().wait_all(("Pod", &namespace, "app=legacy"), PATIENCE, injected).await
}
