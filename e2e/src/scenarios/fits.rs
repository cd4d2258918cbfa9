//! Pods of every kind, in namespaces with every kind of rule: the sidecar fits in, and everything that
//! was there stays as it was.

use super::prelude::*;

scenarios! {
    pod_security: ControlPlane, Together, "fits/pod-security",
        "namespaces that enforce `restricted` and `baseline` admit the injected pod, in either mode";
    quality_of_service: ControlPlane, Together, "fits/quality-of-service",
        "Guaranteed stays Guaranteed, Burstable Burstable, BestEffort BestEffort; pod-level resources too";
    quotas: ControlPlane, Together, "fits/quotas",
        "a quota on each of the four values that Legacy satisfies is satisfied with the sidecar";
    large_minimum: ControlPlane, Together, "fits/limit-range",
        "a LimitRange's minimum above the sidecar's size: the annotations answer it";
    everything: ControlPlane, Together, "fits/everything-a-pod-can-have",
        "priority, tolerations, topology, init containers, sidecars, all volumes, names in any script: kept as sent";
    large_pods: ControlPlane, Together, "fits/large-pods",
        "50 containers, and a pod near the size that the API server takes";
    ways_to_create: ControlPlane, Together, "fits/ways-to-create",
        "generateName, dry run, server-side apply, kubectl run and create";
}

const MODES: [&str; 2] = ["classic", "native"];

async fn pod_security(scene: &Scene) -> Result<()> {
    for level in ["restricted", "baseline"] {
        let [enforce, warn] =
            ["enforce", "warn"].map(|what| format!("pod-security.kubernetes.io/{what}"));
        let labels = [(NAME, "true"), (&enforce, level), (&warn, level)];
        let namespace = scene.namespace(&labels).await?;
        for mode in MODES {
            let sent = match level {
                "restricted" => restricted_pod(&namespace, mode),
                _ => pod(&namespace, mode),
            };
            let printed = scene.create(&in_mode(sent, mode)).await?;
            let warnings = printed.warnings();
            ensure!(printed.success, "{level}, {mode}: {}", printed.stderr);
            ensure!(warnings.is_empty(), "{level}, {mode}: warned of {warnings:?}");
            the_sidecar(&scene.api().get("Pod", &namespace, mode).await?)?;
        }
        // A pod that says the worst about its containers' user: the sidecar says better of itself.
        if level == "baseline" {
            let mut root = pod(&namespace, "root");
            root["spec"]["securityContext"] = json!({ "runAsUser": 0 });
            scene.injected(&root).await?;
        }
    }
    Ok(())
}

async fn quality_of_service(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let both = json!({ "cpu": "100m", "memory": "64Mi" });
    let some = json!({ "requests": { "cpu": "100m" }, "limits": { "memory": "64Mi" } });
    for (name, resources, class) in [
        ("none", json!({}), "BestEffort"),
        ("all", json!({ "requests": both, "limits": both }), "Guaranteed"),
        ("limits", json!({ "limits": both }), "Guaranteed"),
        ("requests", json!({ "requests": both }), "Burstable"),
        ("some", some, "Burstable"),
    ] {
        for mode in MODES {
            let mut pod = in_mode(pod(&namespace, &format!("{name}-{mode}")), mode);
            pod["spec"]["containers"][0]["resources"] = resources.clone();
            let stored = scene.injected(&pod).await?;
            let found = stored["status"]["qosClass"].as_str();
            ensure!(found == Some(class), "{name}, {mode}: {found:?} instead of {class}");
        }
    }
    for mode in MODES {
        let mut pod = in_mode(pod(&namespace, &format!("of-the-pod-{mode}")), mode);
        pod["spec"]["resources"] = json!({ "requests": both, "limits": both });
        let stored = scene.injected(&pod).await?;
        ensure!(stored["status"]["qosClass"] == "Guaranteed", "pod-level resources, {mode}");
    }
    Ok(())
}

async fn quotas(scene: &Scene) -> Result<()> {
    for (place, kind, value) in [
        ("requests", "cpu", "200m"),
        ("limits", "cpu", "200m"),
        ("requests", "memory", "100Mi"),
        ("limits", "memory", "100Mi"),
    ] {
        let namespace = scene.namespace(&[(NAME, "true")]).await?;
        let counted = format!("{place}.{kind}");
        quota(scene, &namespace, &json!({ &counted: value })).await?;
        for mode in MODES {
            let mut pod = in_mode(pod(&namespace, mode), mode);
            let mine = if kind == "cpu" { "20m" } else { "10Mi" };
            pod["spec"]["containers"][0]["resources"][place][kind] = json!(mine);
            let stored = scene.api().create(&pod).await.context(counted.clone())?;
            let own = &the_sidecar(&stored)?["resources"][place][kind];
            ensure!(!own.is_null(), "{counted} is not set in {mode} mode");
        }
    }
    // All four at once, as a cautious administrator has it.
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let all = json!({
        "requests.cpu": "1", "limits.cpu": "1", "requests.memory": "1Gi", "limits.memory": "1Gi",
        "pods": "5",
    });
    quota(scene, &namespace, &all).await?;
    let mut pod = pod(&namespace, "all");
    pod["spec"]["containers"][0]["resources"] = json!({
        "limits": { "cpu": "50m", "memory": "32Mi" },
        "requests": { "cpu": "10m", "memory": "32Mi" },
    });
    scene.injected(&pod).await.map(drop)
}

