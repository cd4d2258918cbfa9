//! Which entry of the `MutatingWebhookConfiguration` a pod is sent to, as the API server decides it
//! from labels alone, before any call.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhook, MutatingWebhookConfiguration, ServiceReference,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};

pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// The name that the serving certificate must be good for.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) timeout: i32,
}

/// The one entry for a pod that is created with these labels in a namespace with those.
pub(crate) fn entry(
    configuration: &MutatingWebhookConfiguration,
    namespace: &Labels,
    pod: &Labels,
) -> Result<Entry> {
    let mut found = Vec::new();
    for webhook in configuration.webhooks.iter().flatten() {
        if is_about_pods(webhook)
            && matches(webhook.namespace_selector.as_ref(), namespace)?
            && matches(webhook.object_selector.as_ref(), pod)?
        {
            found.push(webhook);
        }
    }
    ensure!(found.len() == 1, "{} entries are for this pod, not one", found.len());
    let service = found[0].client_config.service.as_ref();
    let ServiceReference { name, namespace, path, .. } =
        service.with_context(|| format!("{} names no Service", found[0].name))?;
    Ok(Entry {
        name: found[0].name.clone(),
        host: format!("{name}.{namespace}.svc"),
        path: path.clone().unwrap_or_else(|| "/".to_owned()),
        timeout: found[0].timeout_seconds.unwrap_or(10),
    })
}

fn is_about_pods(webhook: &MutatingWebhook) -> bool {
    let resources = webhook.rules.iter().flatten().filter_map(|rule| rule.resources.as_ref());
    resources.flatten().any(|resource| resource == "pods")
}

fn matches(selector: Option<&LabelSelector>, labels: &Labels) -> Result<bool> {
    let selector = Selector::try_from(selector.cloned().unwrap_or_default())?;
    Ok(selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::manifests;
    use crate::folders::workspace;

    #[test]
    fn each_pod_that_asks_has_one_entry() {
        let folder = workspace().join("deploy/webhook");
        let configuration = manifests::configuration(&folder).unwrap();
        let labels = |value: Option<&str>| {
            let label = value.map(|value| ("secret-handshake".to_owned(), value.to_owned()));
            label.into_iter().collect::<Labels>()
        };
        for (namespace, pod, wanted) in [
            (Some("true"), None, Some("namespace.secret-handshake.dev")),
            (Some("true"), Some("yes"), Some("pod.secret-handshake.dev")),
            (None, Some(""), Some("pod.secret-handshake.dev")),
            (Some("true"), Some("off"), None),
            (Some("false"), None, None),
            (None, None, None),
        ] {
            let found = entry(&configuration, &labels(namespace), &labels(pod));
            let name = found.as_ref().map(|entry| entry.name.as_str());
            assert_eq!(name.ok(), wanted, "{namespace:?} {pod:?}");
            if let Ok(entry) = found {
                assert_eq!(entry.path, "/mutate/pods");
                assert_eq!(entry.host, "secret-handshake-webhook.secret-handshake.svc");
            }
        }
    }
}
