//! What the sidecar asks Legacy, to the byte.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::pod::{Pod, Sidecar, within};

/// A request as it came: its head, and as much of a body as the head promised.
async fn request(stream: &mut BufReader<&mut TcpStream>) -> String {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        // The bare look ends without a line.
        if stream.read_line(&mut line).await.unwrap() == 0 {
            return head;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim_end().parse().unwrap();
        }
        head += &line;
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

/// Answers so many connections, each with one request, as Legacy does; what each of them asked.
async fn legacy(listener: TcpListener, connections: usize) -> Vec<String> {
    let mut asked = Vec::new();
    let mut open = Vec::new();
    let mut initialised = false;
    while asked.len() < connections {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = request(&mut BufReader::new(&mut stream)).await;
        let (status, body) = match request.split(' ').nth(1) {
            None => continue,
            Some("/internal/key") => ("200 OK", "VGhpcyBpcyBAICQzY3IzdCBrZXk=\n"),
            Some("/internal/secret") => {
                initialised = true;
                ("202 Accepted", "Accepted\n")
            }
            Some("/") if !initialised => ("503 Service Unavailable", "Uninitialized\n"),
            Some(_) => ("200 OK", "It works!\n"),
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        asked.push(request);
        open.push(stream);
    }
    asked
}

#[tokio::test]
async fn seven_requests_are_all_that_legacy_hears() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let half_file = folder.path().join("half");
    std::fs::write(&half_file, "-acknowledge\n").unwrap();
    let sidecar = Sidecar::start(sidecar::args::Args {
        legacy_port: port,
        half_file,
        listen: listen::Address::At(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..sidecar::args::Args::default()
    });
    let asked = within("seven requests", legacy(listener, 7)).await;

    let host = format!("host: 127.0.0.1:{port}\r\n");
    let agent = format!("user-agent: secret-handshake/{}\r\n", env!("CARGO_PKG_VERSION"));
    let common = format!("accept: */*\r\n{agent}connection: close\r\n{host}");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\n{common}\r\n");
    let secret = format!(
        "POST /internal/secret HTTP/1.1\r\ncontent-type: text/plain; charset=utf-8\r\n{common}\
         content-length: 44\r\n\r\nVGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2U="
    );
    // The watch alone does not say that it will close.
    let watch = format!("GET /health HTTP/1.1\r\n{host}{agent}\r\n");
    let expected = [
        get("/"),
        get("/internal/key"),
        secret,
        get("/"),
        watch,
        get("/health"),
        // It may be another process by now than the one that took the secret.
        get("/"),
    ];
    assert_eq!(asked, expected);
    sidecar.stop().await;
}

#[tokio::test]
async fn nothing_is_asked_twice_and_no_connection_left_behind() {
    let pod = Pod::start();
    pod.ready().await;
    // Only the watch stays.
    within("one connection", pod.legacy.until(|counts| counts.total() == 7 && counts.open == 1))
        .await;
    let counts = pod.legacy.counts();
    assert_eq!(counts.of("GET /"), 3);
    assert_eq!(counts.of("GET /health"), 2);
    assert_eq!(counts.of("GET /internal/key"), 1);
    assert_eq!(counts.of("POST /internal/secret"), 1);
    assert_eq!(counts.total(), 7, "{counts:?}");
}
