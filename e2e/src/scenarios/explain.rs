//! `kubectl secret-handshake explain`: what it says is what happens.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::until::until;
use serde_json::{Value, json};

use super::objects::{NAME, labelled, no_sidecar, pod, sidecar, the_sidecar, workload};
use super::running::{HALF, legacy_deployment, ready_app, set_half};
use super::scenarios;
use super::scene::{PATIENCE, Scene};
use super::selection::{LABELS, admitted, audited, cases, describe};
use crate::product::Product;
use crate::product::tool::Tool;

scenarios! {
    manifests: ControlPlane, Together, "explain/manifests",
        "namespace x workload x pod label: of each manifest it says what the API server does";
    pods: ControlPlane, Together, "explain/pods",
        "namespace x pod label: of each pod it names the entry and the verdict that it really had";
    workloads: ControlPlane, Together, "explain/workloads",
        "each kind of workload, under each name that kubectl has for it";
    older: ControlPlane, Together, "explain/older",
        "a pod that is older than its namespace's label";
    running: Node, Together, "explain/running",
        "a pod that runs: sidecar, image, log, Secret, Ready; one without: the command that it gives helps";
}

async fn manifests(scene: &Scene) -> Result<()> {
    let tool = Tool::build(scene.kubectl()).await?;
    let mut namespaces = BTreeMap::new();
    let mut objects = Vec::new();
    for label in LABELS {
        let labels: Vec<_> = label.iter().map(|value| (NAME, *value)).collect();
        let name = scene.namespace(&labels).await?;
        objects.push(scene.api().get("Namespace", "", &name).await?);
        namespaces.insert(label, name);
    }
    let cases = cases();
    objects.extend(cases.iter().map(|case| case.manifest(&namespaces[&case.namespace])));
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let told = tool.json(&["explain", "-f", "-"], &list.to_string()).await?;
    let told = told.as_array().context("no list")?.iter().skip(LABELS.len());

    let mut there = Vec::new();
    for case in &cases {
        there.push(admitted(scene, &namespaces[&case.namespace], case).await?);
    }
    let events = audited(scene, &cases, &namespaces).await?;
    let mut compared = 0;
    for ((case, story), there) in cases.iter().zip(told).zip(there) {
        let namespace = &namespaces[&case.namespace];
        let about = |it: &lab::cluster::audit::ObjectRef| {
            it.resource == "pods" && it.name == case.name && it.namespace == *namespace
        };
        let event = events.iter().find(|event| about(&event.object_ref));
        let calls = event.context("no audit line")?.webhook_calls()?;
        let called = calls.first().map(|call| call.webhook.as_str());
        let case = describe(case);
        ensure!(story["entry"].as_str() == called, "{case}: {called:?} was called, not {story}");
        let verdict = if there { "sidecar" } else { "none" };
        ensure!(story["verdict"] == verdict, "{case}: a sidecar is there: {there}, but {story}");
        compared += 1;
    }
    ensure!(compared == cases.len(), "{compared} of {} were told", cases.len());
    Ok(())
}

async fn pods(scene: &Scene) -> Result<()> {
    let tool = Tool::build(scene.kubectl()).await?;
    for namespace_label in LABELS {
        let labels: Vec<_> = namespace_label.iter().map(|value| (NAME, *value)).collect();
        let namespace = scene.namespace(&labels).await?;
        for (number, label) in LABELS.into_iter().enumerate() {
            let name = format!("pod-{number}");
            let mut pod = pod(&namespace, &name);
            if let Some(label) = label {
                pod = labelled(pod, label);
            }
            let created = scene.api().create(&pod).await?;
            let calls = until("the audit log", Duration::from_secs(20), async || {
                let mut events = scene.cluster().audit()?.events(&namespace)?;
                events.retain(|event| {
                    event.verb == "create"
                        && event.object_ref.resource == "pods"
                        && event.object_ref.name == name
                });
                events.first().context("no audit line")?.webhook_calls()
            });
            let calls = calls.await?;
            let arguments = ["explain", &format!("pod/{name}"), "-n", &namespace];
            let story = tool.json(&arguments, "").await?;
            let case = format!("namespace {namespace_label:?}, pod {label:?}");
            let called = calls.first().map(|call| call.webhook.as_str());
            ensure!(
                story["entry"].as_str() == called,
                "{case}: {called:?} was called, not {story}"
            );
            let there = sidecar(&created);
            let verdict = if there.is_some() { "sidecar" } else { "none" };
            ensure!(story["verdict"] == verdict, "{case}: {verdict} in truth, but {story}");
            let image = there.map_or(&Value::Null, |sidecar| &sidecar["image"]);
            ensure!(story["sidecar"]["image"] == *image, "{case}: the image is {image}: {story}");
            ensure!(story["missing"] == false, "{case}: nothing is missing: {story}");
        }
    }
    Ok(())
}

