//! Free ports, and other network namespaces than this process's own.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpSocket;

/// Runs `work` on a thread of its own that is in the network namespace of `file`, with a runtime for
/// it. Sockets that it opens belong there. Only root may do this.
pub async fn inside<T, W>(file: &Path, work: W) -> Result<T>
where
    T: Send + 'static,
    W: AsyncFnOnce() -> Result<T> + Send + 'static,
{
    let namespace =
        File::open(file).with_context(|| format!("no network namespace: {}", file.display()))?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("namespace".to_owned()).spawn(move || {
        let done = (|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering a network namespace")?;
            // One thread: threads that a runtime starts itself would be in it as well, but workers of
            // another one are not.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        })();
        // Whoever waited may have run out of time.
        let _ = sender.send(done);
    })?;
    receiver.await.map_err(|_| anyhow!("the thread in a network namespace has panicked"))?
}

pub fn localhost(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Binds an address and does not listen: while the socket lives nobody else is given its port as a free
/// one, and yet a program that is started can listen there. Linux lets sockets with `SO_REUSEADDR` do so.
pub fn claim(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A port of this machine that nobody listens on, claimed for as long as this process lives.
pub fn free_port() -> Result<u16> {
    static CLAIMS: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let claim = claim(localhost(0)).context("there is no free port")?;
    let port = claim.local_addr()?.port();
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
    Ok(port)
}
