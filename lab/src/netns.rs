//! Inside a pod's network namespace, without being in the pod.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `work` on a thread of its own that is in the network namespace of `file`, with a runtime for
/// it. Sockets that it opens are the pod's own.
///
/// # Errors
///
/// The namespace can't be entered (only root may), or `work` fails.
pub async fn inside<T, W>(file: &Path, work: W) -> Result<T>
where
    T: Send + 'static,
    W: AsyncFnOnce() -> Result<T> + Send + 'static,
{
    let namespace =
        File::open(file).with_context(|| format!("no network namespace: {}", file.display()))?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("in a pod".to_owned()).spawn(move || {
        let done = (|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .context("the pod's network namespace can't be entered")?;
            // One thread: threads that a runtime starts itself would be in it as well, but workers of
            // another one are not.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(work())
        })();
        // Nobody waits any more if the scenario has run out of time.
        let _ = sender.send(done);
    })?;
    receiver.await.map_err(|_| anyhow!("the thread inside the pod has panicked"))?
}

/// A port of the pod's own localhost.
#[must_use]
pub fn localhost(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port of this machine that nobody listens on right now.
///
/// # Errors
///
/// There is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(listener.local_addr()?.port())
}
