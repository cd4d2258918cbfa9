use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::annotations::Settings;
use crate::pod::{Amounts, Container, PodSpec, Resources};
use crate::policy::Policy;
use crate::quantity::Quantity;

/// The sidecar's resources follow the pod's, so that its quality-of-service class stays what it was
/// and a ResourceQuota that the pod satisfied stays satisfied.
///
/// Each of the four values is set exactly when each of the pod's `containers` sets it. Init
/// containers don't count, native sidecars among them neither: where they keep the pod out of a
/// class or a quota, no value of ours can put it in, and where they alone set something, the pod
/// is Burstable either way. A value that is zero everywhere, which Kubernetes takes for none when
/// it tells the class, is a zero here as well. What the pod as a whole sets (KEP-2837) is shared
/// out by [`within_the_pods`]. A setting overrides all that, for a LimitRange's minimum.
pub(super) fn follow(
    spec: &PodSpec,
    settings: &Settings<'_>,
    policy: &Policy,
) -> Option<ResourceRequirements> {
    let cpu = values(spec, settings.cpu.as_ref(), &policy.cpu, |amounts| amounts.cpu.as_ref());
    let memory =
        values(spec, settings.memory.as_ref(), &policy.memory, |amounts| amounts.memory.as_ref());
    let requests = amounts(cpu.request, memory.request);
    let limits = amounts(cpu.limit, memory.limit);
    (requests.is_some() || limits.is_some()).then_some(ResourceRequirements {
        requests,
        limits,
        claims: None,
    })
}

/// Of CPU or of memory.
#[derive(Default)]
struct Values {
    request: Option<Quantity>,
    limit: Option<Quantity>,
}

/// What `of` tells of: CPU or memory.
type Of = fn(&Amounts) -> Option<&Quantity>;

fn values(spec: &PodSpec, asked: Option<&Quantity>, usual: &Quantity, of: Of) -> Values {
    if let Some(asked) = asked {
        return Values { request: Some(asked.clone()), limit: Some(asked.clone()) };
    }
    let pods = spec.resources.as_ref();
    let pods_request = pods.and_then(|pod| of(pod.requests.as_ref()?));
    let pods_limit = pods.and_then(|pod| of(pod.limits.as_ref()?));
    if pods_request.is_some() || pods_limit.is_some() {
        return within_the_pods(pods_request, pods_limit, usual);
    }
    let containers = spec.containers();
    Values {
        request: as_all_set(containers, usual, |it| of(it.requests.as_ref()?)),
        limit: as_all_set(containers, usual, |it| of(it.limits.as_ref()?)),
    }
}

/// With nothing named, a LimitRange's default would be put on the sidecar: its request would break
/// the sum that the pod requests, and its limit may be above the pod's. A limit alone stands only in
/// manifests. The API server makes it the pod's request as well, unless a container requests
/// something: then it takes the sum of the containers.
fn within_the_pods(
    pods_request: Option<&Quantity>,
    pods_limit: Option<&Quantity>,
    usual: &Quantity,
) -> Values {
    if pods_request.is_none() {
        return Values::default();
    }
    let limit = pods_limit.map(|pods| if pods.is_less_than(usual) { pods } else { usual });
    Values { request: Some(Quantity::zero()), limit: limit.cloned() }
}

/// The `usual` value if each container sets this one, zero if each sets it to zero.
fn as_all_set(
    containers: &[Container],
    usual: &Quantity,
    of: impl Fn(&Resources) -> Option<&Quantity>,
) -> Option<Quantity> {
    let set: Option<Vec<&Quantity>> =
        containers.iter().map(|container| of(container.resources.as_ref()?)).collect();
    let set = set.filter(|set| !set.is_empty())?;
    let zero_everywhere = set.into_iter().all(Quantity::is_zero);
    Some(if zero_everywhere { Quantity::zero() } else { usual.clone() })
}

