//! `cargo demo`, as a user runs it: the story, its end when something goes wrong, and what it never
//! shows.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use lab::process::Process;
use rustix::process::Signal;
use tokio::process::Command;

/// The first run builds the programs, which takes minutes.
const LIMIT: Duration = Duration::from_secs(1200);

fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    // Other tests may want 3000 as well.
    command.arg("--free-ports").args(arguments);
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.envs(environment.iter().copied());
    Process::start("the demo", command, Box::new(|_| ())).unwrap()
}

/// Runs to the end: whether it succeeded, and all that it wrote.
async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (bool, Vec<String>) {
    let mut demo = start(arguments, environment);
    let status = demo.ended(LIMIT).await.unwrap();
    (status.success(), demo.lines())
}

fn count(lines: &[String], wanted: &str) -> usize {
    lines.iter().filter(|line| line.contains(wanted)).count()
}

/// Whether the webhook that the demo started is gone.
fn webhook_is_gone(lines: &[String]) -> bool {
    let mut fields = lines.iter().flat_map(|line| line.split_whitespace());
    let address = fields.find_map(|field| field.strip_prefix("address="));
    let address: SocketAddr = address.unwrap_or_else(|| panic!("{lines:#?}")).parse().unwrap();
    TcpStream::connect(address).is_err()
}

#[tokio::test]
async fn it_works_twice() {
    let (success, lines) = run(&[], &[]).await;
    assert!(success, "{lines:#?}");
    assert_eq!(count(&lines, "It works!"), 2, "{lines:#?}");
    assert_eq!(count(&lines, "Legacy accepted the handshake"), 2, "{lines:#?}");
    assert_eq!(count(&lines, "POST /internal/secret"), 2, "nothing is sent twice: {lines:#?}");
    assert_eq!(count(&lines, "the pod is READY"), 2, "{lines:#?}");
    assert_eq!(count(&lines, "the pod is NOT READY"), 1, "{lines:#?}");
    let ends: Vec<_> = lines.iter().filter(|line| line.contains(" ends with status ")).collect();
    assert_eq!(ends.len(), 4, "{ends:#?}");
    assert_eq!(count(&lines, "\u{1b}["), 0, "a pipe gets no colours: {lines:#?}");
    assert!(webhook_is_gone(&lines));
}

#[tokio::test]
async fn the_difference_is_in_colour_where_colour_is_wanted() {
    let (_, lines) = run(&[], &[("CLICOLOR_FORCE", "1")]).await;
    for first_line in ["args:", "name: secret-handshake", "downwardAPI: {}"] {
        let green = format!("\u{1b}[32m+   - {first_line}");
        assert_eq!(count(&lines, &green), 1, "container and volumes: {lines:#?}");
    }
}

#[tokio::test]
async fn a_step_that_fails_ends_it_with_the_reason_and_leaves_nothing_behind() {
    let (success, lines) = run(&["--legacy=-initialized"], &[]).await;
    assert!(!success);
    let reason = r#"Error: Legacy should answer "Uninitialized", not 200 "It works!""#;
    assert!(lines.iter().any(|line| line == reason), "{lines:#?}");
    assert!(webhook_is_gone(&lines));
}

#[tokio::test]
async fn ctrl_c_ends_it_and_leaves_nothing_behind() {
    let mut demo = start(&["--legacy=-late=1h"], &[]);
    let starts = |line: &str| line.contains("starts legacy-mock");
    demo.line("Legacy's start", LIMIT, starts).await.unwrap();
    demo.signal(Signal::INT).unwrap();
    let status = demo.ended(Duration::from_secs(20)).await.unwrap();
    let lines = demo.lines();
    assert_eq!(status.code(), Some(1), "{lines:#?}");
    assert_eq!(count(&lines, "interrupted; all that was started has been ended"), 1, "{lines:#?}");
    assert!(webhook_is_gone(&lines));
}

#[tokio::test]
async fn with_faults_it_works_all_the_same_and_nothing_shows_what_is_secret() {
    let mut demos = Vec::new();
    for faults in [
        &["-answer=500", "-answer-path=/internal/key", "-answer-times=2"][..],
        &["-answer=reset", "-answer-path=/internal/secret", "-answer-times=1"],
        &["-answer=cut", "-answer-path=/internal/key", "-answer-times=2"],
        &["-key-fault=garbage", "-faults-for=1s"],
        &["-key-fault=oversized", "-faults-for=1s"],
        &["-reject-secret", "-faults-for=1s"],
        &["-uninitialized-for=100ms", "-old-build"],
    ] {
        let flags: Vec<_> = faults.iter().map(|fault| format!("--legacy={fault}")).collect();
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        demos.push((faults, start(&flags, &[])));
    }
    for (faults, mut demo) in demos {
        let status = demo.ended(LIMIT).await.unwrap();
        let lines = demo.lines();
        assert!(status.success(), "{faults:?}: {lines:#?}");
        assert_eq!(count(&lines, "It works!"), 2, "{faults:?}: {lines:#?}");
        for shape in secrets() {
            assert_eq!(count(&lines, &shape), 0, "{shape:?} is shown with {faults:?}: {lines:#?}");
        }
    }
}

/// Half, key and secret as they might show: as they are, as hexadecimal digits and as a list of
/// numbers, and as base64 wherever in a longer text they begin.
fn secrets() -> Vec<String> {
    let (half, key) = ("-acknowledge", "This is @ $3cr3t key");
    let mut shapes = Vec::new();
    for text in [half.to_owned(), key.to_owned(), format!("{key}{half}")] {
        shapes.push(text.clone());
        shapes.push(text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")));
        let numbers: Vec<_> = text.bytes().map(|byte| byte.to_string()).collect();
        shapes.push(numbers.join(", "));
        for before in 0..3 {
            let encoded = BASE64_STANDARD.encode(format!("{}{text}", "x".repeat(before)));
            // The characters that its neighbours have no part in.
            let begin = (before * 8).div_ceil(6);
            let end = (before + text.len()) * 8 / 6;
            shapes.push(encoded[begin..end].to_owned());
        }
    }
    shapes
}

#[test]
fn what_is_looked_for_would_be_found() {
    let shown = BASE64_STANDARD.encode("some words: This is @ $3cr3t key-acknowledge\n");
    assert!(secrets().iter().any(|shape| shown.contains(shape)));
    assert!(secrets().contains(&"VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2".to_owned()));
}
