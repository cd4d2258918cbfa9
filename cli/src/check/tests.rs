//! Checks that need more of what is read than their own file has, both ways.

use std::time::Duration;

use certs::ca::Authority;
use certs::certificate::{Validity, pem_of};
use certs::rotate::Settings as Lives;
use certs::secret::{Ca, Content};
use injection::{Policy, WorkloadKind};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::certificates::{
    CaSecret, Certificates, Served, certificate_authorities, serving_certificates,
};
use super::configuration::{self, BesideIstio, Configurations, ca_bundles, is_related, istio};
use super::finding::{Finding, Named, State};
use super::namespace::Namespaces;
use super::pods::{HalfState, Pods, SecretKey, missing_sidecars, old_sidecars, secrets};
use super::replicas::{Replica, Replicas, network_policies, replicas};
use super::settings::{Workloads, settings};
use super::sidecars::{images, sidecar_states};
use crate::cluster::Unreadable;
use crate::webhook::{CONFIGURATION, ServiceName};

const DAY: u64 = 24 * 3_600;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn authority(age: SignedDuration, life: u64) -> Authority {
    Authority::new(Validity::starting(now() - age, Duration::from_secs(life))).unwrap()
}

fn forbidden() -> Unreadable {
    Unreadable::Forbidden("list things".to_owned())
}

#[track_caller]
fn is(finding: &Finding, state: State, what: &str) {
    assert_eq!(finding.state, state, "{finding:?}");
    let all =
        format!("{} {:?} {} {:?}", finding.what, finding.objects, finding.means, finding.remedy);
    assert!(all.contains(what), "{what} is not in {finding:?}");
    let is_bad = matches!(state, State::Failed | State::Warning);
    assert_eq!(
        finding.remedy.is_empty(),
        !is_bad,
        "whoever finds something says what to do: {finding:?}"
    );
}

