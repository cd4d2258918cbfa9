//! What a scenario is given: a cluster with the product on it, and namespaces of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::product::replicas::Replicas;
use lab::cluster::Cluster;

use super::objects::the_sidecar;
use super::stage::{Skip, Stage};
use lab::cluster::api::Api;
use lab::cluster::audit::Event;
use lab::cluster::kubectl::{Kubectl, Printed};
use lab::cluster::node::Node;
use lab::until::until;

/// How long a scenario waits for what a controller does, unless it says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The same for what a kubelet does, on a slow machine that is busy with other things.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// The label by which everything that a run makes can be told from what was there before.
const MARK: &str = "secret-handshake-e2e";

pub(crate) struct Scene {
    stage: Arc<Stage>,
    /// The kinds and names of what goes when the scenario has ended: namespaces, and what is in none.
    made: Mutex<Vec<(String, String)>>,
    notes: Mutex<Vec<String>>,
}

impl Scene {
    pub(crate) fn new(stage: Arc<Stage>) -> Self {
        Self { stage, made: Mutex::new(Vec::new()), notes: Mutex::new(Vec::new()) }
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.stage.cluster
    }

    pub(crate) fn api(&self) -> &Api {
        &self.stage.cluster.api
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.stage.cluster.kubectl
    }

    pub(crate) fn node(&self) -> Result<&Node> {
        let own = self.cluster().node();
        own.map_err(|_| Skip("needs a node that was made here".to_owned()).into())
    }

    pub(crate) async fn note(&self, note: String) {
        self.notes.lock().await.push(note);
    }

    pub(crate) async fn notes(&self) -> String {
        self.notes.lock().await.join("; ")
    }

    /// The webhook, at the level at which it runs as processes.
    pub(crate) fn replicas(&self) -> Result<&Replicas> {
        self.stage.replicas.as_ref().context("the webhook runs in pods here")
    }

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

    pub(crate) async fn namespace_named(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let mut namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": { MARK: "true" } },
        });
        for (key, value) in labels {
            namespace["metadata"]["labels"][key] = json!(value);
        }
        self.create_outside(&namespace).await?;
        // Without it no pod is admitted.
        self.api().wait(("ServiceAccount", name, "default"), PATIENCE, |_| Ok(())).await
    }

    /// Creates an object that is in no namespace. It is removed when the scenario has ended.
    pub(crate) async fn create_outside(&self, object: &Value) -> Result<()> {
        self.api().create(object).await?;
        let [kind, name] = [&object["kind"], &object["metadata"]["name"]].map(Value::as_str);
        self.adopt(kind.context("no kind")?, name.context("no name")?).await;
        Ok(())
    }

    /// Creates a pod, and makes sure that it comes back with one sidecar exactly.
    pub(crate) async fn injected(&self, pod: &Value) -> Result<Value> {
        let stored = self.api().create(pod).await?;
        the_sidecar(&stored)?;
        Ok(stored)
    }

    /// Waits until the audit log has this many of the requests that `wanted` chooses among those whose
    /// line contains `needle`. They are written a moment after the answers.
    pub(crate) async fn audited(
        &self,
        needle: &str,
        count: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Vec<Event>> {
        let audit = self.cluster().audit()?;
        until("the audit log", PATIENCE, async || {
            let mut events = audit.events(needle)?;
            events.retain(&wanted);
            ensure!(events.len() == count, "{} of {count} lines are there", events.len());
            Ok(events)
        })
        .await
    }

    /// Waits for the event in which a controller says that it could not create a pod, and why.
    pub(crate) async fn failed_create(&self, namespace: &str, why: &str) -> Result<()> {
        let told = |events: &[&Value]| {
            let mut refused = events.iter().filter(|event| event["reason"] == "FailedCreate");
            let told = refused.any(|event| event["message"].to_string().contains(why));
            ensure!(told, "none of {} events says {why}", events.len());
            Ok(())
        };
        self.api().wait_all(("Event", namespace, ""), PATIENCE, told).await
    }

    /// Waits until a label selector chooses this many pods, and gives them.
    pub(crate) async fn pods(
        &self,
        namespace: &str,
        selector: &str,
        count: usize,
    ) -> Result<Vec<Value>> {
        let counted = |pods: &[&Value]| {
            ensure!(pods.len() == count, "there are {} pods instead of {count}", pods.len());
            Ok(pods.iter().copied().cloned().collect())
        };
        self.api().wait_all(("Pod", namespace, selector), LONG, counted).await
    }

    /// Waits for a pod that a label selector chooses.
    pub(crate) async fn a_pod(&self, namespace: &str, selector: &str) -> Result<Value> {
        let first = |pods: &[&Value]| pods.first().copied().cloned().context("there is none");
        self.api().wait_all(("Pod", namespace, selector), PATIENCE, first).await
    }

    /// Creates an object as a person does: what kubectl prints is what they read.
    pub(crate) async fn create(&self, object: &Value) -> Result<Printed> {
        self.kubectl().call(&["create", "-f", "-"], &object.to_string()).await
    }

    pub(crate) async fn adopt(&self, kind: &str, name: &str) {
        self.made.lock().await.push((kind.to_owned(), name.to_owned()));
    }

    /// Removes what this scene has made, the last first, without waiting for it.
    pub(crate) async fn clear(&self) {
        for (kind, name) in self.made.lock().await.drain(..).rev() {
            // What can't be removed now is removed with the cluster, or named at the end of the run.
            let _ = self.api().delete(&kind, "", &name).await;
        }
    }
}

/// Waits until the namespaces that this run has made are gone from a cluster that stays.
pub(crate) async fn gone(cluster: &Cluster) -> Result<()> {
    let mine = format!("e2e-{}-", std::process::id());
    let none = |left: &[&Value]| {
        let mut names = left.iter().filter_map(|found| found["metadata"]["name"].as_str());
        let left = names.find(|name| name.starts_with(&mine));
        ensure!(left.is_none(), "{} is still there", left.unwrap_or_default());
        Ok(())
    };
    cluster.api.wait_all(("Namespace", "", MARK), LONG, none).await
}
