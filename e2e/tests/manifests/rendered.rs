//! The manifests as Kubernetes gets them, and the parts that the tests ask for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use clap::Parser as _;
use e2e::workspace;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as core;
use serde::de::DeserializeOwned;
use serde_json::Value;
use webhook::args::Args;

pub(crate) const NAMESPACE: &str = "secret-handshake";
pub(crate) const NAME: &str = "secret-handshake-webhook";
pub(crate) const LEGACYS_NAMESPACE: &str = "legacy-automation-demo";

/// Whether the manifests can be rendered here.
pub(crate) fn kubectl() -> bool {
    static THERE: LazyLock<bool> = LazyLock::new(|| {
        let version = Command::new("kubectl").args(["version", "--client"]).output();
        version.is_ok_and(|output| output.status.success())
    });
    *THERE
}

/// What `kubectl kustomize` makes of a folder, and that it does so without a warning.
pub(crate) fn kustomize(folder: &Path) -> Vec<Value> {
    let mut kubectl = Command::new("kubectl");
    let output = kubectl.arg("kustomize").arg(folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", folder.display());
    documents(&String::from_utf8(output.stdout).unwrap())
}

/// All objects of `deploy/webhook`, rendered if possible.
pub(crate) fn product() -> &'static [Value] {
    static OBJECTS: LazyLock<Vec<Value>> = LazyLock::new(|| objects("webhook"));
    &OBJECTS
}

/// All objects of `deploy/demo`, rendered if possible.
pub(crate) fn demo() -> &'static [Value] {
    static OBJECTS: LazyLock<Vec<Value>> = LazyLock::new(|| objects("demo"));
    &OBJECTS
}

fn objects(name: &str) -> Vec<Value> {
    let folder = workspace().join("deploy").join(name);
    if kubectl() {
        return kustomize(&folder);
    }
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let kustomization: Value = serde_saphyr::from_str(&read("kustomization.yaml")).unwrap();
    let files = kustomization["resources"].as_array().unwrap();
    files.iter().flat_map(|file| documents(&read(file.as_str().unwrap()))).collect()
}

pub(crate) fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

pub(crate) fn find<T: DeserializeOwned>(objects: &[Value], kind: &str) -> T {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    serde_json::from_value(object.clone()).unwrap()
}

pub(crate) fn deployment() -> Deployment {
    find(product(), "Deployment")
}

pub(crate) fn pod(deployment: &Deployment) -> core::PodSpec {
    deployment.spec.template.spec.clone().unwrap()
}

pub(crate) fn container(deployment: &Deployment) -> core::Container {
    let containers = pod(deployment).containers;
    assert_eq!(containers.len(), 1);
    containers.into_iter().next().unwrap()
}

pub(crate) fn labels(deployment: &Deployment) -> BTreeMap<String, String> {
    deployment.spec.template.metadata.clone().unwrap().labels.unwrap()
}

/// The flags in the Deployment, read by the webhook itself.
pub(crate) fn flags(deployment: &Deployment) -> Args {
    let container = container(deployment);
    let environment = container.env.unwrap_or_default();
    let expand = |argument: &String| {
        environment.iter().fold(argument.clone(), |argument, variable| {
            let value = variable.value.as_deref().unwrap_or_default();
            argument.replace(&format!("$({})", variable.name), value)
        })
    };
    let arguments: Vec<_> = container.args.unwrap().iter().map(expand).collect();
    assert!(arguments.iter().all(|argument| !argument.contains("$(")), "{arguments:?}");
    let arguments = std::iter::once("webhook".to_owned()).chain(arguments);
    Args::try_parse_from(arguments).unwrap()
}

pub(crate) fn configuration() -> Vec<MutatingWebhook> {
    let configuration: MutatingWebhookConfiguration =
        find(product(), "MutatingWebhookConfiguration");
    assert_eq!(configuration.metadata.name.as_deref(), Some("handshake.secret-handshake.dev"));
    configuration.webhooks.unwrap()
}
