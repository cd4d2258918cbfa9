//! The whole command against an API server and a kubelet that are made here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use clap::Parser;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

const OLD: &str = "sidecar:1";
const NEW: &str = "sidecar:2";

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: UpgradeArgs,
}

/// A cluster with pods. Its kubelet looks after a pod whenever somebody reads it.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// By namespace and name.
    pods: BTreeMap<(String, String), Value>,
    /// Of a pod that was patched, how often it is still read before the kubelet has done its work.
    looks: BTreeMap<(String, String), u32>,
    version: u64,
    /// The paths of the patches.
    patched: Vec<String>,
    /// How many pods of the same namespace were Ready at each patch.
    ready: Vec<usize>,
    forbidden: Option<&'static str>,
    meanwhile: Option<Meanwhile>,
    /// The pod on whose node no image can be pulled.
    breaks: Option<&'static str>,
}

/// What somebody else does after so many requests.
struct Meanwhile {
    after: u32,
    does: fn(&mut State),
}

impl Fake {
    fn with(pods: &[(&str, &str)]) -> Self {
        let fake = Self::default();
        for (workload, name) in pods {
            fake.add("shop", workload, name);
        }
        fake
    }

    fn add(&self, namespace: &str, workload: &str, name: &str) {
        let (kind, owner) = workload.split_once('/').unwrap();
        let pod = json!({
            "metadata": {
                "namespace": namespace, "name": name, "uid": name, "resourceVersion": "0",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "u",
                    "controller": true}],
            },
            "spec": {"containers": [
                {"name": "legacy", "image": "legacy:1"},
                {"name": "secret-handshake", "image": OLD, "args": ["--legacy-port=3000"]},
            ]},
            "status": status(true, &json!({"running": {}}), Some("containerd://old")),
        });
        self.state().pods.insert((namespace.to_owned(), name.to_owned()), pod);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn images(&self) -> Vec<String> {
        let image =
            |pod: &Value| pod["spec"]["containers"][1]["image"].as_str().unwrap().to_owned();
        self.state().pods.values().map(image).collect()
    }

    /// Runs the command and gives its exit code and what it prints.
    async fn run(&self, words: &str) -> (u8, String) {
        let interrupts = watch::Sender::new(0);
        self.run_with(words, &interrupts).await
    }

    async fn run_with(&self, words: &str, interrupts: &watch::Sender<u32>) -> (u8, String) {
        let words = ["upgrade"].into_iter().chain(words.split_whitespace());
        let args = CommandLine::try_parse_from(words).unwrap().args;
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        let namespace = args.connection.namespace.clone().unwrap_or("shop".to_owned());
        let cluster = Cluster { client: kube::Client::new(service, "shop"), namespace };
        let mut out = Vec::new();
        let done = upgrade(&cluster, &args, interrupts.subscribe(), || (), &mut out).await;
        let mut out = String::from_utf8(out).unwrap();
        let code = match done {
            Ok(code) => u8::from(code != ExitCode::SUCCESS),
            Err(error) => {
                out = format!("{out}Error: {error:#}\n");
                1
            }
        };
        (code, out)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (code, answer) = self.state().answer(&head, &body);
        let status = StatusCode::from_u16(code).unwrap();
        Response::builder()
            .status(status)
            .body(Body::from(answer.to_string().into_bytes()))
            .unwrap()
    }
}

