//! What a client meets on the wire: Legacy's answers, its ends and starts, and every fault.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is how a test fails")]

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use legacy_mock::{AnswerFault, Config, Door, Families, Faults, KeyFault, Legacy, What};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SECRET: &str = "VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2U=";

/// Long enough for a busy machine; short enough for a person who waits for a failing test.
const DEADLINE: Duration = Duration::from_secs(20);

/// Long enough to tell "never" from "at once".
const A_WHILE: Duration = Duration::from_millis(150);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

async fn start(faults: Faults) -> Legacy {
    let config = Config { faults, ..Config::default() };
    Legacy::start(config).await.unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: legacy\r\nUser-Agent: test\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: legacy\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Status and body of one request on a connection of its own.
async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = soon(TcpStream::connect(address)).await.unwrap();
    soon(ask_on(&mut stream, request)).await
}

async fn ask_on(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = head(stream).await;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head[9..12].parse().unwrap(), String::from_utf8(body).unwrap())
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Whether nothing arrives, and the connection stays open, for a while.
async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(A_WHILE, stream.read_u8()).await.is_err()
}

async fn ends_with(stream: &mut TcpStream) -> Option<ErrorKind> {
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.err().map(|error| error.kind())
}

#[tokio::test]
async fn the_handshake_initialises_it_once() {
    let legacy = start(Faults::default()).await;
    let at = legacy.addr();
    assert_eq!(ask(at, &get("/")).await, (503, "Uninitialized\n".to_owned()));
    let key = "VGhpcyBpcyBAICQzY3IzdCBrZXk=\n".to_owned();
    assert_eq!(ask(at, &get("/internal/key")).await, (200, key));
    let secret = post("/internal/secret", SECRET);
    assert_eq!(ask(at, &secret).await, (202, "Accepted\n".to_owned()));
    assert_eq!(ask(at, &secret).await, (204, String::new()));
    assert_eq!(ask(at, &get("/")).await, (200, "It works!\n".to_owned()));
    assert_eq!(ask(at, &get("/health")).await, (200, "{\"status\":\"ok\"}\n".to_owned()));

    let counts = legacy.counts();
    assert_eq!((counts.secrets(), counts.accepted, counts.refused), (2, 1, 0));
    assert_eq!((counts.of("GET /"), counts.total(), counts.connections), (2, 6, 6));
    let moments = legacy.moments();
    assert!(moments.listening.unwrap() < moments.accepted.unwrap());
}

#[tokio::test]
async fn every_answer_names_the_app_and_is_logged_but_for_health() {
    let legacy = start(Faults::default()).await;
    let mut stream = TcpStream::connect(legacy.addr()).await.unwrap();
    for path in ["/health", "/x?query"] {
        stream.write_all(get(path).as_bytes()).await.unwrap();
        let head = soon(head(&mut stream)).await;
        for line in [
            "x-app-name: legacy-mock",
            "x-app-version: 0.1.0",
            "content-type: text/plain; charset=utf-8",
        ] {
            assert!(head.lines().any(|found| found == line), "{path}: {head}");
        }
        let length = if path == "/health" { 16 } else { 14 };
        stream.read_exact(&mut vec![0; length]).await.unwrap();
    }
    let lines = legacy.access_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let remote = stream.local_addr().unwrap();
    let middle = format!(" legacy {remote} \"GET /x HTTP/1.1\" 503 14 \"test\" ");
    let (time, duration) = lines[0].split_once(&middle).unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(time.len(), "2026/11/23 17:46:00".len());
    assert!(duration.ends_with('s'), "{duration}");
}

#[tokio::test]
async fn a_restart_keeps_the_port_and_forgets() {
    let legacy = start(Faults::default()).await;
    let at = legacy.addr();
    ask(at, &post("/internal/secret", SECRET)).await;
    assert!(legacy.is_initialized());

    let mut held = TcpStream::connect(at).await.unwrap();
    ask_on(&mut held, &get("/health")).await;
    legacy.restart().await.unwrap();
    assert_eq!(held.read(&mut [0]).await.unwrap_or(0), 0, "its connections ended with it");
    assert_eq!(legacy.addr(), at);
    assert_eq!(ask(at, &get("/")).await.0, 503);
    assert_eq!(legacy.moments().accepted, None);

    ask(at, &post("/internal/secret", SECRET)).await;
    legacy.forget();
    assert_eq!(ask(at, &get("/")).await.0, 503, "it forgot without a restart");
}

