use serde::Serialize;

use super::Policy;
use super::annotations::Settings;
use crate::review::borrowed::Amount;
use crate::review::object::{Container, ContainerResources, PodSpec};

/// Which resources the sidecar names, as quantities; `None` is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources<'a> {
    #[serde(skip_serializing_if = "Values::are_empty")]
    pub requests: Values<'a>,
    #[serde(skip_serializing_if = "Values::are_empty")]
    pub limits: Values<'a>,
}

/// The requests, or the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Values<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<&'a str>,
}

impl Values<'_> {
    fn are_empty(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

impl Resources<'_> {
    /// Whether nothing is named at all.
    pub fn are_empty(&self) -> bool {
        self.requests.are_empty() && self.limits.are_empty()
    }
}

/// The sidecar's resources follow the pod's, so that its quality-of-service class stays what it was and a
/// ResourceQuota that the pod satisfied stays satisfied.
///
/// Each of the four values is set exactly when each of the pod's `containers` sets it. Init
/// containers don't count, native sidecars among them neither: where they keep the pod out of a
/// class or a quota, no value of ours can put it in, and where they alone set something, the pod
/// is Burstable either way. A value that is zero everywhere, which Kubernetes takes for none when
/// it tells the class, is a zero here as well. Pod-level resources (KEP-2837) rule the pod as a
/// whole: nothing is set then. An annotation overrides all that, for a LimitRange's minimum.
pub(super) fn follow<'a>(
    spec: &PodSpec<'_>,
    settings: &Settings<'a>,
    policy: &'a Policy,
) -> Resources<'a> {
    let pod_level = spec
        .resources
        .as_ref()
        .is_some_and(|pod| !pod.requests.is_empty() || !pod.limits.is_empty());
    let containers = if pod_level { &[] } else { spec.containers() };

    let cpu = |of: fn(&ContainerResources) -> Option<Amount>| {
        settings.cpu.or_else(|| as_all_set(containers, of, policy.cpu.as_str()))
    };
    let memory = |of: fn(&ContainerResources) -> Option<Amount>| {
        settings.memory.or_else(|| as_all_set(containers, of, policy.memory.as_str()))
    };
    Resources {
        requests: Values {
            cpu: cpu(|it| it.requests?.cpu),
            memory: memory(|it| it.requests?.memory),
        },
        limits: Values { cpu: cpu(|it| it.limits?.cpu), memory: memory(|it| it.limits?.memory) },
    }
}

/// The `usual` value if each container sets this one, zero if each sets it to zero.
fn as_all_set<'a>(
    containers: &[Container<'_>],
    of: fn(&ContainerResources) -> Option<Amount>,
    usual: &'a str,
) -> Option<&'a str> {
    if containers.is_empty() {
        return None;
    }
    let mut zero_everywhere = true;
    for container in containers {
        zero_everywhere &= of(container.resources.as_ref()?)?.is_zero;
    }
    Some(if zero_everywhere { "0" } else { usual })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::review::object::Pod;

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
        let pod: Pod<'_> = serde_json::from_str(&pod).unwrap();
        let settings = super::super::annotations::settings(&pod).unwrap();
        let policy = Policy::default();
        serde_json::to_value(follow(pod.spec.as_ref().unwrap(), &settings, &policy)).unwrap()
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
    fn pod_level_resources_rule_alone() {
        let all = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
        for (pod_resources, expected) in [
            (json!({"requests": {"cpu": "3"}}), json!({})),
            (json!({"limits": {"memory": "3Gi"}}), json!({})),
            (json!({"limits": {"hugepages-2Mi": "4Mi"}}), json!({})),
            (json!({}), json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "50m"}})),
            (
                json!({"requests": {}, "limits": null}),
                json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "50m"}}),
            ),
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
