//! Which pods are upgraded, in which order, and which are left.

use std::collections::BTreeMap;

use super::pod::{Pod, PodSidecar, Workload};

/// What is done, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many pods have a sidecar, of those that were asked for.
    pub(super) with_sidecar: usize,
    /// How many of them have the wanted image.
    pub(super) up_to_date: usize,
    /// By namespace and name.
    pub(super) groups: Vec<Group>,
    pub(super) left: Vec<Left>,
}

/// Pods of one workload that are upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) namespace: String,
    pub(super) workload: Workload,
    /// First those that serve nobody, since their sidecar does not run.
    pub(super) pods: Vec<Pod>,
    /// The names of the workload's pods that are Ready, asked for or not, or will be when their turn is
    /// over.
    pub(super) ready: Vec<String>,
}

/// A pod whose sidecar has another image, and keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) namespace: String,
    pub(super) workload: Workload,
    pub(super) pod: String,
    pub(super) why: Why,
}

/// Why a pod is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is the only Ready pod of its workload.
    OnlyReady,
    /// Its sidecar is native: an init container.
    Native,
    /// Its sidecar has not been started yet.
    NotStarted,
    /// Its sidecar runs, and the pod is not Ready.
    NotReady,
}

/// Plans for `pods`, which are all of their namespaces: what is asked for by `wanted`, or all of them if
/// that is empty, gets `image`.
pub(super) fn plan(pods: Vec<Pod>, image: &str, wanted: &[Workload], allow_gap: bool) -> Plan {
    let mut workloads: BTreeMap<(String, Workload), Vec<Pod>> = BTreeMap::new();
    for pod in pods {
        let key = (pod.namespace.clone(), pod.workload.clone());
        workloads.entry(key).or_default().push(pod);
    }
    let mut plan = Plan::default();
    for ((namespace, workload), mut pods) in workloads {
        let ready = pods.iter().filter(|pod| pod.ready).map(|pod| pod.name.clone()).collect();
        let mut group = Group { namespace, workload, pods: Vec::new(), ready };
        pods.sort_by(|a, b| (a.ready, &a.name).cmp(&(b.ready, &b.name)));
        pods.retain(|pod| wanted.is_empty() || wanted.iter().any(|wanted| wanted.names(pod)));
        for pod in pods {
            let Some(sidecar) = &pod.sidecar else { continue };
            plan.with_sidecar += 1;
            if sidecar.image == image {
                plan.up_to_date += 1;
                continue;
            }
            match reason_to_leave(&pod, sidecar, &group, allow_gap) {
                None => {
                    if !pod.ready {
                        group.ready.push(pod.name.clone());
                    }
                    group.pods.push(pod);
                }
                Some(why) => plan.left.push(Left {
                    namespace: pod.namespace,
                    workload: pod.workload,
                    pod: pod.name,
                    why,
                }),
            }
        }
        if !group.pods.is_empty() {
            plan.groups.push(group);
        }
    }
    plan
}

fn reason_to_leave(pod: &Pod, sidecar: &PodSidecar, group: &Group, allow_gap: bool) -> Option<Why> {
    match sidecar {
        PodSidecar { native: true, .. } => Some(Why::Native),
        // One whose sidecar does not run can only win.
        PodSidecar { trouble: Some(_), .. } => None,
        PodSidecar { running: None, .. } => Some(Why::NotStarted),
        _ if !pod.ready => Some(Why::NotReady),
        _ => (group.has_gap(pod) && !allow_gap).then_some(Why::OnlyReady),
    }
}

impl Group {
    /// Whether nobody of the workload is Ready while this pod is not.
    pub(super) fn has_gap(&self, pod: &Pod) -> bool {
        pod.ready && self.others_ready(pod).next().is_none()
    }

    /// The pods of the workload that may be Ready, but for this one.
    pub(super) fn others_ready<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a str> {
        self.ready.iter().map(String::as_str).filter(|name| *name != pod.name)
    }
}

