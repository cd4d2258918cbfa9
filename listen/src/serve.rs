//! The accept loop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{Body, Bound, Event, Limits, OnDelivery, Peer};

/// What comes between TCP and HTTP.
pub(crate) trait Handshake: Clone + Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn handshake(
        &self,
        tcp: TcpStream,
    ) -> impl Future<Output = Option<io::Result<Self::Stream>>> + Send;
}

#[derive(Clone)]
pub(crate) struct Plain;

impl Handshake for Plain {
    type Stream = TcpStream;

    async fn handshake(&self, tcp: TcpStream) -> Option<io::Result<TcpStream>> {
        Some(Ok(tcp))
    }
}

#[cfg(feature = "tls")]
#[derive(Clone)]
pub(crate) struct Tls(pub(crate) Arc<dyn Fn() -> Option<Arc<rustls::ServerConfig>> + Send + Sync>);

#[cfg(feature = "tls")]
impl Handshake for Tls {
    type Stream = tokio_rustls::server::TlsStream<TcpStream>;

    async fn handshake(&self, tcp: TcpStream) -> Option<io::Result<Self::Stream>> {
        let config = (self.0)()?;
        Some(tokio_rustls::TlsAcceptor::from(config).accept(tcp).await)
    }
}

pub(crate) async fn serve<H, S, F, B>(
    bound: Bound,
    handshake: H,
    service: S,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    H: Handshake,
    S: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body,
{
    let Bound { listener, limits, observer, .. } = bound;
    let listener = TcpListener::from_std(listener)?;
    let draining = Arc::new(OnceLock::<Instant>::new());
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        let end = draining.get().map(|since| *since + limits.drain);
        tokio::select! {
            Some(_) = connections.join_next() => observer.tell(Event::Closed),
            () = &mut shutdown, if end.is_none() => {
                let _ = draining.set(Instant::now());
            }
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
            Ok((tcp, address)) = listener.accept(), if connections.len() < limits.connections => {
                observer.tell(Event::Opened);
                let (handshake, service) = (handshake.clone(), service.clone());
                let (observer, draining) = (observer.clone(), draining.clone());
                connections.spawn(async move {
                    let _ = tcp.set_nodelay(true);
                    match timeout(limits.handshake, handshake.handshake(tcp)).await {
                        Ok(Some(Ok(stream))) => {
                            let peer = Peer(SocketAddr::new(address.ip().to_canonical(), address.port()));
                            let draining = || draining.get().is_some();
                            connection(stream, peer, limits, service, draining).await;
                        }
                        Ok(Some(Err(error))) => observer.tell(Event::HandshakeFailed(&error)),
                        Ok(None) | Err(_) => {}
                    }
                });
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {
        observer.tell(Event::Closed);
    }
    Ok(())
}

async fn connection<S, F, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    limits: Limits,
    service: S,
    draining: impl Fn() -> bool,
) where
    S: Fn(Request<Bytes>) -> F,
    F: Future<Output = Response<B>>,
    B: Body,
{
    let delivery = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| async {
        let (mut parts, body) = request.into_parts();
        let body = Limited::new(body, limits.body_bytes).collect().await;
        let mut response = if let Ok(body) = body {
            parts.extensions.insert(peer);
            service(Request::from_parts(parts, body.to_bytes())).await.map(Either::Right)
        } else {
            let mut response = Response::new(Either::Left(Full::default()));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        };
        *delivery.lock().unwrap_or_else(PoisonError::into_inner) =
            response.extensions_mut().remove::<OnDelivery>();
        if draining() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(response)
    });
    let end = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Some(OnDelivery(told)) = delivery.lock().unwrap_or_else(PoisonError::into_inner).take() {
        told(end.is_ok());
    }
}
