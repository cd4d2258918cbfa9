//! How long the webhook takes for one review of a pod of 8 KiB, in process, beside two references:
//! skipping over the same JSON without looking at it, and the way through Kubernetes' own types
//! and a comparison of the pod before and after.

#![expect(clippy::expect_used, reason = "a benchmark of what does not work ends at once")]

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use injection::Policy;
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use mimalloc::MiMalloc;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use webhook::review::{self, Endpoint};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A review as an API server sends it: two containers, an init container, environment, probes,
/// volumes, managedFields.
const REVIEW: &[u8] = include_bytes!("../tests/reviews/pod-create-8-kib.json");

/// What a webhook does that reads a whole pod and lets a library find the difference.
fn typed_with_diff(body: &[u8], container: &Container, volumes: &[Volume]) -> Vec<u8> {
    let review: Value = serde_json::from_slice(body).expect("a review");
    let before = &review["request"]["object"];
    let mut pod: Pod = serde_json::from_value(before.clone()).expect("a pod");
    let spec = pod.spec.as_mut().expect("a spec");
    spec.containers.push(container.clone());
    spec.volumes.get_or_insert_default().extend_from_slice(volumes);
    let after = serde_json::to_value(&pod).expect("a value");
    let patch = serde_json::to_vec(&json_patch::diff(before, &after)).expect("a patch");
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch),
        },
    });
    serde_json::to_vec(&answer).expect("an answer")
}

/// The container and the volumes that the webhook itself adds.
fn additions(policy: &Policy) -> (Container, Vec<Volume>) {
    let answer = review::answer(Endpoint::Pods, REVIEW, None, policy).expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let patch = answer["response"]["patch"].as_str().expect("a patch");
    let patch: Vec<Value> =
        serde_json::from_slice(&STANDARD.decode(patch).expect("base64")).expect("operations");
    let values = |path: &str| {
        patch
            .iter()
            .filter(|op| op["path"] == path)
            .map(|op| op["value"].clone())
            .collect::<Vec<_>>()
    };
    let container = values("/spec/containers/-").remove(0);
    let volumes = values("/spec/volumes/-");
    (
        serde_json::from_value(container).expect("a container"),
        serde_json::from_value(Value::Array(volumes)).expect("volumes"),
    )
}

fn review_of_a_pod(criterion: &mut Criterion) {
    let policy = Policy::default();
    let (container, volumes) = additions(&policy);
    let mut group = criterion.benchmark_group("review of a pod");
    group.throughput(Throughput::Bytes(REVIEW.len() as u64));
    group.bench_function("answer", |bencher| {
        bencher
            .iter(|| review::answer(Endpoint::Pods, black_box(REVIEW), None, black_box(&policy)));
    });
    group.bench_function("reference: skip the JSON", |bencher| {
        bencher.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(REVIEW)));
    });
    group.bench_function("reference: typed with a diff", |bencher| {
        bencher.iter(|| typed_with_diff(black_box(REVIEW), &container, &volumes));
    });
    group.finish();
}

criterion_group!(benches, review_of_a_pod);
criterion_main!(benches);
