//! What a scenario is given: a cluster with the product on it, and namespaces of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::product::replicas::Replicas;
use lab::cluster::Cluster;
use lab::cluster::api::Api;
use lab::cluster::kubectl::Kubectl;
use lab::cluster::node::Node;
use lab::until::until;

/// How long a scenario waits for a thing that a controller or a kubelet does, unless it says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The label by which everything that a run makes can be told from what was there before.
const MARK: &str = "secret-handshake-e2e";

/// A cluster with the product on it.
pub struct Stage {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The webhook, where it runs as processes of this machine.
    pub replicas: Option<Replicas>,
    /// Whether the product was installed for this run, and is to be removed with it.
    pub installed: bool,
    numbers: AtomicU32,
}

impl Stage {
    /// A stage on a cluster that has the product, or will get it from `replicas`.
    #[must_use]
    pub fn new(cluster: Arc<Cluster>, replicas: Option<Replicas>, installed: bool) -> Self {
        Self { cluster, replicas, installed, numbers: AtomicU32::new(0) }
    }

    /// The cluster, when the play is over.
    #[must_use]
    pub fn into_cluster(self) -> Arc<Cluster> {
        self.cluster
    }

    /// A number that nobody else gets.
    pub fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// The reason for which a scenario can't be shown on the cluster that there is: an error that counts as
/// skipped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub &'static str);

/// What one scenario gets.
pub struct Scene {
    stage: Arc<Stage>,
    namespaces: Mutex<Vec<String>>,
    notes: Mutex<Vec<String>>,
}

impl Scene {
    /// A scene on a stage.
    #[must_use]
    pub fn new(stage: Arc<Stage>) -> Self {
        Self { stage, namespaces: Mutex::new(Vec::new()), notes: Mutex::new(Vec::new()) }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.stage.cluster
    }

    /// The API server, asked by an administrator.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.stage.cluster.api
    }

    /// `kubectl`, used by an administrator.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.stage.cluster.kubectl
    }

    /// The node of this machine that the pods run on.
    ///
    /// # Errors
    ///
    /// [`Skip`]: they run elsewhere.
    pub fn node(&self) -> Result<&Node> {
        self.stage.cluster.own_node().map_err(|_| Skip("needs a node that was made here").into())
    }

    /// Has a figure printed beside the scenario's name.
    pub async fn note(&self, note: String) {
        self.notes.lock().await.push(note);
    }

    /// All such figures.
    pub async fn notes(&self) -> String {
        self.notes.lock().await.join("; ")
    }

    /// The webhook's processes.
    ///
    /// # Errors
    ///
    /// It runs in pods.
    pub fn replicas(&self) -> Result<&Replicas> {
        self.stage.replicas.as_ref().context("the webhook runs in pods here")
    }

    /// A number that nobody else gets.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.stage.number()
    }

    /// A new namespace with these labels, in which pods can be created. It is removed when the scenario
    /// has ended.
    ///
    /// # Errors
    ///
    /// It can't be created.
    pub async fn namespace(&self, labels: &[(&str, &str)]) -> Result<String> {
        let name = format!("e2e-{}-{}", std::process::id(), self.number());
        self.namespace_named(&name, labels).await?;
        Ok(name)
    }

    /// The same, with a name.
    ///
    /// # Errors
    ///
    /// It can't be created.
    pub async fn namespace_named(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
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
        until("the namespace's service account", PATIENCE, async || {
            self.api().get("ServiceAccount", name, "default").await
        })
        .await?;
        Ok(())
    }

    /// Has a namespace removed as well when the scenario has ended.
    pub async fn adopt(&self, name: &str) {
        self.namespaces.lock().await.push(name.to_owned());
    }

    /// Removes the namespaces of this scene, without waiting for it.
    pub async fn clear(&self) {
        for name in self.namespaces.lock().await.drain(..) {
            // What can't be removed now is removed with the cluster, or named at the end of the run.
            let _ = self.api().delete("Namespace", "", &name, "Background").await;
        }
    }
}

/// Waits until the namespaces that this run has made are gone from a cluster that stays.
///
/// # Errors
///
/// Some are still there.
pub async fn gone(cluster: &Cluster) -> Result<()> {
    until("the end of this run's namespaces", Duration::from_secs(120), async || {
        let query = format!("labelSelector={MARK}");
        let left = cluster.api.list("Namespace", "", &query).await?;
        let mine = format!("e2e-{}-", std::process::id());
        let names: Vec<&str> = left
            .iter()
            .filter_map(|namespace| namespace["metadata"]["name"].as_str())
            .filter(|name| name.starts_with(&mine))
            .collect();
        anyhow::ensure!(names.is_empty(), "still there: {}", names.join(", "));
        Ok(())
    })
    .await
}
