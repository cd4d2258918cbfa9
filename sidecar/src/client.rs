//! Legacy as a client sees it: a bare connect, and the requests of the handshake.
//!
//! Nothing here trusts what listens on Legacy's port: each request has a time limit, and of each answer
//! no more is read than is needed. Each request has a connection of its own; there is no proxy, no
//! redirect and no second try.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use std::{fmt, io};

use reqwest::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use crate::secret::{Key, KeyError, LIMIT, Secret};

/// What the sidecar calls itself in its requests.
pub(crate) const USER_AGENT: &str = concat!("secret-handshake/", env!("CARGO_PKG_VERSION"));

/// Where Legacy may listen. Literals, because a name would have to be resolved in a thread.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// What an uninitialised Legacy says, with or without white space around it.
const UNINITIALIZED: &[u8] = b"Uninitialized";

/// The most time for a check, however long other requests may take: a Legacy that says nothing is sent
/// the secret, which tells as much.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// The requests that the sidecar sends to Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /`
    Check,
    /// `GET /internal/key`
    Key,
    /// `POST /internal/secret`
    Secret,
    /// `GET /health`, which Legacy does not log.
    Health,
}

impl Request {
    fn method(self) -> Method {
        if self == Self::Secret { Method::POST } else { Method::GET }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Check => "/",
            Self::Key => "/internal/key",
            Self::Secret => "/internal/secret",
            Self::Health => "/health",
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.method(), self.path())
    }
}

/// What `GET /` says about Legacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A status of 200 to 499 and a body other than `Uninitialized`.
    Initialised,
    /// The body `Uninitialized`, whatever the status.
    Uninitialised,
    /// Any other answer: it may be either.
    Unclear,
}

/// How Legacy took the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202.
    Accepted,
    /// 204: it has had the handshake already.
    AlreadyDone,
}

/// Why a request failed. It never holds a byte of what Legacy answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nothing listens on Legacy's port any more.
    #[error("{0}: the connection was refused")]
    Refused(Request),
    /// Legacy took the connection and did not answer in time.
    #[error("{0}: no complete answer within {1:?}")]
    Silent(Request, Duration),
    /// The connection ended before the answer did.
    #[error("{0}: the connection ended before the answer did")]
    Broken(Request),
    /// What came back is not HTTP.
    #[error("{0}: the answer is not HTTP")]
    NotHttp(Request),
    /// An answer with a status that the request must not have.
    #[error("{0}: the answer was status {1}")]
    Status(Request, u16),
    /// What Legacy gave as its key is not one.
    #[error("GET /internal/key: {0}")]
    Key(#[from] KeyError),
    /// Legacy answered 400: it expects another operations half.
    #[error("POST /internal/secret: Legacy refused the secret (status 400)")]
    WrongHalf,
}

impl RequestError {
    /// The request that failed.
    #[must_use]
    pub fn request(self) -> Request {
        match self {
            Self::Refused(request)
            | Self::Silent(request, _)
            | Self::Broken(request)
            | Self::NotHttp(request)
            | Self::Status(request, _) => request,
            Self::Key(_) => Request::Key,
            Self::WrongHalf => Request::Secret,
        }
    }
}

/// What was tried, for the log at its level `debug`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trace {
    /// A bare connect.
    Connect { address: SocketAddr, accepted: bool, took: Duration },
    /// A request; without a status there was no answer.
    Request { request: Request, status: Option<StatusCode>, took: Duration },
}

/// Legacy's port, seen from inside its pod.
pub(crate) struct Client {
    http: reqwest::Client,
    address: SocketAddr,
    limit: Duration,
    trace: Box<dyn Fn(Trace) + Send + Sync>,
}