impl Plan {
    /// How many pods are upgraded.
    pub(super) fn count(&self) -> usize {
        self.groups.iter().map(|group| group.pods.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pod::Trouble;
    use super::*;

    const NEW: &str = "sidecar:2";

    /// `ns kind/workload pod state`, of which state is some of: `ready`, `new`, `none` (no sidecar),
    /// `native`, `starting`, `broken`.
    fn pod(line: &str) -> Pod {
        let words: Vec<&str> = line.split(' ').collect();
        let is = |state: &str| words[3..].contains(&state);
        let trouble = Trouble { reason: "ImagePullBackOff".to_owned(), message: String::new() };
        let sidecar = PodSidecar {
            native: is("native"),
            image: if is("new") { NEW } else { "sidecar:1" }.to_owned(),
            running: (!is("starting") && !is("broken")).then(|| "containerd://1".to_owned()),
            trouble: is("broken").then_some(trouble),
        };
        Pod {
            namespace: words[0].to_owned(),
            name: words[2].to_owned(),
            uid: String::new(),
            version: String::new(),
            workload: words[1].parse().unwrap(),
            ready: is("ready"),
            sidecar: (!is("none")).then_some(sidecar),
        }
    }

    /// The pods that are upgraded in their order, those that are left and why, and the counts.
    fn told(lines: &[&str], wanted: &[&str], allow_gap: bool) -> String {
        let wanted: Vec<Workload> = wanted.iter().map(|name| name.parse().unwrap()).collect();
        let pods = lines.iter().map(|line| pod(line)).collect();
        let plan = plan(pods, NEW, &wanted, allow_gap);
        let upgraded: Vec<_> =
            plan.groups.iter().flat_map(|group| &group.pods).map(|pod| pod.name.clone()).collect();
        let left: Vec<_> =
            plan.left.iter().map(|left| format!("{} {:?}", left.pod, left.why)).collect();
        assert_eq!(plan.with_sidecar, plan.up_to_date + plan.count() + plan.left.len());
        format!("{} | {} | {}", upgraded.join(" "), left.join(", "), plan.up_to_date)
    }

    #[test]
    fn what_is_upgraded_and_what_is_left() {
        for (lines, expected) in [
            (
                &["n deploy/a a2 ready", "n deploy/a a1 ready", "n deploy/a a3 ready new"][..],
                "a1 a2 |  | 1",
            ),
            (&[], " |  | 0"),
            // One that is Ready: alone, beside one that has no sidecar, beside one of another workload.
            (&["n deploy/a a1 ready"], " | a1 OnlyReady | 0"),
            (&["n deploy/a a1 ready", "n deploy/a a2 ready none"], "a1 |  | 0"),
            (&["n deploy/a a1 ready", "n deploy/b b1 ready none"], " | a1 OnlyReady | 0"),
            (&["n deploy/a a1 ready", "m deploy/a a2 ready"], " | a2 OnlyReady, a1 OnlyReady | 0"),
            (&["n deploy/a a1 ready", "n deploy/a a2"], " | a2 NotReady, a1 OnlyReady | 0"),
            (&["n pod/p p ready", "n pod/q q ready"], " | p OnlyReady, q OnlyReady | 0"),
            // Who serves nobody comes first, and has no gap.
            (&["n deploy/a a1 broken"], "a1 |  | 0"),
            (&["n deploy/a a1 ready", "n deploy/a a2 broken"], "a2 a1 |  | 0"),
            (
                &["n deploy/a a1 ready", "n deploy/a a2 broken", "n deploy/a a3 ready"],
                "a2 a1 a3 |  | 0",
            ),
            (&["n deploy/a a1 starting", "n deploy/a a2 ready new"], " | a1 NotStarted | 1"),
            (&["n job/j j1 ready native", "n job/j j2 native new"], " | j1 Native | 1"),
            (&["n deploy/a a1 native broken"], " | a1 Native | 0"),
            (&["n deploy/a a1 broken new"], " |  | 1"),
        ] {
            assert_eq!(told(lines, &[], false), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_gap_is_made_when_it_is_allowed() {
        assert_eq!(told(&["n deploy/a a1 ready", "n pod/p p ready"], &[], true), "a1 p |  | 0");
        assert_eq!(
            told(&["n deploy/a a1", "n job/j j1 native"], &[], true),
            " | a1 NotReady, j1 Native | 0"
        );
    }

    #[test]
    fn what_is_not_asked_for_is_only_counted_as_ready() {
        let all = [
            "n deploy/a a1 ready",
            "n deploy/a a2 ready",
            "n deploy/b b1 ready",
            "n deploy/b b2 ready",
        ];
        assert_eq!(told(&all, &["deploy/b"], false), "b1 b2 |  | 0");
        assert_eq!(told(&all, &["pod/a2", "deploy/b"], false), "a2 b1 b2 |  | 0");
        assert_eq!(told(&all[..1], &["pod/a1"], false), " | a1 OnlyReady | 0");
        assert_eq!(told(&all, &["deploy/c"], false), " |  | 0");
    }
}
