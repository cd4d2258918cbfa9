//! Whom the API server asks about what: the `MutatingWebhookConfiguration`.

use std::collections::{BTreeMap, BTreeSet};

use injection::{
    Entry, InNamespace, LISTED_AS_NO, NAMESPACES_LEFT_OUT, Policy, WorkloadKind, entry_for_pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::rendered::{LEGACYS_NAMESPACE, NAMESPACE, configuration};

#[test]
fn each_entry_of_the_configuration_is_complete() {
    let webhooks = configuration();
    let names: Vec<_> = webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
    assert_eq!(names, Entry::ALL.map(Entry::name));
    for webhook in webhooks {
        let workloads = webhook.name.starts_with("workload.");
        let path = if workloads { "/mutate/workloads" } else { "/mutate/pods" };
        assert_eq!(webhook.client_config.service.unwrap().path.as_deref(), Some(path));
        assert!(webhook.client_config.ca_bundle.is_none(), "the webhook's own business");
        assert_eq!(webhook.failure_policy.as_deref(), Some("Fail"));
        assert_eq!(webhook.timeout_seconds, Some(5));
        assert_eq!(webhook.side_effects, "None");
        assert_eq!(webhook.reinvocation_policy.as_deref(), Some("IfNeeded"));
        assert_eq!(webhook.match_policy.as_deref(), Some("Equivalent"));
        assert_eq!(webhook.admission_review_versions, ["v1"]);
        for rule in webhook.rules.unwrap() {
            let operations: &[&str] = if workloads { &["CREATE", "UPDATE"] } else { &["CREATE"] };
            assert_eq!(rule.operations.unwrap(), operations);
            assert_eq!(rule.scope.as_deref(), Some("Namespaced"));
            // No subresource: a scale or a status is nobody's business here.
            assert!(rule.resources.unwrap().iter().all(|resource| !resource.contains(['/', '*'])));
        }
        assert!(!webhook.match_conditions.unwrap().is_empty());
    }
}

/// What the API server does with a selector:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>.
fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<&str, &str>) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    assert!(selector.match_labels.is_none());
    selector.match_expressions.iter().flatten().all(|expression| {
        let value = labels.get(expression.key.as_str());
        let listed =
            value.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value));
        match expression.operator.as_str() {
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "In" => listed,
            "NotIn" => !listed,
            operator => panic!("{operator}"),
        }
    })
}

#[test]
fn exactly_one_entry_is_called_for_a_pod_that_asks_and_none_for_any_other() {
    let no = ["false", "disabled", "off", "no", "0"].into_iter().flat_map(|no| {
        let capitalised = no[..1].to_uppercase() + &no[1..];
        [no.to_owned(), capitalised, no.to_uppercase()]
    });
    let no: BTreeSet<String> = no.collect();
    let says_no = |value: &str| no.contains(value);
    let yes = ["", "true", "x", "none"];
    let values: Vec<Option<&str>> = std::iter::once(None)
        .chain(yes.into_iter().chain(no.iter().map(String::as_str)).map(Some))
        .collect();
    for value in values.iter().flatten() {
        assert_eq!(
            !says_no(value),
            injection::says_yes(value),
            "{value}: the webhook says the same"
        );
    }
    let excluded = Policy::SYSTEM_NAMESPACES.into_iter().chain([NAMESPACE]);
    let webhooks = configuration();
    for namespace in excluded.clone().chain([LEGACYS_NAMESPACE]) {
        for (wish, own) in values.iter().flat_map(|wish| values.iter().map(|own| (*wish, *own))) {
            let mut namespace_labels = BTreeMap::from([("kubernetes.io/metadata.name", namespace)]);
            namespace_labels.extend(wish.map(|value| ("secret-handshake", value)));
            let labels: BTreeMap<_, _> =
                own.map(|value| ("secret-handshake", value)).into_iter().collect();
            let called: Vec<_> = webhooks
                .iter()
                .filter(|webhook| selects(webhook.namespace_selector.as_ref(), &namespace_labels))
                .filter(|webhook| selects(webhook.object_selector.as_ref(), &labels))
                .map(|webhook| webhook.name.split('.').next().unwrap())
                .collect();
            // The entry for workloads has its own resources: any label at all counts there.
            let (workloads, pods): (Vec<_>, Vec<_>) =
                called.into_iter().partition(|name| *name == "workload");
            let said = InNamespace { name: namespace, label: wish };
            let said = entry_for_pod(own, None, said).ok().map(Entry::name);
            let said = said.and_then(|name| name.split('.').next());
            assert_eq!(
                pods,
                said.into_iter().collect::<Vec<_>>(),
                "namespace {namespace} {wish:?}, pod {own:?}: `injection` says otherwise"
            );
            let left_alone = excluded.clone().any(|name| name == namespace);
            let expected = match (own, wish) {
                _ if left_alone => None,
                (Some(own), _) => (!says_no(own)).then_some("pod"),
                (None, Some(wish)) => (!says_no(wish)).then_some("namespace"),
                (None, None) => None,
            };
            let case = format!("namespace {namespace} {wish:?}, pod {own:?}");
            assert_eq!(pods, expected.into_iter().collect::<Vec<_>>(), "{case}");
            assert_eq!(!workloads.is_empty(), own.is_some() && !left_alone, "{case}");
        }
    }
}

