//! The API server, spoken to as it speaks: JSON objects, status codes and warnings.
//!
//! Typed clients hide just what the scenarios look at: an admission warning is a response header, and
//! a refusal is a status with a message.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

/// Where a kind of object is: kind, the API's path, the resource, whether it is in a namespace.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("ConfigMap", "api/v1", "configmaps", true),
    ("CronJob", "apis/batch/v1", "cronjobs", true),
    ("DaemonSet", "apis/apps/v1", "daemonsets", true),
    ("Deployment", "apis/apps/v1", "deployments", true),
    ("EndpointSlice", "apis/discovery.k8s.io/v1", "endpointslices", true),
    ("Event", "api/v1", "events", true),
    ("Job", "apis/batch/v1", "jobs", true),
    ("LimitRange", "api/v1", "limitranges", true),
    (
        "MutatingWebhookConfiguration",
        "apis/admissionregistration.k8s.io/v1",
        "mutatingwebhookconfigurations",
        false,
    ),
    ("Namespace", "api/v1", "namespaces", false),
    ("NetworkPolicy", "apis/networking.k8s.io/v1", "networkpolicies", true),
    ("Node", "api/v1", "nodes", false),
    ("Pod", "api/v1", "pods", true),
    ("PriorityClass", "apis/scheduling.k8s.io/v1", "priorityclasses", false),
    ("ReplicaSet", "apis/apps/v1", "replicasets", true),
    ("ResourceQuota", "api/v1", "resourcequotas", true),
    ("Secret", "api/v1", "secrets", true),
    ("Service", "api/v1", "services", true),
    ("ServiceAccount", "api/v1", "serviceaccounts", true),
    ("StatefulSet", "apis/apps/v1", "statefulsets", true),
];

/// How long one request may take. The API server itself waits up to 30 s for all its webhooks.
const REQUEST: Duration = Duration::from_secs(60);

/// A connection to an API server.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
}

/// A watch: each object as it was at first, and after each change.
pub struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next change: `ADDED`, `MODIFIED` or `DELETED`, and the object.
    ///
    /// # Errors
    ///
    /// The watch has ended.
    pub async fn next(&mut self) -> Result<(String, Value)> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line)?;
                let kind = event["type"].as_str().unwrap_or_default().to_owned();
                return Ok((kind, event["object"].take()));
            }
            let frame = self.body.frame().await.context("the watch has ended")??;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }
}

/// What the API server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// What `kubectl` would print after `Warning:`.
    pub warnings: Vec<String>,
    /// The object, or the `Status` that says why there is none.
    pub body: Value,
}

impl Reply {
    /// Whether the request was granted.
    #[must_use]
    pub fn granted(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The `Status`' message, or nothing if the request was granted.
    #[must_use]
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The object.
    ///
    /// # Errors
    ///
    /// The request was refused.
    pub fn object(self) -> Result<Value> {
        if self.granted() {
            return Ok(self.body);
        }
        Err(anyhow!("the API server answered {}: {}", self.status, self.message()))
    }
}

impl Api {
    /// A connection as a kubeconfig describes it, in one of its contexts.
    ///
    /// # Errors
    ///
    /// The kubeconfig can't be read, or is not usable.
    pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self> {
        let options =
            KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
        let mut config = match kubeconfig {
            Some(path) => {
                kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
            }
            None => kube::Config::from_kubeconfig(&options).await?,
        };
        config.read_timeout = Some(REQUEST);
        Ok(Self { client: kube::Client::try_from(config)? })
    }