impl Client {
    /// `limit` is the most time for each request; `trace` is called after each of them.
    pub(crate) fn new(
        port: u16,
        limit: Duration,
        trace: impl Fn(Trace) + Send + Sync + 'static,
    ) -> reqwest::Result<Self> {
        let close = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]);
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(close)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .build()?;
        let address = SocketAddr::new(LOCALHOST[0], port);
        Ok(Self { http, address, limit, trace: Box::new(trace) })
    }

    /// Where Legacy listens, or listened last.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether anything listens, on IPv4 or else on IPv6; later requests go there.
    pub(crate) async fn connect(&mut self) -> bool {
        for ip in LOCALHOST {
            let address = SocketAddr::new(ip, self.address.port());
            let began = Instant::now();
            let connected = timeout(self.limit, TcpStream::connect(address)).await;
            let accepted = matches!(connected, Ok(Ok(_)));
            (self.trace)(Trace::Connect { address, accepted, took: began.elapsed() });
            if accepted {
                self.address = address;
                return true;
            }
        }
        false
    }

    /// Asks `/` whether Legacy is initialised. Of the body it reads no more than it takes to tell.
    pub(crate) async fn check(&self) -> Result<Check, RequestError> {
        self.ask(Request::Check, None, async |mut answer| {
            let serves = (200..500).contains(&answer.status().as_u16());
            let mut body = Vec::new();
            let says_uninitialized = loop {
                match answer.chunk().await? {
                    None => break body.trim_ascii() == UNINITIALIZED,
                    Some(chunk) => body.extend_from_slice(&chunk),
                }
                if body.len() > 64 || !UNINITIALIZED.starts_with(body.trim_ascii()) {
                    break false;
                }
            };
            Ok(match says_uninitialized {
                true => Check::Uninitialised,
                false if serves => Check::Initialised,
                false => Check::Unclear,
            })
        })
        .await
    }

    /// Asks for Legacy's half.
    pub(crate) async fn key(&self) -> Result<Key, RequestError> {
        self.ask(Request::Key, None, async |mut answer| {
            if answer.status() != StatusCode::OK {
                return Ok(Err(RequestError::Status(Request::Key, answer.status().as_u16())));
            }
            let mut body = Zeroizing::new(Vec::with_capacity(LIMIT));
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > LIMIT {
                    return Ok(Err(KeyError::TooLarge.into()));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Key::decode(&body).map_err(RequestError::Key))
        })
        .await?
    }

    /// Sends the secret. The answer's body is not read: it might repeat the secret.
    pub(crate) async fn send(&self, secret: Secret) -> Result<Answer, RequestError> {
        let status = self.ask(Request::Secret, Some(secret), async |it| Ok(it.status())).await?;
        match status {
            StatusCode::ACCEPTED => Ok(Answer::Accepted),
            StatusCode::NO_CONTENT => Ok(Answer::AlreadyDone),
            StatusCode::BAD_REQUEST => Err(RequestError::WrongHalf),
            other => Err(RequestError::Status(Request::Secret, other.as_u16())),
        }
    }

    /// Asks `/health`, whose answer says no more than that Legacy serves this connection.
    pub(crate) async fn health(&self) -> Result<(), RequestError> {
        self.ask(Request::Health, None, async |_| Ok(())).await
    }

    /// Sends a request and reads the answer, both within the limit.
    async fn ask<T>(
        &self,
        request: Request,
        secret: Option<Secret>,
        read: impl AsyncFnOnce(Response) -> reqwest::Result<T>,
    ) -> Result<T, RequestError> {
        let url = format!("http://{}{}", self.address, request.path());
        let mut message = self.http.request(request.method(), url);
        if let Some(secret) = secret {
            message = message
                .header(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
                .body(secret.into_body());
        }
        let limit = match request {
            Request::Check => self.limit.min(CHECK_LIMIT),
            _ => self.limit,
        };
        let began = Instant::now();
        let mut status = None;
        let answered = async {
            let answer = message.send().await?;
            status = Some(answer.status());
            read(answer).await
        };
        let answered = timeout(limit, answered).await;
        (self.trace)(Trace::Request { request, status, took: began.elapsed() });
        match answered {
            Ok(answered) => answered.map_err(|error| failure(request, &error)),
            Err(_) => Err(RequestError::Silent(request, limit)),
        }
    }
}

/// Why a request failed: reqwest keeps that in the error's sources.
fn failure(request: Request, error: &reqwest::Error) -> RequestError {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref()
            .is_some_and(|it: &io::Error| it.kind() == io::ErrorKind::ConnectionRefused)
        {
            return RequestError::Refused(request);
        }
        if error.downcast_ref().is_some_and(hyper::Error::is_parse) {
            return RequestError::NotHttp(request);
        }
        cause = error.source();
    }
    RequestError::Broken(request)
}
