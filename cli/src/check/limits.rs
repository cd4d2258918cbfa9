//! `LimitRanges` and quotas that would refuse a pod because of its sidecar.

use std::collections::BTreeMap;

use injection::{Policy, Quantity};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::finding::{Check, Finding, Named};
use super::namespace::{Namespace, Namespaces};
use crate::cluster::Unreadable;

/// What was read of the limits in namespaces that ask for sidecars.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) ranges: Vec<LimitRange>,
    pub(crate) quotas: Vec<ResourceQuota>,
}

type Amounts = BTreeMap<String, ApiQuantity>;

/// What the sidecar asks for in a namespace, of CPU or memory.
struct Asked<'a> {
    resource: &'static str,
    amount: &'a str,
    /// Whether the namespace sets it: then each sidecar has it, and else only beside containers that
    /// all set theirs.
    is_set: bool,
}

fn asked<'a>(namespace: &'a Namespace, policy: &'a Policy) -> [Asked<'a>; 2] {
    let asked = |resource, set: &'a Option<String>, usual: &'a Quantity| Asked {
        resource,
        amount: set.as_deref().unwrap_or(usual.as_str()),
        is_set: set.is_some(),
    };
    [asked("cpu", &namespace.cpu, &policy.cpu), asked("memory", &namespace.memory, &policy.memory)]
}

fn amount(amounts: Option<&Amounts>, resource: &str) -> Option<i128> {
    Quantity::billionths(&amounts?.get(resource)?.0)
}

fn text<'a>(amounts: Option<&'a Amounts>, resource: &str) -> &'a str {
    amounts.and_then(|amounts| amounts.get(resource)).map_or("", |amount| &amount.0)
}

/// Why a LimitRange would refuse a sidecar, and the annotation that answers it.
fn refused_by_range(range: &LimitRange, asked: &Asked<'_>) -> Option<(String, Option<String>)> {
    let own = Quantity::billionths(asked.amount)?;
    let Asked { resource, amount: shown, .. } = asked;
    let limits = range.spec.iter().flat_map(|spec| &spec.limits);
    for limit in limits.filter(|limit| limit.type_ == "Container") {
        if amount(limit.min.as_ref(), resource).is_some_and(|least| own < least) {
            let least = text(limit.min.as_ref(), resource);
            let why =
                format!("the sidecar's {resource} of {shown} is below the minimum of {least}");
            return Some((why, Some(least.to_owned())));
        }
        if amount(limit.max.as_ref(), resource).is_some_and(|most| own > most) {
            let most = text(limit.max.as_ref(), resource);
            let why = format!("the sidecar's {resource} of {shown} is above the maximum of {most}");
            return Some((why, Some(most.to_owned())));
        }
    }
    None
}

/// Why a quota has no room for one more sidecar.
fn refused_by_quota(quota: &ResourceQuota, asked: &Asked<'_>) -> Option<String> {
    let own = Quantity::billionths(asked.amount)?;
    let spec = quota.spec.as_ref()?;
    // Whom a quota with a scope is about depends on each pod.
    if spec.scopes.as_ref().is_some_and(|it| !it.is_empty()) || spec.scope_selector.is_some() {
        return None;
    }
    let (hard, used) = (spec.hard.as_ref(), quota.status.as_ref().and_then(|it| it.used.as_ref()));
    let Asked { resource, amount: shown, .. } = asked;
    let names =
        [format!("limits.{resource}"), format!("requests.{resource}"), (*resource).to_owned()];
    names.iter().find_map(|name| {
        let (most, taken) = (amount(hard, name)?, amount(used, name).unwrap_or(0));
        (taken + own > most).then(|| {
            let (most, taken) = (text(hard, name), text(used, name));
            let taken = if taken.is_empty() { "0" } else { taken };
            format!("no room for a sidecar's {name} of {shown}: {taken} of {most} are taken")
        })
    })
}

