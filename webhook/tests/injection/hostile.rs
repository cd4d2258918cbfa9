//! Bodies that no API server sends: an answer or a plain refusal, never a panic.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use webhook::review::{self, Endpoint, Unreadable};

use crate::exchange::{pod_review, policy};

const ENDPOINTS: [Endpoint; 2] = [Endpoint::Pods, Endpoint::Workloads];

fn answer(body: &[u8]) -> [Result<review::Answer, Unreadable>; 2] {
    ENDPOINTS.map(|endpoint| review::answer(endpoint, body, None, &policy()))
}

fn real_reviews() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reviews");
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// A pod's review with one member of the object set.
fn with(path: &str, value: Value) -> Vec<u8> {
    let pod = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "legacy"}]}});
    let mut review = pod_review(&pod);
    *review.pointer_mut(path).expect("a member") = value;
    serde_json::to_vec(&review).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered_or_refused(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        for answer in answer(&body).into_iter().flatten() {
            serde_json::from_slice::<Value>(&answer.body).expect("the answer is JSON");
        }
    }

    #[test]
    fn a_review_with_bytes_changed_or_cut_out_is_answered_or_refused(
        review in proptest::sample::select(real_reviews()),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
        length in 0..40_usize,
    ) {
        let mut body = review;
        for (index, byte) in changes {
            let at = index.index(body.len());
            body[at] = byte;
        }
        let at = cut.index(body.len());
        body.drain(at..(at + length).min(body.len()));
        for answer in answer(&body).into_iter().flatten() {
            serde_json::from_slice::<Value>(&answer.body).expect("the answer is JSON");
            for text in [answer.uid, answer.namespace, answer.name] {
                prop_assert!(text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
            }
        }
    }
}

#[test]
fn a_body_that_is_no_review_is_refused_with_a_plain_reason() {
    for (body, expected) in [
        (&b""[..], "the body is not valid JSON (line 1, column 0)"),
        (b"   ", "the body is not valid JSON (line 1, column 3)"),
        (b"{\"kind\":", "the body is not valid JSON (line 1, column 8)"),
        (b"{} {}", "the body is not valid JSON (line 1, column 4)"),
        (b"\xff", "the body is not UTF-8 (byte 0)"),
        (b"[]", "the body is JSON, but not an AdmissionReview (line 1, column 2)"),
        (b"{}", "expected kind AdmissionReview of apiVersion admission.k8s.io/v1"),
        (b"null", "the body is JSON, but not an AdmissionReview (line 1, column 4)"),
        (b"\"words\"", "the body is JSON, but not an AdmissionReview (line 1, column 7)"),
        (br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"x"}}"#, "expected kind AdmissionReview of apiVersion admission.k8s.io/v1"),
        (br#"{"kind":"Pod","apiVersion":"admission.k8s.io/v1","request":{"uid":"x"}}"#, "expected kind AdmissionReview of apiVersion admission.k8s.io/v1"),
        (br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"x"}}"#, "the AdmissionReview has no request with a uid"),
        (br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}"#, "the AdmissionReview has no request with a uid"),
        (br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}"#, "the AdmissionReview has no request with a uid"),
    ] {
        for answer in answer(body) {
            let error = answer.expect_err("unreadable").to_string();
            assert_eq!(error, expected, "{}", String::from_utf8_lossy(body));
        }
    }
}

#[test]
fn an_object_of_the_wrong_shape_is_refused_and_nothing_of_it_is_repeated() {
    for (path, value) in [
        ("/request/object", json!("hunter2")),
        ("/request/object/metadata", json!("hunter2")),
        ("/request/object/metadata", json!({"labels": {"secret-handshake": true}})),
        (
            "/request/object/metadata",
            json!({"annotations": {"secret-handshake/port": {"hunter2": 1}}}),
        ),
        ("/request/object/spec/containers", json!({"hunter2": []})),
        ("/request/object/spec/containers", json!([{"name": ["hunter2"]}])),
        (
            "/request/object/spec/containers",
            json!([{"name": "x", "ports": [{"containerPort": "hunter2"}]}]),
        ),
        ("/request/object/spec/containers", json!([null])),
        ("/request/uid", json!(7)),
    ] {
        let [error, _] = answer(&with(path, value.clone()));
        let error = error.expect_err("unreadable");
        let wrong = if path == "/request/uid" { "an AdmissionReview" } else { "a valid Pod" };
        assert!(error.to_string().contains(wrong), "{path} {value}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn a_field_that_stands_there_twice_is_refused() {
    let body = String::from_utf8(with("/request/object/spec/containers", json!([]))).unwrap();
    let twice = body.replace("\"containers\":[]", "\"containers\":[],\"containers\":[]");
    assert!(matches!(&answer(twice.as_bytes())[0], Err(Unreadable::Object { .. })));
}

#[test]
fn nesting_without_end_is_refused_or_skipped_in_little_stack() {
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(1 << 20);
        assert!(answer(deep.as_bytes()).iter().all(Result::is_err));
        let body =
            String::from_utf8(with("/request/object/spec/containers", json!("HERE"))).unwrap();
        assert!(answer(body.replace("\"HERE\"", &deep).as_bytes())[0].is_err());
    }
    // Where nothing is read, depth costs nothing.
    let close = format!("{}1{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let body = String::from_utf8(with("/request/oldObject", json!("HERE"))).unwrap();
    let [answer, _] = answer(body.replace("\"HERE\"", &close).as_bytes());
    assert_eq!(answer.expect("an answer").outcome.as_str(), "injected");
}

#[test]
fn what_is_not_for_an_endpoint_passes_whatever_its_shape() {
    let mut review: Value =
        serde_json::from_slice(&with("/request/object", json!({"spec": {"containers": "words"}})))
            .unwrap();
    review["request"]["kind"] = json!({"group": "example.com", "version": "v1", "kind": "Pod"});
    for answer in answer(&serde_json::to_vec(&review).unwrap()) {
        let answer = answer.expect("an answer");
        assert_eq!(
            (answer.outcome.as_str(), answer.outcome.reason(), answer.kind),
            ("skipped", "other-kind", "other")
        );
    }
}

#[test]
fn names_in_the_log_are_printable_whoever_asks() {
    let [answer, _] = answer(&with("/request/namespace", json!("a\nb\u{202e}c d\u{1b}[31m")));
    assert_eq!(answer.expect("an answer").namespace, "a?b?c?d?[31m");
    let [answer, _] =
        self::answer(&with("/request/object/metadata", json!({"generateName": "x".repeat(9999)})));
    assert_eq!(answer.expect("an answer").name.len(), 253);
}

#[test]
fn a_list_or_a_map_that_is_too_long_is_refused_and_called_that() {
    let keys = |count: usize| (0..count).map(|key| (key.to_string(), json!("")));
    let too_long = [
        ("/request/object/spec/containers", Value::Array(vec![json!({"name": "x"}); 4097])),
        ("/request/object/metadata", json!({"labels": keys(4097).collect::<Value>()})),
        ("/request/object/metadata", json!({"annotations": keys(4097).collect::<Value>()})),
    ];
    for (path, value) in too_long {
        let [error, _] = answer(&with(path, value));
        let error = error.expect_err("unreadable").to_string();
        let expected = "the object is not a valid Pod: a list or a map of more than 4096 entries";
        assert!(error.starts_with(expected), "{path}: {error}");
    }
    let [answer, _] =
        answer(&with("/request/object/metadata", json!({"labels": keys(4096).collect::<Value>()})));
    assert!(answer.is_ok());
}
