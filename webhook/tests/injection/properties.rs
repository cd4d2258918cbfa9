//! What holds for every pod and every workload.

use injection::Metadata;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use webhook::review::Endpoint;

use crate::exchange::{Exchange, pod_review, policy, workload_review};
use crate::oracle::{self, Expected};
use crate::pods;

const STATUS: &str = "secret-handshake/status";
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whether all that was in `before` is in `after`: members of objects under their names, elements
/// of arrays in their order and before all others. A null may have become something. The status is
/// the webhook's own.
fn still_has(after: &Value, before: &Value) -> bool {
    match (after, before) {
        (_, Value::Null) => true,
        (Value::Object(after), Value::Object(before)) => before.iter().all(|(key, value)| {
            key == STATUS || after.get(key).is_some_and(|after| still_has(after, value))
        }),
        (Value::Array(after), Value::Array(before)) => {
            after.len() >= before.len()
                && after.iter().zip(before).all(|(after, before)| still_has(after, before))
        }
        (after, before) => after == before,
    }
}

/// The `restricted` Pod Security Standard as far as it is about containers, with no help from the
/// pod's own securityContext.
fn is_restricted(container: &Value) -> bool {
    let context = &container["securityContext"];
    let host_ports = container["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|port| port["hostPort"] != Value::Null);
    let not_there = ["procMount", "seLinuxOptions", "windowsOptions", "appArmorProfile"];
    context["privileged"].as_bool() != Some(true)
        && context["allowPrivilegeEscalation"] == false
        && context["capabilities"] == json!({"drop": ["ALL"]})
        && context["runAsNonRoot"] == true
        && context["runAsUser"] != 0
        && context["seccompProfile"]["type"] == "RuntimeDefault"
        && context["readOnlyRootFilesystem"] == true
        && not_there.iter().all(|field| context[field].is_null())
        && container["readinessProbe"]["httpGet"]["host"].is_null()
        && !host_ports
}

/// Whether nothing of a service account can be in a container: something without content is where
/// the API server would mount a token, and no other volume but the half's, if there is one, is there at all.
fn has_no_token(container: &Value, pod: &Value) -> bool {
    let mounts: Vec<&Value> = container["volumeMounts"].as_array().into_iter().flatten().collect();
    let volume = |name: &Value| {
        let mut volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        volumes.find(|volume| volume["name"] == *name)
    };
    let at_token = mounts.iter().find(|mount| mount["mountPath"] == TOKEN);
    let empty = at_token.and_then(|mount| volume(&mount["name"])).is_some_and(|volume| {
        volume["downwardAPI"].is_object() && volume["downwardAPI"]["items"].is_null()
    });
    let half =
        usize::from(mounts.iter().any(|mount| mount["mountPath"] == "/etc/secret-handshake"));
    empty
        && mounts.len() == 1 + half
        && container["env"].is_null()
        && container["envFrom"].is_null()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_what_the_rules_say(
        pod in pods::pod(), namespace in pods::namespace(), policy in pods::policies(),
    ) {
        let metadata = Metadata::deserialize(json!({"annotations": namespace})).expect("metadata");
        let exchange = Exchange::of(Endpoint::Pods, &pod_review(&pod), Some(&metadata), &policy);
        let before = Pod::deserialize(&pod).expect("the generator makes valid pods");
        let after = Pod::deserialize(&exchange.object).expect("a valid pod");
        let reason = exchange.answer.outcome.reason();
        match oracle::expected(&before, &namespace, &policy) {
            Expected::Unchanged => {
                prop_assert!(exchange.allowed() && exchange.patch.is_none(), "{reason}");
                prop_assert_eq!(exchange.answer.outcome.as_str(), "skipped");
            }
            Expected::Noted(expected) => {
                prop_assert!(exchange.allowed());
                prop_assert_eq!(reason, expected);
                let status = exchange.object["metadata"]["annotations"][STATUS].as_str().unwrap_or_default();
                prop_assert!(status.starts_with(&format!("not injected ({expected}): ")), "{status}");
                prop_assert_eq!(after.spec, before.spec);
                prop_assert!(exchange.response["warnings"].is_array());
            }
            Expected::Denied(expected) => {
                prop_assert!(!exchange.allowed());
                prop_assert_eq!(reason, expected);
                prop_assert_eq!(exchange.answer.outcome.as_str(), "denied");
            }
            Expected::Injected(expected) => {
                prop_assert_eq!(exchange.answer.outcome.as_str(), "injected", "{}", reason);
                prop_assert_eq!(&after, &*expected);
            }
        }
    }

    #[test]
    fn what_was_in_a_pod_stays_and_a_second_review_changes_nothing(pod in pods::pod(), policy in pods::policies()) {
        let first = Exchange::of_pod(&pod, &policy);
        prop_assert!(still_has(&first.object, &pod), "before {pod:#}\nafter {:#}", first.object);
        let second = Exchange::of_pod(&first.object, &policy);
        prop_assert!(second.patch.is_none(), "{:#?}", second.patch);
        prop_assert_eq!(second.allowed(), first.allowed());
    }

    #[test]
    fn the_sidecar_is_restricted_and_without_a_token(pod in pods::pod(), policy in pods::policies()) {
        let exchange = Exchange::of_pod(&pod, &policy);
        if exchange.answer.outcome.as_str() == "injected" {
            let (_, sidecar) = exchange.sidecar().expect("a sidecar");
            prop_assert!(is_restricted(sidecar), "{sidecar:#}");
            prop_assert!(has_no_token(sidecar, &exchange.object), "{:#}", exchange.object);
            let uid = &exchange.object["spec"]["securityContext"]["runAsUser"];
            prop_assert!(*uid != 0 || sidecar["securityContext"]["runAsUser"].is_u64(), "root is handed down");
        }
    }

    #[test]
    fn the_qos_class_stays(mut pod in pods::pod(), policy in pods::policies()) {
        // An annotation may change it on purpose.
        if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
            annotations.remove("secret-handshake/cpu");
            annotations.remove("secret-handshake/memory");
        }
        let exchange = Exchange::of_pod(&pod, &policy);
        let before = Pod::deserialize(&pod).expect("a valid pod");
        let after = Pod::deserialize(&exchange.object).expect("a valid pod");
        prop_assume!(before.spec.as_ref().is_some_and(|spec| !spec.containers.is_empty()));
        prop_assert_eq!(oracle::qos_class(&after), oracle::qos_class(&before));
    }

    #[test]
    fn a_workload_keeps_all_but_a_copied_label((group, workload) in pods::workload(), update in any::<bool>()) {
        let operation = if update { "UPDATE" } else { "CREATE" };
        let send = |object: &Value| {
            Exchange::of(Endpoint::Workloads, &workload_review(operation, group, object), None, &policy())
        };
        let exchange = send(&workload);
        prop_assert!(exchange.allowed());
        let template = |object: &Value| {
            let spec = &object["spec"];
            let job = &spec["jobTemplate"]["spec"]["template"];
            if job.is_null() { spec["template"].clone() } else { job.clone() }
        };
        let (before, after) = (template(&workload), template(&exchange.object));
        prop_assert_eq!(&after["spec"], &before["spec"], "the pods' spec is nobody's business here");
        if exchange.patch.is_some() {
            let label = &exchange.object["metadata"]["labels"]["secret-handshake"];
            prop_assert_eq!(label, &workload["metadata"]["labels"]["secret-handshake"]);
            prop_assert_eq!(&after["metadata"]["labels"]["secret-handshake"], label);
            prop_assert_eq!(&exchange.object["metadata"]["annotations"]["secret-handshake/label-copied"], label);
        }
        prop_assert!(send(&exchange.object).patch.is_none(), "a second review changes nothing");
    }
}
