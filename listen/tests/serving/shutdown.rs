//! How a port ends: nobody's request is lost.

use std::time::Duration;

use listen::Limits;

use crate::client::{DEADLINE, HONEST, get, post};
use crate::server::{Server, WEBHOOK};

#[tokio::test]
async fn while_it_drains_requests_are_served_and_each_answer_is_the_last_on_its_connection() {
    let mut server = Server::tls(Limits { drain: DEADLINE, ..WEBHOOK });
    let mut kept = server.target.connect(HONEST).await.unwrap();
    assert!(!kept.ask(&get("/")).await.unwrap().head.contains("connection: close"));
    server.stop();
    while !server.target.ask(HONEST, &get("/")).await.unwrap().head.contains("connection: close") {}
    let answer = kept.ask(&post(30_000)).await.unwrap();
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    assert_eq!(kept.closed().await, "");
}

#[tokio::test]
async fn at_the_end_open_requests_are_finished_and_everything_else_is_closed() {
    let mut server = Server::tls(Limits { head: Duration::from_secs(2), ..WEBHOOK });
    let connect = async || server.target.connect(HONEST).await.unwrap();
    let (mut idle, mut held, mut late, mut silent, mut half) =
        (connect().await, connect().await, connect().await, connect().await, connect().await);
    idle.ask(&get("/")).await.unwrap();
    held.send(&get("/held")).await.unwrap();
    half.send(b"GET").await.unwrap();
    late.send(&post(4)[..50]).await.unwrap();
    server.sees("it is held", |seen| seen.held == 1).await;

    server.stop();
    assert_eq!(idle.closed().await, "");
    // A request that has begun has as much time as ever.
    late.send(&post(4)[50..]).await.unwrap();
    assert_eq!(late.answer().await.unwrap().body, "4");
    assert_eq!((silent.closed().await, half.closed().await), (String::new(), String::new()));
    assert_eq!(server.seen().held, 1);
    server.release();
    let answer = held.answer().await.unwrap();
    assert_eq!(answer.body, "released");
    assert!(answer.head.contains("connection: close"), "{}", answer.head);
    server.ended().await;
    assert_eq!(server.seen().open, 0);
    assert!(server.target.connect(HONEST).await.is_err());
}

#[tokio::test]
async fn whoever_is_connected_already_is_served() {
    for connections in [1, 1024] {
        let mut server = Server::plain(Limits { connections, ..WEBHOOK });
        let mut connected = Vec::new();
        for _ in 0..2 {
            connected.push(server.target.connect(HONEST).await.unwrap());
        }
        server.stop();
        for mut connection in connected {
            connection.send(&get("/")).await.unwrap();
            assert_eq!(connection.answer().await.unwrap().status, 200);
        }
        server.ended().await;
    }
}

#[tokio::test]
async fn a_client_that_never_closes_holds_nothing_up() {
    let mut server = Server::plain(Limits { drain: Duration::from_millis(50), ..WEBHOOK });
    server.stop();
    let mut connection = server.target.connect(HONEST).await.unwrap();
    let _ = connection.ask(&get("/")).await;
    server.ended().await;
}
