//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep_until;

use crate::body::{self, Budget, Refusal};
use crate::place::Source;
use crate::state::{State, Step};
use crate::{Body, Event, Limits, Observer, Peer};

/// Headers of a request: an API server sends about ten.
const MAX_HEADERS: usize = 64;

/// Size of hyper's buffer for reading, the smallest that it takes, and so of a request's head. An API
/// server's has some 400 bytes, with a bearer token one or two thousand more.
const BUFFER: usize = 8 << 10;

/// Size of a TLS `ClientHello`. Those of today have up to two thousand bytes; rustls alone would keep up
/// to 64 KiB of an unfinished one.
const CLIENT_HELLO: usize = 16 << 10;

/// What all connections of a port share.
pub(crate) struct Port<S> {
    pub(crate) limits: Limits,
    pub(crate) observer: Observer,
    pub(crate) budget: Arc<Budget>,
    /// Each answer is the last on its connection.
    pub(crate) draining: AtomicBool,
    pub(crate) service: S,
}

/// A connection that has its place.
pub(crate) struct Connection<S> {
    pub(crate) port: Arc<Port<S>>,
    pub(crate) state: Arc<State>,
    pub(crate) peer: Peer,
    pub(crate) source: Source,
}

impl<S, F, B> Connection<S>
where
    S: Fn(Request<Bytes>) -> F,
    F: Future<Output = Response<B>>,
    B: Body,
{
    /// Serves it until the client, a limit or the accept loop ends it. Beside the stream, `handshake`
    /// says whether the first bytes of a request have come with the last ones of the handshake.
    pub(crate) async fn run<H, T>(self, tcp: TcpStream, handshake: impl FnOnce(Tcp) -> H)
    where
        H: Future<Output = io::Result<(T, bool)>>,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        // Answers are small and written at once: waiting to fill a segment only delays them.
        let _ = tcp.set_nodelay(true);
        let tcp = Tcp { stream: tcp, state: Arc::clone(&self.state), unanswered: Some(0) };
        let observer = &self.port.observer;
        self.limited(async {
            match handshake(tcp).await {
                Ok((stream, begun)) => {
                    self.state.enter(if begun { Step::Head } else { Step::Silent });
                    self.http(stream).await;
                }
                Err(error) => observer.tell(Event::HandshakeFailed(&error)),
            }
        })
        .await;
    }

    /// Runs `work` until it ends, a step takes longer than its limit, or the connection has to leave.
    async fn limited(&self, work: impl Future<Output = ()>) {
        let Port { limits, observer, .. } = &*self.port;
        let state = &self.state;
        let mut work = pin!(work);
        let mut alarm = pin!(sleep_until(tokio::time::Instant::now()));
        poll_fn(|cx| {
            state.is_run_by(cx.waker());
            if work.as_mut().poll(cx).is_ready() || state.is_leaving() {
                return Poll::Ready(());
            }
            while let Some((deadline, cut)) = state.deadline(limits) {
                // Setting the alarm costs more than to let it ring too early now and then.
                if alarm.deadline() > deadline {
                    alarm.as_mut().reset(deadline);
                }
                ready!(alarm.as_mut().poll(cx));
                if alarm.deadline() >= deadline {
                    if let Some(cut) = cut {
                        observer.tell(Event::Cut(cut));
                    }
                    return Poll::Ready(());
                }
                alarm.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await;
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
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
    ) -> Result<Response<Answer<Either<Full<Bytes>, B>>>, Infallible> {
        let Self { port, state, .. } = self;
        // Who sends another request has got the answer to the last one.
        state.tell_delivery(true);
        state.enter(Step::Body);
        let (mut parts, body) = request.into_parts();
        let read = body::read(body, &port.limits, &port.budget, self.source).await;
        state.enter(Step::Answer);
        let mut response = match read {
            Ok(whole) => {
                parts.extensions.insert(self.peer);
                let request = Request::from_parts(parts, whole.bytes.clone());
                (port.service)(request).await.map(Either::Right)
            }
            Err(refusal) => {
                port.observer.tell(Event::Refused(refusal.status()));
                refused(&refusal).map(Either::Left)
            }
        };
        if port.draining.load(Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        state.answers(response.extensions_mut().remove());
        Ok(response.map(|body| Answer { body, state: Arc::clone(state) }))
    }
}

/// Closes our side, and reads until the client has closed its own.
async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.shutdown().await?;
    let mut dropped = [0; 1024];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

/// The rest of the body is not read, so the connection can carry no other request.
fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{refusal}\n")));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer's body, which notes when hyper has taken all of it.
struct Answer<B> {
    body: B,
    state: Arc<State>,
}

impl<B: Body> hyper::body::Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.state.enter(Step::Write);
    }
}

/// The socket, which notes what goes over it.
pub(crate) struct Tcp {
    stream: TcpStream,
    state: Arc<State>,
    /// Bytes received before the first one was sent.
    unanswered: Option<usize>,
}

impl Tcp {
    /// The kernel has bytes that tokio has not heard of yet.
    fn has_bytes(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        SockRef::from(&self.stream).peek(&mut byte).is_ok_and(|count| count > 0)
    }

    fn note_written<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => self.state.tell_delivery(false),
            Poll::Pending => self.state.write_stalls(),
        }
        written
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
            Step::Handshake
                if self.unanswered.is_some_and(|before| before + bytes > CLIENT_HELLO) =>
            {
                return Poll::Ready(Err(io::Error::other("the TLS ClientHello is too long")));
            }
            Step::Handshake => self.unanswered = self.unanswered.map(|before| before + bytes),
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
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.unanswered = None;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
