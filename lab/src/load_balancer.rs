//! What a Service is to the API server: one address in front of the replicas that are ready.
//!
//! Only connections are forwarded, as kube-proxy does it; TLS is between the API server and a replica.
//! Without a replica nothing listens.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::network::{free_port, localhost};

/// One address, from which connections are forwarded to others.
#[derive(Debug)]
pub struct LoadBalancer {
    address: SocketAddr,
    backends: watch::Sender<Vec<SocketAddr>>,
    task: JoinHandle<()>,
}

impl LoadBalancer {
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

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(address: SocketAddr, mut backends: watch::Receiver<Vec<SocketAddr>>) {
    let mut turn = 0_usize;
    while backends.wait_for(|backends| !backends.is_empty()).await.is_ok() {
        let Ok(listener) = TcpListener::bind(address).await else {
            // Somebody's old connection may still hold the port for a moment.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = backends.wait_for(Vec::is_empty) => break,
            };
            let Ok((client, _)) = accepted else { continue };
            turn = turn.wrapping_add(1);
            let chosen = {
                let backends = backends.borrow();
                backends.get(turn % backends.len().max(1)).copied()
            };
            let Some(backend) = chosen else { break };
            tokio::spawn(forward(client, backend));
        }
    }
}

async fn forward(mut client: TcpStream, backend: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(backend).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
