//! An HTTP/1.1 server that no client can use up: what it has is shared out by source address.
//!
//! ```text
//! Address + Limits ─▶ bind ─▶ Bound { local_addr } ─▶ serve(service, shutdown)
//!                                                  └▶ serve_tls(config, service, shutdown)
//! accept ─▶ a place ─▶ a task for each connection:
//!    TLS handshake ─▶ head ─▶ body, whole ─▶ service ─▶ answer ─▶ idle ─▶ head …
//! shutdown: serve on with `Connection: close` ─▶ finish what is open ─▶ end
//! ```

mod address;
mod body;
mod connection;
mod limits;
mod place;
mod serve;
mod state;

use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

pub use address::{Address, InvalidAddress};
use body::Budget;
use connection::{Begun, Port, Tcp};
pub use limits::Limits;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// A port that is bound and not yet served.
pub struct Bound {
    local_addr: SocketAddr,
    listener: TcpListener,
    limits: Limits,
    observer: Observer,
}

/// Binds a port. Needs no runtime.
///
/// # Errors
/// What the operating system says: most often the port is taken ([`io::ErrorKind::AddrInUse`]), or is
/// below 1024 and needs a right to be taken.
pub fn bind(address: Address, limits: Limits) -> io::Result<Bound> {
    let listener = address.bind(limits.kernel_buffer())?;
    let limits = limits.within_open_files();
    Ok(Bound { local_addr: listener.local_addr()?, listener, limits, observer: Arc::new(|_| {}) })
}

impl Bound {
    /// The address, with the port that the system chose if it was asked for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Calls `observe` for each event, for metrics and logs. Connections wait meanwhile, so it must not
    /// block.
    #[must_use]
    pub fn observed_by(mut self, observe: impl Fn(Event<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observe);
        self
    }

    /// Serves plain HTTP. When `shutdown` completes, each answer says `Connection: close` while
    /// requests are still served for [`Limits::drain`]; then idle connections are closed, open requests
    /// are finished, and this returns. It waits for them without a limit of its own: dropping the future
    /// cuts off what is still open.
    ///
    /// `service` gets requests whose bodies have arrived whole, within [`Limits`]; where they have not,
    /// it is not called and the client gets 400, 408, 413 or 503. A request's extensions have the
    /// [`Peer`], an answer's may have an [`OnDelivery`]. The future that `service` returns is dropped
    /// when the client closes its connection before it is answered.
    ///
    /// # Errors
    /// When the runtime can't take the socket.
    pub async fn serve<F>(
        self,
        service: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()>
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let handshake = |tcp| -> BoxFuture<io::Result<Begun>> {
            Box::pin(ready(Ok((Box::new(tcp) as _, false))))
        };
        self.serve_with(handshake, service, shutdown).await
    }

    /// Serves HTTPS: [`Bound::serve`] over TLS. `config` is asked for at each handshake, so certificates
    /// are replaced by returning another configuration, or by a resolver in the one. With `None` the
    /// handshake fails: there is no certificate yet.
    ///
    /// # Errors
    /// When the runtime can't take the socket.
    #[cfg(feature = "tls")]
    pub async fn serve_tls<F>(
        self,
        config: impl Fn() -> Option<Arc<rustls::ServerConfig>> + Send + Sync + 'static,
        service: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()>
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let handshake = move |tcp| -> BoxFuture<io::Result<Begun>> {
            let config = config();
            Box::pin(async move {
                let config =
                    config.ok_or_else(|| io::Error::other("there is no certificate yet"))?;
                let mut tls = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await?;
                let received = tls.get_mut().1.process_new_packets().map_err(io::Error::other)?;
                Ok((Box::new(tls) as _, received.plaintext_bytes_to_read() > 0))
            })
        };
        self.serve_with(handshake, service, shutdown).await
    }

    async fn serve_with<F>(
        self,
        handshake: impl Fn(Tcp) -> BoxFuture<io::Result<Begun>> + Send + Sync + 'static,
        service: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()>
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let Self { listener, limits, observer, .. } = self;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let port = Port {
            limits,
            budget: Budget::new(limits.all_body_bytes, Arc::clone(&observer)),
            observer,
            draining: AtomicBool::new(false),
            handshake: Box::new(handshake),
            service: Box::new(move |request| Box::pin(service(request))),
        };
        serve::serve(listener, port, shutdown).await;
        Ok(())
    }
}

/// Who sent a request: in its extensions. An IPv4 address never has the form of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// In an answer's extensions: is called once, with whether the client got the whole answer. It did if
/// the answer was written to its end, and the client then sent another request or closed the connection
/// in order. It did not if the connection broke or a limit ended it.
#[derive(Clone)]
pub struct OnDelivery(Arc<dyn Fn(bool) + Send + Sync>);

impl OnDelivery {
    /// Calls `tell`, which must not block.
    #[must_use]
    pub fn new(tell: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

/// What happens on a port.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection has got its place.
    Opened,
    /// A connection that had a place has ended, for whatever reason.
    Closed,
    /// The server ends a connection.
    Cut(Cut),
    /// A TLS handshake failed.
    HandshakeFailed(&'a io::Error),
    /// Connections can't be accepted, most often for want of file descriptors. One connection is ended
    /// each time, as if for a newcomer, and it is tried again, in the end once a second. This is not
    /// repeated until one was accepted.
    AcceptFailed(&'a io::Error),
    /// A request was refused with this status, because of its body.
    Refused(StatusCode),
    /// So many bytes of request bodies more, or fewer, are held in memory.
    BodyBytes(i64),
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// The TLS handshake took longer than [`Limits::handshake`].
    Handshake,
    /// A request's head took longer than [`Limits::head`].
    Head,
    /// Nothing was received for [`Limits::idle`].
    Idle,
    /// The client did not take its answer within [`Limits::write`].
    Write,
    /// Its place was needed, and it was unfinished.
    UnfinishedForNewcomer,
    /// Its place was needed, and it was idle.
    IdleForNewcomer,
    /// It waited for a place, and too many did.
    Waiting,
}
