//! Who gets the sidecar, who decides it, and who is never asked about.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::objects::{annotated, labelled, no_sidecar, pod, restricted_pod, sidecar, workload};
use super::scenarios;
use super::scene::Scene;
use crate::product::install::NAMESPACE;
use lab::cluster::audit::{Call, Event, ObjectRef};
use lab::until::until;

scenarios! {
    matrix: ControlPlane, Alone, "selection/matrix",
        "namespace x workload x pod label: the nearest wins, one entry is called, or none";
    left_out: ControlPlane, Together, "selection/left-out",
        "handshake done already, mirror pods, kube-system and the webhook's own namespace: never called";
    spellings_of_no: ControlPlane, Together, "selection/spellings-of-no",
        "false, disabled, off, no and 0 say no in whatever case: the common spellings without a call";
}

/// No label, and every value that the design tells apart.
pub(super) const LABELS: [Option<&str>; 7] =
    [None, Some(""), Some("true"), Some("false"), Some("disabled"), Some("off"), Some("other")];

fn says_yes(label: Option<&str>) -> Option<bool> {
    label.map(|value| !["false", "disabled", "off"].contains(&value))
}

pub(super) struct Case {
    pub(super) namespace: Option<&'static str>,
    workload: Option<&'static str>,
    template: Option<&'static str>,
    pub(super) name: String,
}

impl Case {
    /// The label that the pod has when its workload has been through the webhook.
    fn copied(&self) -> Option<&'static str> {
        self.template.or(self.workload)
    }

    /// The workload as somebody applies it.
    pub(super) fn manifest(&self, namespace: &str) -> Value {
        let mut workload = workload("Deployment", namespace, &self.name);
        if let Some(label) = self.workload {
            workload = labelled(workload, label);
        }
        if let Some(label) = self.template {
            workload["spec"]["template"] = labelled(workload["spec"]["template"].take(), label);
        }
        workload
    }

    /// The entry that is called for the pod, if any.
    fn entry(&self) -> Option<&'static str> {
        match (says_yes(self.copied()), says_yes(self.namespace)) {
            (Some(true), _) => Some("pod.secret-handshake.dev"),
            (None, Some(true)) => Some("namespace.secret-handshake.dev"),
            _ => None,
        }
    }
}

async fn matrix(scene: &Scene) -> Result<()> {
    let mut namespaces = BTreeMap::new();
    for label in LABELS {
        let labels: Vec<_> = label.iter().map(|value| ("secret-handshake", *value)).collect();
        namespaces.insert(label, scene.namespace(&labels).await?);
    }
    let before = scene.replicas()?.metric(ADMISSIONS).await?;
    let cases = cases();
    // Dry runs go through admission like everything else; the pods come from the templates as a
    // controller would make them.
    for case in &cases {
        admitted(scene, &namespaces[&case.namespace], case).await?;
    }

    let events = audited(scene, &cases, &namespaces).await?;
    let mut expected = 0_u32;
    for case in &cases {
        let namespace = &namespaces[&case.namespace];
        let called = |resource: &str| -> Result<Vec<String>> {
            let wanted = (resource, case.name.as_str(), namespace.as_str());
            let about = |it: &ObjectRef| (&*it.resource, &*it.name, &*it.namespace) == wanted;
            let event = events.iter().find(|event| about(&event.object_ref));
            let event = event.with_context(|| format!("no audit line for {}", describe(case)))?;
            Ok(event.webhook_calls()?.into_iter().map(|Call { webhook, .. }| webhook).collect())
        };
        let for_workload: &[&str] = match (case.template, case.workload) {
            (None, Some(_)) => &["workload.secret-handshake.dev"],
            _ => &[],
        };
        let workload = called("deployments")?;
        ensure!(workload == for_workload, "{}: the workload went to {workload:?}", describe(case));
        let for_pod: Vec<&str> = case.entry().into_iter().collect();
        let pod = called("pods")?;
        ensure!(pod == for_pod, "{}: the pod went to {pod:?}", describe(case));
        expected += u32::try_from(for_workload.len() + for_pod.len())?;
    }
    let counted = scene.replicas()?.metric(ADMISSIONS).await? - before;
    ensure!(
        (counted - f64::from(expected)).abs() < 0.5,
        "the webhook was called {counted} times instead of {expected}"
    );
    Ok(())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for namespace in LABELS {
        for workload in LABELS {
            for template in LABELS {
                let name = format!("case-{}", cases.len());
                cases.push(Case { namespace, workload, template, name });
            }
        }
    }
    cases
}

