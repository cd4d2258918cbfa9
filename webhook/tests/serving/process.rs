//! The binary: exit codes, signals, and what it writes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use serde_json::Value;
use tokio::net::TcpSocket;

use crate::client::{Client, get};
use crate::running::{DEADLINE, Files, eventually, replace};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_webhook");

/// As many lines are read before a test looks at them. Then its log is a pipe that nobody reads.
const LINES_READ: usize = 64;

/// A running webhook and the lines of its log.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Process {
    fn serve(files: &Files, flags: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        Self::start(
            command
                .args(["--log-format=json", "--no-namespace-settings"])
                .args(files.flags())
                .args(flags),
        )
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = sync_channel(LINES_READ);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let parsed = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(parsed).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// The next line with this message.
    fn line(&mut self, message: &str) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {message:?} after {:#?}", self.seen));
            self.seen.push(line.clone());
            if line["message"].as_str().is_some_and(|found| found.contains(message)) {
                return line;
            }
        }
    }

    /// The two ports, from the log.
    pub(crate) fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        let line = self.line("serving");
        let address = |key: &str| line[key].as_str().unwrap().parse().unwrap();
        (address("address"), address("admin"))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "still running");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn ready(admin: SocketAddr) {
    eventually("ready", async || {
        get(admin, "/readyz").await.is_ok_and(|(status, _)| status == 200)
    })
    .await;
}

