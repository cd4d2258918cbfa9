//! The rights that the checks need, one question about each.

use std::fmt;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use super::Scope;
use crate::cluster::{Cluster, Unreadable, unreadable};
use crate::webhook::NAMESPACE;

/// A verb on a kind of objects: `resource` may be `pods/log`, `namespace` is `None` for all of them.
pub(super) struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    namespace: Option<String>,
}

/// `list apps/deployments`.
const IN_NAMESPACES: [(&str, &str, &str); 14] = [
    ("list", "", "pods"),
    ("create", "", "pods"),
    ("get", "", "pods/log"),
    ("list", "", "events"),
    ("get", "", "secrets"),
    ("list", "", "limitranges"),
    ("list", "", "resourcequotas"),
    ("list", "apps", "deployments"),
    ("list", "apps", "statefulsets"),
    ("list", "apps", "daemonsets"),
    ("list", "apps", "replicasets"),
    ("list", "batch", "jobs"),
    ("list", "batch", "cronjobs"),
    ("get", "", "namespaces"),
];

const OF_THE_WEBHOOK: [(&str, &str, &str); 6] = [
    ("get", "", "services"),
    ("get", "", "pods/portforward"),
    ("create", "", "pods/portforward"),
    ("list", "discovery.k8s.io", "endpointslices"),
    ("list", "policy", "poddisruptionbudgets"),
    ("list", "networking.k8s.io", "networkpolicies"),
];

const OF_THE_CLUSTER: [(&str, &str, &str); 4] = [
    ("list", "", "namespaces"),
    ("list", "", "nodes"),
    ("get", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("list", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
];

/// What `kubectl apply -k deploy/webhook` creates.
const TO_INSTALL: [(&str, &str, &str); 4] = [
    ("create", "", "namespaces"),
    ("create", "rbac.authorization.k8s.io", "clusterroles"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
];
const TO_INSTALL_INSIDE: [(&str, &str, &str); 6] = [
    ("create", "", "secrets"),
    ("create", "", "services"),
    ("create", "", "serviceaccounts"),
    ("create", "apps", "deployments"),
    ("create", "rbac.authorization.k8s.io", "roles"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
];

pub(super) fn needed(scope: &Scope) -> Vec<Right> {
    let rights =
        |list: &[(&'static str, &'static str, &'static str)], namespace: Option<&str>| {
            let right = |(verb, group, resource): &(&'static str, &'static str, &'static str)| {
                Right { verb, group, resource, namespace: namespace.map(str::to_owned) }
            };
            list.iter().map(right).collect::<Vec<_>>()
        };
    let mut needed = Vec::new();
    if scope.pre {
        needed.extend(rights(&OF_THE_CLUSTER, None));
        needed.extend(rights(&TO_INSTALL, None));
        needed.extend(rights(&TO_INSTALL_INSIDE, Some(NAMESPACE)));
        return needed;
    }
    needed.extend(rights(&IN_NAMESPACES, scope.namespace.as_deref()));
    if scope.namespace.is_none() {
        needed.extend(rights(&OF_THE_CLUSTER, None));
        needed.extend(rights(&OF_THE_WEBHOOK, Some(NAMESPACE)));
    }
    needed
}

impl Right {
    pub(super) async fn is_allowed(&self, cluster: &Cluster) -> Result<bool, Unreadable> {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, sub)) => (resource, Some(sub.to_owned())),
            None => (self.resource, None),
        };
        let attributes = ResourceAttributes {
            verb: Some(self.verb.to_owned()),
            group: Some(self.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            namespace: self.namespace.clone(),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api = Api::<SelfSubjectAccessReview>::all(cluster.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer =
            answer.map_err(|error| unreadable::<SelfSubjectAccessReview>("create", None, error))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, namespace } = self;
        write!(f, "{verb} {resource}")?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        match namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}
