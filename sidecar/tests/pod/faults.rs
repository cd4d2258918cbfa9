//! Whatever Legacy does wrong: the sidecar says so, is not ready, and recovers when the fault is gone.

use std::time::Duration;

use legacy_mock::{AnswerFault, Config, Door, Faults, KeyFault, What};

use crate::pod::{Pod, soon, within};

/// A fault that keeps Legacy from being initialised: what the log says, and how it is counted.
struct Case {
    name: &'static str,
    faults: Faults,
    says: &'static str,
    outcome: Option<&'static str>,
}

fn door(name: &'static str, door: Door, says: &'static str) -> Case {
    let outcome = (door != Door::Refuse).then_some("no_answer");
    Case { name, faults: Faults { door, ..Faults::default() }, says, outcome }
}

fn key(name: &'static str, key: KeyFault, says: &'static str) -> Case {
    Case { name, faults: Faults { key, ..Faults::default() }, says, outcome: Some("bad_key") }
}

fn answer(
    name: &'static str,
    path: &str,
    what: What,
    says: &'static str,
    outcome: &'static str,
) -> Case {
    let answer = Some(AnswerFault::always(what).on(path));
    Case { name, faults: Faults { answer, ..Faults::default() }, says, outcome: Some(outcome) }
}

const SLOW: Duration = Duration::from_millis(100);

fn cases() -> Vec<Case> {
    const PAGE: &str = "/";
    const KEY: &str = "/internal/key";
    const SECRET: &str = "/internal/secret";
    vec![
        door("refuse", Door::Refuse, "waiting for Legacy to listen"),
        door("silent", Door::Silent, "GET /internal/key: no complete answer within 400ms"),
        door("queue", Door::Queue, "GET /internal/key: no complete answer within 400ms"),
        door("reset", Door::Reset, "GET /: the connection ended before the answer did"),
        key("garbage", KeyFault::Garbage, "GET /internal/key: the answer is not base64"),
        key(
            "oversized",
            KeyFault::Oversized,
            "GET /internal/key: the answer is larger than 64 KiB",
        ),
        key("empty", KeyFault::Empty, "GET /internal/key: the answer is empty"),
        answer("endless key", KEY, What::EndlessBody, "is larger than 64 KiB", "bad_key"),
        answer(
            "slow key",
            KEY,
            What::SlowBody(SLOW),
            "GET /internal/key: no complete",
            "no_answer",
        ),
        answer(
            "cut key",
            KEY,
            What::CutBody,
            "GET /internal/key: the connection ended",
            "no_answer",
        ),
        answer(
            "no key",
            KEY,
            What::Status(500),
            "GET /internal/key: the answer was status 500",
            "bad_status",
        ),
        answer(
            "redirected key",
            KEY,
            What::Redirect("http://127.0.0.1:1/internal/key".into()),
            "GET /internal/key: the answer was status 302",
            "bad_status",
        ),
        answer("cut /", PAGE, What::CutBody, "GET /: the connection ended", "no_answer"),
        answer(
            "500 to the secret",
            SECRET,
            What::Status(500),
            "POST /internal/secret: the answer was status 500",
            "bad_status",
        ),
        answer(
            "302 to the secret",
            SECRET,
            What::Redirect("/".into()),
            "POST /internal/secret: the answer was status 302",
            "bad_status",
        ),
        Case {
            name: "wrong half",
            faults: Faults { reject_secret: true, ..Faults::default() },
            says: "POST /internal/secret: Legacy refused the secret (status 400)",
            outcome: Some("wrong_half"),
        },
    ]
}

#[tokio::test]
async fn each_fault_is_named_and_recovered_from() {
    let mut pods = tokio::task::JoinSet::new();
    for case in cases() {
        pods.spawn(async move {
            let Case { name, faults, says, outcome } = case;
            let pod = Pod::with_faults(faults, says.contains("no complete"));
            pod.sidecar.log.until(says).await;
            let readyz = pod.sidecar.get("/readyz").await;
            assert!(readyz.starts_with("503 not ready: "), "{name}: {readyz}");
            if let Some(outcome) = outcome {
                assert!(pod.sidecar.attempts(outcome).await > 0, "{name}");
            }
            assert!(!pod.legacy.is_initialized(), "{name}");

            pod.legacy.set_faults(Faults::default()).await;
            pod.ready().await;
            assert_eq!(pod.legacy.counts().accepted, 1, "{name}");
            // On a slow machine, an answer may come too late to be heard.
            let heard = pod.sidecar.attempts("initialised").await;
            let seen = pod.sidecar.attempts("already_initialised").await;
            assert_eq!(heard + seen, 1, "{name}");
            name
        });
    }
    let all = async {
        while let Some(done) = pods.join_next().await {
            done.unwrap();
        }
    };
    within("all faults to be recovered from", all).await;
}

