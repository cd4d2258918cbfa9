//! The product in pods, installed as a user installs it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Product;
use super::install::{self, NAMESPACE, WEBHOOK};
use crate::images;
use lab::cluster::Cluster;
use lab::image::Architecture;
use lab::progress::say;
use lab::until::until;

/// How long the webhook's pods may take until they are available.
const AVAILABLE: Duration = Duration::from_secs(180);

/// Builds the product's images and puts them on the node.
///
/// # Errors
///
/// One can't be built, or the node does not take it.
pub fn load_images(cluster: &Cluster) -> Result<()> {
    for product in Product::ALL {
        say(&format!("building the image {}", product.reference()));
        let archive = archive(cluster, product);
        images::make(product, Architecture::host(), &full_name(product), &archive)?;
        load_image(cluster, product)?;
    }
    Ok(())
}

/// Puts an image that was built before on the node.
///
/// # Errors
///
/// The node does not take it.
pub fn load_image(cluster: &Cluster, product: Product) -> Result<()> {
    cluster.own_node()?.load(&archive(cluster, product))
}

fn archive(cluster: &Cluster, product: Product) -> PathBuf {
    cluster.scratch().join(format!("{}.tar", product.image()))
}

/// An image's name as containerd stores it: what the manifests leave out is filled in.
#[must_use]
pub fn full_name(product: Product) -> String {
    format!("docker.io/library/{}", product.reference())
}

/// Installs `deploy/webhook` and waits until it is available; says whether it was this that installed
/// it. An installation that is there already is used as it is.
///
/// # Errors
///
/// The manifests are refused, or the webhook does not become available.
pub async fn install(cluster: &Cluster) -> Result<bool> {
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
///
/// # Errors
///
/// It is not, in time.
pub async fn available(cluster: &Cluster) -> Result<()> {
    until("the webhook", AVAILABLE, async || {
        let deployment = cluster.api.get("Deployment", NAMESPACE, WEBHOOK).await?;
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        let status = &deployment["status"];
        let count = |what: &str| status[what].as_u64().unwrap_or_default();
        ensure!(
            status["observedGeneration"] == deployment["metadata"]["generation"]
                && count("updatedReplicas") == wanted
                && count("availableReplicas") == wanted
                && count("replicas") == wanted,
            "{} of {wanted} replicas are available",
            count("availableReplicas")
        );
        let configuration = cluster
            .api
            .get("MutatingWebhookConfiguration", "", install::CONFIGURATION)
            .await?;
        let entries = configuration["webhooks"].as_array().context("no entries")?;
        ensure!(
            entries
                .iter()
                .all(|entry| entry["clientConfig"]["caBundle"].is_string()),
            "there is no caBundle yet"
        );
        // The API server reaches it: endpoints and kube-proxy's rules come a moment after the pods.
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": "default", "name": "e2e", "labels": { "secret-handshake": "true" } },
            "spec": { "containers": [{ "name": "legacy", "image": "legacy-mock" }] },
        });
        cluster.api.post(&pod, "dryRun=All").await?.object()?;
        Ok(())
    })
    .await
}

/// Removes what [`install()`] has installed: the configuration first, so that nobody is sent to a webhook
/// that is gone.
///
/// # Errors
///
/// It can't be removed.
pub async fn uninstall(cluster: &Cluster) -> Result<()> {
    let configuration = ["delete", "mutatingwebhookconfiguration", install::CONFIGURATION];
    cluster.kubectl.run(&configuration).await?;
    let folder = crate::workspace().join("deploy/webhook");
    let delete = ["delete", "--ignore-not-found", "-k"].map(std::ffi::OsStr::new);
    cluster.kubectl.run(&[&delete[..], &[folder.as_os_str()]].concat()).await?;
    Ok(())
}