    /// One request. `path` is the whole path with its query.
    ///
    /// # Errors
    ///
    /// There was no answer. A refusal is an answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Reply> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .body(Body::from(body))?;
        let sent = tokio::time::timeout(REQUEST, async {
            let response = self.client.send(request).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        });
        let (head, body) = sent
            .await
            .map_err(|_| anyhow!("no answer within {} s", REQUEST.as_secs()))
            .and_then(|sent| sent)
            .with_context(|| format!("{method} {path}"))?;
        let warnings = head.headers.get_all("warning").iter().filter_map(warning).collect();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| json!({ "message": String::from_utf8_lossy(&body) }));
        Ok(Reply { status: head.status.as_u16(), warnings, body })
    }

    /// Reads a path as text, for what is not JSON: `/metrics` through a pod's proxy, logs.
    ///
    /// # Errors
    ///
    /// There was no answer, or it was a refusal.
    pub async fn text(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }

    /// Watches the objects of a kind in a namespace, from those there are now on.
    ///
    /// # Errors
    ///
    /// There was no answer, or it was a refusal.
    pub async fn watch(&self, kind: &str, namespace: &str, query: &str) -> Result<Watch> {
        let path = path(kind, Some(namespace), None)?;
        let request = http::Request::get(format!("{path}?watch=true&{query}"))
            .header("accept", "application/json")
            .body(Body::empty())?;
        let response = self.client.send(request).await?;
        ensure!(response.status().is_success(), "watching {path}: {}", response.status());
        Ok(Watch { body: response.into_body(), buffer: Vec::new() })
    }

    /// Creates `object`, with the query's parameters (`dryRun=All`).
    ///
    /// # Errors
    ///
    /// There was no answer.
    pub async fn post(&self, object: &Value, query: &str) -> Result<Reply> {
        let kind = kind_of(object)?;
        let path = path(kind, object["metadata"]["namespace"].as_str(), None)?;
        self.send(
            "POST",
            &format!("{path}?{query}"),
            "application/json",
            serde_json::to_vec(object)?,
        )
        .await
    }

    /// Creates `object` and gives what was made of it.
    ///
    /// # Errors
    ///
    /// It was refused, or there was no answer.
    pub async fn create(&self, object: &Value) -> Result<Value> {
        self.post(object, "").await?.object().with_context(|| format!("creating {}", named(object)))
    }

    /// Reads an object.
    ///
    /// # Errors
    ///
    /// There is none, or there was no answer.
    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let path = path(kind, Some(namespace), Some(name))?;
        self.send("GET", &path, "application/json", Vec::new())
            .await?
            .object()
            .with_context(|| format!("reading {kind} {namespace}/{name}"))
    }

    /// Reads all objects of a kind in a namespace, narrowed by a query (`labelSelector=app%3Dx`).
    ///
    /// # Errors
    ///
    /// There was no answer.
    pub async fn list(&self, kind: &str, namespace: &str, query: &str) -> Result<Vec<Value>> {
        let path = path(kind, Some(namespace), None)?;
        let list = self
            .send("GET", &format!("{path}?{query}"), "application/json", Vec::new())
            .await?
            .object()?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Merges `patch` into an object (RFC 7396), or into one of its subresources (`kind/scale`).
    ///
    /// # Errors
    ///
    /// There was no answer.
    pub async fn merge(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Reply> {
        let (kind, subresource) = match kind.split_once('/') {
            Some((kind, subresource)) => (kind, format!("/{subresource}")),
            None => (kind, String::new()),
        };
        let target = path(kind, Some(namespace), Some(name))? + &subresource;
        let body = serde_json::to_vec(patch)?;
        self.send("PATCH", &target, "application/merge-patch+json", body).await
    }

    /// Applies `object` on the server's side, as `manager`.
    ///
    /// # Errors
    ///
    /// There was no answer.
    pub async fn apply(&self, object: &Value, manager: &str) -> Result<Reply> {
        let name = object["metadata"]["name"].as_str().context("what is applied has a name")?;
        let path = path(kind_of(object)?, object["metadata"]["namespace"].as_str(), Some(name))?;
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.send("PATCH", &path, "application/apply-patch+yaml", serde_json::to_vec(object)?).await
    }

    /// Deletes an object; `propagation` is `Background`, `Foreground` or `Orphan`.
    ///
    /// # Errors
    ///
    /// There was no answer.
    pub async fn delete(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        propagation: &str,
    ) -> Result<Reply> {
        let path = path(kind, Some(namespace), Some(name))?;
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation,
        });
        self.send("DELETE", &path, "application/json", serde_json::to_vec(&options)?).await
    }

    /// Whether an object is there.
    ///
    /// # Errors
    ///
    /// There was no answer, or another refusal than that it is not there.
    pub async fn exists(&self, kind: &str, namespace: &str, name: &str) -> Result<bool> {
        let path = path(kind, Some(namespace), Some(name))?;
        let reply = self.send("GET", &path, "application/json", Vec::new()).await?;
        match reply.status {
            404 => Ok(false),
            _ => reply.object().map(|_| true),
        }
    }
}

/// The path of a kind of objects, or of one of them.
///
/// # Errors
///
/// The kind is unknown here.
pub fn path(kind: &str, namespace: Option<&str>, name: Option<&str>) -> Result<String> {
    let (_, api, resource, namespaced) = KINDS
        .iter()
        .find(|(known, ..)| *known == kind)
        .with_context(|| format!("where objects of kind {kind} are is not known here"))?;
    let mut path = format!("/{api}");
    if let (true, Some(namespace)) = (namespaced, namespace) {
        path = format!("{path}/namespaces/{namespace}");
    }
    path = format!("{path}/{resource}");
    if let Some(name) = name {
        path = format!("{path}/{name}");
    }
    Ok(path)
}

fn kind_of(object: &Value) -> Result<&str> {
    object["kind"].as_str().context("an object has a kind")
}

fn named(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    format!("{} {}{}", text("/kind"), text("/metadata/name"), text("/metadata/generateName"))
}

/// The text of a `Warning: 299 - "text"` header (RFC 7234, section 5.5).
fn warning(value: &http::HeaderValue) -> Option<String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let quoted = text.split_once('"')?.1.strip_suffix('"')?;
    Some(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_api_servers_own() {
        for (kind, namespace, name, expected) in [
            ("Pod", Some("a"), Some("b"), "/api/v1/namespaces/a/pods/b"),
            ("Deployment", Some("a"), None, "/apis/apps/v1/namespaces/a/deployments"),
            ("Namespace", None, Some("a"), "/api/v1/namespaces/a"),
            ("Node", Some("ignored"), Some("n"), "/api/v1/nodes/n"),
        ] {
            assert_eq!(path(kind, namespace, name).unwrap(), expected);
        }
        assert!(path("Pot", None, None).is_err());
    }

    #[test]
    fn a_warning_is_what_stands_between_the_quotes() {
        let header = http::HeaderValue::from_static(r#"299 - "no \"sidecar\" here""#);
        assert_eq!(warning(&header).unwrap(), r#"no "sidecar" here"#);
        assert_eq!(warning(&http::HeaderValue::from_static("299")), None);
    }
}
