//! The product's own manifests, rendered by kustomize and applied as a user applies them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::folders::workspace;
use lab::cluster::Cluster;

pub(crate) const NAMESPACE: &str = "secret-handshake";
/// The name of its Deployment, Service and ServiceAccount.
pub(crate) const WEBHOOK: &str = "secret-handshake-webhook";
pub(crate) const CONFIGURATION: &str = "handshake.secret-handshake.dev";
pub(crate) const CA_SECRET: &str = "secret-handshake-ca";

/// Renders a kustomization of the repository: `deploy/webhook`, `deploy/demo`.
pub(crate) async fn render(cluster: &Cluster, kustomization: &str) -> Result<Vec<Value>> {
    let folder: PathBuf = workspace().join(kustomization);
    let rendered = cluster.kubectl.run(&["kustomize".as_ref(), folder.as_os_str()]).await?;
    serde_json::from_value(Value::Array(
        serde_saphyr::from_multiple::<Value>(&rendered)
            .with_context(|| format!("{kustomization} does not render to YAML"))?,
    ))
    .context("no objects")
}

pub(crate) async fn apply(cluster: &Cluster, objects: &[Value]) -> Result<String> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    cluster.kubectl.run_with(&["apply", "-f", "-"], &list.to_string()).await
}

/// The same objects, with a webhook that is called by URL: in the configuration `clientConfig.service`
/// is replaced, and nothing else. `url` is the part before the path.
pub(crate) fn by_url(mut objects: Vec<Value>, url: &str) -> Result<Vec<Value>> {
    let mut replaced = 0;
    for object in &mut objects {
        if object["kind"] != "MutatingWebhookConfiguration" {
            continue;
        }
        for entry in object["webhooks"].as_array_mut().context("no entries")? {
            let path = entry["clientConfig"]["service"]["path"].as_str();
            let path = path.context("an entry without a Service's path")?;
            entry["clientConfig"] = json!({ "url": format!("{url}{path}") });
            replaced += 1;
        }
    }
    ensure!(replaced == 3, "the configuration has {replaced} entries instead of three");
    Ok(objects)
}
