//! Legacies that are none: whatever listens on the port, byte by byte.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use sidecar::args::Args;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::pod::{HALF, Sidecar, soon, within};

const KEY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\nVGhpcyBpcyBAICQzY3IzdCBrZXk=\n";

/// A sidecar beside whatever listens here.
fn sidecar(listener: &TcpListener, set: impl FnOnce(&mut Args)) -> (Sidecar, NamedTempFile) {
    let half = NamedTempFile::new().unwrap();
    std::fs::write(half.path(), HALF).unwrap();
    let mut args = Args {
        legacy_port: listener.local_addr().unwrap().port(),
        half_file: half.path().into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        ..Args::default()
    };
    soon(&mut args);
    set(&mut args);
    (Sidecar::start(args), half)
}

async fn listener() -> TcpListener {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

/// Reads a request with the body that its head promises; `None` if the client says nothing.
async fn request(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    loop {
        let read = stream.read_buf(&mut text).await?;
        let said = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = said.split_once("\r\n\r\n") {
            let length = head
                .split_once("content-length: ")
                .map_or("0", |(_, rest)| rest.split("\r\n").next().unwrap_or_default());
            if body.len() >= length.parse().unwrap() {
                return Ok(Some(said));
            }
        }
        if read == 0 {
            return Ok(None);
        }
    }
}

fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

/// Answers each request with what `answer` says to its path, and ends the connection.
async fn answering(listener: TcpListener, answer: impl Fn(&str) -> Vec<u8>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        if let Ok(Some(request)) = request(&mut stream).await {
            let _ = stream.write_all(&answer(path(&request))).await;
        }
    }
}

#[tokio::test]
async fn statuses_of_200_to_499_mean_initialised_and_no_others() {
    for status in [101, 200, 204, 302, 404, 499, 500, 503, 599, 600, 999] {
        let listener = listener().await;
        let (sidecar, _half) = sidecar(&listener, |_| {});
        let legacy = tokio::spawn(answering(listener, move |path| match path {
            "/" => format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into(),
            "/internal/key" => KEY.into(),
            _ => b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".into(),
        }));
        if (200..500).contains(&status) {
            sidecar.log.until("Legacy is initialised already, nothing was sent").await;
            let doubt = format!("GET / was answered with status {status}. If this is not Legacy, ");
            let (doubts, level) = if status < 300 { (0, "INFO ") } else { (1, "WARN ") };
            assert_eq!(sidecar.log.count(&doubt), doubts, "{}", sidecar.log.text());
            let says = format!("{level} Legacy is initialised already");
            assert_eq!(sidecar.log.count(&says), 1, "{}", sidecar.log.text());
        } else {
            let says = "still does not answer as initialised";
            sidecar.log.until(says).await;
            assert_eq!(sidecar.log.count("Legacy is initialised"), 0, "{status}");
        }
        sidecar.stop().await;
        legacy.abort();
    }
}

/// What comes before the answer has no end.
#[tokio::test]
async fn informational_answers_without_an_end_take_a_core_for_two_seconds_at_most() {
    let listener = listener().await;
    // Other requests may take longer.
    let (sidecar, _half) =
        sidecar(&listener, |args| args.request_timeout = Duration::from_secs(3600));
    let legacy = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let Ok(Some(request)) = request(&mut stream).await else { return };
                let flood = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
                match path(&request) {
                    "/" => while stream.write_all(&flood).await.is_ok() {},
                    "/internal/key" => stream.write_all(KEY).await.unwrap(),
                    _ => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap(),
                }
            });
        }
    });
    sidecar.log.until("Legacy listens").await;
    // Meanwhile others are answered.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(sidecar.get("/livez").await, "200 alive\n");
    }
    // The 204 is its word.
    sidecar.log.until("Legacy is initialised; ready").await;
    sidecar.stop().await;
    legacy.abort();
}

