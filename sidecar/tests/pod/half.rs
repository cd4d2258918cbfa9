//! The file with the operations half, in all the ways it can be wrong or change.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legacy_mock::{Config, Faults};
use sidecar::secret::LIMIT;

use crate::pod::{HALF, Pod, raw, soon};

fn insists_on(half: &[u8]) -> Config {
    Config { half: Some(half.to_vec()), ..Config::default() }
}

/// A pod whose half is this, whatever Legacy expects.
fn pod_with_half(config: Config, content: &[u8]) -> Pod {
    let pod = Pod::reserve(config, |args| {
        soon(args);
        args.secret = Some("secret-handshake".into());
        args.namespace = Some("demo".into());
    });
    fs::write(&pod.half, content).unwrap();
    pod.legacy.listen().unwrap();
    pod
}

#[tokio::test]
async fn a_missing_half_is_waited_for() {
    let pod = Pod::reserve(insists_on(HALF.as_bytes()), |args| {
        soon(args);
        args.secret = Some("secret-handshake".into());
        args.namespace = Some("demo".into());
    });
    fs::remove_file(&pod.half).unwrap();
    pod.legacy.listen().unwrap();
    // It works for a Secret that is there without the key, too.
    let create = "Create it: kubectl create secret generic secret-handshake -n demo \
                  --from-file=half=FILE --dry-run=client -o yaml | kubectl apply -f -; the pod has it ";
    pod.sidecar.log.until(create).await;
    assert_eq!(pod.sidecar.log.count("typo"), 0, "the key is the default");
    assert_eq!(pod.legacy.counts().of("GET /internal/key"), 0, "the key is not asked for in vain");
    let readyz = pod.sidecar.get("/readyz").await;
    assert!(readyz.contains("the operations half is missing"), "{readyz}");
    assert!(pod.sidecar.attempts("no_half").await > 0);

    fs::write(&pod.half, HALF).unwrap();
    pod.ready().await;
    assert_eq!(pod.legacy.counts().secrets(), 1);
}

#[tokio::test]
async fn a_missing_key_that_somebody_chose_may_be_a_typo() {
    let pod = Pod::reserve(Config::default(), |args| {
        args.half_file = "/nonexistent/half".into();
        args.secret = Some("secret-handshake".into());
        args.secret_key = "hlaf".into();
    });
    let says = "If the key is a typo, correct the annotation secret-handshake/secret-key. ";
    pod.sidecar.log.until(says).await;
}

#[tokio::test]
async fn a_missing_half_is_told_while_legacy_is_still_awaited() {
    let pod = Pod::reserve(Config::default(), |args| {
        args.half_file = "/nonexistent/half".into();
        args.secret = Some("secret-handshake".into());
    });
    let log = &pod.sidecar.log;
    log.until("WARN  the operations half is missing").await;
    assert_eq!(log.count("Legacy does not listen yet; the half is needed when it does"), 1);
    let create = "kubectl create secret generic secret-handshake --from-file=half=FILE";
    assert_eq!(log.count(create), 1, "{}", log.text());
    assert_eq!(log.count("ERROR"), 0, "{}", log.text());
    // Now Legacy waits for it.
    pod.legacy.listen().unwrap();
    log.until("ERROR the operations half is missing").await;
}

#[tokio::test]
async fn a_half_that_comes_from_no_secret_has_a_remedy_without_one() {
    let pod = Pod::reserve(insists_on(HALF.as_bytes()), soon);
    fs::remove_file(&pod.half).unwrap();
    pod.legacy.listen().unwrap();
    pod.sidecar.log.until("Put the file there; no restart is needed").await;
    fs::write(&pod.half, "-wrong").unwrap();
    pod.sidecar.log.until("Correct it where the file comes from").await;
    fs::write(&pod.half, HALF).unwrap();
    pod.ready().await;
    for word in ["Secret", "kubectl"] {
        assert_eq!(pod.sidecar.log.count(word), 0, "{word}: {}", pod.sidecar.log.text());
    }
}

