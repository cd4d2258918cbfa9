//! Legacy as a client sees it: a look for its listener, the requests of the handshake, the watch.
//!
//! Nothing here trusts what listens on Legacy's port: each request has a time limit, and each answer a
//! size.

mod exchange;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::failure::{Failure, Request};
use crate::machine::{Answer, Kindness, Knock, Seen};
use crate::secret::{Key, KeyProblem, LIMIT, Secret};

use exchange::{exchange, failure};
pub(crate) use watch::Watch;

/// Where Legacy may listen. Literals, because a name would start a thread to resolve it.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// What an uninitialised Legacy says, with or without white space around it.
const UNINITIALIZED: &[u8] = b"Uninitialized";

/// The pause between two tries of a second connection beside the watch.
const KINDNESS_EVERY: Duration = Duration::from_millis(50);

/// Legacy's port, seen from inside its pod.
pub(crate) struct Legacy {
    address: SocketAddr,
    timeout: Duration,
}

impl Legacy {
    /// Legacy on this port; `timeout` limits each request.
    pub(crate) fn new(port: u16, timeout: Duration) -> Self {
        Self { address: SocketAddr::new(LOCALHOST[0], port), timeout }
    }

    /// Where Legacy listens, or listened last.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
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
        Knock::Refused
    }

    /// Asks `/` whether Legacy is initialised. Of the body it reads no more than it takes to tell.
    pub(crate) async fn look(&self) -> Result<Seen, Failure> {
        let request = Request::Look;
        self.ask(request, None, async |mut answer| {
            let fails = answer.status().is_server_error();
            let mut body = Vec::new();
            let says_uninitialized = loop {
                match chunk(request, &mut answer).await? {
                    None => break body.trim_ascii() == UNINITIALIZED,
                    Some(chunk) => body.extend_from_slice(&chunk),
                }
                if body.len() > 64 || !UNINITIALIZED.starts_with(body.trim_ascii()) {
                    break false;
                }
            };
            Ok(match says_uninitialized {
                true => Seen::Uninitialised,
                false if fails => Seen::Unclear,
                false => Seen::Initialised,
            })
        })
        .await
    }

    /// Asks for Legacy's half.
    pub(crate) async fn key(&self) -> Result<Key, Failure> {
        let request = Request::Key;
        self.ask(request, None, async |mut answer| {
            if answer.status() != StatusCode::OK {
                return Err(Failure::Status(request, answer.status().as_u16()));
            }
            let mut body = Zeroizing::new(Vec::with_capacity(1024));
            while let Some(chunk) = chunk(request, &mut answer).await? {
                if body.len() + chunk.len() > LIMIT {
                    return Err(KeyProblem::TooLarge.into());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Key::decode(&body)?)
        })
        .await
    }

    /// Sends the secret. The answer's body is not read: it might repeat the secret.
    pub(crate) async fn send(&self, secret: Secret) -> Result<Answer, Failure> {
        let request = Request::Secret;
        self.ask(request, Some(secret), async |answer| match answer.status() {
            StatusCode::ACCEPTED => Ok(Answer::Accepted),
            StatusCode::NO_CONTENT => Ok(Answer::Repeated),
            StatusCode::BAD_REQUEST => Err(Failure::WrongHalf),
            other => Err(Failure::Status(request, other.as_u16())),
        })
        .await
    }

    /// Opens the watch: a connection that stays, on which `/health` has been asked once.
    pub(crate) async fn watch(&self) -> Result<Watch, Failure> {
        self.in_time(Request::Health, Watch::open(self.address)).await
    }

    /// Whether Legacy answers `/health` over another connection while the watch rests. A first try
    /// may fail for reasons of its own, so it is tried again until the time is over.
    ///
    /// # Errors
    /// When the watch ends meanwhile.
    pub(crate) async fn kindness(
        &self,
        watch: &mut Watch,
        patience: Duration,
    ) -> Result<Kindness, WatchEnded> {
        let answered = async {
            while self.ask(Request::Health, None, async |_| Ok(())).await.is_err() {
                sleep(KINDNESS_EVERY).await;
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

    async fn ask<T>(
        &self,
        request: Request,
        secret: Option<Secret>,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.in_time(request, exchange(self.address, request, secret, read)).await
    }

    async fn in_time<T>(
        &self,
        request: Request,
        asked: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let silent = Failure::Silent(request, self.timeout);
        timeout(self.timeout, asked).await.unwrap_or(Err(silent))
    }
}

/// The next piece of the body, or `None` at its end.
async fn chunk(
    request: Request,
    answer: &mut Response<Incoming>,
) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = answer.frame().await {
        let frame = frame.map_err(|error| failure(request, &error))?;
        // Trailers say nothing here.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The watched connection ended.
pub(crate) struct WatchEnded;
