//! `kubectl secret-handshake check` as a process, against an API server that is played here.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod api_server;

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use api_server::{ApiServer, CA_KEY, HALF};
use lab::schema;
use serde_json::{Value, json};

fn check(server: &str, arguments: &[&str]) -> Output {
    check_and_look(server, arguments, |_| {})
}

/// The same, with a look at the process, by its id, again and again while it runs.
fn check_and_look(server: &str, arguments: &[&str], mut look: impl FnMut(u32)) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "x", "cluster": { "server": server } }],
        "users": [{ "name": "x", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
        "current-context": "x",
    });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-secret_handshake"));
    command.arg("check").args(arguments).arg("--kubeconfig").arg(&kubeconfig);
    command.env_remove("HTTPS_PROXY").env_remove("HTTP_PROXY").env("NO_PROXY", "*");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // What it writes is less than a pipe holds.
    while child.try_wait().unwrap().is_none() {
        look(child.id());
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn report(output: &Output) -> Value {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/check.schema.json");
    let schema = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
    schema::meets(&report, &schema, "report").unwrap();
    report
}

fn state<'a>(report: &'a Value, id: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    &checks.find(|check| check["id"] == id).unwrap()["state"]
}

#[test]
fn without_an_api_server_one_check_fails_and_the_others_are_skipped() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{nobody}");
    for output in ["text", "short", "json"] {
        assert_eq!(check(&server, &["-o", output]).status.code(), Some(1), "{output}");
    }
    let report = report(&check(&server, &["-o", "json"]));
    let states: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|it| &it["state"]).collect();
    assert_eq!(states[0], "failed");
    assert!(states.len() == 20 && states[1..].iter().all(|state| **state == "skipped"), "{report}");
}

#[test]
fn a_cluster_of_ten_thousand_pods_takes_little_time_and_memory() {
    let api_server = ApiServer::start(10_000);
    let started = Instant::now();
    let mut most_kib = 0;
    let output = check_and_look(&api_server.url, &["-o", "json"], |process| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most_kib =
            peak.and_then(|it| it.trim_end_matches("kB").trim().parse().ok()).unwrap_or(most_kib);
    });
    let took = started.elapsed();
    let report = report(&output);
    // A build for tests on a busy machine; a release takes a fraction.
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    // All pods together would be several hundred.
    assert!(most_kib < 100 * 1024, "it took {most_kib} KiB");
    assert_eq!(api_server.pages(), 20, "pods are read a page at a time");
    // Those without a sidecar are all of one Deployment, and of others none is missing.
    assert_eq!(state(&report, "missing-sidecars"), "warning", "{report}");
    let told = report.to_string();
    assert!(told.contains("legacy/deployment/old, 5000 pods"), "{told}");
    assert_eq!(state(&report, "secrets"), "ok", "{report}");
    eprintln!("10,000 pods in {took:?}, {most_kib} KiB");
}

#[test]
fn nothing_of_a_secret_is_told() {
    let api_server = ApiServer::start(2);
    for output in ["text", "short", "json"] {
        let output = check(&api_server.url, &["-o", output]);
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(told.contains("well") || told.contains("certificate-authorities"), "{told}");
        for secret in [HALF, CA_KEY] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    // Both Secrets were read.
    assert!(
        api_server.asked("/secrets/secret-handshake-ca") && api_server.asked("/secrets/half-of-it")
    );
}

#[test]
fn a_pipe_gets_no_colours() {
    let api_server = ApiServer::start(0);
    let output = check(&api_server.url, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("√ the API server answers: v1.37.2") && !text.contains('\u{1b}'),
        "{text}"
    );
}
