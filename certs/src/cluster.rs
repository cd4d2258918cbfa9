//! The calls to the API server: one Secret and one configuration, each by its name, each call with
//! a time limit and a limit on what comes back.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::{TryStreamExt, pin_mut};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams, WatchParams};
use kube::client::Body;
use kube::core::request::Request;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bundle::{Configuration, FIELD_MANAGER};
use crate::replica::Failure;
use crate::store::Object;

/// How long a call may take, with its answer read.
const CALL: Duration = Duration::from_secs(10);
/// How long a watch lasts: it is ended by the API server, and by this side soon after.
const WATCH: Duration = Duration::from_secs(290);
/// The most bytes of an answer; an object in etcd has 1.5 MiB at most.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// What the objects are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectNames {
    /// The webhook's own namespace.
    pub namespace: String,
    /// The Secret that holds the CAs.
    pub secret: String,
    /// The `MutatingWebhookConfiguration`.
    pub configuration: String,
}

/// The cluster, as far as certificates go.
pub struct Cluster {
    client: Client,
    names: ObjectNames,
    /// The `Date` of the last answer, in seconds since 1970; 0 is none.
    heard: AtomicI64,
}

/// What is asked for: enough to say which RBAC rule is missing.
#[derive(Debug, Clone, Copy)]
struct Ask<'a> {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    /// `create` has no name that RBAC could compare.
    name: Option<&'a str>,
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.group.is_empty() { "Role" } else { "ClusterRole" };
        write!(f, "the webhook's {role} lacks the rule {{apiGroups: [{:?}], ", self.group)?;
        write!(f, "resources: [{}], ", self.resource)?;
        if let Some(name) = self.name {
            write!(f, "resourceNames: [{name}], ")?;
        }
        write!(f, "verbs: [{}]}}", self.verb)
    }
}

impl Cluster {
    /// The cluster behind a client that is set up already.
    #[must_use]
    pub fn over(client: Client, names: ObjectNames) -> Self {
        Self { client, names, heard: AtomicI64::new(0) }
    }

    /// What the objects are called.
    #[must_use]
    pub fn names(&self) -> &ObjectNames {
        &self.names
    }

    /// The `Date` of the last answer, if there was one since this was last asked.
    pub fn heard(&self) -> Option<Timestamp> {
        let second = self.heard.swap(0, Ordering::Relaxed);
        (second != 0).then(|| Timestamp::from_second(second).ok()).flatten()
    }

    /// Reads the configuration; `None` if there is none.
    ///
    /// # Errors
    /// [`Failure`] says what to do about it.
    pub async fn configuration(&self) -> Result<Option<Configuration>, Failure> {
        let name = &self.names.configuration;
        let request = configurations().get(name, &kube::api::GetParams::default());
        self.call(self.configuration_ask("get"), request).await
    }

    /// Patches the configuration with a strategic merge patch.
    ///
    /// # Errors
    /// [`Failure`]; a conflict if it has changed since it was read.
    pub async fn patch_configuration(&self, patch: &Value) -> Result<(), Failure> {
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let name = &self.names.configuration;
        let request = configurations().patch(name, &params, &Patch::Strategic(patch));
        let patched: Option<Value> = self.call(self.configuration_ask("patch"), request).await?;
        patched.map(drop).ok_or_else(|| Failure::Conflict(gone("configuration", name)))
    }

    /// Reads the Secret; `None` if there is none.
    ///
    /// # Errors
    /// [`Failure`] says what to do about it.
    pub async fn secret(&self) -> Result<Option<Object>, Failure> {
        let request = self.secrets().get(&self.names.secret, &kube::api::GetParams::default());
        self.call(self.secret_ask("get"), request).await
    }

    /// Creates the Secret.
    ///
    /// # Errors
    /// [`Failure`]; a conflict if it is there already.
    pub async fn create_secret(&self, secret: &Object) -> Result<(), Failure> {
        let request = self.secrets().create(&post(), json(secret)?);
        let ask = Ask { name: None, ..self.secret_ask("create") };
        let created: Option<Value> = self.call(ask, request).await?;
        let namespace = &self.names.namespace;
        created.map(drop).ok_or_else(|| Failure::Unavailable(gone("namespace", namespace)))
    }

    /// Updates the Secret, with the resourceVersion that it carries.
    ///
    /// # Errors
    /// [`Failure`]; a conflict if it has changed since it was read, or is gone.
    pub async fn update_secret(&self, secret: &Object) -> Result<(), Failure> {
        let request = self.secrets().replace(&self.names.secret, &post(), json(secret)?);
        let updated: Option<Value> = self.call(self.secret_ask("update"), request).await?;
        updated.map(drop).ok_or_else(|| Failure::Conflict(gone("Secret", &self.names.secret)))
    }

