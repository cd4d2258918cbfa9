//! While somebody attacks, nobody else's request fails or waits long.

use std::time::Duration;

use listen::{Cut, Limits};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::attack::Attack;
use crate::client::{HONEST, Target, get, post};
use crate::honest::{self, Outcomes};
use crate::server::{ADMIN, Seen, Server, WEBHOOK};

/// How long it is looked.
const DURING: Duration = Duration::from_secs(4);

/// What a request may take while there are places, and while all are taken.
const ROOM: Duration = Duration::from_millis(100);
const FULL: Duration = Duration::from_millis(1200);

/// One attack at a time: they measure.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A review that comes in several pieces.
fn review() -> Vec<u8> {
    post(30_000)
}

async fn measured(target: Target, attack: &Attack, request: &[u8]) -> Outcomes {
    let kept = honest::kept(target, request).await.unwrap();
    let _attack = attack.start(target);
    honest::ask(target, kept, request, DURING).await
}

/// Attacks one port, and asserts what holds for everybody else.
async fn survives(server: Server, attack: Attack, request: &[u8], allowed: Duration) -> Seen {
    let _alone = ALONE.lock().await;
    let outcomes = measured(server.target, &attack, request).await;
    let seen = server.seen();
    for (on, outcome) in [("fresh", &outcomes.fresh), ("kept", &outcomes.kept)] {
        assert!(outcome.failures.is_empty(), "{on}: {:?}\n{seen:?}", outcome.failures);
        let took = if allowed == FULL { outcome.max() } else { outcome.p99() };
        assert!(took <= allowed, "{on}: {took:?} of {}\n{seen:?}", outcome.count());
    }
    seen
}

async fn https(attack: Attack, allowed: Duration) -> Seen {
    survives(Server::tls(WEBHOOK), attack, &review(), allowed).await
}

async fn http(attack: Attack, allowed: Duration) -> Seen {
    survives(Server::plain(ADMIN), attack, &get("/livez"), allowed).await
}

#[tokio::test]
async fn silent_connections_to_the_admin_port() {
    http(Attack::silent(192), ROOM).await;
    let seen = http(Attack::silent(1000), FULL).await;
    assert!(seen.cut(Cut::UnfinishedForNewcomer) > 0, "{seen:?}");
}

#[tokio::test]
async fn half_heads_to_the_admin_port() {
    http(Attack::half_heads(200), ROOM).await;
    http(Attack::half_heads(1000), FULL).await;
}

#[tokio::test]
async fn silent_connections() {
    let seen = https(Attack::silent(3000), FULL).await;
    assert!(seen.cut(Cut::UnfinishedForNewcomer) > 0, "{seen:?}");
}

#[tokio::test]
async fn half_handshakes() {
    https(Attack::half_handshakes(3000), FULL).await;
}

#[tokio::test]
async fn silence_after_the_handshake() {
    https(Attack::silent_after_handshakes(3000), FULL).await;
}

#[tokio::test]
async fn slow_heads() {
    https(Attack::slow_heads(3000), FULL).await;
}

#[tokio::test]
async fn slow_bodies() {
    https(Attack::slow_bodies(3000), FULL).await;
}

#[tokio::test]
async fn bodies_that_begin_fast() {
    let seen = https(Attack::bodies_that_begin_fast(600), ROOM).await;
    assert!(seen.most_body_bytes <= 32 << 20, "{seen:?}");
}

#[tokio::test]
async fn bodies_that_stop_short() {
    let seen = https(Attack::bodies_that_stop_short(6), ROOM).await;
    assert!(seen.most_body_bytes >= 12 << 20 && seen.most_body_bytes <= 32 << 20, "{seen:?}");
}

#[tokio::test]
async fn answers_never_read() {
    https(Attack::answers_never_read(200), ROOM).await;
    let seen = http(Attack::answers_never_read(1000), FULL).await;
    assert!(seen.cut(Cut::Write) > 0, "{seen:?}");
}

#[tokio::test]
async fn a_few_silent_connections_of_each_of_many_strangers() {
    let seen = https(Attack::strangers(5), FULL).await;
    assert!(seen.cut(Cut::UnfinishedForNewcomer) > 0, "{seen:?}");
}

#[tokio::test]
async fn six_hundred_requests_at_once_from_one_address() {
    let _alone = ALONE.lock().await;
    for connections in [1024, 400] {
        let server = Server::tls(Limits { connections, ..WEBHOOK });
        let mut requests = JoinSet::new();
        for _ in 0..600 {
            let (target, request) = (server.target, review());
            requests.spawn(async move { target.ask(HONEST, &request).await });
        }
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap().unwrap().body, "30000");
        }
        assert_eq!(server.seen().cuts.len(), 0);
    }
}
