//! Golden files: each review in `tests/reviews` with the answer in `tests/golden`. To write them
//! anew, `BLESS=1 cargo test -p webhook`; then read the difference like any other change.
//!
//! The reviews on a single line are as an API server (1.37.2) sent them, but for the one of 8 KiB,
//! which is one of those with more in it; the others are written for one case each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use injection::{Metadata, Policy, PullPolicy};
use serde::Deserialize as _;
use serde_json::{Value, json};
use webhook::review::Endpoint;

use crate::exchange::{Exchange, policy};

/// Reviews that are answered under other policies too, or with settings on the pod's Namespace, each
/// with a golden file of its own.
const VARIANTS: [(&str, &str); 7] = [
    ("pod-create-own-label", "openshift"),
    ("pod-create-root", "openshift"),
    ("pod-create-own-label", "namespace"),
    ("pod-create-all-settings", "namespace"),
    ("pod-create-own-label", "namespace-invalid"),
    ("pod-create-bare", "namespace-false"),
    ("pod-create-own-label", "flags"),
];

fn variant(name: &str) -> (Policy, Option<Metadata>) {
    let namespace = |metadata: Value| Some(Metadata::deserialize(metadata).unwrap());
    match name {
        "openshift" => {
            (Policy { run_as_user: None, pull_policy: Some(PullPolicy::Always), ..policy() }, None)
        }
        "flags" => {
            let class = Some("flag".to_owned());
            (Policy { port: 8080, secret_provider_class: class, ..policy() }, None)
        }
        "namespace" => {
            let annotations = json!({
                "secret-handshake/port": "8080", "secret-handshake/half-file": "/vault/secrets/half",
                "secret-handshake/prot": "1",
            });
            (policy(), namespace(json!({ "annotations": annotations })))
        }
        "namespace-invalid" => {
            let annotations = json!({ "secret-handshake/port": "http" });
            (policy(), namespace(json!({ "annotations": annotations })))
        }
        // No selector knows this spelling.
        "namespace-false" => {
            (policy(), namespace(json!({ "labels": { "secret-handshake": "fALSE" } })))
        }
        _ => unreachable!("no such variant: {name}"),
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn stems(name: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(name)).unwrap();
    entries
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

/// The answer as people review it: the verdict, the patch, and the object that comes of it.
fn rendered(review: &str, namespace: Option<&Metadata>, policy: &Policy) -> String {
    let text = fs::read_to_string(folder("reviews").join(format!("{review}.json"))).unwrap();
    let request: Value = serde_json::from_str(&text).unwrap();
    let endpoint = if review.starts_with("pod-") { Endpoint::Pods } else { Endpoint::Workloads };
    let mut exchange = Exchange::of(endpoint, &request, namespace, policy);

    if let Some(metadata) = exchange.object.get_mut("metadata").and_then(Value::as_object_mut) {
        // Half of the text, and never looked at.
        metadata.remove("managedFields");
    }
    let reviewed = exchange.answer;
    let mut answer = json!({
        "outcome": reviewed.outcome.as_str(),
        "reason": reviewed.outcome.reason(),
        "object": format!("{} {} {}/{}", reviewed.operation, reviewed.kind, reviewed.namespace, reviewed.name),
        "response": exchange.response,
    });
    if let Some(patch) = exchange.patch {
        answer["patch"] = serde_json::to_value(patch).unwrap();
        answer["patched"] = exchange.object;
    }
    serde_saphyr::to_string(&answer).unwrap()
}

#[test]
fn answers_are_as_reviewed() {
    let cases = stems("reviews")
        .into_iter()
        .map(|review| (review.clone(), review, (policy(), None)))
        .chain(VARIANTS.iter().map(|(review, name)| {
            (format!("{review}@{name}"), (*review).to_owned(), variant(name))
        }));
    let bless = env::var_os("BLESS").is_some();
    let mut golden = BTreeSet::new();
    let mut differences = String::new();
    for (name, review, (policy, namespace)) in cases {
        let path = folder("golden").join(format!("{name}.yaml"));
        let actual = rendered(&review, namespace.as_ref(), &policy);
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if bless && actual != expected {
            fs::write(&path, &actual).unwrap();
        } else if actual != expected {
            let diff = similar::TextDiff::from_lines(&expected, &actual);
            let diff = diff.unified_diff().header(&path.display().to_string(), "now").to_string();
            differences.push_str(&diff);
        }
        golden.insert(name);
    }
    assert!(differences.is_empty(), "BLESS=1 accepts this:\n{differences}");

    let orphans: Vec<_> = stems("golden").difference(&golden).cloned().collect();
    assert!(orphans.is_empty(), "golden files of no review: {orphans:?}");
}
