//! The webhook that a cluster has, as the API server knows it: whom it calls, and with which flags that
//! runs.
//!
//! ```text
//! MutatingWebhookConfiguration ─▶ Service ─▶ Deployment, or else a pod ─▶ container ─▶ flags ─▶ Policy
//! ```

use std::collections::{BTreeMap, HashMap};

use clap::{CommandFactory as _, Parser};
use injection::Policy;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Service};
use kube::api::ListParams;

use crate::cluster::{Cluster, Unreadable};
use crate::visible::is_visible;

/// The name of the configuration.
pub const CONFIGURATION: &str = "handshake.secret-handshake.dev";

/// Where the shipped manifests put the webhook.
pub const NAMESPACE: &str = "secret-handshake";

/// The name that the shipped manifests give to the webhook's Service and Deployment.
pub const SERVICE: &str = "secret-handshake-webhook";

/// The name of the webhook's container there.
const CONTAINER: &str = "webhook";

/// The webhook of a cluster. What could not be read is told in its place.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Whom the API server asks about what; `None` if there is no configuration of that name.
    pub configuration: Result<Option<MutatingWebhookConfiguration>, Unreadable>,
    /// The Service that it calls: the one of the shipped manifests where the configuration can't be read,
    /// `None` if it calls an address.
    pub service: Option<ServiceName>,
    /// The flags that the webhook runs with.
    pub flags: Result<Flags, Unreadable>,
}

/// A Service's name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ServiceName {
    pub namespace: String,
    pub name: String,
}

/// The flags of a webhook, as far as they decide about pods.
#[derive(Clone, Debug)]
pub struct Flags {
    /// How sidecars are made, their image among it, and which namespaces are left alone.
    pub policy: Policy,
    /// Whether annotations of Namespaces set anything: no `--no-namespace-settings`.
    pub namespace_settings: bool,
}

/// Of the webhook's command line what this crate has use for.
#[derive(Debug, Parser)]
#[command(disable_help_flag = true, disable_version_flag = true)]
struct CommandLine {
    #[command(flatten)]
    policy: Policy,
    #[arg(long)]
    namespace: Option<String>,
    #[arg(long)]
    no_namespace_settings: bool,
}

impl Webhook {
    /// Reads it from a cluster.
    pub async fn read(cluster: &Cluster) -> Self {
        let configuration = cluster.get_cluster_wide(CONFIGURATION).await;
        let service = match &configuration {
            Ok(Some(configuration)) => service(configuration),
            Ok(None) | Err(_) => Some(ServiceName::shipped()),
        };
        let flags = match &service {
            Some(service) => read_flags(cluster, service).await,
            None => Err(Unreadable::Failed(
                "the configuration names no Service but an address, so the webhook's flags are not known"
                    .to_owned(),
            )),
        };
        Self { configuration, service, flags }
    }

    /// The flags; the default ones where they can't be read.
    #[must_use]
    pub fn flags_or_default(&self) -> Flags {
        self.flags.clone().unwrap_or_else(|_| {
            let namespace = self.service.as_ref().map_or(NAMESPACE, |service| &service.namespace);
            Flags::default_in(namespace)
        })
    }
}

impl ServiceName {
    /// That of the shipped manifests.
    #[must_use]
    pub fn shipped() -> Self {
        Self { namespace: NAMESPACE.to_owned(), name: SERVICE.to_owned() }
    }
}

impl Flags {
    /// What a webhook without flags does that runs in this namespace.
    #[must_use]
    pub fn default_in(namespace: &str) -> Self {
        let policy = Policy { own_namespace: Some(namespace.to_owned()), ..Policy::default() };
        Self { policy, namespace_settings: true }
    }

