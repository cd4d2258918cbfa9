//! The little that is kept of a pod.

use std::fmt;
use std::str::FromStr;

use injection::{Mode, printable};
use k8s_openapi::api::core::v1 as core;

use crate::pod;
use crate::sidecar::Sidecar;

/// A pod that has not ended and is not being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) workload: Workload,
    pub(super) ready: bool,
    pub(super) sidecar: Option<PodSidecar>,
}

/// A pod's sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodSidecar {
    pub(super) native: bool,
    pub(super) image: String,
    /// The container that runs, as the runtime names it: a restarted one has another.
    pub(super) running: Option<String>,
    /// Why none runs; `None` if one does, or has not been tried yet.
    pub(super) trouble: Option<Trouble>,
}

/// Why a container does not run, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// One word, such as `ImagePullBackOff`.
    pub(super) reason: String,
    pub(super) message: String,
}

/// Who made a pod, or the pod itself, as kubectl writes it: `deployment/legacy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// In lower case, and in the singular.
    pub kind: String,
    /// Of the object.
    pub name: String,
}

impl Pod {
    /// `None` if it has ended or is being deleted: its sidecar is of no use to anybody.
    pub(super) fn of(pod: &core::Pod) -> Option<Self> {
        if pod::is_over(pod) {
            return None;
        }
        let meta = &pod.metadata;
        Some(Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
            workload: Workload::of(pod),
            ready: pod::is_ready(pod),
            sidecar: Sidecar::of(pod).map(|sidecar| PodSidecar::of(&sidecar)),
        })
    }
}

impl PodSidecar {
    fn of(sidecar: &Sidecar) -> Self {
        let state = sidecar.status.as_ref().and_then(|status| status.state.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref()).map(|waiting| {
            (waiting.reason.clone().unwrap_or_default(), waiting.message.as_deref())
        });
        let ended = state.and_then(|state| state.terminated.as_ref());
        let ended = ended.map(|it| (it.reason.clone().unwrap_or_default(), it.message.as_deref()));
        let runs = state.is_some_and(|state| state.running.is_some());
        let id = sidecar.status.as_ref().and_then(|status| status.container_id.clone());
        Self {
            native: sidecar.mode == Mode::Native,
            image: sidecar.image.clone(),
            running: id.filter(|_| runs),
            trouble: waiting
                .or(ended)
                .filter(|(reason, _)| !matches!(&**reason, "ContainerCreating" | "PodInitializing"))
                .map(|(reason, message)| Trouble {
                    reason: printable(&reason, 63),
                    message: one_line(message.unwrap_or_default()),
                }),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.message {
            "" => f.write_str(&self.reason),
            message => write!(f, "{}: {message}", self.reason),
        }
    }
}

/// Words of a kubelet or a registry as they may be shown: one line of visible ASCII.
pub(super) fn one_line(text: &str) -> String {
    const MOST: usize = 400;
    let visible = |char: char| match char {
        ' ' | '\n' | '\t' => ' ',
        char if char.is_ascii_graphic() => char,
        _ => '?',
    };
    text.trim().chars().take(MOST).map(visible).collect()
}

impl Workload {
    /// The controller that owns the pod, and of a Deployment's `ReplicaSet` the Deployment. A pod that
    /// nobody owns stands for itself.
    fn of(pod: &core::Pod) -> Self {
        let meta = &pod.metadata;
        let (kind, name) = match (pod::deployment(meta), pod::controller(meta)) {
            (Some(deployment), _) => ("deployment".to_owned(), deployment),
            (None, Some(owner)) => (printable(&owner.kind, 63).to_ascii_lowercase(), &*owner.name),
            (None, None) => ("pod".to_owned(), meta.name.as_deref().unwrap_or_default()),
        };
        Self { kind, name: name.to_owned() }
    }

