//! What a Service is to the API server: one address in front of the replicas that are ready.
//!
//! Only connections are forwarded, as kube-proxy does it; TLS is between the API server and a replica.
//! Without a replica nothing listens.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::network::{free_port, localhost};

/// An address in front of others.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    backends: watch::Sender<Vec<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Front {
    /// Takes an address. Nothing listens there yet.
    pub fn new() -> Result<Self> {
        let address = localhost(free_port()?);
        let (backends, watched) = watch::channel(Vec::new());
        let task = tokio::spawn(serve(address, watched));
        Ok(Self { address, backends, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says who is behind it from now on. Connections that are open stay as they are.
    pub fn set(&self, backends: Vec<SocketAddr>) {
        self.backends.send_if_modified(|current| {
            let changed = *current != backends;
            *current = backends;
            changed
        });
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(address: SocketAddr, mut backends: watch::Receiver<Vec<SocketAddr>>) {
    let mut turn = 0_usize;
    loop {
        if backends.wait_for(|backends| !backends.is_empty()).await.is_err() {
            return;
        }
        let Ok(listener) = listen(address) else {
            // Somebody's old connection may still hold the port for a moment.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                changed = backends.wait_for(Vec::is_empty) => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
            };
            let Ok((client, _)) = accepted else { continue };
            let chosen = {
                let backends = backends.borrow();
                if backends.is_empty() {
                    break;
                }
                turn = turn.wrapping_add(1);
                backends[turn % backends.len()]
            };
            tokio::spawn(forward(client, chosen));
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn forward(mut client: TcpStream, backend: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(backend).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