    /// The flags of the webhook's container in a pod of this namespace. Flags that decide nothing about
    /// pods are left out, also those that only another version knows.
    ///
    /// # Errors
    /// If a flag has a value that the webhook would not take, or one that the API server doesn't know.
    pub fn of(pod: &PodSpec, namespace: &str) -> Result<Self, Unreadable> {
        let named = pod.containers.iter().find(|container| container.name == CONTAINER);
        let container = named.or(pod.containers.first());
        let container = container.ok_or_else(|| failed("the webhook's pod has no container"))?;
        let words = known_words(words(container));
        if let Some(word) = words.iter().find(|word| word.contains("$(")) {
            let word: String = word.chars().filter(|char| is_visible(*char)).take(253).collect();
            return Err(failed(&format!(
                "the webhook's flag {word} has its value from somewhere that the API server can't tell"
            )));
        }
        let parsed = CommandLine::try_parse_from([CONTAINER.to_owned()].into_iter().chain(words));
        let flags = parsed.map_err(|error| {
            // The lines after the first one are about usage.
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            failed(&format!("the webhook's flags: {first}"))
        })?;
        let own = flags.namespace.unwrap_or_else(|| namespace.to_owned());
        Ok(Self {
            policy: Policy { own_namespace: Some(own), ..flags.policy },
            namespace_settings: !flags.no_namespace_settings,
        })
    }
}

/// The Service of the configuration's first entry that has one.
fn service(configuration: &MutatingWebhookConfiguration) -> Option<ServiceName> {
    let mut entries = configuration.webhooks.iter().flatten();
    let service = entries.find_map(|entry| entry.client_config.service.as_ref())?;
    Some(ServiceName { namespace: service.namespace.clone(), name: service.name.clone() })
}

async fn read_flags(cluster: &Cluster, service: &ServiceName) -> Result<Flags, Unreadable> {
    let ServiceName { namespace, name } = service;
    let found = cluster.get::<Service>(namespace, name).await?;
    let found = found.ok_or_else(|| failed(&format!("there is no Service {namespace}/{name}")))?;
    let selector = found.spec.and_then(|spec| spec.selector).unwrap_or_default();
    if selector.is_empty() {
        return Err(failed(&format!("the Service {namespace}/{name} selects no pods")));
    }
    // During a rollout the Deployment says what comes.
    let mut specs = Vec::new();
    let all = ListParams::default();
    let deployments = cluster.for_each(Some(namespace), &all, |deployment: Deployment| {
        let template = deployment.spec.template;
        let labels = template.metadata.and_then(|metadata| metadata.labels);
        if selects(&selector, &labels.unwrap_or_default()) {
            specs.extend(template.spec);
        }
    });
    let deployments = deployments.await;
    if specs.is_empty() {
        let labels: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let chosen = ListParams::default().labels(&labels.join(","));
        let pods = cluster.for_each(Some(namespace), &chosen, |pod: Pod| specs.extend(pod.spec));
        pods.await.map_err(|error| deployments.err().unwrap_or(error))?;
    }
    let missing = || failed(&format!("no pod is behind the Service {namespace}/{name}"));
    Flags::of(specs.first().ok_or_else(missing)?, namespace)
}

fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A container's command line without the program itself.
fn words(container: &Container) -> Vec<String> {
    let mut env = HashMap::new();
    for variable in container.env.iter().flatten() {
        // Each can use those before it. One whose value comes from elsewhere stays unknown.
        if let Some(value) = &variable.value {
            env.insert(variable.name.clone(), expand(value, &env));
        }
    }
    let command = container.command.iter().flatten().skip(1);
    command.chain(container.args.iter().flatten()).map(|word| expand(word, &env)).collect()
}

/// Replaces each `$(NAME)` whose value is known, and `$$` by `$`, as the kubelet does.
fn expand(text: &str, env: &HashMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let name = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        let known = name.and_then(|(name, after)| Some((env.get(name)?.as_str(), after)));
        let escaped = after.strip_prefix('$').map(|after| ("$", after));
        let (value, after) = escaped.or(known).unwrap_or(("$", after));
        expanded.push_str(value);
        rest = after;
    }
    expanded + rest
}