fn configuration_of(name: &str, entries: &[(&str, &str)]) -> MutatingWebhookConfiguration {
    let entry = |(name, bundle): &(&str, &str)| {
        json!({ "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "clientConfig": { "caBundle": ByteString((*bundle).into()) } })
    };
    let webhooks: Vec<_> = entries.iter().map(entry).collect();
    serde_json::from_value(json!({ "metadata": { "name": name }, "webhooks": webhooks })).unwrap()
}

fn ours(bundles: [&str; 3]) -> MutatingWebhookConfiguration {
    let [namespace, pod, workload] = bundles;
    let entries = [
        ("namespace.secret-handshake.dev", namespace),
        ("pod.secret-handshake.dev", pod),
        ("workload.secret-handshake.dev", workload),
    ];
    configuration_of(CONFIGURATION, &entries)
}

fn configurations(own: MutatingWebhookConfiguration) -> Configurations {
    Configurations { own: Ok(Some(own)), others: Ok(Vec::new()), has_own_certificate: false }
}

#[test]
fn the_configuration_is_there_whole_and_alone() {
    let well = || configurations(ours(["", "", ""]));
    let check = |facts: &Configurations| configuration::configuration(facts, false);
    is(&check(&well()), State::Ok, "three entries");
    let none = || Configurations { own: Ok(None), ..well() };
    is(&check(&none()), State::Failed, "no MutatingWebhookConfiguration");
    is(&configuration::configuration(&none(), true), State::Ok, "yet");
    let entries = [("namespace.secret-handshake.dev", ""), ("pod.secret-handshake.dev", "")];
    let two = configurations(configuration_of(CONFIGURATION, &entries));
    is(&check(&two), State::Failed, "workload.secret-handshake.dev is missing");
    let mut ignoring = ours(["", "", ""]);
    ignoring.webhooks.as_mut().unwrap()[1].failure_policy = Some("Ignore".to_owned());
    is(&check(&configurations(ignoring)), State::Warning, "pod.secret-handshake.dev");
    let old = configuration_of("secret-handshake", &[("pods.secret-handshake.dev", "")]);
    assert!(is_related(&old) && !is_related(&ours(["", "", ""])));
    let second = Configurations { others: Ok(vec![old]), ..well() };
    is(
        &check(&second),
        State::Failed,
        "kubectl delete mutatingwebhookconfiguration secret-handshake",
    );
    let unknown = Configurations { own: Err(forbidden()), ..well() };
    is(&check(&unknown), State::Skipped, "list things");
}

#[test]
fn it_comes_before_istio_and_pods_beside_istio_have_a_probe_that_gets_through() {
    let entry = [("rev.namespace.sidecar-injector.istio.io", "")];
    let with = |name: &str| {
        let istio = configuration_of(name, &entry);
        assert!(is_related(&istio));
        Configurations { others: Ok(vec![istio]), ..configurations(ours(["", "", ""])) }
    };
    let alone = configurations(ours(["", "", ""]));
    let named = |name: &str| Named::from_iter([name.to_owned()]);
    let none = || Ok(BesideIstio::default());
    let some =
        |plain: Named, not_ready: Named| Ok(BesideIstio { pods: 1, plain_probe: plain, not_ready });
    is(&istio(&alone, &none(), &Ok(None)), State::Ok, "no injector");
    is(&istio(&alone, &Err(forbidden()), &Ok(None)), State::Ok, "no injector");
    is(&istio(&with("istio-sidecar-injector"), &none(), &Ok(None)), State::Ok, "after");
    is(&istio(&with("a-istio"), &none(), &Ok(None)), State::Failed, "a-istio");
    is(&istio(&with("istio"), &Err(forbidden()), &Ok(None)), State::Skipped, "list things");
    let plain = some(named("n/plain"), Named::default());
    is(&istio(&with("istio"), &plain, &Ok(Some(Named::default()))), State::Warning, "n/plain");
    is(&istio(&with("istio"), &plain, &Err(forbidden())), State::Warning, "n/plain");
    let strict = Ok(Some(named("istio-system/default")));
    is(&istio(&with("istio"), &plain, &strict), State::Failed, "istio-system/default");
    let waits = some(Named::default(), named("n/waits"));
    is(&istio(&with("istio"), &waits, &strict), State::Warning, "n/waits");
    let unread = Configurations { others: Err(forbidden()), ..alone };
    is(&istio(&unread, &none(), &Ok(None)), State::Skipped, "list things");
}

#[test]
fn every_entry_has_the_same_ca_bundle_and_nobody_else_writes_it() {
    let [a, b] = [(); 2].map(|()| pem_of([authority(SignedDuration::ZERO, DAY).certificate()]));
    let both = format!("{a}{b}");
    let check = |bundles| ca_bundles(&configurations(ours(bundles)));
    is(&check([&a, &a, &a]), State::Ok, "one CA");
    is(&check([&both, &both, &both]), State::Ok, "2 CAs");
    is(&check([&a, "", &a]), State::Failed, "pod.secret-handshake.dev");
    is(&check([&a, "-", &a]), State::Failed, "not a certificate");
    is(&check([&a, &a, &both]), State::Failed, "different");
    let fields = json!({ "f:webhooks": { "k:{\"name\":\"pod.secret-handshake.dev\"}": {
        "f:clientConfig": { "f:caBundle": {} } } } });
    let mut written = ours([&a, &a, &a]);
    let managed = json!([{ "manager": "argocd-controller", "time": "2026-03-01T12:00:00Z", "fieldsV1": fields }]);
    written.metadata.managed_fields = serde_json::from_value(managed).unwrap();
    let own_certificate =
        Configurations { has_own_certificate: true, ..configurations(written.clone()) };
    is(&ca_bundles(&configurations(written)), State::Warning, "argocd-controller");
    is(&ca_bundles(&own_certificate), State::Ok, "one CA");
    let none = Configurations { own: Ok(None), ..configurations(ours(["", "", ""])) };
    is(&ca_bundles(&none), State::Skipped, "no configuration");
}

fn certificates(content: Result<Option<Content>, Unreadable>) -> Certificates {
    let [namespace, name] = ["secret-handshake", "secret-handshake-ca"].map(str::to_owned);
    let cas = Some(CaSecret { namespace, name, content });
    Certificates { settings: Lives::default(), cas, served: Ok(Vec::new()) }
}

#[test]
fn a_ca_signs_has_time_left_and_its_successor_is_told_of() {
    let ca = |authority: &Authority, seen: Option<SignedDuration>| Ca {
        id: authority.id(),
        validity: authority.validity().in_use(),
        seen: seen.map(|ago| now() - ago),
    };
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let (young, old) = (authority(days(10), 365 * DAY), authority(days(300), 365 * DAY));
    let ended = authority(days(400), 365 * DAY);
    let long_ago = Some(days(9));
    let check = |cas: Vec<Ca>| {
        let content = Content { cas, ..Content::default() };
        certificate_authorities(&certificates(Ok(Some(content))), None, now())
    };
    is(&check(vec![ca(&young, long_ago)]), State::Ok, "the CA has 355 days left");
    is(&check(vec![ca(&old, long_ago)]), State::Warning, "no other is there");
    let waits = Some(SignedDuration::from_mins(4));
    let both = check(vec![ca(&old, long_ago), ca(&young, waits)]);
    is(&both, State::Ok, "waits until 2026-03-01T12:06:00Z");
    is(&both, State::Ok, &format!("{}: 65 days left, signs", old.id()));
    is(
        &check(vec![ca(&old, long_ago), ca(&young, None)]),
        State::Ok,
        "waits until every caBundle has it",
    );
    let after = check(vec![ca(&old, long_ago), ca(&young, long_ago)]);
    is(&after, State::Ok, "signs no more");
    is(&check(vec![ca(&ended, long_ago)]), State::Failed, "ended 35 days ago");
    is(&check(Vec::new()), State::Failed, "no CA");
    let broken =
        Content { problem: Some("cas.json is not base64".to_owned()), ..Content::default() };
    let of = |content| certificate_authorities(&certificates(content), None, now());
    is(&of(Ok(Some(broken))), State::Failed, "cas.json is not base64");
    is(&of(Ok(None)), State::Failed, "there is no Secret");
    is(&of(Err(forbidden())), State::Skipped, "list things");
    let files = Certificates { cas: None, ..certificates(Ok(None)) };
    is(&certificate_authorities(&files, None, now()), State::Ok, "from files");
}

#[test]
fn each_replica_serves_what_the_api_server_trusts() {
    const NAME: &str = "secret-handshake-webhook.secret-handshake.svc";
    let (own, other) = (authority(SignedDuration::ZERO, DAY), authority(SignedDuration::ZERO, DAY));
    let pem = pem_of([own.certificate()]);
    let configuration = ours([&pem, &pem, &pem]);
    let leaf = |ca: &Authority, name: &str| {
        let validity = Validity::starting(now(), Duration::from_secs(3_600));
        Ok(ca.issue(&[name.to_owned()], validity).unwrap().chain().to_vec())
    };
    let check = |chains: Vec<Result<_, Unreadable>>, at: Timestamp| {
        let served = chains.into_iter().enumerate().map(|(number, chain)| Served {
            by: format!("own/webhook-{number}"),
            name: NAME.to_owned(),
            is_at_url: false,
            chain,
        });
        let served = Ok(served.collect());
        let facts = Certificates { served, ..certificates(Ok(None)) };
        serving_certificates(&facts, Some(&configuration), at)
    };
    let good = || leaf(&own, NAME);
    is(&check(vec![good(), good()], now()), State::Ok, "replicas: 2");
    let foreign = check(vec![good(), leaf(&other, NAME)], now());
    is(&foreign, State::Failed, "own/webhook-1: not accepted");
    is(&check(vec![leaf(&own, "other.svc")], now()), State::Failed, "for other.svc");
    let later = now() + SignedDuration::from_hours(2);
    is(&check(vec![good()], later), State::Failed, "not accepted");
    let silent = Err(Unreadable::Failed("no TLS handshake within 10s".to_owned()));
    is(&check(vec![good(), silent], now()), State::Failed, "own/webhook-1: no TLS handshake");
    is(&check(vec![Err(forbidden())], now()), State::Skipped, "list things");
    is(&check(vec![], now()), State::Skipped, "nobody is there");
    let unreachable = Served {
        by: "192.0.2.1:443".to_owned(),
        name: "192.0.2.1".to_owned(),
        is_at_url: true,
        chain: Err(Unreadable::Failed("connection refused".to_owned())),
    };
    let facts = Certificates { served: Ok(vec![unreachable]), ..certificates(Ok(None)) };
    is(&serving_certificates(&facts, Some(&configuration), now()), State::Skipped, "nobody");
    let facts = Certificates { served: Ok(Vec::new()), ..certificates(Ok(None)) };
    is(&serving_certificates(&facts, None, now()), State::Skipped, "no caBundle");
}

fn replica(name: &str, node: &str) -> Replica {
    let pod = json!({
        "metadata": {"name": name, "labels": {"app": "webhook"}},
        "spec": {"nodeName": node, "containers": [
            {"name": "istio-proxy"},
            {"name": "webhook", "args": ["--ca-secret", "s", "--ca-settle=1m"],
                "ports": [{"name": "https", "containerPort": 8443}]},
        ]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    Replica::of(serde_json::from_value(pod).unwrap()).unwrap()
}

fn two_replicas() -> Replicas {
    let budget = json!({"matchLabels": {"app": "webhook"}});
    Replicas {
        service: Some(ServiceName::shipped()),
        pods: Ok(Some(vec![replica("a", "one"), replica("b", "two")])),
        wanted: Ok(2),
        endpoints: Ok(2),
        nodes: Ok(2),
        budgets: Ok(vec![serde_json::from_value(budget).unwrap()]),
        policies: Ok(Vec::new()),
        api_servers: Vec::new(),
    }
}

#[test]
fn the_webhooks_flags_are_found_in_its_container() {
    let found = replica("a", "one");
    assert_eq!(found.flag("ca-secret"), Some("s"));
    assert_eq!(found.flag("ca-settle"), Some("1m"));
    assert_eq!(found.flag("ca"), None);
    let lives = super::certificates::settings(|name| found.flag(name));
    assert_eq!(lives, Lives { settle: Duration::from_secs(60), ..Lives::default() });
}

#[test]
fn enough_replicas_are_ready_on_different_nodes_and_protected() {
    let check = |change: fn(&mut Replicas)| {
        let mut facts = two_replicas();
        change(&mut facts);
        replicas(&facts)
    };
    let not_ready =
        |name, why: &str| Replica { is_ready: false, why: why.to_owned(), ..replica(name, "one") };
    is(&check(|_| {}), State::Ok, "2 of 2 replicas are ready, on 2 nodes");
    is(&check(|it| it.service = None), State::Skipped, "URL");
    is(&check(|it| it.pods = Ok(None)), State::Failed, "there is no Service");
    is(&check(|it| it.pods = Ok(Some(Vec::new()))), State::Failed, "no replica of the webhook");
    is(&check(|it| it.wanted = Ok(0)), State::Failed, "scaled to no replica");
    is(&check(|it| it.pods = Err(forbidden())), State::Skipped, "list things");
    let mut facts = two_replicas();
    facts.pods = Ok(Some(vec![not_ready("a", "ImagePullBackOff")]));
    is(&replicas(&facts), State::Failed, "a: ImagePullBackOff");
    facts.pods = Ok(Some(vec![replica("a", "one"), not_ready("b", "Pending")]));
    is(&replicas(&facts), State::Warning, "b: Pending");
    is(&check(|it| it.endpoints = Ok(0)), State::Failed, "no ready endpoint");
    let single = check(|it| {
        it.pods = Ok(Some(vec![replica("a", "one")]));
        it.wanted = Ok(1);
    });
    is(&single, State::Warning, "a single replica");
    let together = |it: &mut Replicas| {
        it.pods = Ok(Some(vec![replica("a", "one"), replica("b", "one")]));
    };
    is(&check(together), State::Warning, "on the node one");
    let mut facts = two_replicas();
    together(&mut facts);
    facts.nodes = Ok(1);
    is(&replicas(&facts), State::Ok, "on the only node");
    is(&check(|it| it.budgets = Ok(Vec::new())), State::Warning, "PodDisruptionBudget");
    is(&check(|it| it.budgets = Err(forbidden())), State::Ok, "2 of 2");
}

#[test]
fn network_policies_let_the_api_server_in() {
    let https = IntOrString::String("https".to_owned());
    let check = |spec: Value, api_servers: &[&str]| {
        let policy = json!({"metadata": {"name": "p"}, "spec": spec});
        let policies = Ok(vec![serde_json::from_value(policy).unwrap()]);
        let api_servers = api_servers.iter().map(|it| it.parse().unwrap()).collect();
        network_policies(&Replicas { policies, api_servers, ..two_replicas() }, &https)
    };
    let about =
        |ingress: Value| json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress});
    let block = |cidr: &str| about(json!([{"from": [{"ipBlock": {"cidr": cidr}}]}]));
    is(&network_policies(&two_replicas(), &https), State::Ok, "no NetworkPolicy");
    for ports in [
        json!([]),
        json!([{"port": "https"}]),
        json!([{"port": 8443}]),
        json!([{"port": 8000, "endPort": 9000}]),
        json!([{"protocol": "TCP"}]),
    ] {
        is(&check(about(json!([{"ports": ports}])), &[]), State::Ok, "let the API server in");
    }
    for ports in [
        json!([{"port": "admin"}]),
        json!([{"port": 443}]),
        json!([{"port": 8443, "protocol": "UDP"}]),
    ] {
        is(&check(about(json!([{"ports": ports}])), &[]), State::Failed, "port 8443");
    }
    is(&check(about(json!([])), &[]), State::Failed, "secret-handshake/p");
    is(&check(about(json!([{"from": [{"podSelector": {}}]}])), &[]), State::Failed, "keep");
    is(&check(block("10.0.0.0/8"), &[]), State::Warning, "some addresses");
    is(&check(block("10.0.0.0/8"), &["10.1.2.3"]), State::Ok, "let");
    is(&check(block("10.0.0.0/8"), &["10.1.2.3", "11.1.2.3"]), State::Warning, "some addresses");
    is(&check(block("fd00::/8"), &["fd00::1"]), State::Ok, "let");
    is(&check(block("0.0.0.0/0"), &["11.1.2.3"]), State::Ok, "let");
    let other =
        json!({"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Ingress"]});
    is(&check(other, &[]), State::Ok, "no NetworkPolicy");
    is(
        &check(json!({"podSelector": {}, "policyTypes": ["Egress"]}), &[]),
        State::Ok,
        "no NetworkPolicy",
    );
    let unread = Replicas { pods: Err(forbidden()), ..two_replicas() };
    let unknown = Err(Unreadable::Failed("it is not known where the replicas are".to_owned()));
    let unread = Replicas { policies: unknown, ..unread };
    is(&network_policies(&unread, &https), State::Skipped, "list things");
    let unread = Replicas { policies: Err(forbidden()), ..two_replicas() };
    is(&network_policies(&unread, &https), State::Skipped, "list things");
}

fn namespaces(list: &[(&str, Value)]) -> Namespaces {
    let mut namespaces = Namespaces::default();
    for (name, annotations) in list {
        let metadata = json!({"name": name, "labels": {"secret-handshake": "true"}, "annotations": annotations});
        namespaces.add(&serde_json::from_value(metadata).unwrap());
    }
    namespaces
}

#[test]
fn settings_are_known_can_be_used_and_stand_where_they_are_read() {
    let policy = Policy::default();
    let check = |namespace: Value, metadata: Value, template: Value| {
        let namespaces = namespaces(&[("legacy", namespace)]);
        let mut metadata = metadata;
        metadata["namespace"] = json!("legacy");
        metadata["name"] = json!("app");
        let template = json!({"metadata": template, "spec": {"containers": [{"name": "legacy"}]}});
        let template: PodTemplateSpec = serde_json::from_value(template).unwrap();
        let metadata = serde_json::from_value(metadata).unwrap();
        let mut workloads = Workloads::default();
        workloads.add(WorkloadKind::StatefulSet, &metadata, &template, &namespaces, &policy);
        settings(&Ok(namespaces), &Ok(workloads), &policy)
    };
    let none = || json!({});
    let annotated =
        |key: &str, value: &str| json!({"annotations": {format!("secret-handshake/{key}"): value}});
    let copied = json!({"labels": {"secret-handshake": "true"}});
    is(&check(none(), none(), none()), State::Ok, "every setting");
    is(
        &check(json!({"secret-handshake/port": "80"}), none(), annotated("port", "81")),
        State::Ok,
        "every",
    );
    for (namespace, metadata, template, expected) in [
        (
            json!({"secret-handshake/port": "x"}),
            none(),
            none(),
            "namespace/legacy: the namespace's annotation",
        ),
        (
            json!({"secret-handshake/prot": "1"}),
            none(),
            none(),
            "unknown annotation secret-handshake/prot",
        ),
        (
            none(),
            annotated("port", "80"),
            none(),
            "legacy/statefulset/app: the annotation secret-handshake/port has no effect here",
        ),
        (none(), none(), annotated("port", "http"), "legacy/statefulset/app: the pod's annotation"),
        (none(), none(), annotated("prot", "80"), "unknown annotation secret-handshake/prot"),
        (
            none(),
            json!({"labels": {"secret-handshake/port": "80"}}),
            none(),
            "is a label of the workload",
        ),
    ] {
        is(&check(namespace, metadata, template), State::Warning, expected);
    }
    // A label that `kubectl rollout undo` has brought back, and one that its author wrote.
    let managed = |manager: &str| {
        let fields = json!({"f:spec": {"f:template": {"f:metadata": {"f:labels": {"f:secret-handshake": {}}}}}});
        json!({"managedFields": [{"manager": manager, "fieldsV1": fields}]})
    };
    is(&check(none(), managed("kubectl"), copied.clone()), State::Warning, "rollout undo");
    is(&check(none(), managed("kubectl-client-side-apply"), copied.clone()), State::Ok, "every");
    let mut noted = managed("kubectl");
    noted["annotations"] = json!({"secret-handshake/label-copied": "true"});
    is(&check(none(), noted, copied), State::Ok, "every");
    let unread = settings(&Ok(namespaces(&[])), &Err(forbidden()), &policy);
    is(&unread, State::Skipped, "list things");
    let unread = settings(&Err(forbidden()), &Ok(Workloads::default()), &policy);
    is(&unread, State::Skipped, "list things");
}

/// A pod of the Deployment `app` in the namespace `legacy`, Ready for ten minutes or not.
fn pod(is_ready: bool) -> Value {
    json!({
        "metadata": {"namespace": "legacy", "name": "app-5d9-x", "labels": {"pod-template-hash": "5d9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-5d9", "uid": "u", "controller": true}]},
        "spec": {"containers": [{"name": "legacy"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready",
            "status": if is_ready { "True" } else { "False" }, "lastTransitionTime": "2026-03-01T11:50:00Z"}]},
    })
}

fn injected(is_ready: bool, state: &Value) -> Value {
    let mut pod = pod(is_ready);
    let sidecar = json!({"name": "secret-handshake", "image": "sidecar:1",
        "args": ["--legacy-port=3000", "--secret=s", "--secret-key=half"]});
    pod["spec"]["containers"].as_array_mut().unwrap().push(sidecar);
    pod["status"]["containerStatuses"] = json!([{"name": "secret-handshake", "ready": is_ready,
        "image": "", "imageID": "", "restartCount": 0, "state": state}]);
    pod
}

fn seen(pods: &[Value]) -> Pods {
    let namespaces = namespaces(&[("legacy", json!({}))]);
    let mut found = Pods::default();
    for pod in pods {
        let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
        found.add(&pod, &namespaces, &Policy::default(), Some("sidecar:1"), now());
    }
    found
}

#[test]
fn what_is_in_a_namespace_that_is_being_deleted_is_not_looked_at() {
    let mut namespaces = Namespaces::default();
    let metadata = json!({"name": "legacy", "labels": {"secret-handshake": "true"},
        "deletionTimestamp": "2026-03-01T11:59:00Z"});
    namespaces.add(&serde_json::from_value(metadata).unwrap());
    let mut found = Pods::default();
    for pod in [pod(true), injected(false, &json!({"running": {}}))] {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        found.add(&pod, &namespaces, &Policy::default(), Some("sidecar:2"), now());
    }
    let found = Ok(found);
    is(&missing_sidecars(&found), State::Ok, "with a sidecar: 0");
    is(&old_sidecars(&found, &Ok("sidecar:2".to_owned())), State::Ok, "");
}

#[test]
fn pods_that_ask_for_a_sidecar_have_one() {
    let running = json!({"running": {}});
    let check = |pods: &[Value]| missing_sidecars(&Ok(seen(pods)));
    is(&check(&[injected(true, &running)]), State::Ok, "with a sidecar: 1");
    let missing = check(&[pod(true), pod(true), injected(true, &running)]);
    is(&missing, State::Warning, "legacy/deployment/app, 2 pods");
    is(&missing, State::Warning, "kubectl -n legacy rollout restart deployment/app");
    let mut host = pod(true);
    host["spec"]["hostNetwork"] = json!(true);
    let host = check(&[host]);
    is(&host, State::Warning, "hostNetwork is true");
    assert!(!host.remedy[0].contains("restart"), "a restart would not help: {host:?}");
    for change in [
        json!({"metadata": {"labels": {"secret-handshake": "false"}}}),
        json!({"metadata": {"annotations": {"secret-handshake-done": "1"}}}),
        json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "1"}}}),
        json!({"metadata": {"namespace": "other"}}),
        json!({"metadata": {"deletionTimestamp": "2026-03-01T11:50:00Z"}}),
        json!({"status": {"phase": "Succeeded"}}),
    ] {
        let mut pod = pod(true);
        merge(&mut pod, &change);
        is(&check(&[pod]), State::Ok, "with a sidecar: 0");
    }
    let mut own = pod(true);
    merge(
        &mut own,
        &json!({"metadata": {"namespace": "other", "labels": {"secret-handshake": "true"}}}),
    );
    is(&check(&[own]), State::Warning, "other/deployment/app");
    is(&missing_sidecars(&Err(forbidden())), State::Skipped, "list things");
}