    /// Whether this, which a person named, is the pod or its workload.
    pub(super) fn names(&self, pod: &Pod) -> bool {
        *self == pod.workload || (self.kind == "pod" && self.name == pod.name)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl FromStr for Workload {
    type Err = String;

    /// As kubectl takes it: short, in the plural, with its group.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').unwrap_or((text, ""));
        if kind.is_empty() || name.is_empty() || name.contains('/') {
            return Err("expected KIND/NAME, such as deployment/legacy".to_owned());
        }
        let kind = kind.split('.').next().unwrap_or(kind).to_ascii_lowercase();
        let kind = match &*kind {
            "deploy" | "deployments" => "deployment",
            "sts" | "statefulsets" => "statefulset",
            "ds" | "daemonsets" => "daemonset",
            "rs" | "replicasets" => "replicaset",
            "po" | "pods" => "pod",
            "jobs" => "job",
            other => other,
        };
        Ok(Self { kind: kind.to_owned(), name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(pod: Value) -> Option<Pod> {
        Pod::of(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_pods_workload_is_its_controller() {
        let owner = |kind: &str, name: &str| {
            json!([{"kind": kind, "name": name, "controller": true,
            "apiVersion": "apps/v1", "uid": "u"}])
        };
        let mut not_controlling = owner("ReplicaSet", "legacy-5d4");
        not_controlling[0]["controller"] = json!(false);
        for (owners, hash, expected) in [
            (json!([]), "", "pod/p"),
            (not_controlling, "5d4", "pod/p"),
            (owner("ReplicaSet", "legacy-5d4"), "5d4", "deployment/legacy"),
            (owner("ReplicaSet", "legacy-x-5d4"), "5d4", "deployment/legacy-x"),
            (owner("ReplicaSet", "legacy"), "", "replicaset/legacy"),
            (owner("ReplicaSet", "legacy-x"), "5d4", "replicaset/legacy-x"),
            (owner("ReplicaSet", "-5d4"), "5d4", "replicaset/-5d4"),
            (owner("StatefulSet", "ledger"), "", "statefulset/ledger"),
            (owner("DaemonSet", "agent"), "", "daemonset/agent"),
            (owner("Rollout", "blue"), "", "rollout/blue"),
        ] {
            let mut pod = json!({"metadata": {"name": "p", "ownerReferences": owners}});
            if !hash.is_empty() {
                pod["metadata"]["labels"] = json!({"pod-template-hash": hash});
            }
            assert_eq!(of(pod).unwrap().workload.to_string(), expected);
        }
    }

    #[test]
    fn a_workload_is_named_as_kubectl_takes_it() {
        for (text, expected) in [
            ("deploy/legacy", "deployment/legacy"),
            ("Deployments.v1.apps/legacy", "deployment/legacy"),
            ("sts/ledger", "statefulset/ledger"),
            ("ds/a", "daemonset/a"),
            ("po/p", "pod/p"),
            ("rollout/r", "rollout/r"),
        ] {
            assert_eq!(text.parse::<Workload>().unwrap().to_string(), expected, "{text}");
        }
        for text in ["legacy", "deploy/", "/legacy", "deploy/a/b", ""] {
            assert!(text.parse::<Workload>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_ends_is_not_kept() {
        assert!(of(json!({"metadata": {}})).is_some());
        assert_eq!(of(json!({"metadata": {}, "status": {"phase": "Succeeded"}})), None);
        assert_eq!(of(json!({"metadata": {}, "status": {"phase": "Failed"}})), None);
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(of(deleted), None);
    }

    #[test]
    fn the_sidecars_state_is_the_kubelets_word() {
        let runs = |id: &str| (Some(id.to_owned()), None);
        let trouble = |text: &str| (None, Some(text.to_owned()));
        for (status, expected) in [
            (json!({"state": {"running": {}}, "containerID": "c://1"}), runs("c://1")),
            (json!({"state": {"waiting": {"reason": "ContainerCreating"}}}), (None, None)),
            (json!({}), (None, None)),
            (
                json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no\nsuch \u{1b}[1m"}},
                    "containerID": "c://1"}),
                trouble("ImagePullBackOff: no such ?[1m"),
            ),
            (
                json!({"state": {"terminated": {"reason": "Error", "exitCode": 1}}}),
                trouble("Error"),
            ),
        ] {
            let mut status = status;
            for (key, value) in [
                ("name", json!("secret-handshake")),
                ("image", json!("")),
                ("imageID", json!("")),
                ("ready", json!(false)),
                ("restartCount", json!(0)),
            ] {
                status[key] = value;
            }
            let pod = json!({"metadata": {}, "status": {"containerStatuses": [status]}, "spec": {
                "containers": [{"name": "secret-handshake", "image": "i", "args": ["--legacy-port=1"]}],
            }});
            let sidecar = of(pod).unwrap().sidecar.unwrap();
            let told = sidecar.trouble.map(|trouble| trouble.to_string());
            assert_eq!((sidecar.running, told), expected);
        }
    }
}
