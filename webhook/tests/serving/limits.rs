//! Limits of a request, as the API server hears of them. That no client can use up the port is shown in
//! the `listen` crate.

use std::time::Duration;

use listen::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use webhook::serve::Options;

use crate::client::Client;
use crate::running::{Files, Running, eventually, within};

const HEAD: &str = "POST /mutate/pods HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn six_mebibytes_and_not_one_byte_more() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let client = Client::new(running.webhook, &files.ca);
    let largest = 6 << 20;
    let answer = client.post(vec![b' '; largest]).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body), (200, largest.to_string().into()));
    assert_eq!(client.post(vec![b' '; largest + 1]).await.unwrap().status, 413);

    // Chunked: found out while it is read.
    let mut tls = client.tls().await.unwrap();
    let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    tls.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    for _ in 0..7 {
        // It may have been answered, and closed, in the middle of the last one.
        let _ = tls.write_all(chunk.as_bytes()).await;
    }
    let mut answer = [0; 12];
    within(tls.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_told_so_and_counted() {
    let files = Files::new();
    let defaults = Options::default();
    let limits = Limits { body: Duration::from_millis(300), ..defaults.limits };
    let options = Options { limits, ..defaults };
    let running = Running::start_with_options(&files, &[], options).await;
    eventually("ready", async || running.ready().await).await;
    let mut tls = Client::new(running.webhook, &files.ca).tls().await.unwrap();
    tls.write_all(format!("{HEAD}Content-Length: 100\r\n\r\nhalf").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(tls.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let refused = "http_refusals_total{status=\"408\"}";
    eventually("it is counted", async || running.metric(refused).await == 1).await;
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
