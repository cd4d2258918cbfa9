//! The product in pods, installed as a user installs it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::cluster::Cluster;
use lab::image::Architecture;
use lab::progress::say;
use lab::until::until;
use serde_json::{Value, json};

use super::install::{self, NAMESPACE, WEBHOOK};
use super::{Product, make};
use crate::folders::workspace;

const AVAILABLE: Duration = Duration::from_secs(180);

/// Builds the product's images and puts them on the node, under the names that the manifests use.
pub(crate) async fn load_images(cluster: &Cluster) -> Result<()> {
    for product in Product::ALL {
        say(&format!("building the image {}", product.reference()));
        let archive = archive(cluster, product);
        make(product, Architecture::host(), &full_name(product), &archive).await?;
        load_image(cluster, product)?;
    }
    Ok(())
}

pub(crate) fn load_image(cluster: &Cluster, product: Product) -> Result<()> {
    cluster.node()?.load(&archive(cluster, product))
}

fn archive(cluster: &Cluster, product: Product) -> PathBuf {
    cluster.scratch().join(format!("{}.tar", product.image))
}

/// An image's name as containerd stores it: what the manifests leave out is filled in.
pub(crate) fn full_name(product: Product) -> String {
    format!("docker.io/library/{}", product.reference())
}

/// Installs `deploy/webhook` and waits until it is available; says whether it was this that installed
/// it. An installation that is there already is used as it is.
pub(crate) async fn install(cluster: &Cluster) -> Result<bool> {
    let there = cluster.api.exists("Namespace", "", NAMESPACE).await?;
    if there {
        say("the product is installed on this cluster already: using it as it is");
    } else {
        let objects = install::render(cluster, "deploy/webhook").await?;
        install::apply(cluster, &objects).await?;
    }
    available(cluster).await?;
    Ok(!there)
}

/// Waits until the webhook is available, with its caBundle published.
pub(crate) async fn available(cluster: &Cluster) -> Result<()> {
    let deployment = format!("deployment/{WEBHOOK}");
    let timeout = format!("--timeout={}s", AVAILABLE.as_secs());
    cluster.kubectl.run(&["rollout", "status", &deployment, "-n", NAMESPACE, &timeout]).await?;
    let configuration = ("MutatingWebhookConfiguration", "", install::CONFIGURATION);
    let has_bundle = |configuration: &Value| {
        let entries = configuration["webhooks"].as_array().context("no entries")?;
        let mut bundles = entries.iter().map(|entry| &entry["clientConfig"]["caBundle"]);
        ensure!(bundles.all(Value::is_string), "there is no caBundle yet");
        Ok(())
    };
    cluster.api.wait(configuration, AVAILABLE, has_bundle).await?;
    // The API server reaches it: endpoints and kube-proxy's rules come a moment after the pods.
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": "default", "name": "e2e", "labels": { "secret-handshake": "true" } },
        "spec": { "containers": [{ "name": "legacy", "image": "legacy-mock" }] },
    });
    until("the webhook's Service", AVAILABLE, async || cluster.api.dry_run(&pod).await.map(drop))
        .await
}

/// Removes what [`install()`] has installed: the configuration first, so that nobody is sent to a webhook
/// that is gone.
pub(crate) async fn uninstall(cluster: &Cluster) -> Result<()> {
    let configuration = ["delete", "mutatingwebhookconfiguration", install::CONFIGURATION];
    cluster.kubectl.run(&configuration).await?;
    let folder = workspace().join("deploy/webhook");
    let delete = ["delete", "--ignore-not-found", "-k"].map(std::ffi::OsStr::new);
    cluster.kubectl.run(&[&delete[..], &[folder.as_os_str()]].concat()).await?;
    Ok(())
}
