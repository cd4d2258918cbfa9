//! How often the webhook is called for a pod, and what other parts of the API server make of the
//! sidecar.

use lab::cluster::audit::{Call, Event, ObjectRef};

use super::other::{self, OtherWebhook, PROXY_PORT};
use super::prelude::*;

scenarios! {
    no_token_and_one_call: ControlPlane, Together, "calls/no-token-and-one-call",
        "no service-account token in the sidecar, in either mode, and one call for a pod";
    default_of_a_limit_range: ControlPlane, Together, "calls/default-of-a-limit-range",
        "where a LimitRange changes the injected pod the second call changes nothing";
    reinvocation: ControlPlane, Alone, "calls/reinvocation",
        "another webhook that changes the pod afterwards makes no second sidecar";
    before_istio: ControlPlane, Alone, "calls/before-istio",
        "a stand-in for Istio's injector, which is never called again, sees the sidecar and rewrites its probe";
}

/// Where the API server mounts a token, unless something is there.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The calls of all webhooks for a pod that was created.
async fn calls(scene: &Scene, stored: &Value) -> Result<Vec<Call>> {
    let [name, namespace] = [&stored["metadata"]["name"], &stored["metadata"]["namespace"]];
    let namespace = namespace.as_str().context("no namespace")?;
    let creation = |event: &Event| {
        let ObjectRef { resource, subresource, name: about, .. } = &event.object_ref;
        event.verb == "create" && resource == "pods" && subresource.is_empty() && name == about
    };
    scene.audited(namespace, 1, creation).await?[0].webhook_calls()
}

/// The calls of ours for a pod that was created.
async fn our_calls(scene: &Scene, stored: &Value) -> Result<Vec<Call>> {
    let mut calls = calls(scene, stored).await?;
    calls.retain(|call| call.configuration == CONFIGURATION);
    Ok(calls)
}

/// Creates pods until one has been seen by the other webhook, and gives that one.
async fn seen_by_another(scene: &Scene, pod: &Value) -> Result<Value> {
    let mut pod = pod.clone();
    until("the other webhook", PATIENCE, async || {
        pod["metadata"]["name"] = json!(format!("pod-{}", scene.number()));
        let stored = scene.injected(&pod).await?;
        let seen = stored["metadata"]["annotations"]["other.example.com/was-here"] == "true";
        ensure!(seen, "it is not called yet");
        Ok(stored)
    })
    .await
}

async fn no_token_and_one_call(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    for (name, restart, mode) in [
        ("classic", "Always", "auto"),
        ("native", "Never", "auto"),
        ("ends", "OnFailure", "native"),
        ("forever", "Always", "native"),
    ] {
        let mut pod = pod(&namespace, name);
        pod["spec"]["restartPolicy"] = json!(restart);
        let stored = scene.api().create(&in_mode(pod, mode)).await?;
        let sidecar = the_sidecar(&stored)?;
        let mounts = |container: &Value| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let all = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().map(|mount| (text(&mount["mountPath"]), text(&mount["name"]))).collect()
        };
        let at = |container: &Value| {
            mounts(container).into_iter().filter(|(path, _)| path == TOKEN).collect::<Vec<_>>()
        };
        let legacys = at(&stored["spec"]["containers"][0]);
        ensure!(
            legacys.len() == 1 && legacys[0].1.starts_with("kube-api-access-"),
            "{name}: Legacy's token is {legacys:?}"
        );
        let sidecars = at(sidecar);
        ensure!(
            sidecars == [(TOKEN.to_owned(), "secret-handshake-no-token".to_owned())],
            "{name}: the sidecar has {sidecars:?} where a token would be"
        );
        let mounts = mounts(sidecar);
        let with_token = mounts.iter().any(|(_, volume)| volume.starts_with("kube-api-access-"));
        ensure!(!with_token, "{name}: the sidecar has a token elsewhere");
        let calls = our_calls(scene, &stored).await?;
        ensure!(calls.len() == 1 && calls[0].mutated, "{name}: the calls were {calls:?}");
    }
    Ok(())
}

async fn default_of_a_limit_range(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let (defaults, requests) =
        (json!({ "cpu": "200m", "memory": "64Mi" }), json!({ "cpu": "100m", "memory": "32Mi" }));
    let limits = json!({ "default": defaults, "defaultRequest": requests });
    scene.api().create(&limit_range(&namespace, &limits)).await?;
    // The plugin's own view of the ranges lags a little: a pod of which it knows comes out with limits.
    let stored = until("the LimitRange", PATIENCE, async || {
        let name = format!("pod-{}", scene.number());
        let stored = scene.api().create(&pod(&namespace, &name)).await?;
        let limited = stored["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "200m";
        ensure!(limited, "it has no effect yet");
        Ok(stored)
    })
    .await?;
    let sidecar = the_sidecar(&stored)?;
    ensure!(!sidecar["resources"]["limits"]["memory"].is_null(), "the sidecar has no limit");
    let calls = our_calls(scene, &stored).await?;
    let changed = calls.iter().filter(|call| call.mutated).count();
    ensure!(calls.len() <= 2 && changed == 1, "the calls were {calls:?}");
    Ok(())
}

async fn reinvocation(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true"), ("other-webhook", "yes")]).await?;
    let other = OtherWebhook::start(scene.cluster().scratch(), other::mark)?;
    // It is called after ours: configurations are called in the order of their names.
    let configuration = other.configuration("zz-other", ("other-webhook", "yes"));
    scene.create_outside(&configuration).await?;
    let stored = seen_by_another(scene, &labelled(pod(&namespace, ""), "true")).await?;
    ensure!(other.calls() >= 1, "the other webhook has not been called");
    let volumes = stored["spec"]["volumes"].as_array().context("no volumes")?;
    let names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    let ours_there = names.filter(|name| name.starts_with(NAME)).count();
    ensure!(ours_there == 2, "{ours_there} volumes of ours instead of two");
    let calls = our_calls(scene, &stored).await?;
    let mutated: Vec<bool> = calls.iter().map(|call| call.mutated).collect();
    ensure!(mutated == [true, false], "we were called and changed the pod: {mutated:?}");
    Ok(())
}

async fn before_istio(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true"), ("istio-injection", "enabled")]).await?;
    let istio = OtherWebhook::start(scene.cluster().scratch(), other::rewrite_probes)?;
    let name = "istio-sidecar-injector";
    scene.create_outside(&istio.configuration(name, ("istio-injection", "enabled"))).await?;
    for mode in ["classic", "native"] {
        let stored = seen_by_another(scene, &in_mode(pod(&namespace, ""), mode)).await?;
        let probe = &the_sidecar(&stored)?["readinessProbe"]["httpGet"];
        ensure!(probe["port"] == PROXY_PORT, "{mode}: it has not seen the probe {probe}");
        let calls = calls(scene, &stored).await?;
        let order: Vec<&str> = calls.iter().map(|call| call.configuration.as_str()).collect();
        ensure!(order.starts_with(&[CONFIGURATION, name]), "{order:?}");
    }
    Ok(())
}
