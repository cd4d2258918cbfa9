//! HTTP/1.1 over a connection that is opened for it. A proxy, a redirect, a pool, a second try: none
//! of it exists here.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Method, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::failure::{Failure, Request};
use crate::secret::Secret;

const AGENT: &str = concat!("secret-handshake/", env!("CARGO_PKG_VERSION"));

/// The most bytes that the head of an answer may have.
const HEAD_MAX: usize = 64 * 1024;

/// The sending half of a connection. When it is dropped, the connection ends.
pub(super) type Sender = SendRequest<Full<Bytes>>;

/// The connection itself: a future that has to be polled for anything to happen on it, and that
/// completes when the connection ends.
pub(super) type Line = Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

/// Opens a connection.
pub(super) async fn connect(
    address: SocketAddr,
    request: Request,
) -> Result<(Sender, Line), Failure> {
    let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Gone(request),
        _ => Failure::Broken(request),
    })?;
    let connected = Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = connected.map_err(|error| failure(request, &error))?;
    Ok((sender, Box::pin(connection)))
}

/// Sends one request over a connection of its own that ends with it, and reads the answer with `read`.
pub(super) async fn exchange<T>(
    address: SocketAddr,
    request: Request,
    secret: Option<Secret>,
    read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (mut sender, line) = connect(address, request).await?;
    let mut message = message(address, request, secret);
    message.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let answered = async {
        let sent = sender.send_request(message).await;
        read(sent.map_err(|error| failure(request, &error))?).await
    };
    // An answer may be there, and unread, when its connection has ended already.
    let line = async {
        let _ = line.await;
        pending().await
    };
    tokio::select! {
        biased;
        answered = answered => answered,
        never = line => never,
    }
}

/// The request as hyper wants it.
pub(super) fn message(
    address: SocketAddr,
    request: Request,
    secret: Option<Secret>,
) -> http::Request<Full<Bytes>> {
    let is_secret = secret.is_some();
    let body = secret.map_or_else(Full::default, |secret| Full::new(secret.into_body()));
    let mut message = http::Request::new(body);
    *message.uri_mut() = http::Uri::from_static(request.path());
    let headers = message.headers_mut();
    if let Ok(host) = HeaderValue::try_from(address.to_string()) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    if is_secret {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        *message.method_mut() = Method::POST;
    }
    message
}

/// What an error of hyper means for the request.
pub(super) fn failure(request: Request, error: &hyper::Error) -> Failure {
    if error.is_parse() { Failure::NotHttp(request) } else { Failure::Broken(request) }
}
