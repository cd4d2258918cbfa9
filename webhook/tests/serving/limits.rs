//! Clients that use up what they can: the others are served in time.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::running::{Files, Running, eventually, within};

/// The first bytes of a TLS `ClientHello` that announces 512 bytes, and no more of it.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

const HEAD: &[u8] =
    b"POST /mutate/pods HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: ";

async fn silent(running: &Running, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut tcp = TcpStream::connect(running.webhook).await.unwrap();
        tcp.write_all(first).await.unwrap();
        all.push(tcp);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_and_half_open_handshakes_hold_nobody_up() {
    let files = Files::new();
    let running = Running::start(&files, &["--handshake-timeout=1m"]).await;
    let _silent = silent(&running, 100, b"").await;
    let _half_open = silent(&running, 100, HALF_A_HELLO).await;
    let client = Client::new(running.webhook, &files.ca);
    let mut half_a_head = client.tls().await.unwrap();
    half_a_head.write_all(HEAD).await.unwrap();
    for _ in 0..20 {
        let mut connection = client.connect().await.unwrap();
        assert_eq!(connection.post("{}").await.unwrap().status, 200);
    }
    assert_eq!(
        running.metric("connections_cut_total{port=\"webhook\",cause=\"made-room\"}").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_lose_their_places_to_those_that_speak() {
    let files = Files::new();
    let running = Running::start(&files, &["--max-connections=8", "--handshake-timeout=1m"]).await;
    let client = Client::new(running.webhook, &files.ca);
    let mut used = client.connect().await.unwrap();
    used.post("{}").await.unwrap();
    let _silent = silent(&running, 20, HALF_A_HELLO).await;
    let mut connection = client.connect().await.unwrap();
    assert_eq!(connection.post("{}").await.unwrap().status, 200);
    // The silent ones went first: who was served before still is.
    assert_eq!(used.post("{}").await.unwrap().status, 200);
    assert!(running.metric("connections{port=\"webhook\"}").await <= 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_places_are_all_served() {
    let files = Files::new();
    let running = Running::start(&files, &["--max-connections=4"]).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let client = Client::new(running.webhook, &files.ca);
        clients.spawn(async move {
            let mut connection = client.connect().await.unwrap();
            connection.post("{}").await.unwrap().status
        });
    }
    while let Some(status) = within(clients.join_next()).await {
        assert_eq!(status.unwrap(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_has_a_time_limit() {
    let files = Files::new();
    let flags = ["--handshake-timeout=1s", "--first-byte-timeout=300ms", "--head-timeout=300ms"];
    let running = Running::start(&files, &flags).await;
    let client = Client::new(running.webhook, &files.ca);
    let cut = async |cause: &str| {
        let line = format!("connections_cut_total{{port=\"webhook\",cause=\"{cause}\"}}");
        eventually(cause, async || running.metric(&line).await == 1).await;
    };
    let mut rest = Vec::new();

    let mut half_open = silent(&running, 1, HALF_A_HELLO).await;
    let _ = within(half_open[0].read_to_end(&mut rest)).await;
    cut("handshake-time").await;

    let mut says_nothing = client.tls().await.unwrap();
    let _ = within(says_nothing.read_to_end(&mut rest)).await;
    cut("first-byte-time").await;

    let mut slow_head = client.tls().await.unwrap();
    slow_head.write_all(HEAD).await.unwrap();
    let _ = within(slow_head.read_to_end(&mut rest)).await;
    cut("head-time").await;
    assert!(rest.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_told_so() {
    let files = Files::new();
    let running = Running::start(&files, &["--body-timeout=300ms"]).await;
    let mut tls = Client::new(running.webhook, &files.ca).tls().await.unwrap();
    tls.write_all(&[HEAD, b"100\r\n\r\nhalf"].concat()).await.unwrap();
    let mut answer = String::new();
    within(tls.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.ends_with("the body took longer than 0.3 s to arrive\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_told_so_whether_announced_or_not() {
    let files = Files::new();
    let running = Running::start(&files, &["--max-body=64KiB"]).await;
    let client = Client::new(running.webhook, &files.ca);
    let answer = client.connect().await.unwrap().post(vec![b' '; 3 << 20]).await.unwrap();
    assert_eq!(answer.status, 413);

    // Chunked: found out while it is read.
    let mut tls = client.tls().await.unwrap();
    let head =
        String::from_utf8_lossy(HEAD).replace("Content-Length: ", "Transfer-Encoding: chunked");
    tls.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = format!("2000\r\n{}\r\n", " ".repeat(0x2000));
    for _ in 0..9 {
        tls.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = String::new();
    within(tls.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let client = Client::new(running.webhook, &files.ca);
    for header in [format!("X: {}\r\n", "x".repeat(64 << 10)), "X: x\r\n".repeat(200)] {
        let mut tls = client.tls().await.unwrap();
        let request = format!("POST /mutate/pods HTTP/1.1\r\n{header}\r\n");
        let _ = tls.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = within(tls.read_to_end(&mut answer)).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(client.post("{}").await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stall_hold_their_share_no_longer_than_a_body_may_take() {
    let files = Files::new();
    let flags = ["--max-body=64KiB", "--max-bodies=64KiB", "--body-timeout=2s"];
    let running = Running::start(&files, &flags).await;
    let client = Client::new(running.webhook, &files.ca);
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut tls = client.tls().await.unwrap();
        tls.write_all(&[HEAD, b"65536\r\n\r\n"].concat()).await.unwrap();
        tls.write_all(&vec![b' '; 60_000]).await.unwrap();
        stalled.push(tls);
    }
    eventually("both hold their share", async || running.metric("body_bytes").await == 120_000)
        .await;
    // A small one has room beside them; a large one gets it as soon as they are over.
    let small = client.post("{}").await.unwrap();
    assert_eq!(small.status, 200);
    eventually("a large one is served", async || {
        client.connect().await.unwrap().post(vec![b' '; 60_000]).await.unwrap().status == 200
    })
    .await;
    eventually("all is given back", async || running.metric("body_bytes").await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port_is_capped_too() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(running.admin).await.unwrap());
    }
    assert!(within(running.ready()).await);
    tokio::time::sleep(Duration::ZERO).await;
    assert!(running.metric("connections{port=\"admin\"}").await <= 64);
}
