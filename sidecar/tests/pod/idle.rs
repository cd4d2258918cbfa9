//! While Legacy is initialised: the watch, the looks, and what ends them.

use std::time::Duration;

use legacy_mock::{AnswerFault, Config, Faults, What};
use sidecar::args::Args;

use crate::pod::{Pod, within};

fn minutes_in_seconds(args: &mut Args) {
    args.timing.idle_check = Duration::from_millis(600);
    args.timing.idle_check_min = Duration::from_millis(50);
}

/// So long that a test would not end within it.
fn no_looks(args: &mut Args) {
    args.timing.idle_check = Duration::from_secs(3600);
}

async fn until_watched(pod: &Pod) {
    pod.ready().await;
    // The look that follows the watch included.
    let opened = |counts: &legacy_mock::Counts| {
        counts.of("GET /health") >= 2 && counts.of("GET /") >= 3 && counts.open == 1
    };
    within("the watch", pod.legacy.until(opened)).await;
}

#[tokio::test]
async fn a_restart_is_noticed_by_the_watch_and_the_handshake_done_again() {
    let pod = Pod::with(Config::default(), no_looks);
    until_watched(&pod).await;
    for round in 2..5 {
        pod.legacy.restart().await.unwrap();
        within("another handshake", pod.legacy.until(|counts| counts.accepted == round)).await;
        pod.sidecar
            .log
            .until_count("Legacy is initialised;", usize::try_from(round).unwrap())
            .await;
        pod.ready().await;
        assert_eq!(pod.legacy.counts().secrets(), round, "nothing was sent twice");
        within("the watch", pod.legacy.until(|counts| counts.of("GET /health") == 2 * round)).await;
    }
    assert_eq!(pod.sidecar.metric("secret_handshake_handshakes_total").await, 4);
}

#[tokio::test]
async fn one_that_restarts_before_the_watch_is_open_is_not_taken_for_the_one_before() {
    // Restarted the moment it serves, again and again: sooner or later that falls between the look
    // that said so and the watch.
    let pod = Pod::with(Config::default(), no_looks);
    for round in 1..=60 {
        within("a handshake", pod.legacy.until(|counts| counts.accepted == round)).await;
        pod.legacy.restart().await.unwrap();
    }
    within("the last handshake", pod.legacy.until(|counts| counts.accepted == 61)).await;
}

#[tokio::test]
async fn when_legacy_is_gone_the_pod_is_not_ready() {
    let pod = Pod::with(Config::default(), no_looks);
    until_watched(&pod).await;
    pod.legacy.kill().await;
    pod.sidecar.until("/readyz", |answer| answer.starts_with("503")).await;
    assert_eq!(pod.sidecar.log.count("Legacy is gone: nothing listens any more"), 1);
    assert_eq!(pod.sidecar.metric("secret_handshake_state{state=\"waiting\"}").await, 1);
    pod.legacy.listen().unwrap();
    pod.ready().await;
}

#[tokio::test]
async fn the_watch_does_not_hold_up_legacys_shutdown() {
    let pod = Pod::with(Config::default(), no_looks);
    until_watched(&pod).await;
    let asked = std::time::Instant::now();
    within("Legacy's shutdown", pod.legacy.stop()).await;
    // A connection that never carried a request would have cost 5 s.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    pod.sidecar.log.until("Legacy is gone").await;
}

#[tokio::test]
async fn one_that_forgets_without_a_restart_is_found_by_the_next_look() {
    let pod = Pod::with(Config::default(), minutes_in_seconds);
    until_watched(&pod).await;
    pod.legacy.forget();
    pod.sidecar.log.until("Legacy is uninitialised again").await;
    pod.ready().await;
    assert_eq!(pod.legacy.counts().accepted, 2);
}

#[tokio::test]
async fn ten_minutes_in_a_hundredth_of_the_time_put_at_most_eleven_lines_into_legacys_log() {
    let pod = Pod::with(Config::default(), minutes_in_seconds);
    until_watched(&pod).await;
    let before = pod.legacy.access_lines().len();
    // The time itself is what is tested here.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let lines = pod.legacy.access_lines().split_off(before);
    assert!(lines.len() <= 11, "{lines:#?}");
    assert!(!lines.is_empty(), "it does look");
    assert!(lines.iter().all(|line| line.contains("\"GET / HTTP/1.1\" 200")), "{lines:#?}");
    assert_eq!(pod.legacy.counts().secrets(), 1);
    assert_eq!(pod.legacy.counts().of("GET /health"), 2, "the watch rested all the time");
}

