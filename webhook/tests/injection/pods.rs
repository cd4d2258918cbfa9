//! Arbitrary pods: valid to Kubernetes' own types, with lists and maps that are there, empty, null
//! or left out, and with everything in them that the webhook may stumble over.

use std::collections::BTreeMap;

use injection::{Policy, PullPolicy};
use proptest::collection::vec;
use proptest::option::{self, of};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::exchange::policy;

type Member = Option<Value>;

/// A member that is left out, null, or there.
fn maybe(value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Member> {
    prop_oneof![2 => Just(None), 1 => Just(Some(Value::Null)), 4 => value.prop_map(Some)].boxed()
}

/// A member that is there one time in `n`.
fn rarely(n: u32, value: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Member> {
    prop_oneof![n - 1 => Just(None), 1 => value.prop_map(Some)].boxed()
}

fn object(members: Vec<(&str, Member)>) -> Value {
    let there = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(there.collect())
}

/// Any text, awkward ones included.
fn text() -> BoxedStrategy<Value> {
    "[a-zA-Z0-9 \"\\\\/~\u{e9}\u{1f600}\n-]{0,12}".prop_map(Value::String).boxed()
}

fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<Value> {
    select(texts).prop_map(|text| json!(text)).boxed()
}

fn entries(own: BoxedStrategy<Vec<(&'static str, Member)>>) -> BoxedStrategy<Value> {
    let others = proptest::collection::btree_map("[a-z]{1,6}(/[a-z~]{1,6})?", text(), 0..3);
    (others, own)
        .prop_map(|(others, own)| {
            let own = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(others.into_iter().chain(own).collect::<Map<_, _>>())
        })
        .boxed()
}

fn labels() -> BoxedStrategy<Value> {
    let label =
        rarely(3, one_of(&["true", "", "yes", "false", "False", "off", "disabled", "NO", "0"]));
    entries(label.prop_map(|label| vec![("secret-handshake", label)]).boxed())
}

/// What is set in one place, well or badly.
fn settings() -> impl Strategy<Value = Vec<(&'static str, Member)>> {
    (
        rarely(4, one_of(&["8080", "1", "65535", "3000", "0", "http"])),
        rarely(4, one_of(&["18080", "1024", "3000", "80"])),
        rarely(4, one_of(&["other", "a.b-c", "-"])),
        rarely(6, one_of(&["/vault/secrets/half", "half"])),
        rarely(6, one_of(&["class", "A"])),
        rarely(4, one_of(&["key", "K_2.txt", "../half"])),
        rarely(2, one_of(&["auto", "native", "classic", "both"])),
        rarely(4, one_of(&["error", "debug", "trace"])),
        rarely(5, one_of(&["100m", "1", "0"])),
        rarely(5, one_of(&["32Mi", "1Gi", "12m"])),
    )
        .prop_map(|(port, health, name, file, class, key, mode, level, cpu, memory)| {
            vec![
                ("secret-handshake/port", port),
                ("secret-handshake/health-port", health),
                ("secret-handshake/secret-name", name),
                ("secret-handshake/half-file", file),
                ("secret-handshake/secret-provider-class", class),
                ("secret-handshake/secret-key", key),
                ("secret-handshake/mode", mode),
                ("secret-handshake/log-level", level),
                ("secret-handshake/cpu", cpu),
                ("secret-handshake/memory", memory),
            ]
        })
}

fn annotations() -> BoxedStrategy<Value> {
    let others = (
        rarely(8, one_of(&["injected", "not injected (host-network): x"])),
        rarely(15, text()),
        rarely(15, text()),
        rarely(6, one_of(&["c0", "elsewhere"])),
        rarely(6, text()),
    );
    let own = (settings(), others).prop_map(|(mut all, others)| {
        let (status, done, mirror, default_container, unknown) = others;
        all.extend([
            ("secret-handshake/status", status),
            ("secret-handshake-done", done),
            ("kubernetes.io/config.mirror", mirror),
            ("kubectl.kubernetes.io/default-container", default_container),
            ("secret-handshake/unknown", unknown),
        ]);
        all
    });
    entries(own.boxed())
}

/// The annotations of any Namespace, half of which set nothing.
pub(crate) fn namespace() -> impl Strategy<Value = BTreeMap<String, String>> {
    let set = entries(settings().boxed())
        .prop_map(|annotations| serde_json::from_value(annotations).expect("texts"));
    prop_oneof![Just(BTreeMap::new()), set]
}

fn amounts() -> BoxedStrategy<Value> {
    let cpu = maybe(one_of(&["100m", "2", "0.5", "0", "0m"]));
    let memory = maybe(one_of(&["64Mi", "1Gi", "1e9", "0"]));
    let disk = rarely(4, one_of(&["1Gi"]));
    (cpu, memory, disk)
        .prop_map(|(cpu, memory, disk)| {
            let members = [("cpu", cpu), ("memory", memory), ("ephemeral-storage", disk)];
            // Kubernetes' own types have no null in a list of quantities.
            object(members.into_iter().filter(|(_, value)| *value != Some(Value::Null)).collect())
        })
        .boxed()
}

fn resources() -> BoxedStrategy<Value> {
    (maybe(amounts()), maybe(amounts()))
        .prop_map(|(requests, limits)| object(vec![("requests", requests), ("limits", limits)]))
        .boxed()
}

fn container() -> impl Strategy<Value = Value> {
    let port = (select(vec![3000, 13300, 18080, 9102]), maybe(one_of(&["TCP", "UDP"]))).prop_map(
        |(port, protocol)| {
            object(vec![("containerPort", Some(json!(port))), ("protocol", protocol)])
        },
    );
    let mount = one_of(&[
        "/data",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/etc/secret-handshake",
    ])
    .prop_map(|path| json!({"name": "data", "mountPath": path}));
    let security_context = select(vec![
        json!({}),
        json!({"privileged": true, "runAsUser": 0}),
        json!({"runAsNonRoot": true}),
    ]);
    let security_context = prop_oneof![
        30 => security_context,
        1 => Just(json!({"windowsOptions": {"hostProcess": false}})),
    ];
    let env = text().prop_map(|value| json!({"name": "X", "value": value}));
    (
        rarely(20, Just(json!("secret-handshake"))),
        maybe(select(vec![json!([]), json!(["--port=1"]), json!(["x", "--legacy-port=3000"])])),
        rarely(3, vec(port, 0..2).prop_map(Value::Array)),
        maybe(resources()),
        maybe(vec(mount, 0..2).prop_map(Value::Array)),
        maybe(security_context),
        maybe(vec(env, 0..3).prop_map(Value::Array)),
        rarely(3, one_of(&["Always"])),
    )
        .prop_map(
            |(name, args, ports, resources, mounts, security_context, env, restart_policy)| {
                object(vec![
                    ("name", name.or_else(|| Some(json!("unnamed")))),
                    ("image", Some(json!("registry.example.com/x:1"))),
                    ("args", args),
                    ("ports", ports),
                    ("resources", resources),
                    ("volumeMounts", mounts),
                    ("securityContext", security_context),
                    ("env", env),
                    ("restartPolicy", restart_policy),
                ])
            },
        )
}

/// Containers with names of their own, unless one has the sidecar's.
fn containers(prefix: &'static str, count: std::ops::Range<usize>) -> BoxedStrategy<Value> {
    vec(container(), count)
        .prop_map(move |mut containers| {
            for (index, container) in containers.iter_mut().enumerate() {
                if container["name"] == "unnamed" {
                    container["name"] = json!(format!("{prefix}{index}"));
                }
            }
            Value::Array(containers)
        })
        .boxed()
}

/// The operating system that a pod's nodes must have, as an affinity says it.
fn affinity() -> BoxedStrategy<Value> {
    let key = one_of(&["kubernetes.io/os", "beta.kubernetes.io/os", "disk"]);
    let values = select(vec![json!(["windows"]), json!(["linux"]), json!(["linux", "windows"])]);
    let expression = (key, one_of(&["In", "In", "NotIn"]), values).prop_map(
        |(key, operator, values)| json!({"key": key, "operator": operator, "values": values}),
    );
    let term = vec(expression, 0..3).prop_map(|all| json!({"matchExpressions": all}));
    vec(term, 0..3)
        .prop_map(|terms| {
            let required = json!({"nodeSelectorTerms": terms});
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})
        })
        .boxed()
}

fn spec() -> impl Strategy<Value = Value> {
    let volume = prop_oneof![
        30 => one_of(&["data", "config", "kube-api-access-x"]),
        1 => one_of(&["secret-handshake", "secret-handshake-no-token"]),
    ]
    .prop_map(|name| json!({"name": name, "emptyDir": {}}));
    let secret = json!({"secretName": "secret-handshake", "optional": true});
    let sidecars = select(vec![
        json!({"name": "secret-handshake", "secret": secret}),
        json!({"name": "secret-handshake", "csi": {
            "driver": "secrets-store.csi.k8s.io", "readOnly": true,
            "volumeAttributes": {"secretProviderClass": "class"},
        }}),
        json!({"name": "secret-handshake-no-token", "downwardAPI": {"defaultMode": 420}}),
    ]);
    let volumes = vec(prop_oneof![30 => volume, 1 => sidecars], 0..3);
    let pod_security = (
        option::of(select(vec![0, 1000])),
        option::of(select(vec!["Unconfined", "RuntimeDefault"])),
    )
        .prop_map(|(uid, seccomp)| {
            object(vec![
                ("runAsUser", uid.map(|uid| json!(uid))),
                ("runAsNonRoot", uid.map(|uid| json!(uid != 0))),
                ("seccompProfile", seccomp.map(|kind| json!({"type": kind}))),
            ])
        });
    (
        containers("c", 0..4),
        maybe(containers("i", 0..3)),
        maybe(volumes.prop_map(Value::Array)),
        maybe(one_of(&["Always", "OnFailure", "Never"])),
        rarely(8, any::<bool>().prop_map(Value::Bool)),
        rarely(10, one_of(&["linux", "windows"])),
        (
            rarely(10, one_of(&["linux", "windows"])),
            one_of(&["kubernetes.io/os", "beta.kubernetes.io/os"]),
            rarely(4, affinity()),
        ),
        maybe(pod_security),
        rarely(5, resources()),
        maybe(Just(json!([{"operator": "Exists"}]))),
    )
        .prop_map(
            |(
                containers,
                init,
                volumes,
                restarts,
                host,
                os,
                (node, os_label, affinity),
                security,
                resources,
                tolerations,
            )| {
                object(vec![
                    ("volumes", volumes),
                    ("initContainers", init),
                    ("containers", Some(containers)),
                    ("restartPolicy", restarts),
                    ("hostNetwork", host),
                    ("os", os.map(|name| json!({"name": name}))),
                    (
                        "nodeSelector",
                        node.map(|os| {
                            let mut selector = json!({"disk": "ssd"});
                            selector[os_label.as_str().unwrap_or_default()] = os;
                            selector
                        }),
                    ),
                    ("affinity", affinity),
                    ("securityContext", security),
                    ("resources", resources),
                    ("tolerations", tolerations),
                    ("automountServiceAccountToken", Some(json!(true))),
                ])
            },
        )
}

/// Any pod.
pub(crate) fn pod() -> impl Strategy<Value = Value> {
    let metadata = (maybe(labels()), maybe(annotations()), of("[a-z]{1,10}")).prop_map(
        |(labels, annotations, name)| {
            object(vec![
                ("name", name.map(Value::String)),
                ("labels", labels),
                ("annotations", annotations),
            ])
        },
    );
    (maybe(metadata), spec()).prop_map(|(metadata, spec)| {
        object(vec![
            ("kind", Some(json!("Pod"))),
            ("apiVersion", Some(json!("v1"))),
            ("metadata", metadata),
            ("spec", Some(spec)),
        ])
    })
}

/// Any policy.
pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    let pull_policy = select(vec![None, Some(PullPolicy::Always), Some(PullPolicy::Never)]);
    let run_as_user = select(vec![None, Some(65532), Some(1005)]);
    (pull_policy, run_as_user).prop_map(|(pull_policy, run_as_user)| Policy {
        pull_policy,
        run_as_user,
        ..policy()
    })
}

/// Any workload: its API group and the object.
pub(crate) fn workload() -> impl Strategy<Value = (&'static str, Value)> {
    let kind = select(vec![
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
        ("batch", "CronJob"),
    ]);
    let note = rarely(2, one_of(&["true", "false", ""]));
    let note = entries(note.prop_map(|note| vec![("secret-handshake/label-copied", note)]).boxed());
    (kind, maybe(labels()), maybe(note), pod(), rarely(10, Just(json!("2026-01-01T00:00:00Z")))).prop_map(
        |((group, kind), labels, annotations, mut template, deleted)| {
            let members = template.as_object_mut().expect("an object");
            members.remove("kind");
            members.remove("apiVersion");
            let spec = json!({"template": template});
            let spec = if kind == "CronJob" { json!({"jobTemplate": {"spec": spec}}) } else { spec };
            let metadata = object(vec![
                ("name", Some(json!("legacy"))),
                ("labels", labels),
                ("annotations", annotations),
                ("deletionTimestamp", deleted),
            ]);
            (group, json!({"kind": kind, "apiVersion": format!("{group}/v1"), "metadata": metadata, "spec": spec}))
        },
    )
}