#[test]
fn exit_codes() {
    for (line, code, stdout, stderr) in [
        ("--version", 0, concat!("webhook ", env!("CARGO_PKG_VERSION")), ""),
        ("--help", 0, "--drain <DURATION>", ""),
        ("serve", 2, "", "Usage"),
        ("--no-such-flag", 2, "", "--no-such-flag"),
        ("--drain=90", 2, "", "time unit needed"),
        ("--tls-cert=a", 2, "", "--tls-key"),
        ("--tls-cert=a --tls-key=b --listen=192.0.2.1:1", 1, "", "can't listen on 192.0.2.1:1"),
        ("--kubeconfig=/none --namespace=x", 1, "", "can't read the kubeconfig"),
    ] {
        let output = Command::new(BINARY).args(line.split_whitespace()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}");
        for (found, expected) in [(output.stdout, stdout), (output.stderr, stderr)] {
            let found = String::from_utf8(found).unwrap();
            assert!(found.contains(expected), "{line}: {found}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_signal_ends_it_in_order_with_exit_code_0() {
    for signal in ["-TERM", "-INT"] {
        let files = Files::new();
        let mut process = Process::serve(&files, &["--drain=0s"]);
        let (address, admin) = process.addresses();
        ready(admin).await;
        let mut kept = Client::new(address, &files.ca).connect().await.unwrap();
        kept.post("{}").await.unwrap();
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0));
        process.line("ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let files = Files::new();
    let mut process = Process::serve(&files, &["--drain=1h"]);
    let (_, admin) = process.addresses();
    ready(admin).await;
    process.signal("-TERM");
    process.line("received SIGTERM");
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_for_each_admission_and_never_the_object() {
    let files = Files::new();
    let mut process = Process::serve(&files, &[]);
    let (address, admin) = process.addresses();
    ready(admin).await;
    let review = include_str!("../reviews/pod-create-legacy-mock.json");
    let review = review.replace("legacy-mock:0.1.0", "tell-nobody");
    let mut connection = Client::new(address, &files.ca).connect().await.unwrap();
    let answer = connection.post(review).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(b"{"));

    let line = process.line("admission");
    assert_eq!(line["uid"], "1b4c816a-e270-4e21-99c8-37678b5974a6");
    assert_eq!(line["namespace"], "cap-a");
    assert_eq!(line["name"], "legacy-mock-644f8d68d-");
    assert_eq!(line["outcome"], "injected");
    assert!(line["reason"].is_string() && line["micros"].is_u64(), "{line}");
    process.signal("-KILL");
    process.wait();
    process.seen.extend(process.lines.try_iter());
    let log = format!("{:?}", process.seen);
    assert_eq!(log.matches("admission").count(), 1 + log.matches("admissions").count(), "{log}");
    assert!(!log.contains("tell-nobody") && !log.contains("containers"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pair_is_logged_once_and_no_key_with_it() {
    let files = Files::new();
    let mut process = Process::serve(&files, &[]);
    let (_, admin) = process.addresses();
    ready(admin).await;
    let (_, key) = files.read();
    let (_, other_certificate, _) = files.pair();
    files.put(&other_certificate, &key);
    let line = process.line("new certificate refused, the old one stays");
    assert!(line["problem"].as_str().unwrap().contains("tls.crt and"), "{line}");
    // Many polls later there is still one line.
    let renewed = files.renew().to_string();
    while process.line("serving certificate in use")["fingerprint"] != *renewed {}
    let log = format!("{:?}", process.seen);
    assert_eq!(log.matches("new certificate refused").count(), 1, "{log}");
    for secret in key.lines().filter(|line| !line.starts_with("-----")) {
        assert!(!log.contains(secret));
    }
}

/// Posts this many admissions on one connection.
async fn post_many(address: SocketAddr, files: &Files, count: usize) {
    let mut connection = Client::new(address, &files.ca).connect().await.unwrap();
    let review = include_str!("../reviews/pod-create-legacy-mock.json");
    for _ in 0..count {
        assert_eq!(connection.post(review).await.unwrap().status, 200);
    }
}

/// Of 300 bytes each. A pipe holds 64 KiB; the webhook keeps 256 KiB, and as much again is on its way.
const MORE_LINES_THAN_FIT: usize = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let files = Files::new();
    let mut process = Process::serve(&files, &["--drain=0s"]);
    let (address, admin) = process.addresses();
    ready(admin).await;
    post_many(address, &files, MORE_LINES_THAN_FIT).await;
    assert_eq!(get(admin, "/livez").await.unwrap().0, 200);
    let (_, page) = get(admin, "/metrics").await.unwrap();
    let dropped = page
        .lines()
        .find_map(|line| line.strip_prefix("secret_handshake_webhook_log_lines_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 0, "{page}");
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0));
}

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// To open a FIFO takes until somebody writes to it, which here is never.
#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_in_the_place_of_a_file_holds_nothing_up() {
    let files = Files::new();
    let ca_file = files.path("client-ca.crt");
    make_fifo(&ca_file);
    let flag = format!("--client-ca={}", ca_file.display());
    let mut process = Process::serve(&files, &["--drain=0s", &flag]);
    let (_, admin) = process.addresses();
    let line = process.line("not ready");
    assert!(line["reason"].as_str().unwrap().contains("not a regular file"), "{line}");
    replace(&ca_file, &files.ca_pem());
    ready(admin).await;

    let fifo_at = |path: &Path| {
        // In one step, so that nobody finds no file at all.
        let fifo = files.path("fifo");
        make_fifo(&fifo);
        std::fs::rename(fifo, path).unwrap();
    };
    fifo_at(&files.certificate());
    let line = process.line("new certificate refused, the old one stays");
    assert!(line["problem"].as_str().unwrap().contains("not a regular file"), "{line}");
    let renewed = files.renew().to_string();
    while process.line("serving certificate in use")["fingerprint"] != *renewed {}

    fifo_at(&files.key());
    process.line("new certificate refused, the old one stays");
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn a_start_that_hangs_ends_at_the_second_signal() {
    let files = Files::new();
    let fifo = files.path("kubeconfig");
    make_fifo(&fifo);
    let flag = format!("--kubeconfig={}", fifo.display());
    let mut process = Process::serve(&files, &[&flag]);
    // Opened as soon as the webhook opens it to read, which it then does until this is dropped.
    let _writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    process.signal("-TERM");
    process.line("received SIGTERM");
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_free_file_descriptors_it_goes_on_serving() {
    let files = Files::new();
    let mut shell = Command::new("sh");
    let flags = files.flags().join("' '");
    // The hard limit too: the soft one alone is raised.
    shell.arg("-c").arg(format!("ulimit -n 96; exec '{BINARY}' --log-format=json '{flags}'"));
    let mut process = Process::start(&mut shell);
    let (address, admin) = process.addresses();
    ready(admin).await;
    let mut silent = Vec::new();
    for number in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 1, number], 0))).unwrap();
        silent.push(socket.connect(address).await.unwrap());
    }
    let client = Client::new(address, &files.ca);
    eventually("somebody who speaks is served", async || {
        let Ok(mut connection) = client.connect().await else {
            return false;
        };
        connection.post("{}").await.is_ok_and(|answer| answer.status == 400)
    })
    .await;
    assert_eq!(get(admin, "/livez").await.unwrap().0, 200);
}

#[test]
fn an_api_server_that_is_away_is_in_the_log_once_and_the_token_is_not() {
    let files = Files::new();
    let kubeconfig = files.path("kubeconfig");
    let content = serde_json::json!({
        "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:1" } }],
        "users": [{ "name": "u", "user": { "token": "tell-nobody" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    std::fs::write(&kubeconfig, content.to_string()).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--namespace=n"]);
    command.args(["--log-format=json", "--log-level=debug"]);
    let mut process = Process::start(command.arg(format!("--kubeconfig={}", kubeconfig.display())));
    while !process.line("not ready")["reason"].as_str().unwrap().contains("refused") {}
    process.signal("-KILL");
    process.wait();
    process.seen.extend(process.lines.iter());
    let log = format!("{:?}", process.seen);
    // kube's own words for it.
    assert!(!log.contains("failed with error") && !log.contains("tell-nobody"), "{log}");
}
