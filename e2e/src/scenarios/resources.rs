//! What a pod has as a whole (KEP-2837), beside what a LimitRange gives to each container.

use cli::inject::{InjectArgs, inject};
use injection::Policy;

use super::prelude::*;

scenarios! {
    beside_a_limit_range: ControlPlane, Together, "resources/of-the-pod-beside-a-limit-range",
        "pod-level resources and a LimitRange's defaults: admitted in either mode, the class stays";
    in_a_manifest: ControlPlane, Together, "resources/of-the-pod-in-a-manifest",
        "a manifest that sets pod-level limits alone keeps its class when it is injected offline";
}

/// A pod with resources as a whole, requested and limited alike, and with those of its container.
fn pod_of(namespace: &str, name: &str, whole: &Value, legacys: &Value) -> Value {
    let mut pod = pod(namespace, name);
    pod["spec"]["resources"] = json!({ "requests": whole, "limits": whole });
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": legacys, "limits": legacys });
    pod
}

async fn beside_a_limit_range(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let defaults = json!({ "cpu": "500m", "memory": "512Mi" });
    let limits = json!({ "default": defaults, "defaultRequest": defaults });
    scene.api().create(&limit_range(&namespace, &limits)).await?;
    until("the LimitRange", PATIENCE, async || {
        let bare = labelled(pod(&namespace, "bare"), "false");
        let stored = scene.api().dry_run(&bare).await?;
        let limits = &stored["spec"]["containers"][0]["resources"]["limits"];
        ensure!(*limits == defaults, "it has no effect yet");
        Ok(())
    })
    .await?;
    for (name, whole, legacys, limits) in [
        ("roomy", ["1", "1Gi"], ["800m", "800Mi"], ["50m", "12Mi"]),
        ("below-the-default", ["400m", "400Mi"], ["300m", "300Mi"], ["50m", "12Mi"]),
        ("below-the-sidecars", ["20m", "8Mi"], ["20m", "8Mi"], ["20m", "8Mi"]),
    ] {
        let both = |[cpu, memory]: [&str; 2]| json!({ "cpu": cpu, "memory": memory });
        for mode in ["classic", "native"] {
            let case = format!("{name}-{mode}");
            let sent = pod_of(&namespace, &case, &both(whole), &both(legacys));
            let stored = scene.api().create(&in_mode(sent, mode)).await.context(case.clone())?;
            let own = &the_sidecar(&stored)?["resources"];
            let expected = json!({ "requests": both(["0", "0"]), "limits": both(limits) });
            ensure!(*own == expected, "{case}: the sidecar has {own}");
            let class = &stored["status"]["qosClass"];
            ensure!(class == "Guaranteed", "{case}: {class}");
        }
    }
    Ok(())
}

async fn in_a_manifest(scene: &Scene) -> Result<()> {
    let (plain, labelled) =
        (scene.namespace(&[]).await?, scene.namespace(&[(NAME, "true")]).await?);
    let whole = json!({ "cpu": "1", "memory": "1Gi" });
    for (name, legacys) in [
        ("alone", json!({})),
        ("limits", json!({ "limits": { "cpu": "800m", "memory": "800Mi" } })),
        ("requests", json!({ "requests": { "cpu": "800m" } })),
    ] {
        let mut manifest = pod(&plain, name);
        manifest["spec"]["resources"] = json!({ "limits": whole });
        manifest["spec"]["containers"][0]["resources"] = legacys;
        let args = InjectArgs { namespace_label: Some("true".to_owned()), ..InjectArgs::default() };
        let injected = inject(&manifest.to_string(), &args, Policy::default())?.manifests;
        let injected: Value = serde_json::from_str(&injected)?;
        the_sidecar(&injected)?;
        let without = scene.api().dry_run(&manifest).await?;
        let offline = scene.api().dry_run(&injected).await.context("injected offline")?;
        manifest["metadata"]["namespace"] = json!(labelled);
        let online = scene.api().dry_run(&manifest).await.context("injected in the cluster")?;
        the_sidecar(&online)?;
        for (way, with) in [("offline", offline), ("in the cluster", online)] {
            for field in ["/status/qosClass", "/spec/resources"] {
                let (with, without) = (with.pointer(field), without.pointer(field));
                ensure!(with == without, "{name}, {way}: {field} is {with:?}, not {without:?}");
            }
        }
    }
    Ok(())
}
