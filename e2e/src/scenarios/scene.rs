//! What a scenario is given: a cluster with the product on it, and namespaces of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::product::replicas::Replicas;
use lab::cluster::Cluster;

use super::stage::{Skip, Stage};
use lab::cluster::api::Api;
use lab::cluster::kubectl::Kubectl;
use lab::cluster::node::Node;

/// How long a scenario waits for a thing that a controller or a kubelet does, unless it says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The label by which everything that a run makes can be told from what was there before.
const MARK: &str = "secret-handshake-e2e";

/// What one scenario gets.
pub(crate) struct Scene {
    stage: Arc<Stage>,
    namespaces: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl Scene {
    /// A scene on a stage.
    pub(crate) fn new(stage: Arc<Stage>) -> Self {
        Self { stage, namespaces: Mutex::new(Vec::new()), notes: Mutex::new(Vec::new()) }
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.stage.cluster
    }

    /// The API server, asked by an administrator.
    pub(crate) fn api(&self) -> &Api {
        &self.stage.cluster.api
    }

    /// `kubectl`, used by an administrator.
    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.stage.cluster.kubectl
    }

    /// The node of this machine that the pods run on.
    pub(crate) fn node(&self) -> Result<&Node> {
        self.stage
            .cluster
            .node()
            .map_err(|_| Skip("needs a node that was made here".to_owned()).into())
    }

    /// Has a figure printed beside the scenario's name.
    pub(crate) async fn note(&self, note: String) {
        self.notes.lock().await.push(note);
    }

    /// All such figures.
    pub(crate) async fn notes(&self) -> String {
        self.notes.lock().await.join("; ")
    }

    /// The webhook's processes.
    pub(crate) fn replicas(&self) -> Result<&Replicas> {
        self.stage.replicas.as_ref().context("the webhook runs in pods here")
    }

    /// A number that nobody else gets.
    pub(crate) fn number(&self) -> u32 {
        self.stage.number()
    }

    /// A new namespace with these labels, in which pods can be created. It is removed when the scenario
    /// has ended.
    pub(crate) async fn namespace(&self, labels: &[(&str, &str)]) -> Result<String> {
        let name = format!("e2e-{}-{}", std::process::id(), self.number());
        self.namespace_named(&name, labels).await?;
        Ok(name)
    }

    /// The same, with a name.
    pub(crate) async fn namespace_named(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let mut all: Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        all.insert(MARK.to_owned(), json!("true"));
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": all },
        });
        self.api().create(&namespace).await?;
        self.namespaces.lock().await.push(name.to_owned());
        // Without it no pod is admitted.
        self.api().wait(("ServiceAccount", name, "default"), PATIENCE, |_| Ok(())).await
    }

    /// Waits for the event in which a controller says that it could not create a pod, and why.
    pub(crate) async fn failed_create(&self, namespace: &str, why: &str) -> Result<()> {
        self.api()
            .wait_all(("Event", namespace, ""), PATIENCE, |events| {
                let told = events.iter().any(|event| {
                    let text = event["message"].as_str().unwrap_or_default();
                    event["reason"] == "FailedCreate" && text.contains(why)
                });
                ensure!(told, "none of {} events says {why}", events.len());
                Ok(())
            })
            .await
    }

    /// Has a namespace removed as well when the scenario has ended.
    pub(crate) async fn adopt(&self, name: &str) {
        self.namespaces.lock().await.push(name.to_owned());
    }

    /// Removes the namespaces of this scene, without waiting for it.
    pub(crate) async fn clear(&self) {
        for name in self.namespaces.lock().await.drain(..) {
            // What can't be removed now is removed with the cluster, or named at the end of the run.
            let _ = self.api().delete("Namespace", "", &name).await;
        }
    }
}

/// Waits until the namespaces that this run has made are gone from a cluster that stays.
pub(crate) async fn gone(cluster: &Cluster) -> Result<()> {
    let mine = format!("e2e-{}-", std::process::id());
    cluster
        .api
        .wait_all(("Namespace", "", MARK), Duration::from_secs(120), |left| {
            let mut names = left.iter().filter_map(|found| found["metadata"]["name"].as_str());
            match names.find(|name| name.starts_with(&mine)) {
                Some(name) => bail!("{name} is still there"),
                None => Ok(()),
            }
        })
        .await
}