fn merge(into: &mut Value, change: &Value) {
    json_patch::merge(into, change);
}

#[test]
fn sidecars_are_what_new_pods_get() {
    let running = json!({"running": {}});
    let image = Ok("sidecar:1".to_owned());
    let mut old = injected(true, &running);
    old["spec"]["containers"][1]["image"] = json!("sidecar:0");
    let new = injected(true, &running);
    is(&old_sidecars(&Ok(seen(std::slice::from_ref(&new))), &image), State::Ok, "sidecar:1");
    let finding = old_sidecars(&Ok(seen(&[new, old])), &image);
    is(&finding, State::Warning, "legacy/deployment/app, 1 pod: sidecar:0");
    is(&finding, State::Warning, "upgrade -n legacy");
    is(&old_sidecars(&Err(forbidden()), &image), State::Skipped, "list things");
    let unknown = Err(Unreadable::Failed("no pod is behind it".to_owned()));
    is(&old_sidecars(&Ok(seen(&[])), &unknown), State::Skipped, "no pod is behind it");
}

#[test]
fn secrets_are_there_with_their_key() {
    let pods = || Ok(seen(&[injected(true, &json!({"running": {}}))]));
    let [namespace, secret, key] = ["legacy", "s", "half"].map(str::to_owned);
    let wanted = SecretKey { namespace, secret, key };
    assert_eq!(
        pods().unwrap().secrets.into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&wanted)
    );
    let check = |state| secrets(&pods(), &[(wanted.clone(), state)]);
    is(&check(Ok(HalfState::There)), State::Ok, "Secrets: 1");
    is(&check(Ok(HalfState::NoSecret)), State::Failed, "no such Secret");
    is(&check(Ok(HalfState::NoKey)), State::Failed, "no key half");
    is(&check(Ok(HalfState::Empty)), State::Failed, "--from-file=half=FILE");
    is(&check(Err(forbidden())), State::Skipped, "list things");
    is(&secrets(&pods(), &[]), State::Ok, "no pod needs");
    is(&secrets(&Err(forbidden()), &[]), State::Skipped, "list things");
}

