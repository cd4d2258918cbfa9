//! The admin port: alive, ready, and why not.

use std::time::Duration;

use crate::client::{Client, get};
use crate::running::{Files, Running, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn alive_and_not_ready_without_a_certificate_and_ready_when_it_comes() {
    let files = Files::new();
    let (_, certificate, key) = files.pair();
    std::fs::remove_file(files.certificate()).unwrap();
    let running = Running::start_unready(&files, &[]).await;
    eventually("the reason is told", async || {
        let (status, body) = get(running.admin, "/readyz").await.unwrap();
        status == 503 && body.starts_with("not ready\ncertificate: ") && body.contains("tls.crt")
    })
    .await;
    assert_eq!(get(running.admin, "/livez").await.unwrap(), (200, "ok\n".to_owned()));
    let client = Client::new(running.webhook, &files.ca);
    assert!(client.connect().await.is_err());
    assert_eq!(running.metric("tls_handshake_failures_total{cause=\"not-ready\"}").await, 1);

    files.put(&certificate, &key);
    eventually("ready", async || running.ready().await).await;
    assert_eq!(get(running.admin, "/readyz").await.unwrap(), (200, "ready\n".to_owned()));
    client.connect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn not_ready_once_the_certificate_has_ended() {
    let files = Files::new();
    let (_, certificate, key) = files.pair_until(Duration::from_secs(2));
    files.put(&certificate, &key);
    let running = Running::start_unready(&files, &[]).await;
    eventually("the reason is told", async || {
        let (status, body) = get(running.admin, "/readyz").await.unwrap();
        status == 503 && body.contains("is valid from")
    })
    .await;
    files.renew();
    eventually("ready again", async || running.ready().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happened() {
    let files = Files::new();
    let running = Running::start(&files, &[]).await;
    let mut connection = Client::new(running.webhook, &files.ca).connect().await.unwrap();
    for _ in 0..3 {
        connection.post("{}").await.unwrap();
    }
    let (status, page) = get(running.admin, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    for line in [
        "build_info{version=\"0.1.0\"} 1",
        "admissions_total{endpoint=\"pods\",outcome=\"skipped\",reason=\"not-asked\"} 3",
        "admission_seconds_count 3",
        "connections{port=\"webhook\"} 1",
        "connections_opened_total{port=\"webhook\"} 1",
        "body_bytes 0",
        "cert_installs_total 1",
        "panics_total 0",
    ] {
        assert!(page.contains(&format!("\nsecret_handshake_webhook_{line}\n")), "{line}\n{page}");
    }
    assert!(running.metric("cert_not_after_seconds").await > 1_700_000_000);
    drop(connection);
    eventually("the connection's end is counted", async || {
        running.metric("connections{port=\"webhook\"}").await == 0
    })
    .await;
    assert_eq!(get(running.admin, "/nothing").await.unwrap().0, 404);
}
