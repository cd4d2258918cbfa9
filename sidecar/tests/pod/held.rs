//! The held probe.

use std::time::{Duration, Instant};

use legacy_mock::Config;
use tokio::io::AsyncReadExt as _;

use crate::pod::{Pod, ask, read, within};

/// A pod whose Legacy does not listen yet.
fn waiting(hold: Duration) -> Pod {
    Pod::reserve(Config::default(), |args| args.hold = hold)
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn it_is_held_until_the_handshake_and_let_go_at_once() {
    let pod = waiting(LONG);
    let mut held = ask(pod.sidecar.address, "/readyz").await.unwrap();
    pod.sidecar.log.until("waiting for Legacy").await;
    let early = tokio::time::timeout(Duration::from_millis(200), held.read_u8()).await;
    assert!(early.is_err(), "an answer before the handshake");
    pod.legacy.listen().unwrap();
    let answer = within("the held answer", read(&mut held)).await.unwrap();
    let answered = Instant::now();
    assert!(answer.contains("200 OK") && answer.ends_with("ready: Legacy is initialised\n"));
    let accepted = pod.legacy.moments().accepted.unwrap();
    // Milliseconds in fact; the benchmark measures that. A poll a second would not get below this.
    assert!(answered - accepted < Duration::from_millis(500), "{:?}", answered - accepted);
}

#[tokio::test]
async fn it_is_a_503_when_the_hold_is_over() {
    let hold = Duration::from_millis(300);
    let pod = waiting(hold);
    let asked = Instant::now();
    let answer = pod.sidecar.get("/readyz").await;
    assert!(asked.elapsed() >= hold, "{:?}", asked.elapsed());
    assert!(answer.starts_with("503 not ready: waiting for Legacy to listen"), "{answer}");
    // And again: as long as the pod is not ready, there is nothing to lose.
    let asked = Instant::now();
    pod.sidecar.get("/readyz").await;
    assert!(asked.elapsed() >= hold);
}

#[tokio::test]
async fn now_is_never_held() {
    let pod = waiting(LONG);
    let answer = pod.sidecar.get("/readyz?now").await;
    assert!(answer.starts_with("503 not ready: waiting for Legacy to listen on port"), "{answer}");
}

#[tokio::test]
async fn after_a_200_a_loss_is_told_at_once_and_only_then_it_is_held_again() {
    let pod = Pod::with(Config::default(), |args| args.hold = LONG);
    assert_eq!(pod.sidecar.get("/readyz").await, "200 ready: Legacy is initialised\n");
    pod.legacy.kill().await;
    pod.sidecar.log.until("Legacy is gone").await;
    // A person who asks does not take away what the kubelet has to be told.
    assert!(pod.sidecar.get("/readyz?now").await.starts_with("503"));
    let told = within("a 503 at once", pod.sidecar.get("/readyz")).await;
    assert!(told.starts_with("503 not ready: "), "{told}");

    let mut held = ask(pod.sidecar.address, "/readyz").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), held.read_u8()).await;
    assert!(early.is_err(), "held again");
    pod.legacy.listen().unwrap();
    let answer = within("the held answer", read(&mut held)).await.unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn many_are_let_go_together() {
    let pod = Pod::reserve(Config::default(), |args| {
        args.hold = LONG;
        args.max_held = 16;
    });
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(ask(pod.sidecar.address, "/readyz").await.unwrap());
    }
    let early = tokio::time::timeout(Duration::from_millis(300), held[15].read_u8()).await;
    assert!(early.is_err(), "an answer before the handshake");
    pod.legacy.listen().unwrap();
    for mut stream in held {
        let answer = within("a held answer", read(&mut stream)).await.unwrap();
        assert!(answer.contains("200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn one_too_many_is_not_held_and_a_client_that_goes_away_gives_its_place_back() {
    let pod = Pod::reserve(Config::default(), |args| {
        args.hold = LONG;
        args.max_held = 1;
    });
    let mut one = ask(pod.sidecar.address, "/readyz").await.unwrap();
    let mut other = ask(pod.sidecar.address, "/readyz").await.unwrap();
    // There is a place for one of them; which one is for the scheduler to say.
    let refused = async {
        tokio::select! {
            refused = read(&mut one) => refused,
            refused = read(&mut other) => refused,
        }
    };
    let refused = within("the one too many", refused).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop((one, other));
    // As soon as the sidecar has seen that it went, there is a place again.
    let held = async {
        loop {
            let mut stream = ask(pod.sidecar.address, "/readyz").await.unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(200), read(&mut stream)).await;
            if answer.is_err() {
                return stream;
            }
        }
    };
    let mut held = within("a free place", held).await;
    pod.legacy.listen().unwrap();
    let answer = within("the held answer", read(&mut held)).await.unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn being_asked_to_end_ends_it() {
    let pod = waiting(LONG);
    let mut held = ask(pod.sidecar.address, "/readyz").await.unwrap();
    pod.sidecar.log.until("waiting for Legacy").await;
    let asked = Instant::now();
    pod.sidecar.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let rest = within("the end of the connection", read(&mut held)).await;
    assert!(rest.is_err() || rest.unwrap().is_empty(), "no answer, but an end");
}
