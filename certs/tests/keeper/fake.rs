//! An API server in memory: two objects, resourceVersions, a watch, and faults to order.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) const NAMESPACE: &str = "secret-handshake";
pub(crate) const SECRET: &str = "secret-handshake-ca";
pub(crate) const CONFIGURATION: &str = "handshake.secret-handshake.dev";
pub(crate) const ENTRIES: [&str; 3] =
    ["namespace.secret-handshake.dev", "pod.secret-handshake.dev", "workload.secret-handshake.dev"];

/// What was asked for, as RBAC sees it: verb, group, resource, name.
pub(crate) type Asked = (String, String, String, Option<String>);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) secret: Option<Value>,
    pub(crate) configuration: Option<Value>,
    version: u64,
    watchers: Vec<mpsc::UnboundedSender<Value>>,
    pub(crate) asked: BTreeSet<Asked>,
    /// Every write that was accepted: verb and resource.
    pub(crate) writes: Vec<(String, String)>,
    /// `verb resource` that are refused with 403.
    pub(crate) forbidden: BTreeSet<String>,
    /// Whether nobody answers.
    pub(crate) is_away: bool,
    /// So many of the next writes are carried out and never answered.
    pub(crate) lose: u32,
    /// Whether nothing stays in the Secret.
    pub(crate) forgets: bool,
    /// Before so many of the next writes somebody else touches the object.
    pub(crate) interlopers: u32,
}

#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    epoch: Timestamp,
    start: Instant,
}

impl Fake {
    /// An API server whose clock shows `epoch` now, with an empty configuration.
    pub(crate) fn new(epoch: &str) -> Self {
        let fake =
            Self { state: Arc::default(), epoch: epoch.parse().unwrap(), start: Instant::now() };
        fake.state().configuration = Some(configuration());
        fake.state().secret = Some(empty_secret());
        fake.touch();
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The API server's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.epoch + self.start.elapsed()
    }