#[test]
fn images_are_pulled() {
    let waiting =
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off\npulling"}});
    let stuck = seen(&[injected(false, &waiting)]);
    let finding = images(Ok(&stuck.sidecars));
    is(&finding, State::Failed, "legacy/app-5d9-x: sidecar:1 (ImagePullBackOff): Back-off pulling");
    is(&sidecar_states(Ok(&stuck.sidecars), now()), State::Ok, "0 ready");
    let well = seen(&[injected(true, &json!({"running": {}}))]);
    is(&images(Ok(&well.sidecars)), State::Ok, "no pod waits");
    is(&images(Err(&forbidden())), State::Skipped, "list things");
}

#[test]
fn each_sidecar_has_a_word_and_those_not_ready_for_long_are_named() {
    let running = json!({"running": {}});
    let check = |state: &Value, log: Option<Result<String, Unreadable>>| {
        let mut found = seen(&[injected(true, &running), injected(false, state)]);
        found.sidecars.not_ready[0].log = log;
        sidecar_states(Ok(&found.sidecars), now())
    };
    for (log, word) in [
        ("INFO  waiting for Legacy to listen on 127.0.0.1:3000 or [::1]:3000", "waiting"),
        (
            "WARN  still waiting for Legacy to listen on port 3000, for 30 s now. Look at Legacy's log",
            "waiting",
        ),
        (
            "WARN  Legacy is gone: nothing listens any more. Waiting for it to come back; not ready",
            "waiting",
        ),
        (
            "ERROR the operations half is missing: there is no such file. It is read from /etc/x. Create it: kubectl",
            "no half",
        ),
        (
            "WARN  the operations half is empty. Legacy does not listen yet; the half is needed when it does",
            "no half",
        ),
        (
            "ERROR POST /internal/secret: Legacy refused the secret (status 400). The operations half is not the one this Legacy expects; it is read from x. Correct it: y. Retrying; said again about every 60s",
            "refused",
        ),
        (
            "WARN  GET /internal/key: no complete answer within 2s. Legacy may still be starting. Retrying; said again about every 60s",
            "failing",
        ),
        (
            "WARN  Legacy listens, but does not answer any more. Checking again; not ready",
            "failing",
        ),
        (
            "INFO  waiting for Legacy to listen on x\nINFO  Legacy is initialised; ready after 1 ms",
            "not ready",
        ),
        ("", "not ready"),
    ] {
        let finding = check(&running, Some(Ok(log.to_owned())));
        is(&finding, State::Warning, &format!("1 ready, 1 {word}"));
        is(&finding, State::Warning, &format!("legacy/app-5d9-x: {word} for 10 min"));
    }
    is(&check(&running, Some(Err(forbidden()))), State::Warning, "1 not ready");
    is(
        &check(&json!({"waiting": {"reason": "CrashLoopBackOff"}}), None),
        State::Warning,
        "1 crashing",
    );
    is(
        &check(&json!({"waiting": {"reason": "ContainerCreating"}}), None),
        State::Warning,
        "1 not started",
    );
    let soon = seen(&[injected(false, &running)]);
    let at = now() - SignedDuration::from_mins(8);
    is(&sidecar_states(Ok(&soon.sidecars), at), State::Ok, "1 not ready");
    is(&sidecar_states(Err(&forbidden()), now()), State::Skipped, "list things");
}

#[test]
fn a_pod_beside_istio_is_known_by_the_proxy_and_the_probe() {
    let check = |path: &str, is_ready: bool| {
        let mut pod = injected(is_ready, &json!({"running": {}}));
        pod["spec"]["initContainers"] = json!([{"name": "istio-proxy"}]);
        pod["spec"]["containers"][1]["readinessProbe"] =
            json!({"httpGet": {"path": path, "port": 15020}});
        let found = seen(&[pod]).beside_istio;
        (found.plain_probe.len(), found.not_ready.len())
    };
    assert_eq!(check("/app-health/secret-handshake/readyz", true), (0, 0));
    assert_eq!(check("/readyz", true), (1, 0));
    assert_eq!(check("/app-health/secret-handshake/readyz", false), (0, 1));
    assert_eq!(
        seen(&[injected(true, &json!({"running": {}}))]).beside_istio,
        BesideIstio::default()
    );
}
