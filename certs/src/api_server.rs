//! The calls to the API server: one Secret and one configuration, each by its name, each call with a
//! time limit and a limit on what comes back.
//!
//! The verifier of a webhook's certificate is an API server, so it is the API server's clock that
//! counts and not the node's. Every answer carries a `Date` (RFC 9110, section 6.6.1); from the last
//! one on, time is counted by a clock that does not jump.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, GetParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::client::Body;
use kube::core::PartialObjectMeta;
use kube::core::request::Request;
use kube::{Client, Resource as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;
use zeroize::Zeroizing;

use crate::bundle::{self, Entry, FIELD_MANAGER};
use crate::ca::Authority;
use crate::certificate::{Fingerprint, Validity, after};
use crate::keeper::{Cluster, Failure, Status};
use crate::secret::{Ca, CaSecret, Content};
use crate::serving::ServingCertificate;

/// How long a call may take, with its answer read.
const CALL: Duration = Duration::from_secs(10);
/// How long a watch lasts: the API server ends it, and this side does if the API server does not.
const WATCH: Duration = Duration::from_secs(290);
/// The most bytes of an answer; an object in etcd has 1.5 MiB at most.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

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

/// The API server, and what was last read from it.
pub struct ApiServer {
    client: Client,
    objects: ObjectNames,
    names: Vec<String>,
    date: Option<(Timestamp, Instant)>,
    configuration: MutatingWebhookConfiguration,
    secret: CaSecret,
    watch: Option<Watch>,
    serving: watch::Sender<Option<ServingCertificate>>,
    status: watch::Sender<Status>,
}

struct Watch {
    events: BoxStream<'static, kube::Result<WatchEvent<Metadata>>>,
    opened: Instant,
}

type Metadata = PartialObjectMeta<MutatingWebhookConfiguration>;

impl ApiServer {
    /// The API server behind `client`, whose retries are best turned off. `names` are what serving
    /// certificates are for, first the one by which API servers call the webhook.
    #[must_use]
    pub fn new(client: Client, objects: ObjectNames, names: Vec<String>) -> Self {
        Self {
            client,
            objects,
            names,
            date: None,
            configuration: MutatingWebhookConfiguration::default(),
            secret: CaSecret::default(),
            watch: None,
            serving: watch::Sender::default(),
            status: watch::Sender::default(),
        }
    }

    /// The name by which an API server calls the webhook's Service.
    #[must_use]
    pub fn service_name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// The certificate to serve with: `None` until there is one, then always the newest.
    #[must_use]
    pub fn serving(&self) -> watch::Receiver<Option<ServingCertificate>> {
        self.serving.subscribe()
    }

    /// How things are. That a replica is ready is told after its certificate was handed out.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Writes `pem`, the certificates of `cas`, into every caBundle that does not hold exactly those,
    /// in the configuration as it was last read. Says whether there was one.
    ///
    /// # Errors
    /// [`Failure`], also if the configuration has changed since.
    pub async fn publish_pem(&mut self, cas: &[Fingerprint], pem: &str) -> Result<bool, Failure> {
        let Some(patch) = bundle::patch(&self.configuration, cas, pem) else {
            return Ok(false);
        };
        let patch = Patch::Strategic(patch);
        let request = configurations().patch(&self.objects.configuration, &by_us(), &patch);
        self.call("patch the MutatingWebhookConfiguration", request).await?;
        Ok(true)
    }

    fn secrets(&self) -> Request {
        Request::new(Secret::url_path(&(), Some(&self.objects.namespace)))
    }

    /// One call; the answer's body, or `None` where the API server says that there is no such object.
    async fn call(
        &mut self,
        what: &'static str,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let failed = |reason: &dyn fmt::Display| Failure(format!("cannot {what}: {reason}"));
        let request = request.map_err(|error| failed(&error))?.map(Body::from);
        let exchange = async {
            let response = self.client.send(request).await;
            let (head, body) = response.map_err(|error| failed(&innermost(&error)))?.into_parts();
            // Not by the client's own parser: it logs what it can't parse, and this may be the Secret.
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| failed(&error))?.to_bytes();
            Ok((head, Zeroizing::new(body.to_vec())))
        };
        let (head, body) = tokio::time::timeout(CALL, exchange)
            .await
            .map_err(|_| failed(&format_args!("no answer in {CALL:?}")))??;
        let date = head.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok()) {
            self.date = Some((date, Instant::now()));
        }
        if head.status.is_success() {
            return Ok(Some(body));
        }
        let status: kube::core::Status = serde_json::from_slice(&body).unwrap_or_default();
        let message = status.message;
        match head.status.as_u16() {
            404 => Ok(None),
            // The message names the verb, the resource, the object and the account.
            403 => Err(failed(&format_args!("{message}: apply the webhook's roles again"))),
            code => Err(failed(&format_args!("HTTP {code} {message}"))),
        }
    }

    /// Waits until the configuration is not what was last read any more.
    async fn changed(&mut self) -> kube::Result<()> {
        loop {
            let Some(Watch { events, opened }) = &mut self.watch else {
                self.watch = Some(self.open_watch().await?);
                continue;
            };
            let event = tokio::time::timeout_at(*opened + WATCH + CALL, events.next()).await;
            match event.ok().flatten() {
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)))
                    if object.metadata.resource_version
                        == self.configuration.metadata.resource_version => {}
                Some(Ok(
                    WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_),
                )) => {
                    return Ok(());
                }
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                // Ended: by the API server after a while, or by a failure.
                _ if opened.elapsed() > CALL => self.watch = None,
                _ => {
                    self.watch = None;
                    return std::future::pending().await;
                }
            }
        }
    }

    /// A watch of the one configuration. RBAC compares the name in this selector.
    async fn open_watch(&mut self) -> kube::Result<Watch> {
        let selector = format!("metadata.name={}", self.objects.configuration);
        let seconds = u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX);
        let params = WatchParams::default().disable_bookmarks().fields(&selector).timeout(seconds);
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        // No resourceVersion: from the present state on.
        let events = api.watch_metadata(&params, "").await?.boxed();
        Ok(Watch { events, opened: Instant::now() })
    }
}

