//! `deploy/policy`: the same injection with no webhook, and the guard.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use lab::until::until;
use serde_json::{Value, json};

use super::golden::{self, Seen, comparable, sentence};
use super::objects::{NAME, annotated, labelled, no_sidecar, pod, workload};
use super::scenarios;
use super::scene::{PATIENCE, Scene};
use super::stage::Skip;
use super::{fits, labels, resources, selection, settings};
use crate::folders::workspace;
use crate::product::injector::{Injector, policy};
use crate::product::install;

scenarios! {
    same_objects: ControlPlane, Alone, "policy/same-objects",
        "the golden pods and workloads come out the same by the webhook and by the policy, but for what docs/policy.md lists";
    same_settings: ControlPlane, Alone, "policy/same-settings",
        "so do pods with every kind of value of each setting, and of resources";
    same_scenarios: ControlPlane, Alone, "policy/same-scenarios",
        "what labels/, fits/, resources/, selection/ and settings/ show of the webhook they show of the policy";
    nobody_else: ControlPlane, Alone, "policy/nobody-else",
        "a policy that fails refuses those who ask, and nobody else";
    guard: ControlPlane, Alone, "policy/guard",
        "nobody injects, and the guard warns, or refuses; where somebody does it is silent";
}

const DOCS: &str = "docs/policy.md";
const GUARD: &str = "deploy/policy/guard";

/// Takes `steps` with another injector, and puts the webhook back whatever comes of them.
async fn with<T>(
    scene: &Scene,
    injector: Injector,
    steps: impl AsyncFnOnce() -> Result<T>,
) -> Result<T> {
    if scene.api().of("MutatingAdmissionPolicy", "").is_err() {
        bail!(Skip("needs Kubernetes 1.36 or newer".to_owned()));
    }
    let replicas = scene.replicas()?;
    let done = async {
        injector.install(scene.cluster(), replicas).await?;
        steps().await
    };
    let done = done.await;
    Injector::Webhook.install(scene.cluster(), replicas).await?;
    done
}

