//! The product in pods, installed as a user installs it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Cluster;
use super::build::say;
use super::install::{self, NAMESPACE, WEBHOOK};
use super::wait;

/// How long the webhook's pods may take until they are available.
const AVAILABLE: Duration = Duration::from_secs(180);

/// Marks an installation that this program has made, and may remove.
const MARK: &str = "secret-handshake-e2e";

/// Installs `deploy/webhook` and waits until it is available. An installation that is there already is
/// used as it is.
///
/// # Errors
///
/// The manifests are refused, or the webhook does not become available.
pub async fn install(cluster: &Cluster) -> Result<()> {
    if cluster.api.exists("Namespace", "", NAMESPACE).await? {
        say("the product is installed on this cluster already: using it as it is");
    } else {
        let mut objects = install::render(cluster, "deploy/webhook").await?;
        for object in &mut objects {
            if object["kind"] == "Namespace" {
                object["metadata"]["labels"][MARK] = "true".into();
            }
        }
        with_files(cluster, &mut objects)?;
        install::apply(cluster, &objects).await?;
    }
    available(cluster).await
}

/// Waits until the webhook is available, with its caBundle published.
///
/// # Errors
///
/// It is not, in time.
pub async fn available(cluster: &Cluster) -> Result<()> {
    wait::until("the webhook", AVAILABLE, async || {
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

/// Removes what [`install`] has installed: the configuration first, so that nobody is sent to a webhook
/// that is gone.
///
/// # Errors
///
/// It can't be removed.
pub async fn uninstall(cluster: &Cluster) -> Result<()> {
    let namespace = cluster.api.get("Namespace", "", NAMESPACE).await?;
    if namespace["metadata"]["labels"][MARK] != "true" {
        return Ok(());
    }
    let configuration = [
        "delete",
        "mutatingwebhookconfiguration",
        install::CONFIGURATION,
    ];
    cluster.kubectl.run(&configuration).await?;
    let folder = crate::image::workspace().join("deploy/webhook");
    let delete = ["delete", "--ignore-not-found", "-k"].map(std::ffi::OsStr::new);
    cluster
        .kubectl
        .run(&[&delete[..], &[folder.as_os_str()]].concat())
        .await?;
    Ok(())
}

/// Certificates from files.
fn with_files(cluster: &Cluster, objects: &mut Vec<serde_json::Value>) -> Result<()> {
    use base64::Engine as _;
    let folder = cluster.scratch();
    let authority = super::pki::Authority::new(folder, "webhook-ca")?;
    let name = format!("{WEBHOOK}.{NAMESPACE}.svc");
    let pair = authority.issue("tls", "webhook", &[], &[&name])?;
    let mut secret = None;
    for object in objects.iter_mut() {
        if object["kind"] == "MutatingWebhookConfiguration" {
            for entry in object["webhooks"].as_array_mut().context("none")? {
                entry["clientConfig"]["caBundle"] =
                    json!(base64::engine::general_purpose::STANDARD.encode(authority.pem()));
            }
        }
        if object["kind"] == "Deployment" {
            let spec = &mut object["spec"]["template"]["spec"];
            spec["volumes"] = json!([{ "name": "tls", "secret": { "secretName": "tls" } }]);
            let container = &mut spec["containers"][0];
            container["volumeMounts"] = json!([{ "name": "tls", "mountPath": "/tls" }]);
            let args = container["args"].as_array_mut().context("no args")?;
            args.push(json!("--tls-cert=/tls/tls.crt"));
            args.push(json!("--tls-key=/tls/tls.key"));
            secret = Some(json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": { "namespace": NAMESPACE, "name": "tls" },
                "stringData": {
                    "tls.crt": std::fs::read_to_string(&pair.certificate)?,
                    "tls.key": std::fs::read_to_string(&pair.key)?,
                },
            }));
        }
    }
    objects.extend(secret);
    Ok(())
}
