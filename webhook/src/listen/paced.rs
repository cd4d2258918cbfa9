//! A stream that knows how long each step of a connection may take.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::connections::{Connection, Phase};
use crate::metrics::Cut;

/// How long after an answer the rest of a refused request is read and thrown away.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it, in bytes.
const LINGER_BYTES: usize = 16 << 20;

/// How long each step of a connection may take. The time to read a body is the router's.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the first byte of the first request.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests. Go's HTTP client, which is the API server's, keeps a connection for 90 s;
    /// a server that closes first may cross a request that is on its way, and that request fails.
    pub idle: Duration,
    /// From the moment when the peer stops taking an answer until it has taken all of it.
    pub write: Duration,
}

/// The stream under hyper. hyper's own limit for a head counts the idle time before it as well, so
/// that one number would have to be both short and longer than 90 s; hence the limits are held here.
///
/// When the connection is asked to leave and no request is on its way, hyper is told that the peer
/// has finished, and closes. What has already arrived comes first, so no request is lost to it.
pub(super) struct Paced<S> {
    stream: S,
    connection: Arc<Connection>,
    times: Times,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
    lingering: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>, times: Times) -> Self {
        let reading = Box::pin(tokio::time::sleep(times.first_byte));
        Self { stream, connection, times, reading, writing: None, lingering: None }
    }

    /// Nothing to read for now: how long may that last?
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (phase, since) = self.connection.phase();
        if phase.rests() && self.connection.leaves() {
            return Poll::Ready(Ok(()));
        }
        let (limit, cut) = match phase {
            Phase::Fresh => (self.times.first_byte, Cut::FirstByteTime),
            Phase::Head => (self.times.head, Cut::HeadTime),
            Phase::Idle => (self.times.idle, Cut::IdleTime),
            Phase::Handshake | Phase::Busy | Phase::Answered => return Poll::Pending,
        };
        let deadline = since + limit;
        if self.reading.deadline() != deadline {
            self.reading.as_mut().reset(deadline);
        }
        ready!(self.reading.as_mut().poll(cx));
        self.connection.cut(cut);
        Poll::Ready(if phase == Phase::Head { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) })
    }

    /// Starts the clock when the peer takes nothing more.
    fn bound<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let limit = self.times.write;
        let clock = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(clock.as_mut().poll(cx));
        self.connection.cut(Cut::WriteTime);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Pending => this.poll_silence(cx),
            Poll::Ready(read) => {
                let arrived = buffer.filled().len() > before;
                if arrived && this.connection.phase().0.rests() {
                    this.connection.enter(Phase::Head);
                }
                Poll::Ready(read)
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.bound(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.bound(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing more to write: an answer that was made is now sent.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        ready!(this.bound(cx, flushed))?;
        this.writing = None;
        if this.connection.phase().0 == Phase::Answered {
            this.connection.enter(Phase::Idle);
            // Has hyper read again, which is what starts the clock for the idle time.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    /// Closes our side. After a refusal the peer may still be sending: to close with unread bytes
    /// makes the kernel reset the connection, and the peer may lose the answer that says what was
    /// wrong. So for a moment the rest is read and thrown away.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.bound(cx, shut))?;
        }
        if !this.connection.lingers() {
            return Poll::Ready(Ok(()));
        }
        let linger = this.lingering.get_or_insert_with(|| Linger {
            until: Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)),
            left: LINGER_BYTES,
        });
        let mut scratch = [0; 4096];
        while linger.left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
