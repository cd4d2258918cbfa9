//! What a person names: `pod/NAME`, `deploy NAME`.

use anyhow::{Context as _, bail, ensure};
use injection::WorkloadKind;

/// What is explained.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) name: String,
}

/// A kind that has something to do with sidecars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Pod,
    Workload(WorkloadKind),
    Namespace,
}

impl Kind {
    /// The name that Kubernetes has for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Workload(kind) => kind.as_str(),
            Self::Namespace => "Namespace",
        }
    }

    /// The kind that an API group and a kind's name stand for.
    pub(super) fn of(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("", "Pod") => Some(Self::Pod),
            ("", "Namespace") => Some(Self::Namespace),
            _ => WorkloadKind::of(group, kind).map(Self::Workload),
        }
    }

    /// By its plural, its singular or the short name that kubectl knows, with or without the API group.
    fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let (name, group) = name.split_once('.').unwrap_or((&name, ""));
        let kind = match name {
            "pod" | "pods" | "po" => Self::Pod,
            "namespace" | "namespaces" | "ns" => Self::Namespace,
            "deployment" | "deployments" | "deploy" => Self::Workload(WorkloadKind::Deployment),
            "statefulset" | "statefulsets" | "sts" => Self::Workload(WorkloadKind::StatefulSet),
            "daemonset" | "daemonsets" | "ds" => Self::Workload(WorkloadKind::DaemonSet),
            "replicaset" | "replicasets" | "rs" => Self::Workload(WorkloadKind::ReplicaSet),
            "job" | "jobs" => Self::Workload(WorkloadKind::Job),
            "cronjob" | "cronjobs" | "cj" => Self::Workload(WorkloadKind::CronJob),
            _ => return None,
        };
        let group = group.split_once('.').map_or(group, |(version, rest)| {
            // kubectl takes `deployments.v1.apps` too.
            if version == "v1" { rest } else { group }
        });
        let fits = group.is_empty() || Self::of(group, kind.as_str()) == Some(kind);
        fits.then_some(kind)
    }
}

impl Target {
    /// Reads `TYPE/NAME`, or `TYPE` and `NAME`.
    pub(super) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let (kind, name) = match words {
            [word] => word.split_once('/').with_context(|| {
                format!("{word:?} names no object: pod/NAME, deploy/NAME, namespace/NAME")
            })?,
            [kind, name] => (kind.as_str(), name.as_str()),
            _ => bail!("one object at a time: pod/NAME, deploy/NAME, namespace/NAME"),
        };
        let known = Kind::named(kind).with_context(|| {
            format!(
                "{kind:?} is no kind that gets a sidecar: pod, deployment, statefulset, daemonset, replicaset, job, cronjob, namespace"
            )
        })?;
        // It becomes a part of a path.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        let fits = (1..=253).contains(&name.len()) && name.bytes().all(is_name);
        ensure!(fits, "{name:?} can't be the name of an object");
        Ok(Self { kind: known, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_for_kubectl() {
        for (words, expected) in [
            (&["pod/a"][..], Some((Kind::Pod, "a"))),
            (&["po", "a.b-1"], Some((Kind::Pod, "a.b-1"))),
            (&["deploy/a"], Some((Kind::Workload(WorkloadKind::Deployment), "a"))),
            (&["deployments.apps/a"], Some((Kind::Workload(WorkloadKind::Deployment), "a"))),
            (&["deployments.v1.apps/a"], Some((Kind::Workload(WorkloadKind::Deployment), "a"))),
            (&["Deployment/a"], Some((Kind::Workload(WorkloadKind::Deployment), "a"))),
            (&["sts/a"], Some((Kind::Workload(WorkloadKind::StatefulSet), "a"))),
            (&["ds/a"], Some((Kind::Workload(WorkloadKind::DaemonSet), "a"))),
            (&["rs/a"], Some((Kind::Workload(WorkloadKind::ReplicaSet), "a"))),
            (&["job/a"], Some((Kind::Workload(WorkloadKind::Job), "a"))),
            (&["cj/a"], Some((Kind::Workload(WorkloadKind::CronJob), "a"))),
            (&["cronjobs.batch/a"], Some((Kind::Workload(WorkloadKind::CronJob), "a"))),
            (&["ns/a"], Some((Kind::Namespace, "a"))),
            (&["deployments.batch/a"], None),
            (&["svc/a"], None),
            (&["pod"], None),
            (&["pod/"], None),
            (&["pod/../../x"], None),
            (&["pod", "a", "b"], None),
            (&[], None),
        ] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let found = Target::parse(&words).ok();
            let expected = expected.map(|(kind, name)| Target { kind, name: name.to_owned() });
            assert_eq!(found, expected, "{words:?}");
        }
    }
}
