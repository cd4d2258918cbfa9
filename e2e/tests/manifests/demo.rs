//! Legacy, in a cluster and without one.

use std::collections::BTreeMap;

use e2e::product::Product;
use e2e::workspace;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::Value;
use sidecar::args::{Args as SidecarArgs, Parsed};

use crate::rendered::{LEGACYS_NAMESPACE, container, demo, documents, find, kubectl, labels};

#[test]
fn legacys_manifest_is_its_own() {
    let text = std::fs::read_to_string(workspace().join("deploy/demo/legacy.yaml")).unwrap();
    assert!(text.contains("# secret-handshake: \"true\"\n"), "the pod's label stays commented out");
    let objects = &documents(&text);
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "Deployment", "Service", "Ingress"]);
    let namespace: core::Namespace = find(objects, "Namespace");
    assert_eq!(namespace.metadata.name.as_deref(), Some(LEGACYS_NAMESPACE));
    assert!(namespace.metadata.labels.is_none());
    let deployment: Deployment = find(objects, "Deployment");
    assert_eq!(labels(&deployment), BTreeMap::from([("app".to_owned(), "legacy-mock".to_owned())]));
    let container = serde_json::to_value(container(&deployment)).unwrap();
    let fields: Vec<_> = container.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["image", "name"], "it names only an image");
    let service: core::Service = find(objects, "Service");
    let port = service.spec.unwrap().ports.unwrap().pop().unwrap();
    assert_eq!((port.name.as_deref(), port.port), (Some("http"), 3000));
    let ingress: Ingress = find(objects, "Ingress");
    let annotations = ingress.metadata.annotations.unwrap();
    assert_eq!(annotations["ingress.kubernetes.io/ssl-redirect"], "false");
}

#[test]
fn the_demo_adds_a_label_and_the_secret_that_the_sidecar_looks_for() {
    if !kubectl() {
        return;
    }
    let objects = demo();
    let namespace: core::Namespace = find(objects, "Namespace");
    assert_eq!(namespace.metadata.labels.unwrap()["secret-handshake"], "true");
    let secret: core::Secret = find(objects, "Secret");
    assert_eq!(secret.metadata.name.as_deref(), Some("secret-handshake"));
    assert_eq!(secret.metadata.namespace.as_deref(), Some(LEGACYS_NAMESPACE));
    assert_eq!(secret.data.unwrap()["half"].0, b"-acknowledge");
}

#[test]
fn the_compose_file_runs_what_a_pod_would() {
    let text = std::fs::read_to_string(workspace().join("deploy/compose/compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let sidecar = &compose["services"]["handshake"];
    assert_eq!(sidecar["image"], Product::SIDECAR.reference());
    assert_eq!(compose["services"]["legacy"]["image"], Product::LEGACY_MOCK.reference());
    let command: Vec<String> = serde_json::from_value(sidecar["command"].clone()).unwrap();
    let Ok(Parsed::Run(args)) = SidecarArgs::parse(command) else { panic!("not its flags") };
    assert_eq!(sidecar["secrets"][0]["target"], args.half_file.to_str().unwrap());
    assert_eq!(sidecar["read_only"], true);
    assert_eq!(sidecar["mem_limit"], "12m");
}