impl Cluster for ApiServer {
    fn now(&self) -> Timestamp {
        self.date.map_or_else(Timestamp::now, |(date, heard)| after(date, heard.elapsed()))
    }

    async fn read_configuration(&mut self) -> Result<Vec<Entry>, Failure> {
        let request = configurations().get(&self.objects.configuration, &GetParams::default());
        let body = self.call("get the MutatingWebhookConfiguration", request).await?;
        self.configuration = match &body {
            Some(body) => serde_json::from_slice(body).map_err(|error| {
                Failure(format!("the answer is not a MutatingWebhookConfiguration: {error}"))
            })?,
            None => MutatingWebhookConfiguration::default(),
        };
        Ok(Entry::all_of(&self.configuration))
    }

    async fn read_secret(&mut self) -> Result<Content, Failure> {
        let request = self.secrets().get(&self.objects.secret, &GetParams::default());
        let Some(body) = self.call("get the Secret", request).await? else {
            let ObjectNames { namespace, secret, .. } = &self.objects;
            return Err(Failure(format!(
                "there is no Secret {secret} in the namespace {namespace}: it is part of the \
                 installation, empty; apply that again"
            )));
        };
        self.secret = CaSecret::parse(&body).map_err(|error| Failure(error.to_owned()))?;
        Ok(self.secret.content().clone())
    }

    async fn sign(&mut self, ca: Fingerprint, validity: Validity) -> Result<(), Failure> {
        let authority =
            self.secret.authority(ca).ok_or_else(|| Failure(format!("the CA {ca} is gone")))?;
        let failed = |error: &dyn fmt::Display| {
            Failure(format!("cannot sign a certificate with the CA {ca}: {error}"))
        };
        let leaf = authority.issue(&self.names, validity).map_err(|error| failed(&error))?;
        // What readiness takes for granted: whoever trusts this CA accepts this leaf.
        let root = std::slice::from_ref(authority.certificate());
        leaf.verify(root, self.service_name(), self.now()).map_err(|error| failed(&error))?;
        self.serving.send_replace(Some(leaf));
        Ok(())
    }

    async fn publish(&mut self) -> Result<(), Failure> {
        let cas: Vec<_> = self.secret.content().cas.iter().map(|ca| ca.id).collect();
        self.publish_pem(&cas, &self.secret.bundle()).await.map(drop)
    }

    async fn write_secret(&mut self, cas: &[Ca], new: Option<Validity>) -> Result<(), Failure> {
        let new = new.map(Authority::new).transpose();
        let new = new.map_err(|error| Failure(format!("cannot make a CA: {error}")))?;
        let patch = Patch::Merge(self.secret.patch(cas, new.as_ref()));
        let request = self.secrets().patch(&self.objects.secret, &by_us(), &patch);
        self.call("patch the Secret", request).await.map(drop)
    }

    fn report(&mut self, status: &Status) {
        self.status.send_if_modified(|before| {
            let is_new = before != status;
            before.clone_from(status);
            is_new
        });
    }

    async fn rest(&mut self, limit: Duration, wakes: bool) -> bool {
        let end = Instant::now() + limit;
        if wakes {
            match tokio::time::timeout_at(end, self.changed()).await {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => debug!(%error, "the webhook configuration is not watched"),
                Err(_) => return false,
            }
        }
        tokio::time::sleep_until(end).await;
        false
    }
}

fn configurations() -> Request {
    Request::new(MutatingWebhookConfiguration::url_path(&(), None))
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
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
