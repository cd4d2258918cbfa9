//! The end: nobody who was told where to go loses a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use webhook::serve::Options;

use crate::client::{Client, get};
use crate::running::{Files, Running, eventually, within};

/// Two replicas behind what stands for a Service: the first is left out as soon as it is not ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_ends_under_load_drops_nothing() {
    let files = Files::new();
    let mut first = Running::start(&files, &["--drain=1s"]).await;
    let second = Running::start(&files, &[]).await;
    let first_is_endpoint = Arc::new(AtomicBool::new(true));
    let stop = Arc::new(AtomicBool::new(false));
    let posted = [const { AtomicUsize::new(0) }; 2];
    let posted = Arc::new(posted);

    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let to_first = Client::new(first.webhook, &files.ca);
        let to_second = Client::new(second.webhook, &files.ca);
        let (endpoint, stop, posted) =
            (Arc::clone(&first_is_endpoint), Arc::clone(&stop), Arc::clone(&posted));
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let chosen = usize::from(!endpoint.load(Ordering::Relaxed));
                let client = [&to_first, &to_second][chosen];
                let mut connection = client.connect().await.unwrap();
                // As long as the server keeps it, whatever became of the endpoint meanwhile.
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.post("{}").await.unwrap();
                    assert_eq!(answer.status, 200);
                    posted[chosen].fetch_add(1, Ordering::Relaxed);
                    if answer.is_last() {
                        break;
                    }
                }
            }
        });
    }
    let answered = async |replica: usize, more: usize| {
        let goal = posted[replica].load(Ordering::Relaxed) + more;
        eventually("answers", async || posted[replica].load(Ordering::Relaxed) >= goal).await;
    };
    answered(0, 200).await;
    first.stop();
    eventually("not ready", async || {
        get(first.admin, "/readyz").await.is_ok_and(|(status, _)| status == 503)
    })
    .await;
    first_is_endpoint.store(false, Ordering::Relaxed);
    first.ended().await;
    answered(1, 200).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = within(clients.join_next()).await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_once_unready_and_for_a_while_still_serving() {
    let files = Files::new();
    let mut running = Running::start(&files, &["--drain=1m"]).await;
    let client = Client::new(running.webhook, &files.ca);
    let mut kept = client.connect().await.unwrap();
    assert!(!kept.post("{}").await.unwrap().is_last());
    running.stop();
    eventually("not ready", async || !running.ready().await).await;
    let (status, reasons) = get(running.admin, "/readyz").await.unwrap();
    assert_eq!((status, &*reasons), (503, "not ready\nshutdown: shutting down\n"));
    assert_eq!(get(running.admin, "/livez").await.unwrap().0, 200);
    assert!(kept.post("{}").await.unwrap().is_last());
    let answer = client.post("{}").await.unwrap();
    assert!(answer.status == 200 && answer.is_last());
    eventually("the kept connection is closed", async || kept.is_closed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_finished_and_what_is_idle_is_closed() {
    let files = Files::new();
    let mut running = Running::start(&files, &["--drain=0s"]).await;
    let client = Client::new(running.webhook, &files.ca);
    let mut idle = client.connect().await.unwrap();
    idle.post("{}").await.unwrap();
    let mut begun = half_sent(&client, &running).await;

    running.stop();
    eventually("no new connections", async || TcpStream::connect(running.webhook).await.is_err())
        .await;
    eventually("the idle one is closed", async || idle.is_closed()).await;
    begun.write_all(b"half").await.unwrap();
    let mut answer = String::new();
    within(begun.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    running.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_hold_up_the_end() {
    let files = Files::new();
    let options = Options { finish: Duration::from_millis(200), ..Options::default() };
    let mut running = Running::start_with_options(&files, &["--drain=0s"], options).await;
    eventually("ready", async || running.ready().await).await;
    let client = Client::new(running.webhook, &files.ca);
    let mut begun = half_sent(&client, &running).await;
    running.stop();
    running.ended().await;
    let mut rest = Vec::new();
    let _ = within(begun.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

/// A request of whose eight bytes the webhook has read `half`, and waits for the rest.
async fn half_sent(client: &Client, running: &Running) -> TlsStream<TcpStream> {
    let mut begun = client.tls().await.unwrap();
    let head = "POST /mutate/pods HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
    begun.write_all(format!("{head}Content-Length: 8\r\n\r\nhalf").as_bytes()).await.unwrap();
    eventually("it is being read", async || running.metric("body_bytes").await == 8).await;
    begun
}
