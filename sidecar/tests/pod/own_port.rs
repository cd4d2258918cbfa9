//! The sidecar's own port: what it says, and who can use it up.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use legacy_mock::Config;
use listen::Address;
use sidecar::args::Args;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::pod::{Pod, ask_as, get, raw, read, within};

#[tokio::test]
async fn it_answers_what_it_knows_and_says_what_there_is() {
    let pod = Pod::start();
    pod.ready().await;
    assert_eq!(pod.sidecar.get("/livez").await, "200 alive\n");
    let elsewhere = pod.sidecar.get("/").await;
    assert_eq!(elsewhere, "404 there are /readyz, /livez and /metrics\n");

    let post = b"POST /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let post = raw(pod.sidecar.address, post).await;
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD\r\n"), "{post}");
    let head = raw(pod.sidecar.address, b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let garbage = raw(pod.sidecar.address, b"\x16\x03\x01\x00 this is no HTTP\r\n\r\n").await;
    assert!(garbage.starts_with("HTTP/1.1 400 "), "{garbage}");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let pod = Pod::start();
    pod.ready().await;
    let answer = raw(pod.sidecar.address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    let (_, metrics) = answer.split_once("\r\n\r\n").unwrap();
    for name in [
        "state",
        "attempts_total",
        "handshakes_total",
        "seconds_to_initialise",
        "log_lines_dropped_total",
    ] {
        let (help, kind) = (
            format!("# HELP secret_handshake_{name} "),
            format!("# TYPE secret_handshake_{name} "),
        );
        assert_eq!(metrics.matches(&help).count(), 1, "{metrics}");
        assert_eq!(metrics.matches(&kind).count(), 1, "{metrics}");
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let present: Vec<&str> = metrics
        .lines()
        .filter(|line| line.starts_with("secret_handshake_state{") && line.ends_with(" 1"))
        .collect();
    assert_eq!(present, ["secret_handshake_state{state=\"watching\"} 1"]);
    assert!(metrics.contains("secret_handshake_handshakes_total 1\n"));
}

#[tokio::test]
async fn silent_clients_make_room_for_another_address() {
    let pod = Pod::with(Config::default(), |args| {
        args.limits.port.connections = 4;
        args.limits.port.head = Duration::from_secs(3600);
        args.limits.port.idle = Duration::from_secs(3600);
    });
    let mut silent = Vec::new();
    for round in 0..8 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        let mut stream = socket.connect(pod.sidecar.address).await.unwrap();
        if round % 2 == 0 {
            stream.write_all(b"GET /readyz HTTP/1.1\r\nX-Slow: ").await.unwrap();
        }
        silent.push(stream);
    }
    for _ in 0..4 {
        assert_eq!(pod.sidecar.get("/livez").await, "200 alive\n");
    }
}

#[tokio::test]
async fn a_client_that_does_not_send_its_request_in_time_is_let_go() {
    let pod = Pod::with(Config::default(), |args| {
        args.limits.port.head = Duration::from_millis(100);
    });
    let mut silent = TcpStream::connect(pod.sidecar.address).await.unwrap();
    let mut slow = TcpStream::connect(pod.sidecar.address).await.unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let said = within("its end", read(stream)).await.unwrap_or_default();
        assert!(!said.contains("200 OK"), "{said}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let pod = Pod::start();
    let request = [b"GET /livez HTTP/1.1\r\nX-Large: ", vec![b'x'; 64 * 1024].as_slice()].concat();
    let mut stream = TcpStream::connect(pod.sidecar.address).await.unwrap();
    let _ = stream.write_all(&request).await;
    let said = within("the answer", read(&mut stream)).await.unwrap_or_default();
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    assert_eq!(pod.sidecar.get("/livez").await, "200 alive\n");
}

#[tokio::test]
async fn clients_that_went_away_take_up_no_room() {
    let pod = Pod::reserve(Config::default(), |args| {
        args.hold = Duration::from_secs(3600);
        args.limits.held = 2;
        args.limits.port.connections = 2;
    });
    for _ in 0..10 {
        let address = pod.sidecar.address;
        drop(ask_as("kube-probe/1.34", address.ip(), address, "/readyz").await.unwrap());
    }
    let served = async {
        while !get(pod.sidecar.address, "/livez")
            .await
            .is_ok_and(|answer| answer.starts_with("200"))
        {}
    };
    within("an answer", served).await;
}

#[tokio::test]
async fn all_addresses_are_ipv6_and_ipv4() {
    let pod = Pod::with(Config::default(), |args| args.listen = Address::All(0));
    let port = pod.sidecar.address.port();
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert_eq!(within("IPv4", get(four, "/livez")).await.unwrap(), "200 alive\n");
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    if pod.sidecar.address.is_ipv6() {
        assert_eq!(within("IPv6", get(six, "/livez")).await.unwrap(), "200 alive\n");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_remedy() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    for listen in [Address::All(port), Address::At(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))] {
        let error = Args { listen, ..Args::default() }.bind().err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot listen on {listen}: ")), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
        assert!(error.contains("Choose another port with --listen; in a pod, whose "), "{error}");
        assert!(error.contains("annotation secret-handshake/health-port"), "{error}");
    }
}