/// Leaves out flags that [`CommandLine`] doesn't have, with their values.
fn known_words(words: Vec<String>) -> Vec<String> {
    let command = CommandLine::command();
    let takes_value = |flag: &str| {
        let mut known = command.get_arguments();
        let known = known.find(|known| known.get_long() == Some(flag))?;
        Some(known.get_action().takes_values())
    };
    let mut kept = Vec::new();
    let mut is_value = false;
    for word in words {
        let flag = word.strip_prefix("--").map(|flag| flag.split_once('=').unwrap_or((flag, "")));
        let keep = match flag.filter(|_| !is_value) {
            Some((flag, _)) => {
                let takes = takes_value(flag);
                is_value = takes == Some(true) && !word.contains('=');
                takes.is_some()
            }
            None => std::mem::take(&mut is_value),
        };
        if keep {
            kept.push(word);
        }
    }
    kept
}

fn failed(what: &str) -> Unreadable {
    Unreadable::Failed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn flags(container: &Value) -> Result<Flags, Unreadable> {
        let beside = json!({"name": "istio-proxy", "args": ["--sidecar-port=1"]});
        let pod = json!({"containers": [beside, container]});
        Flags::of(&serde_json::from_value(pod).unwrap(), "own")
    }

    #[test]
    fn the_flags_are_those_of_the_webhooks_container() {
        let found = flags(&json!({
            "name": "webhook",
            "command": ["/webhook", "--sidecar-port", "8080"],
            "args": [
                "--sidecar-image=$(SIDECAR_IMAGE)",
                "--drain=5s", "--of-the-next-version", "--a-value-of-its-own", "x",
                "--exclude-namespace=a", "--exclude-namespace", "b",
                "--no-namespace-settings",
                "--sidecar-secret-name", "half",
            ],
            "env": [
                {"name": "REGISTRY", "value": "registry.example"},
                {"name": "SIDECAR_IMAGE", "value": "$(REGISTRY)/sidecar:2"},
            ],
        }))
        .unwrap();
        assert_eq!(found.policy.image, "registry.example/sidecar:2");
        assert_eq!((found.policy.port, found.policy.secret_name.as_str()), (8080, "half"));
        assert!(["a", "b", "own", "kube-system"].iter().all(|name| found.policy.excludes(name)));
        assert!(!found.policy.excludes("default") && !found.namespace_settings);
    }

    #[test]
    fn without_flags_they_are_the_default() {
        let found = flags(&json!({"name": "webhook"})).unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", Flags::default_in("own")));
        let elsewhere = flags(&json!({"name": "webhook", "args": ["--namespace=else"]})).unwrap();
        assert!(elsewhere.policy.excludes("else") && !elsewhere.policy.excludes("own"));
    }

    #[test]
    fn what_is_not_known_is_said() {
        for (container, expected) in [
            (
                json!({"name": "webhook", "args": ["--sidecar-port=http"]}),
                "invalid value 'http' for '--sidecar-port <PORT>': expected a port",
            ),
            (
                json!({"name": "webhook", "args": ["--sidecar-image=$(IMAGE)"],
                    "env": [{"name": "IMAGE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}),
                "--sidecar-image=$(IMAGE) has its value from somewhere",
            ),
        ] {
            let error = flags(&container).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
        assert!(Flags::of(&PodSpec::default(), "own").is_err());
    }

    #[test]
    fn variables_are_expanded_as_the_kubelet_does() {
        let env = HashMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(B)", "$(B)"),
            ("$(A", "$(A"),
            ("$A $", "$A $"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }

    #[test]
    fn the_service_is_the_configurations() {
        let of = |entries: Value| {
            let json = json!({"metadata": {"name": CONFIGURATION}, "webhooks": entries});
            service(&serde_json::from_value(json).unwrap())
        };
        let entry = |client: Value| {
            json!({"name": "pod.secret-handshake.dev", "clientConfig": client,
                "sideEffects": "None", "admissionReviewVersions": ["v1"]})
        };
        let there = ServiceName { namespace: "n".to_owned(), name: "s".to_owned() };
        let by_service = entry(json!({"service": {"namespace": "n", "name": "s"}}));
        assert_eq!(of(json!([by_service])), Some(there));
        assert_eq!(of(json!([entry(json!({"url": "https://127.0.0.1/"}))])), None);
        assert_eq!(of(json!([])), None);
    }
}
