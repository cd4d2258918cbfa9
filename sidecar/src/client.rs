//! Legacy as a client sees it: a bare connect, and the requests of the handshake.
//!
//! Nothing here trusts what listens on Legacy's port: each request has a time limit, and of each answer
//! no more is read than is needed. Each request has a connection of its own; there is no proxy, no
//! redirect and no second try.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use std::{fmt, io};

use reqwest::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;
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
    /// This status, of 200 to 499, and a body other than `Uninitialized`.
    Initialised(u16),
    /// The body `Uninitialized`, whatever the status.
    Uninitialised,
    /// Any other answer: it may be either.
    Unclear,
    /// It took the connection, and did not answer in time: it may be either.
    Silent,
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
#[error("{request}: {cause}")]
pub struct RequestError {
    /// The request.
    pub request: Request,
    /// What went wrong.
    pub cause: Cause,
}

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Nothing listens on Legacy's port any more.
    #[error("the connection was refused")]
    Refused,
    /// Legacy took the connection and did not answer in time.
    #[error("no complete answer within {0:?}")]
    Silent(Duration),
    /// The connection ended before the answer did.
    #[error("the connection ended before the answer did")]
    Broken,
    /// What came back is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// An answer with a status that the request must not have.
    #[error("the answer was status {0}")]
    Status(u16),
    /// What Legacy gave as its key is not one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Legacy answered 400: it expects another operations half.
    #[error("Legacy refused the secret (status 400)")]
    WrongHalf,
}

/// What was tried, for the log at its level `debug`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trace {
    /// A bare connect to this port of both addresses, or to the first that accepts.
    Connect { port: u16, accepted: Option<SocketAddr>, took: Duration },
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
        let (port, began) = (self.address.port(), Instant::now());
        let mut accepted = None;
        for address in LOCALHOST.map(|ip| SocketAddr::new(ip, port)) {
            if let Ok(Ok(_)) = timeout(self.limit, TcpStream::connect(address)).await {
                self.address = address;
                accepted = Some(address);
                break;
            }
        }
        (self.trace)(Trace::Connect { port, accepted, took: began.elapsed() });
        accepted.is_some()
    }

    /// Asks `/` whether Legacy is initialised. Of the body it reads no more than it takes to tell.
    pub(crate) async fn check(&self) -> Result<Check, RequestError> {
        let checked = self.ask(Request::Check, None, async |mut answer| {
            let status = answer.status().as_u16();
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
                false if (200..500).contains(&status) => Check::Initialised(status),
                false => Check::Unclear,
            })
        });
        match checked.await {
            Err(RequestError { cause: Cause::Silent(_), .. }) => Ok(Check::Silent),
            checked => checked,
        }
    }

    /// Asks for Legacy's half.
    pub(crate) async fn key(&self) -> Result<Key, RequestError> {
        let key = self.ask(Request::Key, None, async |mut answer| {
            if answer.status() != StatusCode::OK {
                return Ok(Err(Cause::Status(answer.status().as_u16())));
            }
            // All the room at once: a buffer that grows leaves its old self behind, unwiped.
            let mut body = Zeroizing::new(Vec::with_capacity(LIMIT));
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > LIMIT {
                    return Ok(Err(KeyError::TooLarge.into()));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Key::decode(&body).map_err(Cause::Key))
        });
        key.await?.map_err(|cause| RequestError { request: Request::Key, cause })
    }

    /// Sends the secret. The answer's body is not read: it might repeat the secret.
    pub(crate) async fn send(&self, secret: Secret) -> Result<Answer, RequestError> {
        let request = Request::Secret;
        let cause = match self.ask(request, Some(secret), async |it| Ok(it.status())).await? {
            StatusCode::ACCEPTED => return Ok(Answer::Accepted),
            StatusCode::NO_CONTENT => return Ok(Answer::AlreadyDone),
            StatusCode::BAD_REQUEST => Cause::WrongHalf,
            other => Cause::Status(other.as_u16()),
        };
        Err(RequestError { request, cause })
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
        let cause = match answered {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => cause(&error),
            Err(_) => Cause::Silent(limit),
        };
        Err(RequestError { request, cause })
    }
}

/// Why a request failed: reqwest keeps that in the error's sources.
fn cause(error: &reqwest::Error) -> Cause {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        match (error.downcast_ref::<io::Error>(), error.downcast_ref::<hyper::Error>()) {
            (Some(error), _) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Cause::Refused;
            }
            (_, Some(error)) if error.is_parse() => return Cause::NotHttp,
            _ => source = error.source(),
        }
    }
    Cause::Broken
}
