//! The webhook's pod, what is in front of it and what it may do.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPort};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use listen::Limits;
use webhook::serve::Options;

use crate::rendered::{
    NAME, NAMESPACE, configuration, container, deployment, find, flags, kubectl, labels, pod,
    product,
};

#[test]
fn everything_but_what_has_no_namespace_is_in_the_webhooks() {
    if !kubectl() {
        return;
    }
    for object in product() {
        let namespace = object["metadata"]["namespace"].as_str();
        let expected = match object["kind"].as_str().unwrap() {
            "Namespace" | "ClusterRole" | "ClusterRoleBinding" | "MutatingWebhookConfiguration" => {
                None
            }
            _ => Some(NAMESPACE),
        };
        assert_eq!(namespace, expected, "{object}");
    }
}

#[test]
fn selectors_find_the_webhooks_pods() {
    let objects = product();
    let deployment: Deployment = find(objects, "Deployment");
    let labels = labels(&deployment);
    let spec = &deployment.spec;
    let service: core::Service = find(objects, "Service");
    let budget: PodDisruptionBudget = find(objects, "PodDisruptionBudget");
    let policy: NetworkPolicy = find(objects, "NetworkPolicy");
    let mut selectors = vec![
        spec.selector.match_labels.clone(),
        service.spec.unwrap().selector,
        budget.spec.clone().unwrap().selector.unwrap().match_labels,
        policy.spec.unwrap().pod_selector.unwrap().match_labels,
    ];
    for spread in pod(&deployment).topology_spread_constraints.unwrap() {
        selectors.push(spread.label_selector.unwrap().match_labels);
    }
    assert_eq!(selectors.len(), 6);
    for selector in selectors {
        let selector = selector.unwrap();
        assert!(!selector.is_empty());
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{selector:?}");
    }

    assert_eq!(spec.replicas, Some(2));
    assert_eq!(budget.spec.unwrap().min_available, Some(IntOrString::Int(1)));
    let rolling = spec.strategy.clone().unwrap().rolling_update.unwrap();
    assert_eq!(rolling.max_unavailable, Some(IntOrString::Int(0)));
}

#[test]
fn ports_are_the_same_from_the_api_server_to_the_listener() {
    let objects = product();
    let deployment: Deployment = find(objects, "Deployment");
    let container = container(&deployment);
    let flags = flags(&deployment);
    let ports: BTreeMap<_, _> = container
        .ports
        .unwrap()
        .into_iter()
        .map(|port| (port.name.unwrap(), port.container_port))
        .collect();
    assert_eq!(ports["https"], i32::from(flags.listen.port()));
    assert_eq!(ports["admin"], i32::from(flags.admin_listen.port()));

    let service: core::Service = find(objects, "Service");
    let service_ports = service.spec.unwrap().ports.unwrap();
    assert_eq!(service_ports[0].target_port, Some(IntOrString::String("https".to_owned())));
    for webhook in configuration() {
        let called = webhook.client_config.service.unwrap();
        assert_eq!(called.port, Some(service_ports[0].port));
        assert_eq!((called.name.as_str(), called.namespace.as_str()), (NAME, NAMESPACE));
        assert_eq!(service.metadata.name.as_deref(), Some(NAME));
    }
    for (probe, path) in
        [(container.readiness_probe, "/readyz"), (container.liveness_probe, "/livez")]
    {
        let http = probe.unwrap().http_get.unwrap();
        assert_eq!(http.port, IntOrString::String("admin".to_owned()));
        assert_eq!(http.path.as_deref(), Some(path));
    }
    let policy: NetworkPolicy = find(objects, "NetworkPolicy");
    let port_of = |port: NetworkPolicyPort| match port.port.unwrap() {
        IntOrString::String(name) => ports[&name],
        IntOrString::Int(number) => number,
    };
    let rules = policy.spec.unwrap().ingress.unwrap();
    let open: Vec<_> =
        rules.into_iter().flat_map(|rule| rule.ports.unwrap()).map(port_of).collect();
    assert_eq!(open, [ports["https"], ports["admin"]]);
}