    /// Watches the configuration, without a list, and calls `changed` for each change and once at
    /// the beginning. It ends after some minutes by itself.
    ///
    /// # Errors
    /// [`Failure`] if the watch is refused or breaks.
    pub async fn watch_configuration(&self, changed: impl Fn()) -> Result<(), Failure> {
        let seconds = u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX);
        // By this selector, RBAC compares the name.
        let selector = format!("metadata.name={}", self.names.configuration);
        let params = WatchParams::default().fields(&selector).timeout(seconds);
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let watch = async {
            // No resourceVersion: from the present state on.
            let events = api.watch_metadata(&params, "").await?;
            pin_mut!(events);
            while let Some(event) = events.try_next().await? {
                if !matches!(event, kube::api::WatchEvent::Bookmark(_)) {
                    changed();
                }
            }
            Ok(())
        };
        let ask = self.configuration_ask("watch");
        match tokio::time::timeout(WATCH + CALL, watch).await {
            Ok(ended) => ended.map_err(|error| self.failure(ask, &error)),
            Err(_) => Err(Failure::Unavailable("the watch was not ended in time".to_owned())),
        }
    }

    /// One call: `None` is a 404.
    async fn call<T: DeserializeOwned>(
        &self,
        ask: Ask<'_>,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Option<T>, Failure> {
        let Ask { verb, resource, .. } = ask;
        let failed = |what: &dyn fmt::Display| {
            Failure::Unavailable(format!("cannot {verb} {resource}: {what}"))
        };
        let request = request.map_err(|error| failed(&error))?;
        let exchange = async {
            let response = self.client.send(request.map(Body::from)).await;
            let response = response.map_err(|error| failed(&innermost(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await;
            Ok((head, body.map_err(|error| failed(&error))?.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(CALL, exchange)
            .await
            .map_err(|_| failed(&format_args!("no answer in {} s", CALL.as_secs())))??;
        if let Some(date) = head.headers.get(http::header::DATE).and_then(|date| date.to_str().ok())
            && let Ok(date) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date)
        {
            self.heard.store(date.as_second(), Ordering::Relaxed);
        }
        if head.status.is_success() {
            // Not through the client's own parser: it logs what it cannot parse, and this may be
            // the Secret.
            let parsed = serde_json::from_slice(&body);
            return parsed.map(Some).map_err(|_| failed(&"the answer is not what was asked for"));
        }
        let status: kube::core::Status = serde_json::from_slice(&body).unwrap_or_default();
        let status = kube::core::Status { code: head.status.as_u16(), ..status };
        if status.code == 404 && verb != "create" {
            return Ok(None);
        }
        Err(self.failure(ask, &kube::Error::Api(Box::new(status))))
    }

    #[expect(clippy::unused_self, reason = "it reads as the others do")]
    fn failure(&self, ask: Ask<'_>, error: &kube::Error) -> Failure {
        let Ask { verb, resource, .. } = ask;
        let kube::Error::Api(status) = error else {
            return Failure::Unavailable(format!("cannot {verb} {resource}: {}", innermost(error)));
        };
        let message = if status.message.is_empty() { "no reason given" } else { &status.message };
        let text = format!("cannot {verb} {resource}: {message} (HTTP {})", status.code);
        match status.code {
            403 => Failure::Forbidden(format!("{text}: {ask}")),
            // Changed since it was read, there already, or an entry is gone: read again.
            409 | 422 => Failure::Conflict(text),
            _ => Failure::Unavailable(text),
        }
    }

    fn secrets(&self) -> Request {
        Request::new(Secret::url_path(&(), Some(&self.names.namespace)))
    }

    fn secret_ask(&self, verb: &'static str) -> Ask<'_> {
        Ask { verb, group: "", resource: "secrets", name: Some(&self.names.secret) }
    }

    fn configuration_ask(&self, verb: &'static str) -> Ask<'_> {
        Ask {
            verb,
            group: "admissionregistration.k8s.io",
            resource: "mutatingwebhookconfigurations",
            name: Some(&self.names.configuration),
        }
    }
}

fn configurations() -> Request {
    Request::new(MutatingWebhookConfiguration::url_path(&(), None))
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn json(secret: &Object) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(secret)
        .map_err(|_| Failure::Unavailable("the Secret cannot be written as JSON".to_owned()))
}

fn gone(what: &str, name: &str) -> String {
    format!("the {what} {name} is gone")
}

/// The cause that says most: the last of the chain.
fn innermost<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}
