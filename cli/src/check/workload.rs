//! The workload that a pod is of.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// What has to be told to make new pods of a pod's kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    /// In lower case: `deployment`; `pod` for one that is nobody's.
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl Owner {
    pub(crate) fn of(pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let namespace = metadata.namespace.clone().unwrap_or_default();
        let (kind, name) = match (pod::deployment(metadata), pod::controller(metadata)) {
            (Some(deployment), _) => ("deployment".to_owned(), deployment),
            (None, Some(owner)) => (owner.kind.to_lowercase(), owner.name.as_str()),
            (None, None) => ("pod".to_owned(), metadata.name.as_deref().unwrap_or_default()),
        };
        Self { namespace, kind, name: name.to_owned() }
    }

    /// What makes new pods.
    pub(crate) fn renew(&self) -> String {
        let Self { namespace, kind, name } = self;
        match kind.as_str() {
            "deployment" | "statefulset" | "daemonset" => {
                format!("kubectl -n {namespace} rollout restart {kind}/{name}")
            }
            "pod" => format!("kubectl -n {namespace} delete pod {name}, and create it again"),
            "job" => format!("kubectl -n {namespace} delete job {name}, and create it again"),
            _ => format!("kubectl -n {namespace} delete the pods of {kind}/{name}"),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, kind, name } = self;
        write!(f, "{namespace}/{kind}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pods_are_of_what_people_restart() {
        for (owner, hash, expected, renew) in [
            (
                json!({"kind": "ReplicaSet", "name": "legacy-a-5d9"}),
                "5d9",
                "n/deployment/legacy-a",
                "rollout restart deployment/legacy-a",
            ),
            (
                json!({"kind": "ReplicaSet", "name": "alone"}),
                "5d9",
                "n/replicaset/alone",
                "delete the pods of replicaset/alone",
            ),
            (
                json!({"kind": "StatefulSet", "name": "s"}),
                "",
                "n/statefulset/s",
                "rollout restart statefulset/s",
            ),
            (json!({"kind": "Job", "name": "j"}), "", "n/job/j", "delete job j"),
            (
                json!({"kind": "Rollout", "name": "r"}),
                "",
                "n/rollout/r",
                "delete the pods of rollout/r",
            ),
            (Value::Null, "", "n/pod/p", "delete pod p"),
        ] {
            let mut owner = owner;
            let owners = if owner.is_null() {
                json!([])
            } else {
                owner["controller"] = json!(true);
                owner["apiVersion"] = json!("apps/v1");
                owner["uid"] = json!("u");
                json!([owner])
            };
            let pod = json!({"metadata": {"namespace": "n", "name": "p",
                "labels": {"pod-template-hash": hash}, "ownerReferences": owners}});
            let owner = Owner::of(&serde_json::from_value(pod).unwrap());
            assert_eq!(owner.to_string(), expected);
            assert!(owner.renew().contains(renew), "{}", owner.renew());
        }
    }
}