impl State {
    fn answer(&mut self, head: &http::request::Parts, body: &[u8]) -> (u16, Value) {
        match self.meanwhile.as_mut() {
            Some(Meanwhile { after: 0, does }) => {
                does(self);
                self.meanwhile = None;
            }
            Some(meanwhile) => meanwhile.after -= 1,
            None => {}
        }
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        if self.forbidden.is_some_and(|what| format!("{} {path}", head.method).starts_with(what)) {
            return refused(403, "User \"u\" cannot do that");
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            [.., "mutatingwebhookconfigurations", _] => (
                200,
                json!({"webhooks": [{
                    "name": "pod.secret-handshake.dev", "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {"service": {"namespace": "hook", "name": "s"}},
                }]}),
            ),
            [.., "namespaces", "hook", "services", "s"] => {
                (200, json!({"spec": {"selector": {"app": "hook"}}}))
            }
            [.., "namespaces", "hook", "deployments"] => (
                200,
                json!({"metadata": {}, "items": [{
                    "spec": {"selector": {}, "template": {
                        "metadata": {"labels": {"app": "hook"}},
                        "spec": {"containers": [
                            {"name": "webhook", "args": [format!("--sidecar-image={NEW}")]},
                        ]},
                    }},
                }]}),
            ),
            ["api", "v1", "pods"] => (200, self.list(query, None)),
            ["api", "v1", "namespaces", namespace, "pods"] => {
                (200, self.list(query, Some(namespace)))
            }
            ["api", "v1", "namespaces", namespace, "pods", name] => {
                let key = (namespace.to_owned(), name.to_owned());
                if !self.pods.contains_key(&key) {
                    return refused(404, "not found");
                }
                if head.method == http::Method::GET {
                    self.kubelet(&key);
                    return (200, self.pods[&key].clone());
                }
                assert_eq!(head.method, http::Method::PATCH);
                assert_eq!(head.headers["content-type"], "application/strategic-merge-patch+json");
                self.patch(&key, &serde_json::from_slice(body).unwrap())
            }
            _ => refused(404, path),
        }
    }

    /// A page, which is continued by the number of its first pod.
    fn list(&self, query: &str, namespace: Option<&str>) -> Value {
        let number = |key: &str| -> Option<usize> {
            query.split('&').find_map(|part| part.strip_prefix(key)?.parse().ok())
        };
        let (from, limit) = (number("continue=").unwrap_or(0), number("limit=").unwrap());
        let all = self.pods.iter().filter(|(key, _)| namespace.is_none_or(|name| key.0 == name));
        let mut page: Vec<&Value> = all.map(|(_, pod)| pod).skip(from).take(limit + 1).collect();
        let more = (page.len() > limit).then(|| (from + limit).to_string());
        page.truncate(limit);
        json!({"metadata": {"continue": more}, "items": page})
    }

    fn patch(&mut self, key: &(String, String), patch: &Value) -> (u16, Value) {
        self.patched.push(key.1.clone());
        let beside = self.pods.iter().filter(|(other, _)| other.0 == key.0 && *other != key);
        self.ready.push(
            beside.filter(|(_, pod)| pod["status"]["conditions"][0]["status"] == "True").count(),
        );
        let pod = self.pods.get_mut(key).unwrap();
        for part in ["uid", "resourceVersion"] {
            if patch["metadata"][part] != pod["metadata"][part] {
                return refused(409, "the object has been modified");
            }
        }
        let change = &patch["spec"]["containers"][0];
        assert_eq!(change["name"], "secret-handshake");
        pod["spec"]["containers"][1]["image"] = change["image"].clone();
        self.looks.insert(key.clone(), 3);
        self.write(key);
        (200, self.pods[key].clone())
    }

    fn write(&mut self, key: &(String, String)) {
        self.version += 1;
        let version = self.version.to_string();
        self.pods.get_mut(key).unwrap()["metadata"]["resourceVersion"] = json!(version);
    }

    /// Replaces a sidecar step by step: the old one, none, the new one, Ready.
    fn kubelet(&mut self, key: &(String, String)) {
        let Some(looks) = self.looks.get_mut(key).filter(|looks| **looks > 0) else { return };
        *looks -= 1;
        let left = *looks;
        let pod = self.pods.get_mut(key).unwrap();
        let image = pod["spec"]["containers"][1]["image"].as_str().unwrap();
        let id = format!("containerd://{image}");
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        let running = json!({"running": {}});
        let image = if self.breaks == Some(&*key.1) { "missing:1" } else { image };
        pod["status"] = match (left, image) {
            (2, _) => return,
            (1, _) => status(false, &waiting, None),
            (_, "missing:1") => {
                let waiting = json!({"reason": "ImagePullBackOff", "message": "Back-off pulling \"missing:1\""});
                status(false, &json!({ "waiting": waiting }), None)
            }
            (_, "silent:1") => status(false, &running, Some(&id)),
            _ => status(true, &running, Some(&id)),
        };
        self.write(key);
    }
}