async fn workloads(scene: &Scene) -> Result<()> {
    let tool = Tool::build(scene.kubectl()).await?;
    let namespace = scene.namespace(&[]).await?;
    for (kind, names) in [
        ("Deployment", &["deploy", "deployment", "deployments", "deployments.apps"][..]),
        ("StatefulSet", &["sts", "statefulset", "statefulsets"]),
        ("DaemonSet", &["ds", "daemonset"]),
        ("ReplicaSet", &["rs", "replicaset"]),
        ("Job", &["job", "jobs.batch"]),
        ("CronJob", &["cj", "cronjob"]),
    ] {
        let asks = format!("asks-{}", kind.to_lowercase());
        let asks_not = format!("asks-not-{}", kind.to_lowercase());
        scene.api().create(&labelled(workload(kind, &namespace, &asks), "true")).await?;
        scene.api().create(&workload(kind, &namespace, &asks_not)).await?;
        for name in names {
            for (object, verdict, entry) in [
                (&asks, "sidecar", json!("pod.secret-handshake.dev")),
                (&asks_not, "none", Value::Null),
            ] {
                let story = tool.json(&["explain", name, object, "-n", &namespace], "").await?;
                ensure!(story["kind"] == kind, "{name} is not {kind}: {story}");
                ensure!(story["verdict"] == verdict, "{name}/{object}: not {verdict}: {story}");
                ensure!(story["entry"] == entry, "{name}/{object}: not {entry}: {story}");
            }
        }
    }
    let missing = tool.call(&["explain", "deploy/nobody", "-n", &namespace], "").await?;
    ensure!(!missing.success, "it explains what is not there: {}", missing.stdout);
    ensure!(missing.stderr.contains("there is no Deployment nobody"), "{}", missing.stderr);
    Ok(())
}

async fn older(scene: &Scene) -> Result<()> {
    let tool = Tool::build(scene.kubectl()).await?;
    let namespace = scene.namespace(&[]).await?;
    no_sidecar(&scene.api().create(&pod(&namespace, "legacy")).await?)?;
    let arguments = ["explain", "pod/legacy", "-n", &namespace];
    let story = tool.json(&arguments, "").await?;
    ensure!(story["missing"] == false && story["notCalled"] == "not-asked", "{story}");
    // Times have seconds: within the first one nobody can tell.
    let mut label = 0;
    until("a label that is younger", PATIENCE, async || {
        label += 1;
        let value = format!("{NAME}=v{label}");
        scene.kubectl().run(&["label", "--overwrite", "namespace", &namespace, &value]).await?;
        let told = tool.run(&arguments, "").await?;
        ensure!(told.contains("the pod is older than the namespace's label"), "{told}");
        Ok(())
    })
    .await?;
    let story = tool.json(&arguments, "").await?;
    ensure!(story["missing"] == true && story["verdict"] == "sidecar", "{story}");
    Ok(())
}

async fn running(scene: &Scene) -> Result<()> {
    let tool = Tool::build(scene.kubectl()).await?;
    let namespace = scene.namespace(&[]).await?;
    let mut deployment = legacy_deployment(&namespace, "legacy", &[]);
    let labels = &mut deployment["spec"]["template"]["metadata"]["labels"];
    labels.as_object_mut().context("no labels")?.remove(NAME);
    scene.api().create(&deployment).await?;
    let pod = ready_app(scene, &namespace, "legacy").await?;
    no_sidecar(&pod)?;

    scene.kubectl().run(&["label", "namespace", &namespace, &format!("{NAME}=true")]).await?;
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    let story = explained(&tool, &namespace, name).await?;
    ensure!(story["missing"] == true && story["secret"]["there"] == false, "{story}");
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    let steps = story["todo"].as_array().context("nothing to do")?;
    let commands = steps.iter().filter_map(|step| step["command"].as_str());
    let restart =
        commands.filter(|command| command.contains("rollout restart")).collect::<String>();
    let words: Vec<&str> = restart.split_whitespace().skip(1).collect();
    scene.kubectl().run(&words).await?;
    let rollout = ["-n", &namespace, "rollout", "status", "deployment/legacy", "--timeout=120s"];
    scene.kubectl().run(&rollout).await?;

    let with_sidecar = |pods: &[&Value]| {
        let found = pods.iter().find(|pod| the_sidecar(pod).is_ok());
        found.map(|pod| (*pod).clone()).context("no pod has a sidecar")
    };
    let selected = ("Pod", namespace.as_str(), "app=legacy");
    let pod = scene.api().wait_all(selected, PATIENCE, with_sidecar).await?;
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    let image = Product::SIDECAR.reference();
    let story = explained(&tool, &namespace, name).await?;
    let is = json!({ "mode": "classic", "image": image, "ready": true, "restarts": 0 });
    ensure!(story["sidecar"] == is, "{story}");
    ensure!(story["ready"] == true && story["missing"] == false, "{story}");
    let secret = json!({ "name": NAME, "key": "half", "there": true });
    ensure!(story["secret"] == secret && story["todo"] == json!([]), "{story}");
    let told = tool.run(&["explain", "pod", name, "-n", &namespace], "").await?;
    for expected in [
        "namespace.secret-handshake.dev is called",
        &format!("a sidecar: a classic container with the image {image}"),
        "the image that new pods get",
        "running since ",
        "Ready since ",
        "the Secret secret-handshake is there, with the key half",
        "Legacy is initialised; ready",
    ] {
        ensure!(told.contains(expected), "{expected:?} is not in {told}");
    }
    ensure!(!told.contains(HALF), "the half is in {told}");
    ensure!(told.lines().count() <= 40, "more than a screen: {told}");
    scene.note(format!("\n{told}")).await;

    let namespaces = tool.json(&["explain", "ns", &namespace], "").await?;
    ensure!(namespaces["verdict"] == "sidecar" && namespaces["missing"] == false, "{namespaces}");
    Ok(())
}

async fn explained(tool: &Tool, namespace: &str, pod: &str) -> Result<Value> {
    tool.json(&["explain", "pod", pod, "-n", namespace], "").await
}
