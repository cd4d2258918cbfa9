//! Legacy as a client sees it: a look for its listener, the requests of the handshake, the watch.
//!
//! Nothing here trusts what listens on Legacy's port: each request has a time limit, each body a
//! size, redirects are not followed, and proxies from the environment are ignored.

mod watch;

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::failure::{Failure, Request};
use crate::machine::{Answer, Kindness, Knock, Seen};
use crate::secret::{Key, KeyProblem, LIMIT, Secret};

pub(crate) use watch::Watch;

/// Where Legacy may listen. Literals, because a name would start a thread to resolve it.
const LOCALHOST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// What an uninitialised Legacy says, with or without white space around it.
const UNINITIALIZED: &[u8] = b"Uninitialized";

/// The pause between two tries of a second connection beside the watch.
const KINDNESS_EVERY: Duration = Duration::from_millis(50);

const AGENT: &str = concat!("secret-handshake/", env!("CARGO_PKG_VERSION"));

/// Legacy's port, seen from inside its pod.
pub(crate) struct Legacy {
    address: SocketAddr,
    timeout: Duration,
    /// Made for the first request, and dropped when there is nothing to ask for a while: most of a
    /// sidecar's life needs no HTTP client.
    client: Option<Client>,
}

impl Legacy {
    /// Legacy on this port; `timeout` limits each request.
    pub(crate) fn new(port: u16, timeout: Duration) -> Self {
        Self {
            address: SocketAddr::new(LOCALHOST[0], port),
            timeout,
            client: None,
        }
    }

    /// Where Legacy listens, or listened last.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives back what is not needed while nothing is asked.
    pub(crate) fn rest(&mut self) {
        self.client = None;
    }

    /// Looks for a listener with a bare TCP connect, on IPv4 and then on IPv6.
    pub(crate) async fn knock(&mut self) -> Knock {
        for ip in LOCALHOST {
            let address = SocketAddr::new(ip, self.address.port());
            if let Ok(Ok(_)) = timeout(self.timeout, TcpStream::connect(address)).await {
                self.address = address;
                return Knock::Accepted;
            }
        }
        self.rest();
        Knock::Refused
    }

    /// Asks `/` whether Legacy is initialised. Of the body it reads no more than it takes to tell.
    pub(crate) async fn look(&mut self) -> Result<Seen, Failure> {
        let mut response = self.ask(Request::Look, None).await?;
        let status = response.status();
        let mut body = Vec::new();
        let says_uninitialized = loop {
            match self.chunk(Request::Look, &mut response).await? {
                None => break body.trim_ascii() == UNINITIALIZED,
                Some(chunk) => body.extend_from_slice(&chunk),
            }
            if body.len() > 64 || !UNINITIALIZED.starts_with(body.trim_ascii()) {
                break false;
            }
        };
        Ok(match says_uninitialized {
            true => Seen::Uninitialised,
            false if status.is_server_error() => Seen::Unclear,
            false => Seen::Initialised,
        })
    }

    /// Asks for Legacy's half.
    pub(crate) async fn key(&mut self) -> Result<Key, Failure> {
        let mut response = self.ask(Request::Key, None).await?;
        if response.status() != StatusCode::OK {
            return Err(Failure::Status(Request::Key, response.status().as_u16()));
        }
        let mut body = Zeroizing::new(Vec::with_capacity(1024));
        while let Some(chunk) = self.chunk(Request::Key, &mut response).await? {
            if body.len() + chunk.len() > LIMIT {
                return Err(KeyProblem::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Key::decode(&body)?)
    }

    /// Sends the secret. The answer's body is not read: it might repeat the secret.
    pub(crate) async fn send(&mut self, secret: Secret) -> Result<Answer, Failure> {
        let response = self.ask(Request::Secret, Some(secret)).await?;
        match response.status() {
            StatusCode::ACCEPTED => Ok(Answer::Accepted),
            StatusCode::NO_CONTENT => Ok(Answer::Repeated),
            StatusCode::BAD_REQUEST => Err(Failure::WrongHalf),
            other => Err(Failure::Status(Request::Secret, other.as_u16())),
        }
    }

    /// Opens the watch: a connection that stays, on which `/health` has been asked once.
    pub(crate) async fn watch(&self) -> Result<Watch, Failure> {
        let failed = Failure::Silent(Request::Health, self.timeout);
        timeout(self.timeout, Watch::open(self.address))
            .await
            .unwrap_or(Err(failed))
    }

    /// Whether Legacy answers `/health` over another connection while the watch rests. A first try
    /// may fail for reasons of its own, so it is tried again until the time is over.
    ///
    /// # Errors
    /// When the watch ends meanwhile.
    pub(crate) async fn kindness(
        &mut self,
        watch: &mut Watch,
        patience: Duration,
    ) -> Result<Kindness, WatchEnded> {
        let answered = async {
            while self.ask(Request::Health, None).await.is_err() {
                tokio::time::sleep(KINDNESS_EVERY).await;
            }
        };
        tokio::select! {
            biased;
            () = watch.ended() => Err(WatchEnded),
            answered = timeout(patience, answered) => {
                Ok(if answered.is_ok() { Kindness::Kind } else { Kindness::Unkind })
            }
        }
    }

    async fn ask(&mut self, request: Request, secret: Option<Secret>) -> Result<Response, Failure> {
        let url = format!("http://{}{}", self.address, request.path());
        let client = self.client()?;
        let builder = match secret {
            None => client.get(url),
            Some(secret) => client
                .post(url)
                .header(
                    CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                )
                .body(secret.into_body()),
        };
        builder
            .send()
            .await
            .map_err(|error| self.failure(request, &error))
    }

    async fn chunk(
        &self,
        request: Request,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        response
            .chunk()
            .await
            .map_err(|error| self.failure(request, &error))
    }

    fn client(&mut self) -> Result<&Client, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => client(self.timeout).map_err(|error| self.failure(Request::Look, &error))?,
        };
        Ok(self.client.insert(client))
    }

    fn failure(&self, request: Request, error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure::Silent(request, self.timeout);
        }
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>()
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                return Failure::Gone(request);
            }
            if error
                .downcast_ref::<hyper::Error>()
                .is_some_and(hyper::Error::is_parse)
            {
                return Failure::NotHttp(request);
            }
            cause = error.source();
        }
        Failure::Broken(request)
    }
}

/// The watched connection ended.
pub(crate) struct WatchEnded;

fn client(timeout: Duration) -> reqwest::Result<Client> {
    // A connection of its own for each request, and none kept: a kept one that never carries another
    // request would hold up Legacy's shutdown.
    let close = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
    Client::builder()
        .default_headers(close)
        .user_agent(AGENT)
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .http1_only()
        .build()
}
