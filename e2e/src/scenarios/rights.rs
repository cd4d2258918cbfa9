//! What the webhook may do, and what it does: the audit log has every request.

use std::collections::BTreeSet;

use lab::cluster::audit::Event;

use super::certificates::{SHORT_LIVES, from_nothing};
use super::prelude::*;

scenarios! {
    used_and_enough: ControlPlane, Alone, "rights/used-and-enough",
        "what the webhook asked of the API server in the whole run is what its roles allow, all of it and no more";
}

/// One right: API group, resource, verb, and the one name that it is for, if it is.
type Right = (String, String, String, Option<String>);

async fn used_and_enough(scene: &Scene) -> Result<()> {
    let rights = rights(&install::render(scene.cluster(), "deploy/webhook").await?)?;
    ensure!(!rights.is_empty(), "the manifests grant nothing");
    for (group, resource, verb, _) in &rights {
        let wildcard = [group, resource, verb].iter().any(|part| *part == "*");
        ensure!(!wildcard, "a wildcard: {group} {resource} {verb}");
    }
    // The other scenarios have used most of them. Alone, this one has to see to it: a pod's Namespace is
    // read, a start from nothing fills the Secret, and a rotation changes it.
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    scene.api().create(&pod(&namespace, "legacy")).await?;
    if unused(scene, &rights)?.is_empty() {
        return Ok(());
    }
    let replicas = scene.replicas()?;
    from_nothing(scene).await?;
    let used = async {
        replicas.start("short-lived", &SHORT_LIVES).await?;
        replicas.ready().await?;
        until("every right to be used", PATIENCE * 2, async || {
            let unused = unused(scene, &rights)?;
            ensure!(unused.is_empty(), "nobody has needed {unused:?}");
            Ok(())
        })
        .await
    };
    let used = used.await;
    from_nothing(scene).await?;
    replicas.restore().await?;
    used
}

/// The rights that no request has used. A request that goes beyond all of them is an error.
fn unused(scene: &Scene, rights: &BTreeSet<Right>) -> Result<BTreeSet<Right>> {
    let account = format!("system:serviceaccount:{NAMESPACE}:{WEBHOOK}");
    let mut unused = rights.clone();
    for event in scene.cluster().audit()?.events(&account)? {
        // The administrator's own requests about the account are in the log as well.
        if event.user.username != account {
            continue;
        }
        if event.object_ref.resource.is_empty() {
            let path = event.request_uri.split('?').next().unwrap_or_default();
            // Every service account may ask for it (system:public-info-viewer).
            ensure!(path == "/version", "it asked for {path}");
            continue;
        }
        ensure!(event.response_status.code != 403, "it was forbidden: {}", describe(&event));
        let Some(right) = rights.iter().find(|right| covers(right, &event)) else {
            bail!("no rule is for {}", describe(&event));
        };
        unused.remove(right);
    }
    Ok(unused)
}

fn covers((group, resource, verb, name): &Right, event: &Event) -> bool {
    let about = &event.object_ref;
    *group == about.api_group
        && *resource == about.resource
        && about.subresource.is_empty()
        && *verb == event.verb
        && name.as_ref().is_none_or(|name| *name == about.name)
}

fn describe(event: &Event) -> String {
    format!("{} {} ({})", event.verb, event.request_uri, event.response_status.code)
}

fn rights(objects: &[Value]) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    let list = |rule: &Value, name: &str| -> Vec<String> {
        let all = rule[name].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let roles = ["Role", "ClusterRole"];
    for object in objects.iter().filter(|object| roles.iter().any(|kind| object["kind"] == *kind)) {
        for rule in object["rules"].as_array().context("a role without rules")? {
            let names = list(rule, "resourceNames");
            let names: Vec<Option<String>> =
                if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    for verb in list(rule, "verbs") {
                        for name in &names {
                            let [group, resource] = [group.clone(), resource.clone()];
                            rights.insert((group, resource, verb.clone(), name.clone()));
                        }
                    }
                }
            }
        }
    }
    Ok(rights)
}
