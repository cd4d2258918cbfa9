//! What must agree in `deploy/`, the Dockerfiles and the programs themselves.
//!
//! The manifests are rendered by `kubectl kustomize` where kubectl is installed; else the files are
//! read as they are, and what only kustomize can say is left out.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod configuration;
mod demo;
mod images;
mod rendered;
mod webhook_pod;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use rendered::{demo, product};

/// A field that Kubernetes doesn't know would be lost between the two.
#[test]
fn every_object_is_what_its_kind_says() {
    fn round<T: DeserializeOwned + Serialize>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(&serde_json::to_value(typed).unwrap(), object);
    }
    for object in product().iter().chain(demo()) {
        match object["kind"].as_str().unwrap() {
            "ClusterRole" => round::<ClusterRole>(object),
            "ClusterRoleBinding" => round::<ClusterRoleBinding>(object),
            "Deployment" => round::<Deployment>(object),
            "FlowSchema" => round::<FlowSchema>(object),
            "Ingress" => round::<Ingress>(object),
            "MutatingWebhookConfiguration" => round::<MutatingWebhookConfiguration>(object),
            "Namespace" => round::<core::Namespace>(object),
            "NetworkPolicy" => round::<NetworkPolicy>(object),
            "PodDisruptionBudget" => round::<PodDisruptionBudget>(object),
            "Role" => round::<Role>(object),
            "RoleBinding" => round::<RoleBinding>(object),
            "Secret" => round::<core::Secret>(object),
            "Service" => round::<core::Service>(object),
            "ServiceAccount" => round::<core::ServiceAccount>(object),
            kind => panic!("an unexpected {kind}"),
        }
    }
}