#[tokio::test]
async fn legacy_can_be_initialised_by_hand_while_the_half_is_missing() {
    let pod = Pod::reserve(Config::default(), soon);
    fs::remove_file(&pod.half).unwrap();
    pod.legacy.listen().unwrap();
    pod.sidecar.log.until("is missing").await;
    let body = STANDARD.encode(format!("This is @ $3cr3t key{HALF}"));
    let length = body.len();
    let by_hand = format!(
        "POST /internal/secret HTTP/1.1\r\nHost: legacy\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    let answer = raw(pod.legacy.addr(), by_hand.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    pod.ready().await;
    assert_eq!(pod.sidecar.attempts("already_initialised").await, 1);
}

#[tokio::test]
async fn an_unusable_half_is_named_with_its_remedy() {
    let oversized = vec![b'x'; LIMIT + 1];
    let cases: [(&[u8], &str, &str); 3] = [
        (b"", "the operations half is empty", "create secret generic secret-handshake"),
        (b"\r\n", "the operations half is empty", "| kubectl apply -f -"),
        (&oversized, "the operations half is larger than 64 KiB", "| kubectl apply -f -"),
    ];
    for (content, says, remedy) in cases {
        let pod = pod_with_half(insists_on(HALF.as_bytes()), content);
        pod.sidecar.log.until(says).await;
        assert_eq!(pod.sidecar.log.count(remedy), 1, "{}", pod.sidecar.log.text());
        assert_eq!(pod.sidecar.log.count("ERROR"), 1, "an operator has to act");
        fs::write(&pod.half, HALF).unwrap();
        pod.ready().await;
    }
}

#[tokio::test]
async fn a_directory_or_a_fifo_instead_of_the_half_stops_nothing() {
    for make in ["mkdir", "mkfifo"] {
        let pod = Pod::reserve(insists_on(HALF.as_bytes()), soon);
        fs::remove_file(&pod.half).unwrap();
        let made = std::process::Command::new(make).arg(&pod.half).status().unwrap();
        assert!(made.success());
        pod.legacy.listen().unwrap();
        pod.sidecar.log.until("the operations half is not a regular file").await;
        assert_eq!(pod.sidecar.get("/livez").await, "200 alive\n");

        let other = pod.half.with_extension("other");
        fs::write(&other, HALF).unwrap();
        match make {
            "mkdir" => fs::remove_dir(&pod.half).unwrap(),
            _ => fs::remove_file(&pod.half).unwrap(),
        }
        fs::rename(other, &pod.half).unwrap();
        pod.ready().await;
    }
}

#[tokio::test]
async fn a_wrong_half_can_be_changed_between_attempts() {
    let pod = pod_with_half(insists_on(HALF.as_bytes()), b"-wrong");
    pod.sidecar.log.until("The operations half is not the one this Legacy expects").await;
    assert_eq!(pod.sidecar.log.count("the key half of the Secret demo/secret-handshake"), 1);
    assert_eq!(pod.sidecar.log.count("--dry-run=client -o yaml | kubectl apply -f -"), 1);
    fs::write(&pod.half, HALF).unwrap();
    pod.ready().await;
    assert_eq!(pod.legacy.counts().accepted, 1);
}

#[tokio::test]
async fn the_half_is_bytes_without_one_trailing_newline() {
    let largest = vec![0xfe; LIMIT];
    let cases: [(&[u8], &[u8]); 7] = [
        (b"-acknowledge", b"-acknowledge"),
        (b"-acknowledge\n", b"-acknowledge"),
        (b"-acknowledge\r\n", b"-acknowledge"),
        (b"-acknowledge\n\n", b"-acknowledge\n"),
        (b"\x00\xff\xfe not UTF-8 \x80", b"\x00\xff\xfe not UTF-8 \x80"),
        (b"\n\xc3", b"\n\xc3"),
        (&largest, &largest),
    ];
    for (content, expected) in cases {
        let pod = pod_with_half(insists_on(expected), content);
        pod.ready().await;
        assert_eq!(pod.legacy.counts().secrets(), 1);
    }
}

#[tokio::test]
async fn the_key_is_bytes_too() {
    let config = Config { key: vec![0, 0xff, 0xfe, b'\n', 0x80], ..insists_on(HALF.as_bytes()) };
    let pod = pod_with_half(config, HALF.as_bytes());
    pod.ready().await;
    assert_eq!(pod.legacy.counts().secrets(), 1);
    assert_eq!(pod.legacy.faults(), Faults::default());
}