/// Has a combination's workload admitted, and the pod that comes of it; says whether that has a sidecar.
pub(super) async fn admitted(scene: &Scene, namespace: &str, case: &Case) -> Result<bool> {
    let admitted = scene.api().dry_run(&case.manifest(namespace)).await?;
    let template = &admitted["spec"]["template"];
    let copied = template["metadata"]["labels"]["secret-handshake"].as_str();
    ensure!(copied == case.copied(), "{}: the template's label is {copied:?}", describe(case));
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": case.name, "labels": template["metadata"]["labels"],
        },
        "spec": template["spec"],
    });
    let pod = scene.api().dry_run(&pod).await?;
    let there = sidecar(&pod).is_some();
    ensure!(
        there == case.entry().is_some(),
        "{}: that a sidecar is there is {there}",
        describe(case)
    );
    Ok(there)
}

const ADMISSIONS: &str = "secret_handshake_webhook_admissions_total";

pub(super) fn describe(case: &Case) -> String {
    let Case { namespace, workload, template, .. } = case;
    format!("namespace {namespace:?}, workload {workload:?}, pod template {template:?}")
}

/// The audit log's lines about all these dry runs. They are written a moment after the answers.
pub(super) async fn audited(
    scene: &Scene,
    cases: &[Case],
    namespaces: &BTreeMap<Option<&str>, String>,
) -> Result<Vec<Event>> {
    let audit = scene.cluster().audit()?;
    until("the audit log", Duration::from_secs(20), async || {
        let ours = |about: &ObjectRef| namespaces.values().any(|name| *name == about.namespace);
        let mut events = audit.events("dryRun=All")?;
        events.retain(|event| ours(&event.object_ref));
        let wanted = cases.len() * 2;
        ensure!(events.len() >= wanted, "{} of {wanted} lines are there", events.len());
        Ok(events)
    })
    .await
}

async fn left_out(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[("secret-handshake", "true")]).await?;
    let name = format!("left-out-{}", scene.number());
    let pod = |namespace| labelled(pod(namespace, &name), "true");
    // A mirror pod is the API's picture of what a kubelet runs from a file.
    let mut mirror = annotated(pod(&namespace), "kubernetes.io/config.mirror", "x");
    mirror["spec"]["nodeName"] = json!("nowhere");
    let cases = [
        ("the handshake done", annotated(pod(&namespace), "secret-handshake-done", "")),
        ("the handshake done", annotated(pod(&namespace), "secret-handshake-done", "true")),
        ("a mirror pod", mirror),
        ("kube-system", pod("kube-system")),
        ("kube-public", pod("kube-public")),
        ("kube-node-lease", pod("kube-node-lease")),
        // Which is `restricted`, as Legacy is not by itself.
        ("the webhook's own namespace", labelled(restricted_pod(NAMESPACE, &name), "true")),
    ];
    let count = cases.len();
    for (case, pod) in cases {
        let admitted = scene.api().dry_run(&pod).await.context(case)?;
        no_sidecar(&admitted).context(case)?;
    }
    until("the audit log", Duration::from_secs(20), async || {
        let events = scene.cluster().audit()?.events(&name)?;
        ensure!(events.len() == count, "{} of {count} lines are there", events.len());
        for event in events {
            let calls = event.webhook_calls()?;
            let namespace = event.object_ref.namespace;
            ensure!(calls.is_empty(), "{} was called in {namespace}", calls[0].webhook);
        }
        Ok(())
    })
    .await
}

async fn spellings_of_no(scene: &Scene) -> Result<()> {
    let yes = scene.namespace(&[("secret-handshake", "true")]).await?;
    for no in ["false", "False", "FALSE", "disabled", "Off", "NO", "no", "0"] {
        let name = format!("no-{}", scene.number());
        no_sidecar(&scene.api().create(&labelled(pod(&yes, &name), no)).await?).context(no)?;
        let namespace = scene.namespace(&[("secret-handshake", no)]).await?;
        no_sidecar(&scene.api().create(&pod(&namespace, &name)).await?).context(no)?;
        until("the audit log", Duration::from_secs(20), async || {
            let mut events = scene.cluster().audit()?.events(&name)?;
            events.retain(|event| event.verb == "create" && event.object_ref.name == name);
            ensure!(events.len() == 2, "{} of 2 lines are there", events.len());
            for event in events {
                ensure!(event.webhook_calls()?.is_empty(), "{no}: the webhook was called");
            }
            Ok(())
        })
        .await?;
    }
    // No selector lists this one.
    no_sidecar(&scene.api().create(&labelled(pod(&yes, "odd"), "fALSE")).await?)
}