#[tokio::test]
async fn it_can_start_late_and_refuses_until_then() {
    let legacy = Legacy::reserve(Config::default()).unwrap();
    let refused = TcpStream::connect(legacy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    legacy.listen().unwrap();
    assert_eq!(ask(legacy.addr(), &get("/health")).await.0, 200);
    legacy.stop().await;
    let refused = TcpStream::connect(legacy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn nobody_else_listens_on_its_port() {
    let legacy = start(Faults::default()).await;
    let second = Legacy::start(Config { listen: legacy.bound(), ..Config::default() }).await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn it_listens_on_the_families_it_is_told() {
    for (families, ipv4, ipv6) in
        [(Families::Both, true, true), (Families::Ipv4, true, false), (Families::Ipv6, false, true)]
    {
        let listen = "[::]:0".parse().unwrap();
        let legacy = Legacy::start(Config { listen, families, ..Config::default() }).await;
        let legacy = legacy.unwrap();
        let port = legacy.port();
        let by_ipv4 = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        let by_ipv6 = TcpStream::connect(("::1", port)).await.is_ok();
        assert_eq!((by_ipv4, by_ipv6), (ipv4, ipv6), "{families:?}");
        assert_eq!(ask(legacy.addr(), &get("/health")).await.0, 200, "{families:?}");
    }
}

#[tokio::test]
async fn stopping_ends_resting_connections_at_once_and_waits_for_those_that_never_asked() {
    let legacy = start(Faults::default()).await;
    let mut asked = TcpStream::connect(legacy.addr()).await.unwrap();
    ask_on(&mut asked, &get("/health")).await;
    let began = Instant::now();
    soon(legacy.stop()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(ends_with(&mut asked).await, None);

    legacy.listen().unwrap();
    let _never_asked = TcpStream::connect(legacy.addr()).await.unwrap();
    legacy.until(|counts| counts.open == 1).await;
    let began = Instant::now();
    soon(legacy.stop()).await;
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn stopping_finishes_what_is_being_answered() {
    let slow = AnswerFault::always(What::SlowBody(Duration::from_millis(20)));
    let legacy = start(Faults { answer: Some(slow), ..Faults::default() }).await;
    let at = legacy.addr();
    let asking = tokio::spawn(async move { ask(at, &get("/")).await });
    soon(legacy.until(|counts| counts.of("GET /") == 1)).await;
    soon(legacy.stop()).await;
    assert_eq!(asking.await.unwrap(), (503, "Uninitialized\n".to_owned()));
}

#[tokio::test]
async fn each_door() {
    let legacy = start(Faults::default()).await;
    let at = legacy.addr();
    let door = |door| legacy.set_faults(Faults { door, ..Faults::default() });

    door(Door::Refuse).await;
    let refused = TcpStream::connect(at).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    door(Door::Reset).await;
    // The reset can be faster than the connect's return.
    if let Ok(mut stream) = TcpStream::connect(at).await {
        assert_eq!(ends_with(&mut stream).await, Some(ErrorKind::ConnectionReset));
    }

    door(Door::Silent).await;
    let mut silent = TcpStream::connect(at).await.unwrap();
    silent.write_all(get("/").as_bytes()).await.unwrap();
    assert!(is_silent(&mut silent).await);

    door(Door::Queue).await;
    let mut queued = TcpStream::connect(at).await.unwrap();
    queued.write_all(get("/health").as_bytes()).await.unwrap();
    assert!(is_silent(&mut queued).await);

    door(Door::Open).await;
    assert_eq!(soon(ask_on(&mut queued, &get("/"))).await.0, 200, "served when the door opens");
    assert!(is_silent(&mut silent).await, "it stays silent for those it was silent to");
    assert_eq!(ask(at, &get("/health")).await.0, 200);
}

#[tokio::test]
async fn one_connection_at_a_time() {
    let legacy = start(Faults { one_at_a_time: true, ..Faults::default() }).await;
    let mut first = TcpStream::connect(legacy.addr()).await.unwrap();
    assert_eq!(ask_on(&mut first, &get("/health")).await.0, 200);
    let mut second = TcpStream::connect(legacy.addr()).await.unwrap();
    second.write_all(get("/health").as_bytes()).await.unwrap();
    assert!(is_silent(&mut second).await);
    drop(first);
    assert_eq!(soon(head(&mut second)).await.lines().next(), Some("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let close_idle_after = Some(Duration::from_millis(50));
    let legacy = start(Faults { close_idle_after, ..Faults::default() }).await;
    let mut stream = TcpStream::connect(legacy.addr()).await.unwrap();
    assert_eq!(ask_on(&mut stream, &get("/health")).await.0, 200);
    assert_eq!(ends_with(&mut stream).await, None);
}

#[tokio::test]
async fn a_connection_without_a_request_is_told_apart() {
    let legacy = start(Faults::default()).await;
    drop(TcpStream::connect(legacy.addr()).await.unwrap());
    let counts = soon(legacy.until(|counts| counts.bare == 1)).await;
    assert_eq!((counts.connections, counts.total()), (1, 0));
}

#[tokio::test]
async fn an_answer_goes_wrong_where_and_as_often_as_told() {
    let fault = AnswerFault::always(What::Status(502)).on("/internal/key").times(2);
    let legacy = start(Faults { answer: Some(fault), ..Faults::default() }).await;
    let at = legacy.addr();
    assert_eq!(ask(at, &get("/")).await.0, 503);
    for status in [502, 502, 200, 200] {
        assert_eq!(ask(at, &get("/internal/key")).await.0, status);
    }
}

#[tokio::test]
async fn answers_that_never_come_or_end_badly() {
    let legacy = start(Faults::default()).await;
    let at = legacy.addr();
    let fault = |what| {
        let answer = Some(AnswerFault::always(what));
        legacy.set_faults(Faults { answer, ..Faults::default() })
    };
    let send = async |request: String| {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };

    fault(What::Silent).await;
    assert!(is_silent(&mut send(get("/")).await).await);

    fault(What::EndlessBody).await;
    let mut endless = send(get("/")).await;
    soon(endless.read_exact(&mut vec![0; 5_000_000])).await.unwrap();

    fault(What::CutBody).await;
    let mut cut = send(get("/")).await;
    assert!(soon(head(&mut cut)).await.contains("content-length: 14\r\n"));
    let mut body = Vec::new();
    let _ = soon(cut.read_to_end(&mut body)).await;
    assert_eq!(body, b"Uniniti");

    fault(What::Redirect("http://elsewhere/".to_owned())).await;
    let head = soon(head(&mut send(get("/")).await)).await;
    assert!(head.starts_with("HTTP/1.1 302") && head.contains("location: http://elsewhere/\r\n"));

    fault(What::Reset).await;
    let mut reset = send(post("/internal/secret", SECRET)).await;
    assert_eq!(ends_with(&mut reset).await, Some(ErrorKind::ConnectionReset));
    assert!(legacy.is_initialized(), "the secret took effect, its answer was lost");
}

#[tokio::test]
async fn a_slow_body_comes_byte_by_byte() {
    let slow = AnswerFault::always(What::SlowBody(Duration::from_millis(20)));
    let legacy = start(Faults { answer: Some(slow), ..Faults::default() }).await;
    let began = Instant::now();
    assert_eq!(ask(legacy.addr(), &get("/")).await, (503, "Uninitialized\n".to_owned()));
    assert!(began.elapsed() >= Duration::from_millis(14 * 20));
}

#[tokio::test]
async fn keys_and_secrets_go_wrong() {
    let legacy = start(Faults { key: KeyFault::Garbage, ..Faults::default() }).await;
    let at = legacy.addr();
    assert!(ask(at, &get("/internal/key")).await.1.starts_with('<'));
    legacy.set_faults(Faults { key: KeyFault::Oversized, ..Faults::default() }).await;
    assert_eq!(ask(at, &get("/internal/key")).await.1.len(), 2 * 1024 * 1024 + 1);
    legacy.set_faults(Faults { key: KeyFault::Empty, ..Faults::default() }).await;
    assert_eq!(ask(at, &get("/internal/key")).await.1, "\n");

    legacy.set_faults(Faults { reject_secret: true, ..Faults::default() }).await;
    let secret = post("/internal/secret", SECRET);
    assert_eq!(ask(at, &secret).await, (400, "invalid key\n".to_owned()));
    let uninitialized_for = Duration::from_millis(100);
    legacy.set_faults(Faults { uninitialized_for, ..Faults::default() }).await;
    let began = Instant::now();
    assert_eq!(ask(at, &secret).await.0, 202);
    while ask(at, &get("/")).await.0 == 503 {
        assert!(began.elapsed() < DEADLINE);
    }
    assert!(began.elapsed() >= uninitialized_for);
    assert_eq!((legacy.counts().refused, legacy.counts().accepted), (1, 1));
}

#[tokio::test]
async fn the_older_build_says_200() {
    let legacy = start(Faults { old_build: true, ..Faults::default() }).await;
    assert_eq!(ask(legacy.addr(), &get("/")).await, (200, "Uninitialized\n".to_owned()));
}

#[test]
fn neither_key_nor_half_is_printable() {
    let config = Config { half: Some(b"-acknowledge".to_vec()), ..Config::default() };
    let printed = format!("{config:?}");
    assert!(!printed.contains("3cr3t") && !printed.contains("acknowledge"), "{printed}");
    assert!(!printed.contains(&format!("{:?}", b"-ack").replace(['[', ']'], "")), "{printed}");
}