    pub(crate) fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        kube::Client::new(service, NAMESPACE)
    }

    /// The caBundle of each entry, decoded.
    pub(crate) fn bundles(&self) -> Vec<Vec<u8>> {
        let state = self.state();
        let webhooks = state.configuration.as_ref().unwrap()["webhooks"].as_array().unwrap();
        let bundle = |webhook: &Value| {
            serde_json::from_value(webhook["clientConfig"]["caBundle"].clone())
                .map_or_else(|_| Vec::new(), |ByteString(pem)| pem)
        };
        webhooks.iter().map(bundle).collect()
    }

    /// Somebody else writes the caBundle of one entry, and is noted as the one who did.
    pub(crate) fn overwrite(&self, entry: usize, bundle: &str, manager: &str) {
        {
            let mut state = self.state();
            let time = (self.epoch + self.start.elapsed()).to_string();
            let configuration = state.configuration.as_mut().unwrap();
            let webhook = &mut configuration["webhooks"][entry];
            let name = format!("k:{{\"name\":{}}}", webhook["name"]);
            webhook["clientConfig"]["caBundle"] = json!(ByteString(bundle.into()));
            configuration["metadata"]["managedFields"] = json!([{
                "manager": manager, "operation": "Update", "time": time,
                "fieldsV1": { "f:webhooks": { name: { "f:clientConfig": { "f:caBundle": {} } } } },
            }]);
            let generation = configuration["metadata"]["generation"].as_i64().unwrap_or(0);
            configuration["metadata"]["generation"] = json!(generation + 1);
        }
        self.touch();
    }

    /// Somebody else puts something else into the Secret's data.
    pub(crate) fn set_data(&self, data: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = json!(state.version.to_string());
        let secret = state.secret.as_mut().unwrap();
        secret["metadata"]["resourceVersion"] = version;
        match data {
            Value::Null => drop(secret.as_object_mut().unwrap().remove("data")),
            data => secret["data"] = data,
        }
    }

    /// A person asks for a new CA.
    pub(crate) fn ask_for_a_new_ca(&self) {
        let mut state = self.state();
        state.version += 1;
        let version = json!(state.version.to_string());
        let secret = state.secret.as_mut().unwrap();
        secret["metadata"]["resourceVersion"] = version;
        secret["metadata"]["annotations"] = json!({ certs::secret::ROTATE: "now" });
    }

    /// The CAs in the Secret.
    pub(crate) fn cas(&self) -> Vec<Value> {
        let state = self.state();
        let data = state.secret.as_ref().unwrap()["data"]["cas.json"].clone();
        let ByteString(text) = serde_json::from_value(data).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Gives the configuration a new resourceVersion, and tells those who watch.
    pub(crate) fn touch(&self) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        if let Some(configuration) = &mut state.configuration {
            configuration["metadata"]["resourceVersion"] = json!(version.to_string());
            let event = json!({ "type": "MODIFIED", "object": metadata(configuration) });
            state.watchers.retain(|watcher| {
                watcher.send(event.clone()).and_then(|()| watcher.send(bookmark(version))).is_ok()
            });
        }
    }

    async fn answer(&self, request: Request<Body>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        // Time passes, as on a network.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let query = head.uri.query().unwrap_or("").to_owned();
        let path: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
        let (group, resource, name) = match path[..] {
            ["api", "v1", "namespaces", NAMESPACE, resource, ref name @ ..] => ("", resource, name),
            ["apis", group, "v1", resource, ref name @ ..] => (group, resource, name),
            _ => panic!("asked for {}", head.uri),
        };
        let mut name = name.first().map(|name| (*name).to_owned());
        let is_watch = query.contains("watch=true");
        let verb = match head.method {
            Method::GET if is_watch => "watch",
            Method::GET if name.is_none() => "list",
            Method::GET => "get",
            Method::PATCH => "patch",
            _ => panic!("asked to {} {}", head.method, head.uri),
        };
        if is_watch {
            // As the API server does: the name is taken from this selector.
            let selector = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector="));
            let selected = selector.and_then(|value| value.strip_prefix("metadata.name%3D"));
            name = selected.map(str::to_owned);
        }
        let (is_away, is_forbidden) = {
            let mut state = self.state();
            state.asked.insert((verb.to_owned(), group.into(), resource.into(), name.clone()));
            (state.is_away, state.forbidden.contains(&format!("{verb} {resource}")))
        };
        if is_away {
            // Nothing comes back until the client gives up.
            std::future::pending::<()>().await;
        }
        if is_forbidden {
            return self.status(403, "Forbidden", &format!("User \"sa\" cannot {verb} {resource}"));
        }
        if is_watch {
            return self.watch();
        }
        let is_write = verb == "patch";
        if is_write {
            assert!(query.contains("fieldManager=secret-handshake-webhook"), "{query}");
            self.interlope(resource);
        }
        let (code, answer) = match (verb, resource) {
            ("get", "secrets") => found(self.state().secret.clone()),
            ("get", _) => found(self.state().configuration.clone()),
            ("patch", "secrets") => {
                assert_eq!(head.headers["content-type"], "application/merge-patch+json");
                self.patch_secret(&body)
            }
            ("patch", _) => {
                assert_eq!(head.headers["content-type"], "application/strategic-merge-patch+json");
                self.patch_configuration(&body)
            }
            _ => panic!("asked to {verb} {resource}"),
        };
        if is_write && code < 300 {
            let is_lost = {
                let mut state = self.state();
                state.writes.push((verb.to_owned(), resource.to_owned()));
                state.lose = state.lose.saturating_sub(1);
                state.lose > 0
            };
            if is_lost {
                std::future::pending::<()>().await;
            }
        }
        self.response(code, &answer)
    }

    /// Somebody else changes what is about to be written.
    fn interlope(&self, resource: &str) {
        let mut state = self.state();
        if state.interlopers == 0 {
            return;
        }
        state.interlopers -= 1;
        state.version += 1;
        let version = json!(state.version.to_string());
        let object = match resource {
            "secrets" => &mut state.secret,
            _ => &mut state.configuration,
        };
        if let Some(object) = object {
            object["metadata"]["resourceVersion"] = version;
        }
    }

    /// A JSON merge patch (RFC 7396) of annotations and data.
    fn patch_secret(&self, body: &[u8]) -> (u16, Value) {
        let mut state = self.state();
        let patch: Value = serde_json::from_slice(body).unwrap();
        let Some(mut secret) = state.secret.clone() else {
            return (404, reason("NotFound", "not found"));
        };
        let version = &patch["metadata"]["resourceVersion"];
        assert!(version.is_string(), "a patch without the version that was read");
        if secret["metadata"]["resourceVersion"] != *version {
            return (409, reason("Conflict", "the object has been modified"));
        }
        for part in ["/metadata/annotations", "/data"] {
            for (key, value) in patch.pointer(part).and_then(Value::as_object).into_iter().flatten()
            {
                let (parent, name) = part.rsplit_once('/').unwrap();
                let map = &mut secret.pointer_mut(parent).unwrap()[name];
                if map.is_null() {
                    *map = json!({});
                }
                if value.is_null() {
                    map.as_object_mut().and_then(|map| map.remove(key));
                } else {
                    map[key] = value.clone();
                }
            }
        }
        state.version += 1;
        secret["metadata"]["resourceVersion"] = json!(state.version.to_string());
        if !state.forgets {
            state.secret = Some(secret.clone());
        }
        (200, secret)
    }

    fn patch_configuration(&self, body: &[u8]) -> (u16, Value) {
        let patch: Value = serde_json::from_slice(body).unwrap();
        {
            let mut state = self.state();
            let Some(stored) = &mut state.configuration else {
                return (404, reason("NotFound", "not found"));
            };
            if stored["metadata"]["resourceVersion"] != patch["metadata"]["resourceVersion"] {
                return (409, reason("Conflict", "the object has been modified"));
            }
            let webhooks = stored["webhooks"].as_array_mut().unwrap();
            for entry in patch["webhooks"].as_array().unwrap() {
                let mut keys: Vec<_> = entry.as_object().unwrap().keys().collect();
                keys.sort();
                assert_eq!(keys, ["clientConfig", "name"], "more is patched than the caBundle");
                let Some(webhook) = webhooks.iter_mut().find(|w| w["name"] == entry["name"]) else {
                    return (422, reason("Invalid", "sideEffects: required value"));
                };
                webhook["clientConfig"]["caBundle"] = entry["clientConfig"]["caBundle"].clone();
            }
            stored["metadata"]["managedFields"] = json!([]);
            let generation = stored["metadata"]["generation"].as_i64().unwrap_or(0);
            stored["metadata"]["generation"] = json!(generation + 1);
        }
        self.touch();
        (200, json!({}))
    }

    fn watch(&self) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        if let Some(configuration) = &state.configuration {
            let event = json!({ "type": "ADDED", "object": metadata(configuration) });
            sender.send(event).unwrap();
        }
        // An API server may send them unasked.
        sender.send(bookmark(state.version)).unwrap();
        state.watchers.push(sender);
        let events = stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await?;
            let frame = http_body::Frame::data(Bytes::from(format!("{event}\n")));
            Some((Ok::<_, Infallible>(frame), receiver))
        });
        Response::new(StreamBody::new(events).boxed_unsync())
    }

    fn status(
        &self,
        code: u16,
        why: &str,
        message: &str,
    ) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        self.response(code, &reason(why, message))
    }

    fn response(&self, code: u16, body: &Value) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        Response::builder()
            .status(StatusCode::from_u16(code).unwrap())
            .header("date", date)
            .body(Full::from(body.to_string()).boxed_unsync())
            .unwrap()
    }
}

fn found(object: Option<Value>) -> (u16, Value) {
    object.map_or_else(|| (404, reason("NotFound", "not found")), |object| (200, object))
}

fn reason(reason: &str, message: &str) -> Value {
    json!({ "kind": "Status", "status": "Failure", "reason": reason, "message": message })
}

/// Says that all events up to this version have been sent.
fn bookmark(version: u64) -> Value {
    json!({ "type": "BOOKMARK", "object": {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
    }})
}

fn metadata(object: &Value) -> Value {
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": object["metadata"] })
}

/// As the manifests have it.
fn empty_secret() -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": SECRET, "resourceVersion": "1", "labels": { "team": "ours" } } })
}

pub(crate) fn configuration() -> Value {
    let webhooks = ENTRIES.map(|name| {
        json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": { "service": { "name": "secret-handshake-webhook", "namespace": NAMESPACE } },
        })
    });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": CONFIGURATION, "generation": 1 }, "webhooks": webhooks,
    })
}
