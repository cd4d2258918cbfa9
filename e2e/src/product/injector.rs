//! Who adds the sidecar on a control plane: the webhook, the policy in its place, or nobody.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::cluster::Cluster;
use lab::until::until;
use serde_json::{Value, json};

use super::install::{self, CONFIGURATION};
use super::replicas::{Replicas, SIDECAR_IMAGE};
use crate::folders::workspace;

const POLICY: &str = "deploy/policy";
const SIDECAR_POLICY: &str = "sidecar.secret-handshake.dev";
/// API servers learn of a policy by a watch, and look at what they have learnt every second or so.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injector {
    Webhook,
    Policy,
    Nobody,
}

impl Injector {
    /// Has this one inject and no other: it does so when this returns.
    pub(crate) async fn install(self, cluster: &Cluster, replicas: &Replicas) -> Result<()> {
        if cluster.api.exists("MutatingWebhookConfiguration", "", CONFIGURATION).await? {
            cluster.api.delete("MutatingWebhookConfiguration", "", CONFIGURATION).await?;
        }
        let folder = workspace().join(POLICY);
        let delete = ["delete", "--ignore-not-found", "-k"].map(std::ffi::OsStr::new);
        cluster.kubectl.run(&[&delete[..], &[folder.as_os_str()]].concat()).await?;
        until("the end of what injects", PATIENCE, async || Self::Nobody.works(cluster).await)
            .await?;
        match self {
            Self::Nobody => return Ok(()),
            Self::Webhook => {
                replicas.call_at(replicas.address()).await?;
                replicas.ready().await?;
            }
            Self::Policy => {
                let objects =
                    policy(cluster, &[("image", &format!("\"{SIDECAR_IMAGE}\""))]).await?;
                install::apply(cluster, &objects).await?;
            }
        }
        until("what injects", PATIENCE, async || self.works(cluster).await).await
    }

    /// Whether it does all that it is to do: a pod, a refusal, a workload.
    async fn works(self, cluster: &Cluster) -> Result<()> {
        let spec = json!({ "containers": [{ "name": "legacy", "image": "legacy-mock" }] });
        let labelled = json!({ "namespace": "default", "name": "e2e", "labels": { "secret-handshake": "true" } });
        let mut pod =
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": labelled, "spec": spec });
        let containers = cluster.api.dry_run(&pod).await?["spec"]["containers"].take();
        let injected = containers.as_array().is_some_and(|containers| containers.len() == 2);
        ensure!(injected == (self != Self::Nobody), "that a pod is injected is {injected}");

        pod["spec"]["hostNetwork"] = json!(true);
        let refused = cluster.api.dry_run(&pod).await.err().map(|error| format!("{error:#}"));
        let by = match self {
            Self::Webhook => Some("admission webhook"),
            Self::Policy => Some("ValidatingAdmissionPolicy"),
            Self::Nobody => None,
        };
        let as_expected = match (&refused, by) {
            (Some(refused), Some(by)) => refused.contains(by),
            (refused, by) => refused.is_none() && by.is_none(),
        };
        ensure!(as_expected, "of a pod that can't be injected it is said {refused:?}");

        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": labelled,
            "spec": {
                "selector": { "matchLabels": { "app": "e2e" } },
                "template": { "metadata": { "labels": { "app": "e2e" } }, "spec": spec },
            },
        });
        let made = cluster.api.dry_run(&deployment).await?;
        let copied = made["spec"]["template"]["metadata"]["labels"]["secret-handshake"].is_string();
        ensure!(copied == (self != Self::Nobody), "that a label is copied is {copied}");
        Ok(())
    }
}

/// The objects of `deploy/policy`, with other expressions for some of the sidecar's variables.
pub(crate) async fn policy(cluster: &Cluster, variables: &[(&str, &str)]) -> Result<Vec<Value>> {
    let mut objects = install::render(cluster, POLICY).await?;
    let mut named = objects.iter_mut();
    let sidecars = named.find(|object| object["metadata"]["name"] == SIDECAR_POLICY);
    let all = sidecars.and_then(|policy| policy["spec"]["variables"].as_array_mut());
    let all = all.context("no variables")?;
    for (name, expression) in variables {
        let found = all.iter_mut().find(|variable| variable["name"] == *name);
        found.with_context(|| format!("no variable {name}"))?["expression"] = json!(expression);
    }
    Ok(objects)
}
