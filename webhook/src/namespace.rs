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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Response;
    use tokio::sync::watch;
    use tokio::time::Instant;

    use super::*;

    const SHOP: &str = r#"{"metadata": {"name": "shop", "labels": {"secret-handshake": "yes"}}}"#;

    /// An API server that answers when it is told to, and how often it was asked.
    fn api_server(
        status: u16,
        body: &'static str,
        go: watch::Receiver<bool>,
    ) -> (Namespaces, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let answer = move |request: Request<Body>| {
            assert_eq!(request.headers()[ACCEPT], METADATA_ONLY);
            assert_eq!(request.uri(), "/api/v1/namespaces/shop");
            count.fetch_add(1, Ordering::Relaxed);
            let mut go = go.clone();
            async move {
                go.wait_for(|go| *go).await.unwrap();
                let response = Response::builder().status(status);
                Ok::<_, Infallible>(response.body(Body::from(body.as_bytes().to_vec())).unwrap())
            }
        };
        (Namespaces::new(Client::new(tower::service_fn(answer), "default")), asked)
    }

    fn at_once(status: u16, body: &'static str) -> (Namespaces, Arc<AtomicUsize>) {
        api_server(status, body, watch::Sender::new(true).subscribe())
    }

    #[tokio::test]
    async fn identical_gets_at_the_same_time_are_one() {
        let (answers, go) = watch::channel(false);
        let (namespaces, asked) = api_server(200, SHOP, go);
        let mut gets = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let namespaces = namespaces.clone();
            gets.spawn(async move { namespaces.get("shop").await });
        }
        // The one who asked leaves, and the others still get their answer.
        tokio::task::yield_now().await;
        let left = namespaces.join("shop");
        drop(left);
        answers.send(true).unwrap();
        for got in gets.join_all().await {
            assert_eq!(got.unwrap().label(), Some("yes"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        // Nothing is kept: what is annotated now counts for the next pod.
        namespaces.get("shop").await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        namespaces.get("shop").await.unwrap();
        assert!(namespaces.running.lock().unwrap().len() <= 1);
    }

    #[tokio::test]
    async fn a_failure_says_what_and_why() {
        let large = format!(r#"{{"metadata": {{}}, "padding": "{}"}}"#, "x".repeat(LARGEST));
        for (status, body, expected) in [
            (
                403,
                r#"{"message": "namespaces \"shop\" is forbidden"}"#,
                "403 Forbidden: namespaces \"shop\" is forbidden",
            ),
            (404, "", "404 Not Found"),
            (200, "[]", "not as expected"),
            (200, r#"{"metadata": {"annotations": {"a": 1}}}"#, "not as expected"),
            (200, large.leak(), "broke off: length limit exceeded"),
        ] {
            let error = at_once(status, body).0.get("shop").await.unwrap_err().to_string();
            assert!(
                error.starts_with("can't read the Namespace shop, whose annotations"),
                "{error}"
            );
            assert!(error.contains(expected), "{error}");
        }
        // Somebody who is no API server.
        for name in ["", "../secrets/x", "a/b", "a?b", "A", "ä", &"x".repeat(64)] {
            let (namespaces, asked) = at_once(200, SHOP);
            assert!(namespaces.get(name).await.is_err(), "{name}");
            assert_eq!(asked.load(Ordering::Relaxed), 0, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_given_up() {
        let (_answers, go) = watch::channel(false);
        let (namespaces, _) = api_server(200, SHOP, go);
        let start = Instant::now();
        let error = namespaces.get("shop").await.unwrap_err().to_string();
        assert!(error.ends_with("no answer within 2 s"), "{error}");
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}
