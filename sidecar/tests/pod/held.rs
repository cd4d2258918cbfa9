//! The probes of a kubelet, which are held back as long as the answer is the one that it has.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use legacy_mock::Config;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::pod::{Pod, ask_as, read, within};

/// So long that whatever is answered was not held to its end.
const LONG: Duration = Duration::from_secs(3600);

/// A kubelet asks from the node's address, and a stranger from another.
const KUBELET: Ipv4Addr = Ipv4Addr::LOCALHOST;
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A pod whose Legacy does not listen yet.
fn waiting(hold: Duration) -> Pod {
    Pod::reserve(Config::default(), |args| args.hold = hold)
}

/// A pod whose Legacy is initialised.
async fn initialised(hold: Duration) -> Pod {
    let pod = Pod::with(Config::default(), |args| args.hold = hold);
    pod.ready().await;
    pod
}

async fn probe(pod: &Pod, from: impl Into<IpAddr>) -> TcpStream {
    ask_as("kube-probe/1.34", from.into(), pod.sidecar.address, "/readyz").await.unwrap()
}

/// Probes once; the status.
async fn probed(pod: &Pod, from: impl Into<IpAddr>) -> u16 {
    answered(&mut probe(pod, from).await).await
}

async fn answered(probe: &mut TcpStream) -> u16 {
    let answer = within("an answer", read(probe)).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

async fn is_held(probe: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(200), probe.read_u8()).await.is_err()
}

/// Probes as a kubelet does, one after another, until one is held; and what the others were told. A slow
/// machine may take so long between two of them that one more is not held.
async fn until_held(pod: &Pod, from: Ipv4Addr) -> (TcpStream, Vec<u16>) {
    let mut told = Vec::new();
    let held = async {
        loop {
            let mut probe = probe(pod, from).await;
            match tokio::time::timeout(Duration::from_millis(200), answered(&mut probe)).await {
                Ok(status) => told.push(status),
                Err(_) => break probe,
            }
        }
    };
    let held = within("a probe that is held", held).await;
    (held, told)
}

#[tokio::test]
async fn the_first_is_held_until_the_handshake_and_let_go_at_once() {
    let pod = waiting(LONG);
    let mut held = probe(&pod, KUBELET).await;
    pod.sidecar.log.until("waiting for Legacy").await;
    assert!(is_held(&mut held).await, "an answer before the handshake");
    pod.legacy.listen().unwrap();
    let answer = within("the held answer", read(&mut held)).await.unwrap();
    let answered = Instant::now();
    assert!(answer.contains("200 OK") && answer.ends_with("ready: Legacy is initialised\n"));
    let accepted = pod.legacy.moments().accepted.unwrap();
    // Milliseconds in fact; the benchmark measures that. A poll a second would not get below this.
    assert!(answered - accepted < Duration::from_millis(500), "{:?}", answered - accepted);
}

#[tokio::test]
async fn a_probe_is_answered_when_the_hold_is_over() {
    let hold = Duration::from_millis(300);
    for pod in [waiting(hold), initialised(hold).await] {
        let ready = pod.legacy.is_initialized();
        if ready {
            assert_eq!(probed(&pod, KUBELET).await, 200);
        }
        for _ in 0..3 {
            let asked = Instant::now();
            assert_eq!(probed(&pod, KUBELET).await, if ready { 200 } else { 503 });
            assert!(asked.elapsed() >= hold, "{:?}", asked.elapsed());
        }
    }
}

#[tokio::test]
async fn nobody_else_is_ever_held() {
    for (pod, status) in [(waiting(LONG), "503 not ready: "), (initialised(LONG).await, "200 ")] {
        for _ in 0..3 {
            let answer = pod.sidecar.get("/readyz").await;
            assert!(answer.starts_with(status), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_death_is_told_at_once_and_twice() {
    let pod = initialised(LONG).await;
    let (mut held, told) = until_held(&pod, KUBELET).await;
    assert!(!told.is_empty() && told.iter().all(|status| *status == 200), "{told:?}");
    pod.legacy.kill().await;
    let killed = Instant::now();
    assert_eq!(answered(&mut held).await, 503);
    // As above: milliseconds in fact.
    assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());

    // One flow may be lost, so the kubelet believes the second; and then it waits.
    let (mut held, told) = until_held(&pod, KUBELET).await;
    assert!(!told.is_empty() && told.iter().all(|status| *status == 503), "{told:?}");
    pod.legacy.listen().unwrap();
    assert_eq!(answered(&mut held).await, 200);
}

#[tokio::test]
async fn a_stranger_does_not_stand_for_the_kubelet() {
    let pod = initialised(LONG).await;
    assert_eq!(probed(&pod, KUBELET).await, 200);
    let pod = std::sync::Arc::new(pod);
    let stranger = tokio::spawn({
        let pod = std::sync::Arc::clone(&pod);
        async move {
            let mut each = tokio::time::interval(Duration::from_millis(100));
            let mut held = Vec::new();
            loop {
                each.tick().await;
                // As a kubelet, and as anybody.
                held.push(probe(&pod, STRANGER).await);
                ask_as("curl/8", STRANGER.into(), pod.sidecar.address, "/readyz").await.unwrap();
            }
        }
    });
    pod.legacy.kill().await;
    pod.sidecar.log.until("Legacy is gone").await;
    // The stranger has been told for long, and the kubelet not.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(probed(&pod, KUBELET).await, 503);
    assert_eq!(probed(&pod, KUBELET).await, 503);
    pod.legacy.listen().unwrap();
    pod.ready().await;
    assert_eq!(probed(&pod, KUBELET).await, 200);
    stranger.abort();
}

/// A kubelet that ended may have a successor that knows nothing.
#[tokio::test]
async fn after_a_client_that_left_the_next_is_told_at_once() {
    let pod = initialised(LONG).await;
    let (held, _) = until_held(&pod, KUBELET).await;
    drop(held);
    // The sidecar may see only a moment later that it left, so that one or the other is still held.
    let at_once = async {
        loop {
            let mut next = probe(&pod, KUBELET).await;
            if !is_held(&mut next).await {
                break;
            }
        }
    };
    within("an answer at once", at_once).await;
}

#[tokio::test]
async fn sixteen_wait_and_are_let_go_together_and_one_more_does_not_wait() {
    let pod = waiting(LONG);
    let mut probes = Vec::new();
    for _ in 0..16 {
        probes.push(probe(&pod, KUBELET).await);
    }
    assert!(is_held(&mut probes[15]).await);
    // Whoever comes then, from wherever.
    assert_eq!(probed(&pod, STRANGER).await, 503);
    // One that leaves gives its place back.
    drop(probes.pop());
    let (held, _) = until_held(&pod, Ipv4Addr::new(127, 0, 0, 3)).await;
    probes.push(held);
    pod.legacy.listen().unwrap();
    for mut probe in probes {
        assert_eq!(answered(&mut probe).await, 200);
    }
}

#[tokio::test]
async fn being_asked_to_end_ends_it() {
    let pod = waiting(LONG);
    let mut held = probe(&pod, KUBELET).await;
    pod.sidecar.log.until("waiting for Legacy").await;
    let asked = Instant::now();
    pod.sidecar.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let rest = within("the end of the connection", read(&mut held)).await;
    assert!(rest.is_err() || rest.unwrap().is_empty(), "no answer, but an end");
}