async fn same_objects(scene: &Scene) -> Result<()> {
    let by_webhook = golden::create_all(scene).await?;
    let by_policy = with(scene, Injector::Policy, async || golden::create_all(scene).await).await?;
    let mut differences = Vec::new();
    for (name, by_webhook) in &by_webhook {
        differences.extend(row(name, by_webhook, &by_policy[name])?);
    }
    scene.note(format!("{} objects", by_webhook.len())).await;
    let docs = fs::read_to_string(workspace().join(DOCS))?;
    let listed: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `")).collect();
    ensure!(listed == differences, "{DOCS} should list\n{}", differences.join("\n"));
    Ok(())
}

/// The line of docs/policy.md about one object, if there is something to say.
fn row(name: &str, by_webhook: &Seen, by_policy: &Seen) -> Result<Option<String>> {
    let both = [by_webhook, by_policy];
    let [webhook, policy] = match (&by_webhook.made, &by_policy.made) {
        _ if by_webhook == by_policy => return Ok(None),
        (Err(one), Err(other)) if one != other => [one, other].map(Clone::clone),
        (one, other) if one == other => both.map(|seen| match seen.warnings.len() {
            0 => "no warning".to_owned(),
            1 => "a warning".to_owned(),
            more => format!("{more} warnings"),
        }),
        (Ok(one), Ok(other)) => bail!("{name}: {}", difference(one, other)),
        (one, other) => bail!("{name}: by the webhook {one:?}, by the policy {other:?}"),
    };
    Ok(Some(format!("| `{name}` | {webhook} | {policy} |")))
}

/// Where two objects differ first.
fn difference(one: &Value, other: &Value) -> String {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys());
            let differs = |key: &&String| one.get(*key) != other.get(*key);
            keys.into_iter().find(differs).map_or_else(String::new, |key| {
                let of = |object: &serde_json::Map<String, Value>| {
                    object.get(key).cloned().unwrap_or_default()
                };
                format!("{key}.{}", difference(&of(one), &of(other)))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let place = one.iter().zip(other).position(|(one, other)| one != other);
            place.map_or_else(String::new, |place| {
                format!("{place}.{}", difference(&one[place], &other[place]))
            })
        }
        _ => format!(" {one} by the webhook, {other} by the policy"),
    }
}

/// Each setting with values at the edges of what is allowed, on either side.
const VALUES: [(&str, &[&str]); 10] = [
    (
        "port",
        &["1", "080", "65535", "0", "65536", "-1", "+1", "", " 80", "3e3", "99999999999999999999"],
    ),
    ("health-port", &["1024", "65535", "1023", "3000", "00001024", ""]),
    ("secret-name", &["a", "0", "a-b.c", "", "A", "a_b", "-a", "a-", "a..b", "a/b", "ä", "../x"]),
    (
        "secret-key",
        &["half", ".half", "A_b-c.d", "a..b", "", ".", "..", "..half", "a/b", "ä", "a b", "a\n"],
    ),
    (
        "half-file",
        &[
            "/half",
            "/a/..data/b_c-d.e",
            "",
            "/",
            "half",
            "/a/",
            "//a",
            "/a/..",
            "/a/./b",
            "/$(HOME)/half",
            "/a\n",
        ],
    ),
    ("secret-provider-class", &["a", "vault.half-1", "", "A", "a/b"]),
    ("mode", &["auto", "native", "classic", "", "Native", "auto "]),
    ("log-level", &["error", "warn", "info", "debug", "", "INFO", "trace"]),
    (
        "cpu",
        &[
            "1m",
            "50m",
            "1",
            "0.1",
            "16",
            "1e-3",
            "",
            "0",
            "-1",
            "17",
            "50 m",
            "fast",
            "\"quoted\" \\ and more than forty-eight characters of it",
        ],
    ),
    (
        "memory",
        &["6Mi", "12Mi", "1Gi", "16Gi", "6291456", "6e6", "7e6", "", "0", "12m", "17Gi", "12MB"],
    ),
];

/// Resources of the pod as a whole, and of each of its containers.
fn resources_of_pods() -> Vec<(Value, Vec<Value>)> {
    let all = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "2", "memory": "2Gi" } });
    let zero = json!({ "requests": { "cpu": "0", "memory": "0" } });
    vec![
        (json!({}), vec![all.clone()]),
        (json!({}), vec![all.clone(), all.clone()]),
        (json!({}), vec![all.clone(), json!({})]),
        (json!({}), vec![json!({ "requests": { "cpu": "1" } })]),
        (json!({}), vec![json!({ "limits": { "memory": "1Gi" } })]),
        (
            json!({}),
            vec![all.clone(), json!({ "requests": { "memory": "1Gi" }, "limits": { "cpu": 1 } })],
        ),
        (json!({}), vec![zero.clone()]),
        (json!({}), vec![zero, json!({ "requests": { "cpu": 0.5 } })]),
        (json!({}), vec![json!({ "requests": { "ephemeral-storage": "1Gi" } })]),
        (json!({ "requests": { "cpu": "3" } }), vec![all.clone()]),
        (json!({ "requests": { "cpu": "3" }, "limits": { "cpu": "3" } }), vec![json!({})]),
        (json!({ "limits": { "cpu": "0.02", "memory": "8Mi" } }), vec![json!({})]),
        (json!({ "limits": { "cpu": "3", "memory": "3Gi" } }), vec![all]),
        (
            json!({ "requests": { "memory": "3Gi" }, "limits": { "memory": "3Gi" } }),
            vec![json!({ "limits": { "cpu": "1" } })],
        ),
    ]
}

fn varied(namespace: &str) -> BTreeMap<String, Value> {
    let mut pods = BTreeMap::new();
    for (setting, values) in VALUES {
        for value in values {
            let own = annotated(pod(namespace, "legacy"), &format!("{NAME}/{setting}"), value);
            pods.insert(format!("{setting} {value:?}, inherited"), own.clone());
            pods.insert(format!("{setting} {value:?}"), labelled(own, "true"));
        }
    }
    for (number, (whole, containers)) in resources_of_pods().into_iter().enumerate() {
        let mut pod = pod(namespace, "legacy");
        pod["spec"]["resources"] = whole;
        let containers = (1..).zip(containers).map(|(number, resources)| {
            json!({ "name": format!("legacy-{number}"), "image": "legacy-mock", "resources": resources })
        });
        pod["spec"]["containers"] = containers.collect();
        pods.insert(format!("resources {number}"), pod);
    }
    pods
}

async fn same_settings(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let pods = varied(&namespace);
    let create = async || {
        let mut all = Vec::new();
        for pod in pods.values() {
            let made = match scene.api().dry_run(pod).await {
                Ok(made) => comparable(&made, &namespace)?.to_string(),
                Err(error) => sentence(&format!("{error:#}")).to_owned(),
            };
            // What is a flag there is a default here.
            all.push(made.replace("the policy's default ", "the flag --sidecar-"));
        }
        anyhow::Ok(all)
    };
    let by_webhook = create().await?;
    let by_policy = with(scene, Injector::Policy, create).await?;
    for (case, (one, other)) in pods.keys().zip(by_webhook.iter().zip(&by_policy)) {
        ensure!(one == other, "{case}: by the webhook\n{one}\nby the policy\n{other}");
    }
    scene.note(format!("{} pods", pods.len())).await;
    Ok(())
}

async fn same_scenarios(scene: &Scene) -> Result<()> {
    let topics = [
        labels::SCENARIOS,
        fits::SCENARIOS,
        resources::SCENARIOS,
        selection::SCENARIOS,
        settings::SCENARIOS,
    ];
    with(scene, Injector::Policy, async || {
        for scenario in topics.into_iter().flatten() {
            // They are about the webhook's calls, its warnings, its processes; or about what is set on a
            // Namespace, which counts a moment later here.
            let others = [
                "selection/matrix",
                "settings/on-a-namespace",
                "settings/invalid-on-a-namespace",
                "settings/priority",
                "settings/by-flags",
                "settings/unreadable-namespace",
            ];
            if !others.contains(&scenario.name) {
                (scenario.run)(scene).await.context(scenario.name)?;
            }
        }
        Ok(())
    })
    .await
}

async fn nobody_else(scene: &Scene) -> Result<()> {
    let plain = scene.namespace(&[]).await?;
    let asks = scene.namespace(&[(NAME, "true")]).await?;
    with(scene, Injector::Policy, async || {
        // Its type is right, so it fails at each pod that it is evaluated for.
        let broken = policy(scene.cluster(), "image", "string(int(object.metadata.name))").await?;
        install::apply(scene.cluster(), &broken).await?;
        for pod in [pod(&asks, "inherits"), labelled(pod(&plain, "asks"), "true")] {
            until("a refusal", PATIENCE, async || {
                let refused = scene.api().refusal(&pod).await?;
                ensure!(refused.message.contains("sidecar.secret-handshake.dev"), "{refused}");
                Ok(())
            })
            .await?;
        }
        for pod in [
            pod(&plain, "plain"),
            labelled(pod(&plain, "no"), "false"),
            labelled(pod(&asks, "no"), "off"),
            annotated(labelled(pod(&asks, "done"), "true"), "secret-handshake-done", "true"),
        ] {
            no_sidecar(&scene.api().create(&pod).await?)?;
        }
        scene.api().create(&workload("Deployment", &plain, "plain")).await.map(drop)
    })
    .await
}

async fn guard(scene: &Scene) -> Result<()> {
    let guard = install::render(scene.cluster(), GUARD).await?;
    let shown = with(scene, Injector::Nobody, async || {
        install::apply(scene.cluster(), &guard).await?;
        guarded(scene, &guard).await
    })
    .await;
    let folder = workspace().join(GUARD);
    let delete = ["delete", "--ignore-not-found", "-k"].map(std::ffi::OsStr::new);
    scene.kubectl().run(&[&delete[..], &[folder.as_os_str()]].concat()).await?;
    shown
}

const GUARDS: &str = "asks for a secret-handshake sidecar and has none";

async fn guarded(scene: &Scene, guard: &[Value]) -> Result<()> {
    let plain = scene.namespace(&[]).await?;
    let asks = scene.namespace(&[(NAME, "true")]).await?;
    for (namespace, own) in [(&asks, false), (&plain, true)] {
        let name = format!("unguarded-{}", scene.number());
        let label = |pod| if own { labelled(pod, "true") } else { pod };
        until("the guard", PATIENCE, async || {
            let told = create_in_dry_run(scene, &label(pod(namespace, "legacy"))).await?;
            ensure!(told.iter().any(|warning| warning.contains(GUARDS)), "{told:?}");
            Ok(())
        })
        .await?;
        let pod = label(pod(namespace, &name));
        let printed = scene.create(&pod).await?;
        ensure!(printed.success, "{}", printed.stderr);
        let warned = printed.warnings().iter().filter(|warning| warning.contains(GUARDS)).count();
        ensure!(warned == 1, "{}", printed.stderr);
        until("the audit log", PATIENCE, async || {
            let events = scene.cluster().audit()?.events(&name)?;
            let failure = "validation.policy.admission.k8s.io/validation_failure";
            let noted = events.iter().filter_map(|event| event.annotations.get(failure));
            ensure!(noted.count() == 1, "no note among {} lines", events.len());
            Ok(())
        })
        .await?;
    }
    let mut on_host = pod(&asks, "on-host");
    on_host["spec"]["hostNetwork"] = json!(true);
    let done = annotated(pod(&asks, "done"), "secret-handshake-done", "true");
    let silent = [pod(&plain, "plain"), labelled(pod(&asks, "no"), "oFF"), done];
    for pod in &silent {
        let told = create_in_dry_run(scene, pod).await?;
        ensure!(told.is_empty(), "{told:?}");
    }

    let mut deny = guard.to_vec();
    for binding in &mut deny {
        if binding["kind"] == "ValidatingAdmissionPolicyBinding" {
            binding["spec"]["validationActions"] = json!(["Deny"]);
        }
    }
    install::apply(scene.cluster(), &deny).await?;
    until("a refusal", PATIENCE, async || {
        let refused = scene.api().refusal(&pod(&asks, "legacy")).await?;
        ensure!(refused.code == 403 && refused.message.contains(GUARDS), "{refused}");
        Ok(())
    })
    .await?;

    // Where somebody injects it has nothing to say, of a note why there is no sidecar neither.
    install::apply(scene.cluster(), guard).await?;
    for injector in [Injector::Policy, Injector::Webhook] {
        injector.install(scene.cluster(), scene.replicas()?).await?;
        let asking = [pod(&asks, "legacy"), labelled(pod(&plain, "legacy"), "true")];
        for pod in asking.iter().chain(&silent).chain([&on_host]) {
            let told = create_in_dry_run(scene, pod).await?;
            ensure!(!told.iter().any(|warning| warning.contains(GUARDS)), "{told:?}");
        }
    }
    Ok(())
}

/// The warnings that somebody reads who creates an object.
async fn create_in_dry_run(scene: &Scene, object: &Value) -> Result<Vec<String>> {
    let create = ["create", "--dry-run=server", "-f", "-"];
    let printed = scene.kubectl().call(&create, &object.to_string()).await?;
    ensure!(printed.success, "{}", printed.stderr);
    Ok(printed.warnings().into_iter().map(str::to_owned).collect())
}
