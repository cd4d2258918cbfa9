//! The log, read as an operator reads it.

use std::collections::BTreeSet;
use std::time::Duration;

use legacy_mock::Config;
use sidecar::log::{Format, Level};

use crate::pod::Pod;

#[tokio::test]
async fn a_good_run_is_a_story_in_a_few_lines() {
    let pod = Pod::reserve(Config::default(), |_| {});
    pod.sidecar.log.until("waiting").await;
    pod.legacy.listen().unwrap();
    pod.ready().await;
    pod.legacy.kill().await;
    pod.sidecar.log.until("gone").await;
    let log = pod.sidecar.log.clone();
    let port = pod.legacy.port();
    pod.sidecar.stop().await;

    let text = log.text();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        ("INFO ", format!("secret-handshake sidecar {}: ", env!("CARGO_PKG_VERSION"))),
        ("INFO ", format!("waiting for Legacy to listen on 127.0.0.1:{port} or [::1]:{port}")),
        ("INFO ", format!("Legacy listens on 127.0.0.1:{port}")),
        ("INFO ", "Legacy says that it is uninitialised: doing the handshake".into()),
        ("INFO ", "Legacy accepted the handshake (202), in ".into()),
        ("INFO ", "Legacy is initialised; ready after ".into()),
        ("WARN ", "Legacy is gone: nothing listens any more. Waiting for it to come back".into()),
        ("INFO ", "received SIGTERM, exiting".into()),
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, (level, start)) in lines.iter().zip(expected) {
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len(), "{line}");
        let (said, message) = rest.split_at(6);
        assert_eq!(
            (said.trim_end(), message.starts_with(&start)),
            (level.trim_end(), true),
            "{line}"
        );
    }
}

#[tokio::test]
async fn the_same_wait_is_not_told_more_often_than_once_in_a_while() {
    let remind = Duration::from_millis(1200);
    let pod = Pod::reserve(Config::default(), |args| args.timing.remind = remind);
    let began = std::time::Instant::now();
    pod.sidecar.log.until_count("waiting for Legacy", 3).await;
    assert!(began.elapsed() >= 2 * remind, "{:?}", began.elapsed());
    assert_eq!(pod.sidecar.log.count("still waiting for Legacy to listen on port"), 2);
    assert_eq!(
        pod.sidecar.log.count(", for 1.2 s now") + pod.sidecar.log.count(", for 1.3 s now"),
        1
    );
}

#[tokio::test]
async fn a_long_wait_is_a_warning_that_says_what_to_do() {
    let pod = Pod::reserve(Config::default(), |args| {
        args.timing.remind = Duration::from_millis(1200);
        args.timing.warn_after = Duration::from_secs(2);
    });
    let (log, port) = (&pod.sidecar.log, pod.legacy.port());
    log.until(" now. Look at Legacy's log; if it listens on another port, set the annotation ")
        .await;
    let waiting = format!("still waiting for Legacy to listen on port {port}, for ");
    assert_eq!(log.count(&format!("INFO  {waiting}")), 1, "{}", log.text());
    assert_eq!(log.count(&format!("WARN  {waiting}")), 1, "{}", log.text());
    assert_eq!(log.count("secret-handshake/port"), 1, "{}", log.text());
}

#[tokio::test]
async fn the_same_failure_is_told_once_unless_everything_is_wanted() {
    for (level, repeats) in [(Level::Info, false), (Level::Debug, true)] {
        let pod = Pod::reserve(Config::default(), |args| {
            crate::pod::soon(args);
            args.log_level = level;
        });
        std::fs::remove_file(&pod.half).unwrap();
        pod.legacy.listen().unwrap();
        pod.sidecar.until("/metrics", |metrics| metrics.contains("{outcome=\"no_half\"} 4")).await;
        let log = &pod.sidecar.log;
        assert_eq!(log.count("is missing") > 1, repeats, "{}", log.text());
        assert_eq!(log.count("ERROR"), 1);
        assert_eq!(log.count("Retrying; said again about every 10s"), 1, "{}", log.text());
        assert_eq!(log.count("Next attempt in ") > 0, repeats, "{}", log.text());
    }
}

#[tokio::test]
async fn json_lines_are_objects_with_four_members() {
    let pod = Pod::with(Config::default(), |args| args.log_format = Format::Json);
    pod.ready().await;
    let text = pod.sidecar.log.text();
    let events: Vec<String> = text
        .lines()
        .map(|line| {
            let object: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let members: BTreeSet<&str> = object.keys().map(String::as_str).collect();
            assert_eq!(members, BTreeSet::from(["event", "level", "message", "time"]));
            object["event"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(events, ["started", "listening", "found", "accepted", "initialised"]);
}

#[tokio::test]
async fn errors_alone_can_be_asked_for() {
    let pod = Pod::with(Config::default(), |args| args.log_level = Level::Error);
    pod.ready().await;
    assert_eq!(pod.sidecar.log.text(), "");
}

#[tokio::test]
async fn debug_tells_each_connect_and_each_request() {
    let pod = Pod::reserve(Config::default(), |args| args.log_level = Level::Debug);
    let port = pod.legacy.port();
    let says = format!("DEBUG connect to 127.0.0.1:{port} and [::1]:{port}: not accepted, in ");
    pod.sidecar.log.until_count(&says, 2).await;
    pod.legacy.listen().unwrap();
    pod.ready().await;
    let log = &pod.sidecar.log;
    log.until("DEBUG GET /health: status 200, in ").await;
    assert_eq!(log.count(&format!("DEBUG connect to 127.0.0.1:{port}: accepted, in ")), 1);
    assert_eq!(log.count("DEBUG connect"), log.count(&says) + 1, "a line for each look");
    assert_eq!(log.count("DEBUG GET /: status 503, in "), 1);
    assert_eq!(log.count("DEBUG GET /internal/key: status 200, in "), 1);
    assert_eq!(log.count("DEBUG POST /internal/secret: status 202, in "), 1);
    log.until("DEBUG GET /: status 200, in ").await;
}