async fn quota(scene: &Scene, namespace: &str, hard: &Value) -> Result<()> {
    let spec = json!({ "hard": hard });
    scene.api().create(&object("v1", "ResourceQuota", namespace, "quota", &spec)).await?;
    let counts = |quota: &Value| {
        ensure!(quota["status"]["hard"] == quota["spec"]["hard"], "it does not count yet");
        Ok(())
    };
    scene.api().wait(("ResourceQuota", namespace, "quota"), PATIENCE, counts).await?;
    // It does count: a pod that says nothing is refused, and that without any sidecar.
    let bare = labelled(pod(namespace, "bare"), "false");
    until("the quota's effect", PATIENCE, async || {
        let refused = scene.api().refusal(&bare).await?;
        ensure!(refused.code == 403, "a pod that says nothing: {refused}");
        Ok(())
    })
    .await
}

async fn large_minimum(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let least = json!({ "min": { "cpu": "100m", "memory": "64Mi" } });
    scene.api().create(&limit_range(&namespace, &least)).await?;
    let limits = json!({ "limits": { "cpu": "200m", "memory": "128Mi" } });
    let legacy = |name: &str| {
        let mut pod = pod(&namespace, name);
        pod["spec"]["containers"][0]["resources"] = limits.clone();
        pod
    };
    let refused = until("the LimitRange's effect", PATIENCE, async || {
        scene.api().refusal(&legacy("too-small")).await
    })
    .await?;
    ensure!(refused.code == 403 && refused.message.contains("minimum"), "{refused}");
    for mode in MODES {
        let pod = annotated(legacy(mode), "secret-handshake/cpu", "100m");
        let pod = in_mode(annotated(pod, "secret-handshake/memory", "64Mi"), mode);
        let stored = scene.api().create(&pod).await?;
        let own = &the_sidecar(&stored)?["resources"];
        let asked = json!({ "cpu": "100m", "memory": "64Mi" });
        ensure!(own["limits"] == asked, "the sidecar has {own}");
        ensure!(stored["status"]["qosClass"] == "Guaranteed", "{}", stored["status"]["qosClass"]);
    }
    Ok(())
}

fn rich_pod(namespace: &str, name: &str, class: &str) -> Result<Value> {
    let mut pod: Value = serde_saphyr::from_str(include_str!("rich-pod.yaml"))?;
    pod["metadata"]["namespace"] = json!(namespace);
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["priorityClassName"] = json!(class);
    Ok(pod)
}

async fn everything(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let class = format!("e2e-{}", scene.number());
    let priority = json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": { "name": class },
        "value": 1000,
    });
    scene.create_outside(&priority).await?;
    for mode in MODES {
        let sent = in_mode(rich_pod(&namespace, mode, &class)?, mode);
        let stored = scene.injected(&sent).await?;
        kept(&sent, &stored, mode)?;
        let containers = stored["spec"]["containers"].as_array().context("no containers")?.len();
        let inits = stored["spec"]["initContainers"].as_array().context("none")?.len();
        let expected = if mode == "native" { (2, 4) } else { (3, 3) };
        ensure!((containers, inits) == expected, "{containers} and {inits} (init) containers");
        let priority = &stored["spec"]["priority"];
        ensure!(priority == 1000, "the priority is {priority}");
        // The finalizer would keep it for ever.
        let none = json!({ "metadata": { "finalizers": null } });
        scene.api().merge("Pod", &namespace, mode, &none).await?;
    }
    Ok(())
}

async fn large_pods(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    for mode in MODES {
        let mut many = in_mode(pod(&namespace, &format!("many-{mode}")), mode);
        many["spec"]["containers"] =
            (0..50).map(|n| json!({ "name": format!("c{n}"), "image": "x" })).collect();
        kept(&many, &scene.injected(&many).await?, mode)?;

        // etcd takes 1.5 MiB in a request; the rest is left for what the API server adds.
        let mut large = in_mode(pod(&namespace, &format!("large-{mode}")), mode);
        large["spec"]["containers"][0]["env"] = (0..1300)
            .map(|n| json!({ "name": format!("V{n}"), "value": "ä".repeat(500) }))
            .collect();
        let size = large.to_string().len();
        ensure!(size > 1_200_000, "only {size} bytes");
        kept(&large, &scene.injected(&large).await?, mode)?;
    }
    Ok(())
}

async fn ways_to_create(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let mut generated = pod(&namespace, "");
    generated["metadata"] = json!({ "namespace": namespace, "generateName": "generated-" });
    scene.injected(&generated).await?;

    the_sidecar(&scene.api().dry_run(&pod(&namespace, "dry")).await?)?;
    ensure!(!scene.api().exists("Pod", &namespace, "dry").await?, "a dry run has left a pod");

    let applied = pod(&namespace, "applied");
    for _ in 0..2 {
        // The second time nothing is left to do, and nothing of the sidecar is taken away.
        the_sidecar(&scene.api().apply(&applied, "e2e").await?)?;
    }
    scene.kubectl().run(&["run", "by-hand", "--image=legacy-mock", "-n", &namespace]).await?;
    the_sidecar(&scene.api().get("Pod", &namespace, "by-hand").await?)?;
    let client = pod(&namespace, "client").to_string();
    scene.kubectl().run_with(&["apply", "-f", "-"], &client).await?;
    let printed = scene.kubectl().call(&["diff", "-f", "-"], &client).await?;
    ensure!(printed.success, "kubectl diff of a pod finds\n{}", printed.stdout);
    Ok(())
}
