//! The binary: found by its port, asked by hand with curl, stopped by a signal.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

const DEADLINE: Duration = Duration::from_secs(20);

struct Process {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    port: u16,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_legacy-mock"));
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn start(args: &[&str]) -> Process {
    let mut command = command(args);
    command.args(["-listen", ":0"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = tokio::time::timeout(DEADLINE, stderr.next_line()).await.unwrap();
    let line = line.unwrap().unwrap();
    assert!(line.contains(" [INFO] server is listening on "), "{line}");
    let port = line.rsplit_once(':').unwrap().1.parse().unwrap();
    Process { child, stderr, port }
}

/// What a shell prints.
async fn shell(script: &str) -> String {
    let run = Command::new("sh").args(["-c", script]).kill_on_drop(true).output();
    let output = tokio::time::timeout(DEADLINE, run).await.unwrap().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_manual_procedure_works_word_for_word() {
    let legacy = start(&[]).await;
    let here = format!("localhost:{}", legacy.port);
    let curl = async |script: &str| shell(&script.replace("localhost:3000", &here)).await;

    assert_eq!(curl("curl -s localhost:3000").await, "Uninitialized\n");
    let secret = curl(
        "curl -s localhost:3000/internal/key | base64 -d | xargs -I {} echo '{}-acknowledge' | base64",
    )
    .await;
    assert_eq!(secret, "VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2UK\n");
    let answer = curl(
        "curl -i -XPOST -d 'VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2UK' localhost:3000/internal/secret",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nAccepted\n"), "{answer}");
    assert_eq!(curl("curl -s localhost:3000").await, "It works!\n");
    let again = curl("curl -si -XPOST -d x localhost:3000/internal/secret").await;
    assert!(again.starts_with("HTTP/1.1 204 No Content\r\n"), "{again}");
}

#[tokio::test]
async fn access_lines_are_on_stdout_and_sigterm_is_status_2() {
    let mut legacy = start(&["-text", "Hello", "-initialized"]).await;
    let url = format!("http://localhost:{}", legacy.port);
    assert_eq!(
        shell(&format!("curl -s {url}/health {url}/x")).await,
        "{\"status\":\"ok\"}\nHello\n"
    );
    let pid = legacy.child.id().unwrap();
    shell(&format!("kill -TERM {pid}")).await;
    let line = tokio::time::timeout(DEADLINE, legacy.stderr.next_line()).await.unwrap().unwrap();
    assert!(line.unwrap().ends_with(" [INFO] received interrupt, shutting down..."));
    let output = tokio::time::timeout(DEADLINE, legacy.child.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(lines.contains("\"GET /x HTTP/1.1\" 200 6 \"curl/"), "{lines}");
}

#[tokio::test]
async fn told_the_half_it_insists_on_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "-acknowledge\n").unwrap();
    let legacy = start(&["--half-file", file.path().to_str().unwrap()]).await;
    let url = format!("http://localhost:{}/internal/secret", legacy.port);
    let post = async |secret: &str| shell(&format!("curl -s -d '{secret}' {url}")).await;
    assert_eq!(post("VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2UK").await, "invalid key\n");
    assert_eq!(post("VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2U=").await, "Accepted\n");
}

#[tokio::test]
async fn knobs_turn_by_time() {
    let mut legacy =
        start(&["-initialized", "-late=50ms", "-forget-after=50ms", "-old-build"]).await;
    let url = format!("http://localhost:{}", legacy.port);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while shell(&format!("curl -s {url}")).await != "Uninitialized\n" {
        assert!(tokio::time::Instant::now() < deadline);
    }
    legacy.child.kill().await.unwrap();

    let legacy = start(&["-door=refuse", "-faults-for=50ms"]).await;
    let url = format!("http://localhost:{}/health", legacy.port);
    shell(&format!("curl -s --retry 100 --retry-delay 0 --retry-connrefused {url}")).await;
}

#[tokio::test]
async fn wrong_command_lines_end_as_legacys_do() {
    for (args, stderr, status) in [
        (&["x"][..], "Too many arguments!\n", 127),
        (&["-listen", ":0", "x"], "Too many arguments!\n", 127),
        (&["-nope"], "flag provided but not defined: -nope\n", 2),
        (
            &["-half-file=/none"],
            "legacy-mock: the operations half can't be read from /none: No such file or directory (os error 2)\n",
            1,
        ),
    ] {
        let output = command(args).output().await.unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), stderr, "{args:?}");
        assert_eq!(output.status.code(), Some(status), "{args:?}");
    }
    let help = command(&["--help"]).output().await.unwrap();
    assert_eq!(String::from_utf8(help.stdout).unwrap(), legacy_mock::args::HELP);
    assert_eq!(help.status.code(), Some(0));
}