fn status(ready: bool, state: &Value, id: Option<&str>) -> Value {
    json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        "containerStatuses": [{"name": "secret-handshake", "image": "", "imageID": "", "ready": ready,
            "restartCount": 0, "state": state, "containerID": id}],
    })
}

fn refused(code: u16, message: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "code": code, "message": message, "status": "Failure",
        "reason": if code == 404 { "NotFound" } else { "" }}),
    )
}

const LEDGER: [(&str, &str); 3] = [
    ("StatefulSet/ledger", "ledger-0"),
    ("StatefulSet/ledger", "ledger-1"),
    ("StatefulSet/ledger", "ledger-2"),
];

#[tokio::test(start_paused = true)]
async fn one_after_the_other() {
    let fake = Fake::with(&LEDGER);
    let (code, out) = fake.run("").await;
    assert_eq!(
        out,
        "The webhook gives new pods the sidecar sidecar:2.\n\
         3 pods in namespace shop with a sidecar: 0 with this one, 3 with another.\n\
         To upgrade, one pod at a time:\n  \
           statefulset/ledger: 3 pods, now with sidecar:1\n\
         \n\
         1/3 statefulset/ledger pod ledger-0: Ready again after 0.5 s\n\
         2/3 statefulset/ledger pod ledger-1: Ready again after 0.5 s\n\
         3/3 statefulset/ledger pod ledger-2: Ready again after 0.5 s\n\
         3 pods upgraded in 32 s.\n"
    );
    assert_eq!((code, fake.images()), (0, vec![NEW.to_owned(); 3]));
    assert_eq!(fake.state().ready, [2, 2, 2]);
    let (code, out) = fake.run("").await;
    assert!(out.contains("3 with this one, 0 with another.\nNothing to do.\n"), "{out}");
    assert_eq!((code, fake.state().patched.len()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing() {
    let fake = Fake::with(&LEDGER);
    let (code, out) = fake.run("--dry-run").await;
    assert!(out.contains("3 pods, now with sidecar:1\nNothing was changed: --dry-run.\n"), "{out}");
    assert_eq!((code, fake.images()), (0, vec![OLD.to_owned(); 3]));
}

#[tokio::test(start_paused = true)]
async fn it_stops_at_the_first_that_does_not_come_back_and_goes_back() {
    for (image, words, why) in [
        ("missing:1", "--to missing:1", "ImagePullBackOff: Back-off pulling \"missing:1\""),
        (
            "silent:1",
            "--to silent:1 --timeout 5s",
            "not back after 5 s: the new sidecar runs, and the pod is not Ready",
        ),
    ] {
        let fake = Fake::with(&LEDGER);
        let (code, out) = fake.run(words).await;
        let end = out.split_once("\n\n").unwrap().1;
        assert_eq!(
            end,
            format!(
                "1/3 statefulset/ledger pod ledger-0: {why}\n\
                 Stopped: 0 pods upgraded in {} s, 1 not back, 2 not touched.\n\
                 \n\
                 Legacy runs on in pod ledger-0, which gets no calls from its Services until its sidecar is Ready.\n\
                 Its old sidecar again:\n  \
                   kubectl -n shop patch pod ledger-0 -p '{{\"spec\":{{\"containers\":[{{\"name\":\"secret-handshake\",\"image\":\"sidecar:1\"}}]}}}}'\n\
                 What is wrong:\n  \
                   kubectl -n shop describe pod ledger-0\n  \
                   kubectl -n shop logs ledger-0 -c secret-handshake\n",
                if image == "missing:1" { 1 } else { 5 }
            )
        );
        assert_eq!(
            (code, fake.images()),
            (1, vec![image.to_owned(), OLD.to_owned(), OLD.to_owned()])
        );
        // One whose image is missing needs nobody's permission: it serves nobody.
        if image == "missing:1" {
            let (code, out) = fake.run("--to sidecar:1 pod/ledger-0").await;
            assert_eq!((code, fake.images()), (0, vec![OLD.to_owned(); 3]), "{out}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_goes_back_by_the_line_that_is_printed() {
    let fake = Fake::with(&LEDGER[..2]);
    fake.add("shop", "StatefulSet/ahead", "ahead-0");
    fake.add("shop", "StatefulSet/ahead", "ahead-1");
    fake.state().breaks = Some("ledger-1");
    let (code, out) = fake.run("").await;
    assert!(out.contains("Stopped: 3 pods upgraded in 32 s, 1 not back.\n"), "{out}");
    let back = "kubectl secret-handshake upgrade -n shop statefulset/ledger --to sidecar:1\n";
    assert!(out.ends_with(back), "{out}");
    assert_eq!(code, 1);
    fake.state().breaks = None;
    let words = back.strip_prefix("kubectl secret-handshake upgrade").unwrap();
    let (code, out) = fake.run(words).await;
    assert_eq!(
        (code, fake.images()),
        (0, [NEW, NEW, OLD, OLD].map(str::to_owned).to_vec()),
        "{out}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_single_pod_is_left_unless_told() {
    let fake = Fake::with(&[("StatefulSet/single", "single-0")]);
    let (code, out) = fake.run("").await;
    assert!(
        out.contains("Left as they are:\n  statefulset/single: pod single-0: the only Ready one"),
        "{out}"
    );
    assert!(out.ends_with("--allow-gap\nNothing to do.\n"), "{out}");
    assert_eq!((code, fake.images()), (0, vec![OLD.to_owned()]));
    let (code, out) = fake.run("--allow-gap").await;
    assert!(out.contains("1 pod, now with sidecar:1; only one is Ready"), "{out}");
    assert_eq!((code, fake.images()), (0, vec![NEW.to_owned()]));
}

/// After how many requests, what is done; what is printed, and the pods' images.
type Case = (u32, fn(&mut State), &'static str, [&'static str; 3]);

#[tokio::test(start_paused = true)]
async fn what_changes_meanwhile_is_left() {
    /// Requests before the first pod is read: three for the webhook's image, one page of pods.
    const READING: u32 = 4;
    let cases: [Case; 6] = [
        (
            READING,
            |state| drop(state.pods.remove(&("shop".to_owned(), "ledger-0".to_owned()))),
            "1/3 statefulset/ledger pod ledger-0: left: it is gone\n2/3 statefulset/ledger pod ledger-1: Ready",
            ["", NEW, NEW],
        ),
        (
            READING,
            |state| set(state, "ledger-0", "/metadata/uid", &json!("next")),
            "ledger-0: left: it is gone\n",
            [OLD, NEW, NEW],
        ),
        (
            READING,
            |state| set(state, "ledger-0", "/spec/containers/1/image", &json!("other:1")),
            "ledger-0: left: it has changed meanwhile\n",
            ["other:1", NEW, NEW],
        ),
        (
            READING,
            |state| {
                for name in ["ledger-1", "ledger-2"] {
                    set(state, name, "/status/conditions/0/status", &json!("False"));
                }
            },
            "1/3 statefulset/ledger pod ledger-0: left: no other pod of its workload is Ready any more\n\
             2/3 statefulset/ledger pod ledger-1: left: it has changed meanwhile\n",
            [OLD, OLD, OLD],
        ),
        // Between the reading of the first pod and its patch.
        (
            READING + 2,
            |state| set(state, "ledger-0", "/metadata/labels", &json!({"a": "b"})),
            "1/3 statefulset/ledger pod ledger-0: Ready again",
            [NEW, NEW, NEW],
        ),
        // While it is waited for.
        (
            READING + 4,
            |state| drop(state.pods.remove(&("shop".to_owned(), "ledger-0".to_owned()))),
            "ledger-0: left: it was deleted meanwhile\n2/3 statefulset/ledger pod ledger-1: Ready",
            ["", NEW, NEW],
        ),
    ];
    for (after, does, expected, images) in cases {
        let fake = Fake::with(&LEDGER);
        fake.state().meanwhile = Some(Meanwhile { after, does });
        let (code, out) = fake.run("").await;
        assert!(out.contains(expected), "{expected}\n{out}");
        let images: Vec<_> = images.into_iter().filter(|image| !image.is_empty()).collect();
        assert_eq!(
            (code, fake.images()),
            (0, images.iter().map(ToString::to_string).collect()),
            "{out}"
        );
    }
}

fn set(state: &mut State, name: &str, pointer: &str, value: &Value) {
    let key = ("shop".to_owned(), name.to_owned());
    let pod = state.pods.get_mut(&key).unwrap();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match pod.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(last.to_owned(), value.clone())),
        other => panic!("{other}"),
    }
    state.write(&key);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_permitted_is_said() {
    for (forbidden, expected) in [
        (
            "GET /api/v1/namespaces/shop/pods",
            "Error: the pods can't be read: no permission to list pods in namespace shop\n",
        ),
        (
            "GET /api",
            "can't be read; you can name the image: --to IMAGE: no permission to get services in namespace secret-handshake\n",
        ),
        (
            "PATCH",
            "ledger-0: the API server refuses: User \"u\" cannot do that\nStopped: 0 pods upgraded in 0 s, 3 not touched.\n",
        ),
    ] {
        let fake = Fake::with(&LEDGER);
        fake.state().forbidden = Some(forbidden);
        let (code, out) = fake.run("").await;
        assert!(code == 1 && out.ends_with(expected), "{expected}\n{out}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_it_after_the_pod_and_a_second_at_once() {
    let fake = Fake::with(&LEDGER);
    let interrupts = watch::Sender::new(0);
    let (code, out) = tokio::join!(fake.run_with("", &interrupts), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        interrupts.send_replace(1);
    })
    .0;
    assert!(out.ends_with("Interrupted: 1 pod upgraded in 11 s, 2 not touched.\n"), "{out}");
    assert_eq!((code, fake.state().patched.len()), (1, 1));

    let fake = Fake::with(&LEDGER);
    let interrupts = watch::Sender::new(0);
    let (code, out) = tokio::join!(fake.run_with("--to silent:1", &interrupts), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        interrupts.send_replace(2);
    })
    .0;
    assert!(out.contains("ledger-0: interrupted: the new sidecar runs"), "{out}");
    assert!(out.contains("kubectl -n shop patch pod ledger-0 -p "), "{out}");
    assert_eq!((code, fake.state().patched.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_all_namespaces() {
    let fake = Fake::default();
    for number in 0..1203 {
        let namespace = format!("shop-{}", number % 3);
        fake.add(&namespace, "StatefulSet/ledger", &format!("ledger-{number}"));
    }
    let (code, out) = fake.run("-A --dry-run").await;
    assert!(out.contains("1203 pods in all namespaces with a sidecar: 0 with this one"), "{out}");
    assert!(out.contains("  statefulset/ledger in shop-1: 401 pods"), "{out}");
    assert_eq!(code, 0);
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_is_named_is_upgraded_alone() {
    let fake = Fake::with(&LEDGER);
    fake.add("shop", "DaemonSet/other", "other-0");
    let (code, out) = fake.run("sts/ledger").await;
    assert!(out.contains("3 pods in namespace shop with a sidecar"), "{out}");
    assert_eq!((code, fake.state().patched.len()), (0, 3));
    let (code, out) = fake.run("deploy/ledger").await;
    assert_eq!(out, "Error: deployment/ledger has no running pod in namespace shop\n");
    assert_eq!(code, 1);
}
