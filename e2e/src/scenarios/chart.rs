//! The Helm chart, with both Helms that people have: what it renders to, what it refuses, and its life.

use std::collections::BTreeMap;

use lab::cluster::helm::Helm;
use lab::cluster::kubectl::Printed;
use lab::cluster::load::Load;
use serde::Deserialize;

use super::prelude::*;
use crate::folders::{cache, workspace};
use crate::product::install::CA_SECRET;
use crate::product::{VERSION, pods};

scenarios! {
    same_objects: ControlPlane, Together, "chart/same-objects",
        "`helm template` and `kubectl kustomize` give the same objects in either mode, but for the Namespace and labels";
    values: ControlPlane, Together, "chart/values",
        "each value of the chart ends up where it belongs";
    refused: ControlPlane, Together, "chart/refused-values",
        "misspelt and impossible values are refused, with their name";
    lint: ControlPlane, Together, "chart/lint",
        "`helm lint --strict` has nothing to say";
    helm_3: Node, Alone, "chart/helm-3",
        "Helm 3 installs, upgrades and rolls back under load with no pod refused, and uninstalls";
    helm_4: Node, Alone, "chart/helm-4",
        "the same with Helm 4, which applies on the server";
}

const HELM_3: &str = "3.22.0";
const HELM_4: &str = "4.3.1";
const CHART: &str = "deploy/chart";
const STEP: u64 = 60;
/// How many create pods at the same time.
const CLIENTS: usize = 4;

async fn helm(scene: &Scene, release: &'static str) -> Result<Helm> {
    Helm::new(cache()?, release, scene.kubectl()).await
}

fn chart() -> Result<&'static str> {
    static PATH: std::sync::LazyLock<std::path::PathBuf> =
        std::sync::LazyLock::new(|| workspace().join(CHART));
    PATH.to_str().context("the chart's path isn't UTF-8")
}

async fn template(helm: &Helm, values: &Value) -> Result<Printed> {
    // Built from its module, Helm 3 takes the cluster for one of 1.20 unless it is told. `mode: policy` needs 1.36.
    let template = ["template", "x", chart()?, "--kube-version", "1.36", "--values", "-"];
    helm.call(&[&template[..], &["--namespace", NAMESPACE]].concat(), &values.to_string()).await
}

/// The objects that the chart renders to with these values, by kind and name.
async fn rendered(helm: &Helm, values: &Value) -> Result<BTreeMap<String, Value>> {
    let printed = template(helm, values).await?;
    ensure!(printed.success, "{values}: {}", printed.stderr);
    let objects = serde_saphyr::from_multiple::<Value>(&printed.stdout)
        .with_context(|| format!("{values} does not render to YAML"))?;
    Ok(by_name(objects))
}