#[tokio::test]
async fn a_few_500s_are_tried_through() {
    let faults = Faults {
        answer: Some(AnswerFault::always(What::Status(500)).times(7)),
        ..Faults::default()
    };
    let pod = Pod::with_faults(faults, false);
    pod.ready().await;
    assert_eq!(pod.legacy.counts().accepted, 1);
}

#[tokio::test]
async fn an_endless_page_is_not_read() {
    let faults = Faults {
        answer: Some(AnswerFault::always(What::EndlessBody).on("/")),
        ..Faults::default()
    };
    let pod = Pod::with_faults(faults, false);
    pod.ready().await;
    assert!(pod.sidecar.log.count("Legacy's / fails, so it may be uninitialised") == 1);
}

/// 204 is the word of a Legacy whose `/` is too slow to tell.
#[tokio::test]
async fn one_whose_page_is_not_answered_in_time_is_initialised_all_the_same() {
    for (initialized, what) in
        [(true, What::Silent), (false, What::Silent), (false, What::SlowBody(SLOW))]
    {
        let answer = Some(AnswerFault::always(what.clone()).on("/"));
        let faults = Faults { answer, ..Faults::default() };
        let pod = Pod::with(Config { faults, initialized, ..Config::default() }, |args| {
            soon(args);
            args.request_timeout = Duration::from_millis(400);
        });
        pod.ready().await;
        let log = &pod.sidecar.log;
        assert_eq!(log.count("/ is not answered in time, so it may be uninitialised"), 1);
        if what == What::Silent {
            assert_eq!(log.count("says that it has had the handshake already (204)"), 1);
        }
        assert_eq!(pod.legacy.counts().accepted, u64::from(!initialized));
    }
}

#[tokio::test]
async fn the_older_builds_200_uninitialized_is_no_readiness() {
    let config =
        Config { faults: Faults { old_build: true, ..Faults::default() }, ..Config::default() };
    let pod = Pod::with(config, |_| {});
    pod.ready().await;
    assert_eq!(pod.legacy.counts().accepted, 1);
}

#[tokio::test]
async fn a_secret_whose_answer_was_lost_is_not_sent_twice() {
    for what in [What::Silent, What::Reset] {
        let faults = Faults {
            answer: Some(AnswerFault::always(what).on("/internal/secret").times(1)),
            ..Faults::default()
        };
        let pod = Pod::with_faults(faults, true);
        pod.ready().await;
        assert_eq!(pod.legacy.counts().secrets(), 1);
        assert_eq!(pod.sidecar.attempts("already_initialised").await, 1);
    }
}

#[tokio::test]
async fn after_a_202_legacy_is_given_time() {
    let uninitialized_for = Duration::from_secs(1);
    let config =
        Config { faults: Faults { uninitialized_for, ..Faults::default() }, ..Config::default() };
    let pod = Pod::with(config, |_| {});
    pod.sidecar.log.until("accepted the handshake (202)").await;
    assert!(!pod.legacy.is_initialized());
    let readyz = pod.sidecar.get("/readyz").await;
    assert!(readyz.starts_with("503 not ready: Legacy took the secret"), "{readyz}");
    pod.ready().await;
    assert_eq!(pod.legacy.counts().secrets(), 1, "the wait is not a failure");
}

#[tokio::test]
async fn a_202_that_initialises_nothing_is_a_failure_and_tried_again() {
    let faults = Faults { uninitialized_for: Duration::from_secs(3600), ..Faults::default() };
    let pod = Pod::with_faults(faults, false);
    let says = "Legacy took the secret, but 300ms later / still does not answer as initialised";
    pod.sidecar.log.until(says).await;
    assert!(pod.sidecar.attempts("unverified").await > 0);
    pod.legacy.set_faults(Faults::default()).await;
    pod.ready().await;
}

#[tokio::test]
async fn the_backoff_grows_while_nothing_changes() {
    let faults = Faults { reject_secret: true, ..Faults::default() };
    let config = Config { faults, ..Config::default() };
    let pod = Pod::with(config, |args| {
        soon(args);
        args.timing.backoff.retry_min = Duration::from_millis(1);
        args.timing.backoff.retry_max = Duration::from_secs(3600);
    });
    // Doubled from 1 ms, 24 attempts in a row would take hours: there is no storm of requests.
    pod.legacy.until(|counts| counts.refused >= 8).await;
    assert!(pod.legacy.counts().refused < 24);
    assert_eq!(pod.sidecar.log.count("Legacy refused the secret"), 1, "told once");
}
