//! While somebody attacks, nobody else's request fails or waits long.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use listen::{Cut, Limits};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::attack::Attack;
use crate::client::{HONEST, Target, get, post, review};
use crate::honest::{self, Outcome};
use crate::server::{Server, WEBHOOK};

/// How long it is looked.
const DURING: Duration = Duration::from_secs(4);

/// What a request may take while there are places, in 99 of 100 cases, and while all are taken.
const ROOM: Duration = Duration::from_millis(100);
const FULL: Duration = Duration::from_millis(1200);

/// One at a time: they measure.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Attacks on the port of the API server, and of the kubelet.
fn attacks(tls: bool) -> Vec<(&'static str, Attack, Duration)> {
    if tls {
        vec![
            ("3,000 silent connections", Attack::silent(3000), FULL),
            ("3,000 half handshakes", Attack::half_handshakes(3000), FULL),
            ("3,000 silent after the handshake", Attack::silent_after_handshakes(3000), FULL),
            ("3,000 slow heads", Attack::slow_heads(3000), FULL),
            ("3,000 slow bodies", Attack::slow_bodies(3000), FULL),
            ("600 bodies: 200 kB, then a byte a second", Attack::bodies_that_begin_fast(600), ROOM),
            ("6 bodies of 6 MiB but for the last byte", Attack::bodies_that_stop_short(6), ROOM),
            ("200 that read no answer", Attack::answers_never_read(200), ROOM),
            ("300 addresses, 5 silent connections each", Attack::strangers(300, 5), FULL),
        ]
    } else {
        vec![
            ("192 silent connections", Attack::silent(192), ROOM),
            ("200 half heads", Attack::half_heads(200), ROOM),
            ("1,000 silent connections", Attack::silent(1000), FULL),
            ("1,000 half heads", Attack::half_heads(1000), FULL),
            ("1,000 that read no answer", Attack::answers_never_read(1000), FULL),
        ]
    }
}

async fn measure(target: Target, attack: &Attack) -> [(&'static str, Outcome); 2] {
    let request = if target.tls { review() } else { get("/livez") };
    let kept = honest::kept(target, &request).await.unwrap();
    let _attackers = attack.start(target);
    let (fresh, kept) = honest::ask(target, kept, &request, DURING).await;
    [("fresh connections", fresh), ("a kept connection", kept)]
}

async fn nobody_else_notices(tls: bool) {
    let _alone = ALONE.lock().await;
    for (what, attack, allowed) in attacks(tls) {
        let server = Server::start(if tls { WEBHOOK } else { Limits::default() }, tls);
        let outcomes = measure(server.target, &attack).await;
        let seen = server.seen();
        for (on, outcome) in outcomes {
            let took = if allowed == FULL { outcome.max() } else { outcome.p99() };
            assert!(outcome.failures.is_empty(), "{what}: {on}: {:?}\n{seen:?}", outcome.failures);
            assert!(took <= allowed, "{what}: {on}: {took:?}\n{seen:?}");
        }
        // The attack is one.
        let full = seen.cut(Cut::UnfinishedForNewcomer) > 0;
        assert_eq!(full, allowed == FULL, "{what}\n{seen:?}");
        assert!(seen.most_body_bytes <= 32 << 20, "{what}\n{seen:?}");
    }
}

#[tokio::test]
async fn nobody_else_notices_an_attack_on_https() {
    nobody_else_notices(true).await;
}

#[tokio::test]
async fn nobody_else_notices_an_attack_on_http() {
    nobody_else_notices(false).await;
}

#[tokio::test]
async fn six_hundred_requests_at_once_from_one_address() {
    let _alone = ALONE.lock().await;
    // More than have a place as well.
    for connections in [1024, 400] {
        let server = Server::tls(Limits { connections, ..WEBHOOK });
        let mut requests = JoinSet::new();
        for _ in 0..600 {
            let target = server.target;
            requests.spawn(async move { target.ask(HONEST, &post(30_000)).await });
        }
        while let Some(answer) = requests.join_next().await {
            assert_eq!(answer.unwrap().unwrap().body, "30000");
        }
        assert_eq!(server.seen().cuts.len(), 0);
    }
}

/// The README's table. `HTTPS=127.0.0.1:8443 HTTP=127.0.0.1:8080` measures what serves there instead.
#[tokio::test]
#[ignore = "prints a table"]
async fn table() {
    let address = |name| env::var(name).ok().map(|text| text.parse::<SocketAddr>().unwrap());
    println!("| port | attack | fresh: failed, longest | kept: failed, longest |");
    println!("| --- | --- | --- | --- |");
    for (tls, name) in [(true, "HTTPS"), (false, "HTTP")] {
        for (what, attack, _) in attacks(tls) {
            let limits = if tls { WEBHOOK } else { Limits::default() };
            let server = address(name).is_none().then(|| Server::start(limits, tls));
            let target = server.as_ref().map_or_else(
                || Target { address: address(name).unwrap(), tls },
                |server| server.target,
            );
            let [fresh, kept] = measure(target, &attack).await.map(|(_, outcome)| {
                let (failed, all) = (outcome.failures.len(), outcome.count());
                format!("{failed} of {all}, {} ms", outcome.max().as_millis())
            });
            println!("| {name} | {what} | {fresh} | {kept} |");
        }
    }
}