fn by_name(objects: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    let objects = objects.into_iter().filter(|object| !object.is_null());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = |object: Value| {
        (format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"])), object)
    };
    objects.map(named).collect()
}

async fn same_objects(scene: &Scene) -> Result<()> {
    for (folder, mode) in [("deploy/webhook", "webhook"), ("deploy/policy", "policy")] {
        let mut kustomized = by_name(install::render(scene.cluster(), folder).await?);
        kustomized.remove(&format!("Namespace {NAMESPACE}"));
        // kustomize does not know that this kind is in no namespace; the API server takes no notice.
        if let Some(schema) = kustomized.get_mut(&format!("FlowSchema {WEBHOOK}")) {
            schema["metadata"].as_object_mut().and_then(|metadata| metadata.remove("namespace"));
        }
        for release in [HELM_3, HELM_4] {
            let values = json!({ "mode": mode });
            let mut of_chart = rendered(&helm(scene, release).await?, &values).await?;
            for object in of_chart.values_mut() {
                let labels = object["metadata"]["labels"].as_object_mut().context("no labels")?;
                for own in ["instance", "version", "managed-by"] {
                    let label = labels.remove(&format!("app.kubernetes.io/{own}"));
                    label.with_context(|| format!("no label {own}"))?;
                }
                labels.remove("helm.sh/chart").context("no label helm.sh/chart")?;
            }
            ensure!(
                kustomized.keys().eq(of_chart.keys()),
                "{:?}\n{:?}",
                kustomized.keys(),
                of_chart.keys()
            );
            for (name, object) in &kustomized {
                ensure!(object == &of_chart[name], "{name}\n{object}\n{}", of_chart[name]);
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Row {
    values: Value,
    object: String,
    at: String,
    is: Value,
}

async fn values(scene: &Scene) -> Result<()> {
    let table = include_str!("chart_values.yaml").replace("VERSION", VERSION);
    let table: Vec<Row> = serde_saphyr::from_str(&table)?;
    for release in [HELM_3, HELM_4] {
        let helm = helm(scene, release).await?;
        for Row { values, object, at, is } in &table {
            let objects = rendered(&helm, values).await?;
            let found = objects.get(object).and_then(|object| object.pointer(at));
            let found = found.unwrap_or(&Value::Null);
            ensure!(found == is, "{values}: {object} has at {at} {found}");
        }
    }
    Ok(())
}

async fn refused(scene: &Scene) -> Result<()> {
    let table = [
        (json!({ "replicas": 3 }), "replicas"),
        (json!({ "mode": "both" }), "mode"),
        (json!({ "image": { "name": "x" } }), "name"),
        (json!({ "sidecar": { "tag": "x" } }), "tag"),
        (json!({ "image": { "digest": "latest" } }), "digest"),
        (json!({ "image": { "pullPolicy": "Sometimes" } }), "pullPolicy"),
        (json!({ "failurePolicy": "fail" }), "failurePolicy"),
        (json!({ "timeoutSeconds": 31 }), "timeoutSeconds"),
        (json!({ "defaults": { "ports": 1 } }), "ports"),
        (json!({ "defaults": { "mode": "sidecar" } }), "mode"),
        (json!({ "defaults": { "port": "http" } }), "port"),
        (json!({ "extraArgs": ["log-level=debug"] }), "extraArgs"),
        (json!({ "certificates": { "certManagerCertificate": "c" } }), "secretName"),
        (json!({ "networkPolicy": { "apiServerAddresses": ["10.0.0.1"] } }), "apiServerAddresses"),
        (json!({ "namespaceSelector": [{ "key": "a" }] }), "operator"),
        (json!({ "ports": { "https": 0 } }), "https"),
        (json!({ "resources": "none" }), "resources"),
    ];
    for release in [HELM_3, HELM_4] {
        let helm = helm(scene, release).await?;
        for (values, named) in &table {
            let printed = template(&helm, values).await?;
            ensure!(!printed.success, "{values} was taken by Helm {release}");
            let said = printed.stderr;
            ensure!(said.contains("schema") && said.contains(named), "{values}: {said}");
        }
    }
    Ok(())
}

async fn lint(scene: &Scene) -> Result<()> {
    for release in [HELM_3, HELM_4] {
        let said = helm(scene, release).await?.run(&["lint", "--strict", chart()?]).await?;
        ensure!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
    }
    Ok(())
}

async fn helm_3(scene: &Scene) -> Result<()> {
    // It removes the Service before the configuration.
    life(scene, HELM_3, &["delete", "mutatingwebhookconfiguration", CONFIGURATION]).await
}

async fn helm_4(scene: &Scene) -> Result<()> {
    // It removes the configuration before all else.
    life(scene, HELM_4, &[]).await
}

/// Puts the chart in the place of what is installed, and that back whatever comes of it. Before it is
/// uninstalled, kubectl does `before`.
async fn life(scene: &Scene, release: &'static str, before: &[&str]) -> Result<()> {
    let helm = helm(scene, release).await?;
    // The same image under a tag of its own, so that there is something to upgrade to.
    let image = |tag| format!("docker.io/library/{}:{tag}", Product::WEBHOOK.image);
    scene.node()?.ctr(&["images", "tag", "--force", &image(VERSION), &image("next")])?;
    pods::uninstall(scene.cluster()).await?;
    scene.api().wait_gone(("Namespace", "", NAMESPACE), LONG).await?;
    let lived = installed_to_uninstalled(scene, &helm, before).await;
    if lived.is_err() {
        let uninstall = ["uninstall", NAME, "--namespace", NAMESPACE, "--ignore-not-found"];
        let _ = helm.call(&uninstall, "").await;
        let _ = scene.api().delete("MutatingWebhookConfiguration", "", CONFIGURATION).await;
    }
    scene.api().delete("Namespace", "", NAMESPACE).await?;
    scene.api().wait_gone(("Namespace", "", NAMESPACE), LONG).await?;
    pods::install(scene.cluster()).await?;
    lived
}

async fn installed_to_uninstalled(scene: &Scene, helm: &Helm, before: &[&str]) -> Result<()> {
    let wait = ["--namespace", NAMESPACE, "--wait", "--timeout", "5m"];
    let install = [&["install", NAME, chart()?, "--create-namespace"], &wait[..]].concat();
    let notes = helm.run(&install).await?;
    ensure!(notes.contains("kubectl label namespace NAME secret-handshake=true"), "{notes}");
    pods::available(scene.cluster()).await?;
    let bundle = ca_bundle(scene).await?;

    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let mut template = pod(&namespace, "load");
    // No scheduler need look at them.
    template["spec"]["schedulerName"] = json!("nobody");
    let load = Load::start(scene.api(), &template, CLIENTS, |pod| sidecar(pod).is_some());
    let changed = async {
        load.more(STEP).await?;
        let upgrade = ["upgrade", NAME, chart()?, "--reuse-values", "--set", "image.tag=next"];
        helm.run(&[&upgrade[..], &wait].concat()).await?;
        let deployment = scene.api().get("Deployment", NAMESPACE, WEBHOOK).await?;
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image == &format!("{}:next", Product::WEBHOOK.image), "{image}");
        load.more(STEP).await?;
        helm.run(&[&["rollback", NAME, "1"], &wait[..]].concat()).await?;
        load.more(STEP).await
    };
    let changed = changed.await;
    let counted = load.stop().await;
    changed.with_context(|| counted.to_string())?;
    scene.note(counted.to_string()).await;
    ensure!(counted.refused == 0 && counted.wrong == 0, "{counted}");
    ensure!(ca_bundle(scene).await? == bundle, "an upgrade has changed the caBundle");

    uninstalled(scene, helm, before, &namespace).await
}

/// Uninstalls while pods that ask for a sidecar are created: none is refused, and nothing of the product is left.
async fn uninstalled(scene: &Scene, helm: &Helm, before: &[&str], namespace: &str) -> Result<()> {
    let mut template = labelled(pod(namespace, "last"), "true");
    template["spec"]["schedulerName"] = json!("nobody");
    let load = Load::start(scene.api(), &template, CLIENTS, |_| true);
    let ended = async {
        load.more(STEP).await?;
        if !before.is_empty() {
            scene.kubectl().run(before).await?;
        }
        helm.run(&["uninstall", NAME, "--namespace", NAMESPACE, "--wait"]).await?;
        load.more(STEP).await
    };
    let ended = ended.await;
    let counted = load.stop().await;
    ended.with_context(|| counted.to_string())?;
    scene.note(format!("uninstalling: {counted}")).await;
    ensure!(counted.refused == 0, "{counted}");
    for (kind, namespace, name) in [
        ("MutatingWebhookConfiguration", "", CONFIGURATION),
        ("ClusterRole", "", WEBHOOK),
        ("ClusterRoleBinding", "", WEBHOOK),
        ("FlowSchema", "", WEBHOOK),
        ("Deployment", NAMESPACE, WEBHOOK),
        ("Secret", NAMESPACE, CA_SECRET),
        ("ServiceAccount", NAMESPACE, WEBHOOK),
        ("Role", NAMESPACE, WEBHOOK),
        ("NetworkPolicy", NAMESPACE, WEBHOOK),
        ("PodDisruptionBudget", NAMESPACE, WEBHOOK),
        ("Service", NAMESPACE, WEBHOOK),
    ] {
        let is_gone = async || {
            if scene.api().exists(kind, namespace, name).await? {
                bail!("{kind} {name} is left");
            }
            Ok(())
        };
        until("the end of everything", LONG, is_gone).await?;
    }
    Ok(())
}

async fn ca_bundle(scene: &Scene) -> Result<Value> {
    let found = scene.api().get("MutatingWebhookConfiguration", "", CONFIGURATION).await?;
    let bundle = found["webhooks"][0]["clientConfig"]["caBundle"].clone();
    ensure!(bundle.is_string(), "there is no caBundle");
    Ok(bundle)
}
