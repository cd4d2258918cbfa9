//! What a request gets, and when a connection ends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use listen::{Cut, Limits};
use tokio::net::TcpSocket;

use crate::client::{ATTACKER, Connection, HONEST, get, post, post_head, within};
use crate::server::{Server, WEBHOOK};

const SHORT: Duration = Duration::from_millis(200);

/// Limits that no test reaches, where it doesn't set others.
const LIMITS: Limits = Limits { connections: 100, body_bytes: 100_000, ..WEBHOOK };

/// `Transfer-Encoding: chunked`, in chunks of 1,000 bytes.
fn chunked(chunks: usize) -> Vec<u8> {
    let head = post_head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000));
    format!("{head}{}0\r\n\r\n", chunk.repeat(chunks)).into_bytes()
}

#[tokio::test]
async fn a_service_gets_bodies_whole() {
    let server = Server::tls(LIMITS);
    let mut kept = server.target.connect(HONEST).await.unwrap();
    for (request, length) in [
        (post(0), 0),
        (post(1), 1),
        (post(30_000), 30_000),
        (post(100_000), 100_000),
        (chunked(0), 0),
        (chunked(1), 1000),
        (chunked(100), 100_000),
    ] {
        let answer = kept.ask(&request).await.unwrap();
        assert_eq!((answer.status, answer.body), (200, length.to_string()));
    }
    server.sees("all bytes are given back", |seen| seen.body_bytes == 0).await;
}

