//! What a body may cost in memory, whatever is in it.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed expectation is how a test fails")]

use std::fmt::Write as _;
use std::process::Command;

use injection::Policy;
use webhook::review::{Endpoint, answer};

/// The largest body that the webhook takes.
const BODY: usize = 6 << 20;

/// The peak of this process's resident memory, in KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A review of a pod with this spec.
fn review(spec: &str) -> String {
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","object":{{"spec":{{{spec}}}}}}}}}"#
    )
}

/// As many of these, with commas between them, as make a body of the largest size, or `most`.
fn many(entry: &str, most: usize) -> String {
    let count = (BODY / (entry.len() + 1)).min(most);
    let mut all = format!("{entry},").repeat(count);
    all.pop();
    all
}

fn spec(case: usize) -> Option<String> {
    let entries = |entry: &str| many(entry, usize::MAX);
    let ports = format!(r#"{{"ports":[{}]}}"#, many("{}", 4096));
    let mut keys = String::with_capacity(BODY);
    while keys.len() < BODY - 16 {
        let key = keys.len();
        write!(keys, r#""{key:x}":"","#).unwrap();
    }
    keys.pop();
    let terms = |terms: String| {
        format!(
            r#""affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{terms}]}}}}}}"#
        )
    };
    let requirements =
        |requirement: &str| terms(format!(r#"{{"matchExpressions":[{}]}}"#, entries(requirement)));
    Some(match case {
        0 => format!(r#""containers":[{}]"#, entries("{}")),
        1 => format!(r#""containers":[{}]"#, many("{}", 4096)),
        2 => format!(r#""containers":[{}]"#, entries(&ports)),
        3 => format!(r#""initContainers":[{}]"#, entries(&ports)),
        4 => format!(r#""volumes":[{}]"#, entries(r#"{"name":"a"}"#)),
        5 => format!(r#""nodeSelector":{{{keys}}}"#),
        6 => format!(r#""resources":{{"limits":{{{keys}}}}}"#),
        7 => format!(r#""resources":{{"limits":{{"cpu":[{}]}}}}"#, entries("[]")),
        8 => format!(r#""skipped":[{}]"#, entries("{}")),
        9 => terms(entries("{}")),
        10 => requirements("{}"),
        11 => requirements(r#"{"values":["a","b"]}"#),
        12 => format!(r#""containers":[{{"args":[{}]}}]"#, entries(r#""a""#)),
        _ => return None,
    })
}

/// Each case in a process of its own: what one has freed would hide what the next takes.
#[test]
fn a_body_costs_little_more_memory_than_itself() {
    let Ok(case) = std::env::var("CASE") else {
        let itself = std::env::current_exe().unwrap();
        for case in (0..).take_while(|case| spec(*case).is_some()) {
            let status = Command::new(&itself).env("CASE", case.to_string()).status().unwrap();
            assert!(status.success(), "case {case}");
        }
        return;
    };
    let body = review(&spec(case.parse().unwrap()).unwrap());
    assert!(body.len() < BODY + (1 << 10));
    // Answered or refused: of a list in a list every entry is read.
    let answered = answer(Endpoint::Pods, body.as_bytes(), None, &Policy::default());
    // The test itself takes some 22 MiB for the making of the body.
    assert!(peak() < 40 << 10, "{} KiB: {answered:?}", peak());
}