fn amounts(
    cpu: Option<Quantity>,
    memory: Option<Quantity>,
) -> Option<BTreeMap<String, ApiQuantity>> {
    let set: BTreeMap<_, _> = [("cpu", cpu), ("memory", memory)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), ApiQuantity(value?.to_string()))))
        .collect();
    (!set.is_empty()).then_some(set)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pod::Pod;

    /// The resources that the sidecar gets beside containers with these.
    fn beside(containers: &[Value], pod_resources: &Value, annotations: &Value) -> Value {
        let containers: Vec<Value> = containers
            .iter()
            .map(|resources| json!({"name": "x", "resources": resources}))
            .collect();
        // An init container that sets nothing is always there, and must not count.
        let pod = json!({
            "metadata": {"annotations": annotations},
            "spec": {"containers": containers, "initContainers": [{"name": "i"}], "resources": pod_resources},
        });
        let pod = pod.to_string();
        let pod: Pod = serde_json::from_str(&pod).unwrap();
        let policy = Policy::default();
        let settings = super::super::annotations::settings(pod.metadata.as_ref(), None, &policy);
        let settings = settings.unwrap();
        let resources = follow(pod.spec.as_ref().unwrap(), &settings, &policy);
        serde_json::to_value(resources.unwrap_or_default()).unwrap()
    }

    #[test]
    fn each_value_is_set_exactly_when_all_containers_set_it() {
        let all = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}});
        let ours = json!({"requests": {"cpu": "50m", "memory": "12Mi"}, "limits": {"cpu": "50m", "memory": "12Mi"}});
        for (containers, expected) in [
            (vec![json!({})], json!({})),
            (vec![Value::Null], json!({})),
            (vec![json!({"requests": null, "limits": {}})], json!({})),
            (vec![all.clone()], ours.clone()),
            (vec![all.clone(), all.clone()], ours.clone()),
            (vec![all.clone(), json!({})], json!({})),
            (vec![json!({"requests": {"cpu": "1"}})], json!({"requests": {"cpu": "50m"}})),
            (vec![json!({"limits": {"memory": "1Gi"}})], json!({"limits": {"memory": "12Mi"}})),
            (
                vec![all.clone(), json!({"requests": {"memory": "1Gi"}, "limits": {"cpu": 1}})],
                json!({"requests": {"memory": "12Mi"}, "limits": {"cpu": "50m"}}),
            ),
            (
                vec![json!({"requests": {"cpu": "0", "memory": "0"}})],
                json!({"requests": {"cpu": "0", "memory": "0"}}),
            ),
            (
                vec![json!({"requests": {"cpu": "0"}}), json!({"requests": {"cpu": 0.5}})],
                json!({"requests": {"cpu": "50m"}}),
            ),
            (vec![json!({"requests": {"ephemeral-storage": "1Gi"}})], json!({})),
        ] {
            assert_eq!(beside(&containers, &Value::Null, &Value::Null), expected, "{containers:?}");
        }
    }

    #[test]
    fn what_the_pod_as_a_whole_sets_is_neither_broken_nor_requested_again() {
        let all = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
        let followed = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "50m"}});
        for (pod_resources, expected) in [
            (json!({"requests": {"cpu": "3"}}), json!({"requests": {"cpu": "0"}})),
            (
                json!({"requests": {"cpu": "3"}, "limits": {"cpu": "3"}}),
                json!({"requests": {"cpu": "0"}, "limits": {"cpu": "50m"}}),
            ),
            (
                json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "0.02"}}),
                json!({"requests": {"cpu": "0"}, "limits": {"cpu": "0.02"}}),
            ),
            (
                json!({"requests": {"cpu": "3", "memory": "3Gi"}, "limits": {"cpu": "3", "memory": "8Mi"}}),
                json!({"requests": {"cpu": "0", "memory": "0"}, "limits": {"cpu": "50m", "memory": "8Mi"}}),
            ),
            // Of a manifest: the API server sends the request that comes of it.
            (json!({"limits": {"cpu": "3"}}), json!({})),
            // CPU goes by the containers then.
            (
                json!({"requests": {"memory": "3Gi"}, "limits": {"memory": "3Gi"}}),
                json!({"requests": {"cpu": "50m", "memory": "0"}, "limits": {"cpu": "50m", "memory": "12Mi"}}),
            ),
            (json!({"limits": {"hugepages-2Mi": "4Mi"}}), followed.clone()),
            (json!({}), followed.clone()),
            (json!({"requests": {}, "limits": null}), followed.clone()),
        ] {
            assert_eq!(
                beside(std::slice::from_ref(&all), &pod_resources, &Value::Null),
                expected,
                "{pod_resources}"
            );
        }
    }

    #[test]
    fn an_annotation_overrides_the_rule() {
        let annotations = json!({"secret-handshake/cpu": "200m"});
        let expected = json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "200m"}});
        assert_eq!(beside(&[json!({})], &Value::Null, &annotations), expected);
        assert_eq!(beside(&[json!({})], &json!({"limits": {"cpu": "1"}}), &annotations), expected);
        let memory = json!({"requests": {"memory": "64Mi"}, "limits": {"memory": "64Mi"}});
        assert_eq!(
            beside(&[json!({})], &Value::Null, &json!({"secret-handshake/memory": "64Mi"})),
            memory
        );
    }
}