/// An answer as nobody should give it: of these parts, in any order and number.
fn noise(rng: &mut Rng, path: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    if path == "/internal/key" && rng.bool() {
        answer.extend(KEY);
    }
    for _ in 0..rng.usize(0..6) {
        match rng.u8(0..17) {
            0 => answer.extend(b"HTTP/1.1 "),
            1 => answer.extend(format!("HTTP/1.1 {} X\r\n", rng.u16(500..1000)).bytes()),
            2 => answer.extend(format!("HTTP/1.1 {} X\r\n\r\n", rng.u16(100..200)).bytes()),
            // Nothing that says more than it should: to `/`, Legacy never says that it is initialised, and
            // to the secret never that it was.
            3 => answer.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nUninitialized\n"),
            4 => answer.extend(b"HTTP/1.0 503 X\r\n\r\nUninitialized"),
            5 if path == "/internal/secret" => answer.extend(b"HTTP/1.1 202 Accepted\r\n\r\n"),
            6 if path == "/internal/secret" => {
                answer.extend(format!("HTTP/1.1 {} X\r\n\r\n", rng.u16(300..600)).bytes());
            }
            7 => answer.extend(format!("Content-Length: {}\r\n", rng.u64(..)).bytes()),
            8 => answer.extend(format!("Content-Length: {}\r\n", rng.u8(..)).bytes()),
            9 => answer.extend(b"Transfer-Encoding: chunked\r\n"),
            10 => answer.extend(b"Location: http://127.0.0.1:1/\r\n"),
            11 => answer.extend(b"\r\n"),
            12 => answer.extend(format!("{:x}\r\n", rng.u64(..)).bytes()),
            13 => answer.extend(format!("{:x}\r\n", rng.u8(..)).bytes()),
            14 => answer.extend(std::iter::repeat_with(|| rng.u8(..)).take(300)),
            15 => answer.extend(b"X: ".iter().chain(&vec![b'x'; rng.usize(0..100_000)])),
            _ => answer.extend(STANDARD.encode(vec![rng.u8(..); rng.usize(0..100_000)]).bytes()),
        }
    }
    answer
}

/// One connection of a Legacy that answers at random.
async fn at_random(mut stream: TcpStream, mut rng: Rng, seen: &Mutex<Vec<String>>) -> bool {
    let request = if rng.u8(0..20) == 0 { Ok(None) } else { request(&mut stream).await };
    let Ok(Some(request)) = request else { return false };
    let answer = noise(&mut rng, path(&request));
    seen.lock().unwrap().push(request);
    let pieces = rng.usize(1..4);
    for piece in answer.chunks(answer.len().div_ceil(pieces).max(1)) {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    match rng.u8(0..8) {
        // Silence, for longer than a request may take.
        0 => tokio::time::sleep(Duration::from_millis(30)).await,
        // A reset.
        1 => stream.set_zero_linger().unwrap(),
        _ => {}
    }
    true
}

#[tokio::test]
async fn thousands_of_random_answers_neither_end_it_nor_make_it_ready_nor_get_the_secret_elsewhere()
{
    const ANSWERS: usize = 3000;
    let start = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |it| it.parse().unwrap());
    // Shown when the test fails.
    println!("SEED={start}");
    let answers = Arc::new(AtomicUsize::new(0));
    let mut pods = tokio::task::JoinSet::new();
    for number in 0..8 {
        let answers = Arc::clone(&answers);
        let listener = listener().await;
        let (sidecar, half) = sidecar(&listener, |args| {
            args.request_timeout = Duration::from_millis(20);
            args.timing.backoff.retry_min = Duration::from_millis(1);
            args.timing.backoff.retry_max = Duration::from_millis(2);
            args.timing.verify_for = Duration::from_millis(5);
            args.timing.verify_every = Duration::from_millis(1);
        });
        pods.spawn(async move {
            let mut rng = Rng::with_seed(start.wrapping_add(number));
            let seen = Arc::new(Mutex::new(Vec::new()));
            while answers.load(Relaxed) < ANSWERS {
                let (stream, _) = listener.accept().await.unwrap();
                let (rng, seen, answers) = (rng.fork(), Arc::clone(&seen), Arc::clone(&answers));
                tokio::spawn(async move {
                    let answered = at_random(stream, rng, &seen).await;
                    answers.fetch_add(usize::from(answered), Relaxed);
                });
            }
            let readyz = sidecar.get("/readyz").await;
            assert!(readyz.starts_with("503 not ready: "), "{readyz}");
            let log = sidecar.log.text();
            assert_eq!(sidecar.log.count("Legacy is initialised"), 0, "{log}");
            sidecar.stop().await;
            drop(half);
            let secret = STANDARD.encode(format!("This is @ $3cr3t key{HALF}"));
            // The end of the key's base64 depends on what follows it.
            let own =
                secret.trim_end_matches('=').trim_start_matches("VGhpcyBpcyBAICQzY3IzdCBrZXk");
            let mut secrets = 0;
            for request in seen.lock().unwrap().iter() {
                let to_legacy = request.starts_with("POST /internal/secret HTTP/1.1\r\n");
                secrets += usize::from(to_legacy && request.ends_with(&secret));
                assert!(
                    to_legacy || !(request.contains(own) || request.contains(HALF)),
                    "{request}"
                );
            }
            assert!(!log.contains(own) && !log.contains(HALF));
            secrets
        });
    }
    let secrets = within("thousands of answers", pods.join_all()).await;
    assert!(secrets.iter().sum::<usize>() > 0, "it does get that far");
}