#[test]
fn the_functions_of_the_selection_list_what_the_selectors_list() {
    for webhook in configuration() {
        for selector in [webhook.namespace_selector, webhook.object_selector].into_iter().flatten()
        {
            for expression in selector.match_expressions.into_iter().flatten() {
                let Some(values) = expression.values else { continue };
                let listed: &[&str] = match expression.key.as_str() {
                    "secret-handshake" => &LISTED_AS_NO,
                    _ => &NAMESPACES_LEFT_OUT,
                };
                assert_eq!(values, listed, "{}: {}", webhook.name, expression.key);
            }
        }
    }
}

/// Nothing here evaluates CEL; the scenarios do, on an API server. Whoever changes a condition changes
/// `injection::entry_for_pod` or `injection::entry_for_workload` with it, and then the text here.
#[test]
fn the_conditions_are_those_that_the_functions_of_the_selection_stand_for() {
    let on_pods = [
        (
            "not-a-mirror-pod",
            "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))",
        ),
        (
            "handshake-not-done-already",
            "!('secret-handshake-done' in object.metadata.?annotations.orValue({}))",
        ),
    ];
    let on_workloads = [
        (
            "label-is-to-be-copied",
            "[[ object.metadata.?labels[?'secret-handshake'].orValue('-'), \
             (object.kind == 'CronJob' ? object.spec.jobTemplate.spec.template : object.spec.template) \
             .?metadata.?labels[?'secret-handshake'].orValue('-'), \
             object.metadata.?annotations[?'secret-handshake/label-copied'].orValue('-') \
             ]].all(it, it[1] == '-' ? it[0] != '-' : (it[1] == it[2] && it[0] != it[1]))",
        ),
        ("template-can-change", "!(object.kind == 'Job' && request.operation == 'UPDATE')"),
        ("not-being-deleted", "!has(object.metadata.deletionTimestamp)"),
    ];
    for webhook in configuration() {
        let on_workloads = (webhook.name == Entry::Workload.name()).then_some(&on_workloads[..]);
        let conditions = webhook.match_conditions.unwrap();
        let conditions: Vec<(&str, String)> = conditions
            .iter()
            .map(|condition| (condition.name.as_str(), words(&condition.expression)))
            .collect();
        let expected: Vec<_> = on_workloads
            .unwrap_or(&on_pods)
            .iter()
            .map(|(name, expression)| (*name, words(expression)))
            .collect();
        assert_eq!(conditions, expected, "{}", webhook.name);
    }
}

/// A text without the white space that the API server doesn't look at.
fn words(expression: &str) -> String {
    expression.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_entry_for_workloads_names_every_kind_whose_label_reaches_its_pods() {
    let webhooks = configuration();
    let workloads = webhooks.iter().find(|webhook| webhook.name == Entry::Workload.name()).unwrap();
    let rules = workloads.rules.iter().flatten();
    let resources: BTreeSet<(String, String)> = rules
        .flat_map(|rule| {
            let group = rule.api_groups.clone().unwrap_or_default().concat();
            let resources = rule.resources.clone().unwrap_or_default();
            resources.into_iter().map(move |resource| (group.clone(), resource))
        })
        .collect();
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];
    let known = kinds.iter().flat_map(|kind| ["apps", "batch"].map(|group| (group, *kind)));
    let known = known.filter(|(group, kind)| WorkloadKind::of(group, kind).is_some());
    let known: BTreeSet<_> =
        known.map(|(group, kind)| (group.to_owned(), kind.to_lowercase() + "s")).collect();
    assert_eq!(resources, known);
}
