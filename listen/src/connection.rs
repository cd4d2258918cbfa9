//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::body::{self, Budget};
use crate::place::Source;
use crate::state::{State, Step};
use crate::{BoxFuture, Event, Limits, Observer, Peer};

/// Headers of a request: an API server sends about ten.
const MAX_HEADERS: usize = 64;

/// Size of hyper's buffer for reading, the smallest that it takes, and so of a request's head. An API
/// server's has some 400 bytes, with a bearer token one or two thousand more.
const BUFFER: usize = 8 << 10;

/// Size of a TLS `ClientHello`. Those of today have up to two thousand bytes; rustls alone would keep up
/// to 64 KiB of an unfinished one.
const CLIENT_HELLO: usize = 16 << 10;

/// What HTTP is spoken over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream, and whether the first bytes of a request have come with the last ones of its handshake.
pub(crate) type Begun = (Box<dyn Stream>, bool);

/// What all connections of a port share.
pub(crate) struct Port {
    pub(crate) limits: Limits,
    pub(crate) observer: Observer,
    pub(crate) budget: Arc<Budget>,
    /// Each answer is the last on its connection.
    pub(crate) draining: AtomicBool,
    pub(crate) handshake: Box<dyn Fn(Tcp) -> BoxFuture<io::Result<Begun>> + Send + Sync>,
    pub(crate) service: Box<dyn Fn(Request<Bytes>) -> BoxFuture<Response<Bytes>> + Send + Sync>,
}

/// A connection that has its place.
pub(crate) struct Connection {
    pub(crate) port: Arc<Port>,
    pub(crate) state: Arc<State>,
    pub(crate) peer: Peer,
}

impl Connection {
    /// Serves it until it ends, a step takes longer than its limit, or it has to leave.
    pub(crate) async fn run(self, tcp: TcpStream) {
        let Port { limits, observer, .. } = &*self.port;
        let mut serving = pin!(self.serve(tcp));
        let mut alarm = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            self.state.is_run_by(cx.waker());
            if serving.as_mut().poll(cx).is_ready() || self.state.is_leaving() {
                return Poll::Ready(());
            }
            let Some((deadline, cut)) = self.state.deadline(limits) else {
                return Poll::Pending;
            };
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            ready!(alarm.as_mut().poll(cx));
            if let Some(cut) = cut {
                observer(Event::Cut(cut));
            }
            Poll::Ready(())
        })
        .await;
    }

    async fn serve(&self, tcp: TcpStream) {
        // Answers are small and written at once: waiting to fill a segment only delays them.
        let _ = tcp.set_nodelay(true);
        let tcp = Tcp { stream: tcp, state: Arc::clone(&self.state), unanswered: Some(0) };
        let (stream, begun) = match (self.port.handshake)(tcp).await {
            Ok(begun) => begun,
            Err(error) => return (self.port.observer)(Event::HandshakeFailed(&error)),
        };
        self.state.enter(if begun { Step::Head } else { Step::Silent });
        let service = service_fn(|request| Box::pin(self.answer(request)));
        let mut http = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        // Where HTTP has a status for what goes wrong, hyper sends it.
        let _ = poll_fn(|cx| http.poll_without_shutdown(cx)).await;
        self.state.enter(Step::Closing);
        let closed = close(http.into_parts().io.into_inner()).await;
        self.state.tell_delivery(closed.is_ok());
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let Self { port, state, peer } = self;
        // Who sends another request has got the answer to the last one.
        state.tell_delivery(true);
        state.enter(Step::Body);
        let (mut parts, body) = request.into_parts();
        let read = body::read(body, &port.limits, &port.budget, Source::from(peer.0.ip())).await;
        state.enter(Step::Answer);
        let mut response = match read {
            Ok((bytes, _share)) => {
                parts.extensions.insert(*peer);
                (port.service)(Request::from_parts(parts, bytes)).await
            }
            Err(refusal) => {
                (port.observer)(Event::Refused(refusal.status()));
                refusal
            }
        };
        if port.draining.load(Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        state.answers(response.extensions_mut().remove());
        state.enter(Step::Write);
        Ok(response.map(Full::new))
    }
}

/// Closes our side, and reads until the client has closed its own.
async fn close(mut stream: impl Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut dropped = [0; 1024];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

/// The socket, which notes what goes over it.
pub(crate) struct Tcp {
    stream: TcpStream,
    state: Arc<State>,
    /// Bytes received before the first one was sent.
    unanswered: Option<usize>,
}

impl Tcp {
    /// Whether the kernel has bytes, whatever tokio knows of it yet.
    fn has_bytes(&self) -> bool {
        SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0)
    }
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Err(_)) = read {
            // hyper takes a reset between two requests for an end in order.
            self.state.tell_delivery(false);
        }
        let bytes = buffer.filled().len() - before;
        match self.state.step() {
            Step::Handshake => {
                self.unanswered = self.unanswered.map(|before| before + bytes);
                if self.unanswered.is_some_and(|bytes| bytes > CLIENT_HELLO) {
                    return Poll::Ready(Err(io::Error::other("the TLS ClientHello is too long")));
                }
            }
            Step::Silent | Step::Idle if bytes > 0 => self.state.enter(Step::Head),
            // A request that has arrived is answered.
            Step::Silent | Step::Idle if self.state.is_leaving() && self.has_bytes() => {
                self.state.stay();
            }
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unanswered = None;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match written {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => self.state.tell_delivery(false),
            Poll::Pending => self.state.write_stalls(),
        }
        written
    }

    /// hyper and rustls flush when they have nothing more to write.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.is_written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