#[test]
fn the_webhook_takes_its_flags_and_has_room_for_its_limits() {
    let deployment = deployment();
    let flags = flags(&deployment);
    let pod = pod(&deployment);
    let Options { limits: bounds, finish, .. } = Options::default();
    let end = flags.drain + finish;
    let grace = u64::try_from(pod.termination_grace_period_seconds.unwrap()).unwrap();
    assert!(end + Duration::from_secs(5) <= Duration::from_secs(grace), "{end:?} of {grace} s");

    let limits = container(&deployment).resources.unwrap().limits.unwrap();
    let memory: usize = limits["memory"].0.strip_suffix("Mi").unwrap().parse().unwrap();
    // The sum that is written down in the manifest.
    let connections = bounds.connections + Limits::default().connections;
    let (program, threads) = (12 << 20, 4);
    let sum = program
        + bounds.all_body_bytes
        + threads * bounds.body_bytes
        + connections * ((40 + 64 + 32) << 10);
    assert!(memory << 20 >= sum, "{memory} MiB for {} MiB", sum >> 20);
}

#[test]
fn the_webhook_keeps_to_the_restricted_standard_that_its_namespace_enforces() {
    let objects = product();
    let namespace: core::Namespace = find(objects, "Namespace");
    let labels = namespace.metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");

    let deployment: Deployment = find(objects, "Deployment");
    let pod = pod(&deployment);
    let context = pod.security_context.clone().unwrap();
    assert_eq!(context.run_as_non_root, Some(true));
    assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let context = container(&deployment).security_context.unwrap();
    assert_eq!(context.allow_privilege_escalation, Some(false));
    assert_eq!(context.read_only_root_filesystem, Some(true));
    assert_eq!(context.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
    assert!(pod.volumes.is_none() && pod.host_network.is_none());
}

/// One Secret and one configuration, each by its name.
#[test]
fn the_webhook_may_do_what_it_does_and_no_more() {
    fn rule(group: &str, resource: &str, names: &[&str], verbs: &[&str]) -> PolicyRule {
        let owned =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(owned(&[group])),
            resources: Some(owned(&[resource])),
            resource_names: (!names.is_empty()).then(|| owned(names)),
            verbs: owned(verbs),
            ..PolicyRule::default()
        }
    }
    let objects = product();
    let role: Role = find(objects, "Role");
    let ca = rule("", "secrets", &["secret-handshake-ca"], &["get", "patch"]);
    assert_eq!(role.rules.unwrap(), [ca]);
    let secret: core::Secret = find(objects, "Secret");
    assert_eq!(secret.metadata.name.as_deref(), Some("secret-handshake-ca"));
    // Whoever applies it again does not empty it: what is not in the manifest is not applied.
    assert_eq!((secret.data, secret.string_data), (None, None));
    let role: ClusterRole = find(objects, "ClusterRole");
    let configurations = rule(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["handshake.secret-handshake.dev"],
        &["get", "watch", "patch"],
    );
    assert_eq!(role.rules.unwrap(), [configurations]);

    let account: core::ServiceAccount = find(objects, "ServiceAccount");
    assert_eq!(account.metadata.name.as_deref(), Some(NAME));
    let deployment: Deployment = find(objects, "Deployment");
    assert_eq!(pod(&deployment).service_account_name.as_deref(), Some(NAME));
    let binding: RoleBinding = find(objects, "RoleBinding");
    let wide: ClusterRoleBinding = find(objects, "ClusterRoleBinding");
    assert_eq!((binding.role_ref.kind.as_str(), binding.role_ref.name.as_str()), ("Role", NAME));
    assert_eq!((wide.role_ref.kind.as_str(), wide.role_ref.name.as_str()), ("ClusterRole", NAME));
    for subjects in [binding.subjects, wide.subjects] {
        let subject = subjects.unwrap().pop().unwrap();
        assert_eq!((subject.kind.as_str(), subject.name.as_str()), ("ServiceAccount", NAME));
        assert_eq!(subject.namespace.as_deref(), Some(NAMESPACE));
    }
}