pub(crate) fn limits_and_quotas(
    limits: &Result<Limits, Unreadable>,
    namespaces: &Result<Namespaces, Unreadable>,
    policy: &Policy,
) -> Finding {
    let check = Check::LimitsAndQuotas;
    let (limits, namespaces) = match (limits, namespaces) {
        (Ok(limits), Ok(namespaces)) => (limits, namespaces),
        (Err(error), _) | (_, Err(error)) => return Finding::unreadable(check, error),
    };
    let mut found = Named::default();
    let mut remedies = Vec::new();
    for (name, namespace) in namespaces.asking(policy) {
        let is_here = |other: &Option<String>| other.as_deref() == Some(name);
        for asked in asked(namespace, policy) {
            let resource = asked.resource;
            for range in limits.ranges.iter().filter(|it| is_here(&it.metadata.namespace)) {
                let Some((why, answer)) = refused_by_range(range, &asked) else { continue };
                let of = range.metadata.name.as_deref().unwrap_or_default();
                let whom =
                    if asked.is_set { "" } else { " (in pods whose containers all name theirs)" };
                found.push(|| format!("{name}/limitrange/{of}: {why}{whom}"));
                remedies.extend(answer.map(|answer| {
                    format!("kubectl annotate namespace {name} --overwrite secret-handshake/{resource}={answer}")
                }));
            }
            for quota in limits.quotas.iter().filter(|it| is_here(&it.metadata.namespace)) {
                let Some(why) = refused_by_quota(quota, &asked) else { continue };
                let of = quota.metadata.name.as_deref().unwrap_or_default();
                found.push(|| format!("{name}/resourcequota/{of}: {why}"));
                remedies.push(format!("raise it, or: kubectl annotate namespace {name} --overwrite secret-handshake/{resource}=AMOUNT"));
            }
        }
    }
    if found.is_empty() {
        return Finding::ok(
            check,
            "no LimitRange and no quota refuses a pod because of its sidecar",
        );
    }
    remedies.truncate(6);
    Finding::warning(check, "a LimitRange or a quota would refuse pods because of their sidecar")
        .named(found)
        .means("The sidecar's containers count as any other. The annotation sets request and limit of the sidecar, whatever the other containers say.")
        .remedies(remedies)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::State;
    use super::*;

    fn finding(range: &Value, quota: &Value, annotations: &Value) -> Finding {
        let mut namespaces = Namespaces::default();
        let metadata = json!({"name": "legacy", "labels": {"secret-handshake": "true"}, "annotations": annotations});
        namespaces.add(&serde_json::from_value(metadata).unwrap());
        let range =
            json!({"metadata": {"namespace": "legacy", "name": "r"}, "spec": {"limits": [range]}});
        let quota = json!({"metadata": {"namespace": "legacy", "name": "q"},
            "spec": {"hard": quota["hard"], "scopes": quota["scopes"]}, "status": {"used": quota["used"]}});
        let limits = Limits {
            ranges: vec![serde_json::from_value(range).unwrap()],
            quotas: vec![serde_json::from_value(quota).unwrap()],
        };
        limits_and_quotas(&Ok(limits), &Ok(namespaces), &Policy::default())
    }

    #[test]
    fn a_range_refuses_what_is_below_its_minimum_or_above_its_maximum() {
        for (range, annotations, expected) in [
            (json!({"type": "Container"}), Value::Null, None),
            (
                json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"memory": "12Mi"}}),
                Value::Null,
                None,
            ),
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                Value::Null,
                Some("secret-handshake/cpu=100m"),
            ),
            (
                json!({"type": "Container", "min": {"memory": "64Mi"}}),
                Value::Null,
                Some("secret-handshake/memory=64Mi"),
            ),
            (
                json!({"type": "Container", "max": {"cpu": "0.01"}}),
                Value::Null,
                Some("secret-handshake/cpu=0.01"),
            ),
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({"secret-handshake/cpu": "100m"}),
                None,
            ),
            (json!({"type": "Pod", "min": {"cpu": "1"}}), Value::Null, None),
        ] {
            let finding = finding(&range, &Value::Null, &annotations);
            assert_eq!(finding.state == State::Warning, expected.is_some(), "{range} {finding:?}");
            if let Some(expected) = expected {
                assert!(finding.remedy[0].ends_with(expected), "{finding:?}");
            }
        }
    }

    #[test]
    fn a_quota_refuses_what_it_has_no_room_for() {
        let range = json!({"type": "Container"});
        for (quota, refuses) in [
            (json!({"hard": {"limits.cpu": "1", "limits.memory": "1Gi"}}), false),
            (json!({"hard": {"limits.cpu": "1"}, "used": {"limits.cpu": "950m"}}), false),
            (json!({"hard": {"limits.cpu": "1"}, "used": {"limits.cpu": "951m"}}), true),
            (json!({"hard": {"memory": "1Gi"}, "used": {"memory": "1020Mi"}}), true),
            (json!({"hard": {"pods": "1"}, "used": {"pods": "1"}}), false),
            (
                json!({"hard": {"limits.cpu": "1"}, "used": {"limits.cpu": "1"}, "scopes": ["BestEffort"]}),
                false,
            ),
        ] {
            let finding = finding(&range, &quota, &Value::Null);
            assert_eq!(finding.state == State::Warning, refuses, "{quota} {finding:?}");
        }
    }
}
