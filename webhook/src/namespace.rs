//! What stands on a pod's Namespace: settings, and the label that asks for a sidecar.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::Request;
use http::header::ACCEPT;
use http_body_util::{BodyExt as _, Limited};
use injection::{Metadata, printable};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// For a Namespace, with everything that comes before the answer. The API server gives up on the whole
/// review after 5 s (`timeoutSeconds`).
const LIMIT: Duration = Duration::from_secs(2);

/// As many are read at the same time, and of each as many bytes: annotations take 256 KiB at most, and
/// who manages them about as much. Together they are a line of the memory limit in the manifest.
const AT_ONCE: usize = 16;
const LARGEST: usize = 1 << 19;

/// Of the API server's object all but the metadata is left out.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

/// Reads Namespaces. Cheap to clone.
#[derive(Clone)]
pub struct Namespaces {
    client: Client,
    permits: Arc<Semaphore>,
    running: Arc<Mutex<HashMap<String, WeakShared<Get>>>>,
}

type Get = BoxFuture<'static, Result<Arc<Metadata>, Unavailable>>;

/// Why a Namespace can't be read. Nothing is kept of one that could be read before: the controller that
/// creates the pod tries again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("can't read the Namespace {name}, whose annotations may be settings of this pod: {reason}")]
pub struct Unavailable {
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

impl Namespaces {
    /// Reads them with this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        Self { client, permits, running: Arc::default() }
    }

    /// The metadata of a Namespace, asked for now; who asks for the same one while the answer is on its
    /// way gets that answer.
    ///
    /// # Errors
    /// If there is no such Namespace, no right to read it, or no answer within 2 s.
    pub async fn get(&self, name: &str) -> Result<Arc<Metadata>, Unavailable> {
        self.join(name).await
    }

    fn join(&self, name: &str) -> Shared<Get> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = running.get(name).and_then(WeakShared::upgrade);
        if let Some(get) = joined.filter(|get| get.peek().is_none()) {
            return get;
        }
        running.retain(|_, get| get.upgrade().is_some());
        let get = self.clone().read(name.to_owned()).boxed().shared();
        running.extend(get.downgrade().map(|weak| (name.to_owned(), weak)));
        get
    }

    async fn read(self, name: String) -> Result<Arc<Metadata>, Unavailable> {
        let read = timeout(LIMIT, async {
            let _permit = self.permits.acquire().await?;
            get(self.client, &name).await
        });
        let read = read.await.unwrap_or_else(|_| Err(anyhow!("no answer within 2 s")));
        read.map(Arc::new).map_err(|error| Unavailable {
            name: printable(&name, 63),
            // It goes to whoever creates the pod, and into the log.
            reason: format!("{error:#}")
                .chars()
                .filter(|char| !char.is_control())
                .take(512)
                .collect(),
        })
    }
}

async fn get(client: Client, name: &str) -> anyhow::Result<Metadata> {
    // It becomes a part of a path.
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!((1..=63).contains(&name.len()) && name.bytes().all(is_name), "that is no name");
    let request = Request::get(format!("/api/v1/namespaces/{name}")).header(ACCEPT, METADATA_ONLY);
    let response = client.send(request.body(Body::empty())?).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| anyhow!("its answer broke off: {error}"))?.to_bytes();
    ensure!(status.is_success(), "the API server says {status}{}", message(&body));
    let object: Object = serde_json::from_slice(&body).context("it is not as expected")?;
    Ok(object.metadata)
}

/// What the API server says about a refusal.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let status = serde_json::from_slice::<Status>(body);
    status.map(|status| format!(": {}", status.message)).unwrap_or_default()
}
