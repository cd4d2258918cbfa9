//! Before Legacy listens, and where it listens.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use legacy_mock::{Config, Families};
use tokio::task::JoinSet;

use crate::pod::{Pod, within};

#[tokio::test]
async fn a_listener_that_comes_late_is_shaken_hands_with() {
    let mut pods = JoinSet::new();
    for millis in [100, 1000, 5000, 20_000] {
        pods.spawn(async move {
            let late = Duration::from_millis(millis);
            let pod = Pod::reserve(Config::default(), |_| {});
            tokio::time::sleep(late).await;
            assert_eq!(pod.legacy.counts().connections, 0);
            pod.legacy.listen().unwrap();
            let counts = within("the handshake", pod.legacy.until(|it| it.accepted == 1)).await;
            let moments = pod.legacy.moments();
            let added = moments.accepted.unwrap() - moments.listening.unwrap();
            println!("Legacy after {late:?}: accepted {added:?} after its first listen");
            // 5 to 55 ms on a machine that has nothing else to do.
            assert!(added < Duration::from_millis(1500), "{late:?}: {added:?}");
            assert_eq!(counts.of("GET /"), 1, "{late:?}");
            assert_eq!(counts.of("GET /internal/key"), 1);
            assert_eq!(counts.secrets(), 1);
            pod.ready().await;
        });
    }
    while let Some(done) = within("all of them", pods.join_next()).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn nothing_but_a_connect_meets_the_port_before_the_first_request() {
    let pod = Pod::start();
    pod.ready().await;
    let counts = within("the bare look", pod.legacy.until(|counts| counts.bare >= 1)).await;
    // One look found it; whatever came before was refused.
    assert_eq!(counts.bare, 1, "{counts:?}");
}

#[tokio::test]
async fn legacy_is_found_on_ipv4_alone_on_ipv6_alone_and_on_both() {
    for families in [Families::Ipv4, Families::Ipv6, Families::Both] {
        let listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let pod = Pod::with(Config { listen, families, ..Config::default() }, |_| {});
        pod.ready().await;
        let address = match families {
            Families::Ipv6 => format!("Legacy listens on [::1]:{}", pod.legacy.port()),
            _ => format!("Legacy listens on 127.0.0.1:{}", pod.legacy.port()),
        };
        assert_eq!(pod.sidecar.log.count(&address), 1, "{}", pod.sidecar.log.text());
    }
}