#[tokio::test]
async fn a_service_knows_who_asks() {
    let server = Server::plain(LIMITS);
    let answer = server.target.ask(ATTACKER, &get("/peer")).await.unwrap();
    assert_eq!(answer.body.parse::<SocketAddr>().unwrap().ip(), ATTACKER);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_announced_or_not() {
    for server in [Server::tls(LIMITS), Server::plain(LIMITS)] {
        for request in [post(3 << 20), chunked(101), chunked(3000)] {
            let answer = server.target.ask(HONEST, &request).await.unwrap();
            assert_eq!(answer.status, 413);
            assert_eq!(answer.body, "the body is larger than 100000 bytes\n");
            assert!(answer.head.contains("connection: close"), "{}", answer.head);
        }
        assert_eq!(server.seen().refused, [413; 3]);
    }
}

#[tokio::test]
async fn a_slow_body_is_told_so() {
    let server = Server::tls(Limits { body: Duration::from_millis(300), ..LIMITS });
    let request = [post_head(10_000).as_bytes(), b"half"].concat();
    let answer = server.target.ask(HONEST, &request).await.unwrap();
    assert_eq!(answer.status, 408);
    assert_eq!(answer.body, "the body took longer than 0.3 s to arrive\n");
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_harms_nobody() {
    let server = Server::plain(LIMITS);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(200));
    for (request, status) in [(long, "431"), (many, "431"), ("rubbish\r\n\r\n".into(), "400")] {
        let mut connection = server.target.connect(HONEST).await.unwrap();
        let _ = connection.send(request.as_bytes()).await;
        let answer = connection.closed().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    let mut broken = server.target.connect(HONEST).await.unwrap();
    broken.send(&post(5)[..20]).await.unwrap();
    drop(broken);
    assert_eq!(server.target.ask(HONEST, &post(1)).await.unwrap().status, 200);
    server.sees("all have ended", |seen| seen.open == 0).await;
}

#[tokio::test]
async fn each_step_has_a_limit() {
    let client_hello = b"\x16\x03\x01\x02";
    for (limits, cut, sent) in [
        (Limits { handshake: SHORT, ..LIMITS }, Cut::Handshake, &client_hello[..]),
        (Limits { head: SHORT, ..LIMITS }, Cut::Head, b"GET / HTTP/1.1\r\nX"),
        (Limits { idle: SHORT, ..LIMITS }, Cut::Idle, b""),
        (Limits { idle: SHORT, ..LIMITS }, Cut::Idle, &get("/")),
        (Limits { write: SHORT, ..LIMITS }, Cut::Write, &get("/metrics")),
    ] {
        for server in [Server::plain(limits), Server::tls(limits)] {
            let mut tcp = server.target.tcp(HONEST, Some(4096)).await.unwrap();
            if cut == Cut::Handshake && !server.target.tls {
                continue;
            }
            if cut != Cut::Handshake {
                tcp = server.target.tls(tcp).await.unwrap();
            }
            let mut connection = Connection(tcp);
            connection.send(sent).await.unwrap();
            server.sees(&format!("{cut:?} {}", server.target.tls), |seen| seen.cut(cut) == 1).await;
            connection.closed().await;
        }
    }
}

#[tokio::test]
async fn an_answer_has_no_limit() {
    let limits = Limits { head: SHORT, idle: SHORT, write: SHORT, body: SHORT, ..LIMITS };
    let server = Server::plain(limits);
    let mut held = server.target.connect(HONEST).await.unwrap();
    held.send(&get("/held")).await.unwrap();
    server.sees("it is held", |seen| seen.held == 1).await;
    server.target.connect(HONEST).await.unwrap().closed().await;
    assert_eq!(server.seen().cut(Cut::Idle), 1);
    server.release();
    assert_eq!(held.answer().await.unwrap().body, "released");
}

#[tokio::test]
async fn an_idle_connection_has_its_own_limit() {
    let server = Server::plain(Limits { head: SHORT, ..LIMITS });
    let mut kept = server.target.connect(HONEST).await.unwrap();
    kept.ask(&get("/")).await.unwrap();
    let mut half = server.target.connect(HONEST).await.unwrap();
    half.send(b"GET").await.unwrap();
    half.closed().await;
    assert_eq!(kept.ask(&get("/")).await.unwrap().status, 200);
    assert!(Limits::default().idle > Duration::from_secs(90), "Go's client closes first");
    assert!(Limits::default().body < Duration::from_secs(5), "an API server hears why");
}

#[tokio::test]
async fn whoever_leaves_is_not_served_on() {
    let server = Server::plain(LIMITS);
    let mut held = server.target.connect(HONEST).await.unwrap();
    held.send(&get("/held")).await.unwrap();
    server.sees("it is held", |seen| seen.held == 1).await;
    drop(held);
    server.sees("it has ended", |seen| seen.held == 0 && seen.open == 0).await;
}

#[tokio::test]
async fn a_service_hears_whether_its_answer_was_delivered() {
    let server = Server::plain(LIMITS);

    // Read, and closed in order.
    server.target.ask(HONEST, &get("/delivered-and-closed")).await.unwrap();
    server.sees("closed", |seen| seen.delivered == [true]).await;
    server.target.ask(HONEST, &get("/delivered")).await.unwrap();
    server.sees("closed by the client", |seen| seen.delivered == [true; 2]).await;

    // Another request follows.
    let mut kept = server.target.connect(HONEST).await.unwrap();
    kept.ask(&get("/delivered")).await.unwrap();
    kept.ask(&get("/")).await.unwrap();
    server.sees("it was", |seen| seen.delivered == [true; 3]).await;

    // The connection is reset, as when the client has gone before it read the answer.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_zero_linger().unwrap();
    let tcp = socket.connect(server.target.address).await.unwrap();
    tcp.writable().await.unwrap();
    tcp.try_write(&get("/delivered")).unwrap();
    within(tcp.readable()).await.unwrap();
    drop(tcp);
    server.sees("it was not", |seen| seen.delivered == [true, true, true, false]).await;
}

#[tokio::test]
async fn a_request_that_is_answered_keeps_its_place_and_newcomers_wait() {
    let server = Server::plain(Limits { connections: 2, ..LIMITS });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut connection = server.target.connect(ATTACKER).await.unwrap();
        connection.send(&get("/held")).await.unwrap();
        held.push(connection);
    }
    server.sees("both are held", |seen| seen.held == 2).await;
    let mut newcomer = server.target.connect(HONEST).await.unwrap();
    newcomer.send(&get("/")).await.unwrap();
    let mut another = server.target.connect(HONEST).await.unwrap();
    another.send(&get("/")).await.unwrap();
    // As many may wait as may have a place; it is the newest of the address that has most.
    assert_eq!(server.target.connect(ATTACKER).await.unwrap().closed().await, "");
    assert_eq!(server.seen().cut(Cut::Waiting), 1);

    server.release();
    for mut connection in held.into_iter().chain([newcomer, another]) {
        assert_eq!(connection.answer().await.unwrap().status, 200);
    }
    assert_eq!(server.seen().most_open, 2);
}

#[tokio::test]
async fn idle_connections_of_who_has_many_make_room() {
    let server = Server::tls(Limits { connections: 3, ..LIMITS });
    let mut own = server.target.connect(HONEST).await.unwrap();
    own.ask(&get("/")).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut connection = server.target.connect(ATTACKER).await.unwrap();
        connection.ask(&get("/")).await.unwrap();
        idle.push(connection);
    }
    // Two of each are as fair as it gets, so a third of the address with two waits in vain.
    let mut second = server.target.connect(HONEST).await.unwrap();
    assert_eq!(second.ask(&get("/")).await.unwrap().status, 200);
    assert_eq!(server.seen().cut(Cut::IdleForNewcomer), 1);
    assert_eq!(idle[0].closed().await, "");
    for connection in [&mut own, &mut second, &mut idle[1]] {
        assert_eq!(connection.ask(&get("/")).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn bytes_are_shared_out_by_address() {
    let limits = Limits { all_body_bytes: 400_000, body: Duration::from_secs(2), ..LIMITS };
    let server = Server::tls(limits);
    // Half of them at most go to one address, and half of what is left to the next.
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut connection = server.target.connect(ATTACKER).await.unwrap();
        connection.send(&post(100_000)[..90_000]).await.unwrap();
        stalled.push(connection);
    }
    server.sees("two are read", |seen| seen.body_bytes == 200_000).await;
    let honest = server.target.ask(HONEST, &post(100_000)).await.unwrap();
    assert_eq!(honest.body, "100000");
    let seen = server.seen();
    assert_eq!((seen.body_bytes, seen.most_body_bytes), (200_000, 300_000));
    assert!(seen.refused.is_empty());

    for connection in &mut stalled {
        let status = connection.answer().await.unwrap().status;
        assert!(status == 408 || status == 503, "{status}");
    }
    server.sees("all are given back", |seen| seen.body_bytes == 0).await;
}

#[tokio::test]
async fn a_body_that_comes_in_one_go_waits_for_nobody() {
    let server = Server::tls(Limits { all_body_bytes: 0, body: SHORT, ..LIMITS });
    let answer = server.target.ask(HONEST, &post(7000)).await.unwrap();
    assert_eq!(answer.body, "7000");
    let answer = server.target.ask(HONEST, &post(70_000)).await.unwrap();
    assert_eq!(
        (answer.status, &*answer.body),
        (503, "too many large requests at the same time: try again\n")
    );
}

#[tokio::test]
async fn a_client_hello_has_a_size() -> io::Result<()> {
    let server = Server::tls(LIMITS);
    let mut connection = Connection(server.target.tcp(HONEST, None).await?);
    // A record of 16,000 bytes of a message of 60,000.
    let mut hello = vec![22, 3, 1, 0x3e, 0x80, 1, 0, 0xea, 0x60];
    hello.resize(5 + 16_000, 0);
    let _ = connection.send(&hello).await;
    let _ = connection.send(&hello[..1000]).await;
    connection.closed().await;
    server.sees("it fails", |seen| seen.handshakes_failed == 1).await;
    Ok(())
}
