//! The API server, asked by an administrator: JSON objects in and out, by way of kube's own client.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use futures_util::TryStreamExt as _;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::{Discovery, Scope};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::time::timeout;

/// A connection to an API server that knows where it has which kind of object.
#[derive(Clone)]
pub struct Api {
    client: Client,
    kinds: Arc<BTreeMap<String, (ApiResource, Scope)>>,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("the API server answered {code}: {message}")]
pub struct Refused {
    pub code: u16,
    pub message: String,
}

/// kube's client, as a kubeconfig describes it in one of its contexts; the usual kubeconfig and its
/// current context if none are named.
pub async fn client(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Client> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
    let kubeconfig = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    // What the API server says no to is to be seen.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

impl Api {
    pub async fn new(client: Client) -> Result<Self> {
        let found = Discovery::new(client.clone()).run_aggregated().await?;
        let mut kinds = BTreeMap::new();
        // The core group comes first, so `Event` is its own and not the one of events.k8s.io.
        for group in found.groups_alphabetical() {
            for (resource, capabilities) in group.recommended_resources() {
                let kind = resource.kind.clone();
                kinds.entry(kind).or_insert((resource, capabilities.scope));
            }
        }
        Ok(Self { client, kinds: Arc::new(kinds) })
    }

    /// kube's client, for what has a type: logs, evictions, tokens.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// kube's interface to the objects of a kind. The namespace of a kind that has none is not looked at.
    pub fn of(&self, kind: &str, namespace: &str) -> Result<kube::Api<DynamicObject>> {
        let (resource, scope) =
            self.kinds.get(kind).with_context(|| format!("this cluster knows no {kind}"))?;
        Ok(match scope {
            Scope::Cluster => kube::Api::all_with(self.client(), resource),
            Scope::Namespaced => kube::Api::namespaced_with(self.client(), namespace, resource),
        })
    }

    /// Reads a path as text: `/readyz`, or what a proxied Service answers.
    pub async fn text(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        self.client.request_text(request).await.map_err(plain)
    }

    pub async fn create(&self, object: &Value) -> Result<Value> {
        self.post(object, &PostParams::default()).await
    }

    /// What would be made of `object`, which is not stored.
    pub async fn dry_run(&self, object: &Value) -> Result<Value> {
        self.post(object, &PostParams { dry_run: true, ..PostParams::default() }).await
    }

    async fn post(&self, object: &Value, params: &PostParams) -> Result<Value> {
        let sent = serde_json::from_value(object.clone())?;
        let created = self.home(object)?.create(params, &sent).await;
        value(created).with_context(|| format!("creating {}", named(object)))
    }

    /// Makes sure that `object` is refused, in a dry run, and gives the reason.
    pub async fn refusal(&self, object: &Value) -> Result<Refused> {
        match self.dry_run(object).await {
            Ok(_) => bail!("{} was let through", named(object)),
            Err(error) => error.downcast(),
        }
    }

    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let got = self.of(kind, namespace)?.get(name).await;
        value(got).with_context(|| format!("reading {kind} {namespace}/{name}"))
    }

    pub async fn exists(&self, kind: &str, namespace: &str, name: &str) -> Result<bool> {
        Ok(self.of(kind, namespace)?.get_opt(name).await.map_err(plain)?.is_some())
    }

    /// Reads the objects of a kind in a namespace that a label selector chooses; all of them if it is
    /// empty.
    pub async fn list(&self, kind: &str, namespace: &str, selector: &str) -> Result<Vec<Value>> {
        let params = ListParams::default().labels(selector);
        let list = self.of(kind, namespace)?.list(&params).await.map_err(plain)?;
        list.items.into_iter().map(|item| Ok(serde_json::to_value(item)?)).collect()
    }

    pub async fn merge(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value> {
        let api = self.of(kind, namespace)?;
        let merged = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        value(merged).with_context(|| format!("changing {kind} {namespace}/{name}"))
    }

    pub async fn apply(&self, object: &Value, manager: &str) -> Result<Value> {
        let name = object["metadata"]["name"].as_str().context("what is applied has a name")?;
        let params = PatchParams::apply(manager).force();
        let applied = self.home(object)?.patch(name, &params, &Patch::Apply(object)).await;
        value(applied).with_context(|| format!("applying {}", named(object)))
    }

    /// Deletes an object, and what it owns in the background.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let api = self.of(kind, namespace)?;
        let deleted = api.delete(name, &DeleteParams::background()).await.map_err(plain);
        deleted.map(drop).with_context(|| format!("deleting {kind} {namespace}/{name}"))
    }

    /// Watches an object until `look` accepts it.
    pub async fn wait<T>(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        limit: Duration,
        mut look: impl FnMut(&Value) -> Result<T>,
    ) -> Result<T> {
        let look = |objects: &[&Value]| look(objects.first().context("it is not there")?);
        let one = ListParams::default().fields(&format!("metadata.name={name}"));
        self.watch(kind, namespace, &one, limit, look).await
    }

    pub async fn wait_gone(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        limit: Duration,
    ) -> Result<()> {
        let gone = |objects: &[&Value]| {
            ensure!(objects.is_empty(), "it is still there");
            Ok(())
        };
        let one = ListParams::default().fields(&format!("metadata.name={name}"));
        self.watch(kind, namespace, &one, limit, gone).await
    }

    /// Watches the objects that a label selector chooses until `look` accepts them, sorted by name.
    pub async fn wait_all<T>(
        &self,
        (kind, namespace, selector): (&str, &str, &str),
        limit: Duration,
        look: impl FnMut(&[&Value]) -> Result<T>,
    ) -> Result<T> {
        self.watch(kind, namespace, &ListParams::default().labels(selector), limit, look).await
    }

    /// Lists, then watches from there on, and looks after each change. When a watch ends, which the API
    /// server may do at any time, it begins again.
    async fn watch<T>(
        &self,
        kind: &str,
        namespace: &str,
        chosen: &ListParams,
        limit: Duration,
        mut look: impl FnMut(&[&Value]) -> Result<T>,
    ) -> Result<T> {
        let api = self.of(kind, namespace)?;
        let ListParams { label_selector, field_selector, .. } = chosen.clone();
        let which = label_selector.iter().chain(&field_selector).cloned().collect::<String>();
        let changes = WatchParams { label_selector, field_selector, ..WatchParams::default() };
        let mut reason = anyhow!("nothing was seen");
        let watched = timeout(limit, async {
            loop {
                let found = api.list(chosen).await.map_err(plain)?;
                let version = found.metadata.resource_version.unwrap_or_default();
                let mut objects = BTreeMap::new();
                for item in found.items {
                    objects.insert(item.name_any(), serde_json::to_value(item)?);
                }
                let mut changes = pin!(api.watch(&changes, &version).await.map_err(plain)?);
                loop {
                    match look(&objects.values().collect::<Vec<_>>()) {
                        Ok(found) => return Ok(found),
                        Err(error) => reason = error,
                    }
                    match changes.try_next().await? {
                        Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                            objects.insert(object.name_any(), serde_json::to_value(object)?);
                        }
                        Some(WatchEvent::Deleted(object)) => {
                            objects.remove(&object.name_any());
                        }
                        Some(WatchEvent::Bookmark(_)) => {}
                        Some(WatchEvent::Error(_)) | None => break,
                    }
                }
            }
        });
        let watched = watched.await;
        let too_late = || reason.context(format!("waited {} s", limit.as_secs_f32()));
        let watched = watched.unwrap_or_else(|_| Err(too_late()));
        watched.with_context(|| format!("waiting for {kind} {which} in {namespace:?}"))
    }

    fn home(&self, object: &Value) -> Result<kube::Api<DynamicObject>> {
        let kind = object["kind"].as_str().context("an object has a kind")?;
        self.of(kind, object["metadata"]["namespace"].as_str().unwrap_or("default"))
    }
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

/// A refusal as such; kube prints all that it knows of it.
fn plain(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => Refused { code: status.code, message: status.message }.into(),
        error => error.into(),
    }
}

fn value(answer: Result<DynamicObject, kube::Error>) -> Result<Value> {
    Ok(serde_json::to_value(answer.map_err(plain)?)?)
}

fn named(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    format!("{} {}{}", text("/kind"), text("/metadata/name"), text("/metadata/generateName"))
}