/// The watch's end is noticed when the next Legacy listens already, and the last look was a moment ago.
#[tokio::test]
async fn one_that_is_back_at_once_is_not_left_uninitialised() {
    let pod = Pod::with(Config::default(), |args| {
        args.timing.idle_check_min = Duration::from_secs(3600);
        args.timing.idle_check = Duration::from_secs(3600);
    });
    for starts in 1..=20 {
        let accepted = pod.legacy.until(|counts| counts.accepted == starts);
        within("a handshake", accepted).await;
        pod.ready().await;
        pod.legacy.restart().await.unwrap();
    }
}

#[tokio::test]
async fn one_that_closes_idle_connections_is_watched_again_but_not_asked_often() {
    let faults = Faults { close_idle_after: Some(Duration::from_millis(5)), ..Faults::default() };
    let pod = Pod::with(Config { faults, ..Config::default() }, |args| {
        args.timing.idle_check_min = Duration::from_millis(300);
    });
    pod.ready().await;
    let (began, looks) = (std::time::Instant::now(), pod.legacy.counts().of("GET /"));
    let asked = pod.legacy.until(|counts| counts.of("GET /") >= looks + 6);
    within("looks", asked).await;
    // The first is that of the end of the first watch, and comes at once.
    assert!(began.elapsed() >= Duration::from_millis(4 * 300), "{:?}", began.elapsed());
    assert!(pod.sidecar.get("/readyz").await.starts_with("200"));
    assert_eq!(pod.legacy.counts().secrets(), 1);
    assert_eq!(pod.sidecar.log.count("WARN"), 0, "{}", pod.sidecar.log.text());

    // A restart is noticed all the same.
    pod.legacy.restart().await.unwrap();
    within("another handshake", pod.legacy.until(|counts| counts.accepted == 2)).await;
    pod.ready().await;
}

#[tokio::test]
async fn one_that_serves_one_connection_at_a_time_is_not_kept_from_others() {
    let faults = Faults { one_at_a_time: true, ..Faults::default() };
    let pod = Pod::with(Config { faults, ..Config::default() }, |args| {
        args.timing.beside_watch = Duration::from_millis(300);
        args.timing.idle_check_min = Duration::from_millis(100);
    });
    pod.ready().await;
    pod.sidecar.log.until("Legacy serves one connection at a time").await;
    within("no connection", pod.legacy.until(|counts| counts.open == 0)).await;
    assert_eq!(pod.sidecar.metric("secret_handshake_state{state=\"polling\"}").await, 1);
    let looks = pod.legacy.counts().of("GET /");
    within("looks", pod.legacy.until(|counts| counts.of("GET /") >= looks + 3)).await;
    assert_eq!(pod.legacy.counts().secrets(), 1);

    // Looks find a restart, and the watch stays given up.
    pod.legacy.restart().await.unwrap();
    within("another handshake", pod.legacy.until(|counts| counts.accepted == 2)).await;
    pod.ready().await;
    assert_eq!(pod.sidecar.log.count("one connection at a time"), 1);
}

#[tokio::test]
async fn a_watched_legacy_whose_pages_fail_or_hang_stays_ready() {
    for what in [What::Status(500), What::Silent] {
        let pod = Pod::with(Config::default(), |args| {
            args.request_timeout = Duration::from_millis(300);
            minutes_in_seconds(args);
        });
        until_watched(&pod).await;
        let answer = Some(AnswerFault::always(what).on("/"));
        pod.legacy.set_faults(Faults { answer, ..Faults::default() }).await;
        let looks = pod.legacy.counts().of("GET /");
        within("looks", pod.legacy.until(|counts| counts.of("GET /") >= looks + 5)).await;
        assert!(pod.sidecar.get("/readyz").await.starts_with("200"));
        assert_eq!(pod.legacy.counts().secrets(), 1);
    }
}

#[tokio::test]
async fn a_restarted_sidecar_sends_nothing_to_an_initialised_legacy() {
    let pod = Pod::start();
    until_watched(&pod).await;
    let pod = pod.restart_sidecar(|_| {}).await;
    pod.ready().await;
    pod.sidecar.log.until("Legacy is initialised already, nothing was sent").await;
    let counts = pod.legacy.counts();
    assert_eq!((counts.secrets(), counts.of("GET /internal/key")), (1, 1));
}
