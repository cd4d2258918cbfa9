//! Somebody else in the cluster opens connections as fast as they can.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::error::Elapsed;

use crate::pod::{Pod, ask_as, read};

const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((STRANGER, 0).into())?;
    // Reset at the end, so that no port stays taken.
    socket.set_zero_linger()?;
    socket.connect(to).await
}

/// Connects without a pause until `ended`: nothing, half a request or a whole one, and then silence for a
/// while, or the end.
async fn client(number: usize, to: SocketAddr, connections: &AtomicUsize, ended: &AtomicBool) {
    while !ended.load(Relaxed) {
        let Ok(mut stream) = connect(to).await else { continue };
        connections.fetch_add(1, Relaxed);
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stream.write_all(b"GET /readyz HTTP/1.1\r\nX: ").await,
            _ => stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await,
        };
        if number.is_multiple_of(4) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn probe(address: SocketAddr) -> Result<std::io::Result<String>, Elapsed> {
    let probe = async {
        let mut stream = ask_as("probe", Ipv4Addr::LOCALHOST.into(), address, "/readyz").await?;
        read(&mut stream).await
    };
    // A slow machine may take its time: lost is what is cut off.
    tokio::time::timeout(Duration::from_secs(30), probe).await
}

#[tokio::test]
async fn of_a_hundred_probes_at_most_one_is_lost() {
    const PROBES: usize = 200;
    const AT_ONCE: usize = 20;
    let pod = Pod::start();
    pod.ready().await;
    let address = pod.sidecar.address;
    let (connections, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let flood = std::thread::spawn({
        let (connections, ended) = (Arc::clone(&connections), Arc::clone(&ended));
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut clients = tokio::task::JoinSet::new();
                for number in 0..64 {
                    let (connections, ended) = (Arc::clone(&connections), Arc::clone(&ended));
                    clients
                        .spawn(async move { client(number, address, &connections, &ended).await });
                }
                while clients.join_next().await.is_some() {}
            });
        }
    });
    let mut lost = Vec::new();
    for _ in 0..PROBES / AT_ONCE {
        // Not as a kubelet, which would be held. While the port is full, each of them may wait for a
        // second.
        let probes = std::iter::repeat_with(|| tokio::spawn(probe(address)));
        let probes: Vec<_> = probes.take(AT_ONCE).collect();
        for probe in probes {
            match probe.await.unwrap() {
                Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ") => {}
                wrong => lost.push(format!("{wrong:?}")),
            }
        }
    }
    ended.store(true, Relaxed);
    flood.join().unwrap();
    println!("{} connections beside {PROBES} probes", connections.load(Relaxed));
    assert!(connections.load(Relaxed) > PROBES, "that was no flood");
    assert!(lost.len() <= PROBES / 100, "{} lost: {lost:#?}", lost.len());
}
