//! `deploy/policy`: the same injection with no webhook.

use std::fs;

use lab::cluster::load::Load;
use lab::command::read;

use super::golden::{self, Seen as Made, comparable, sentence};
use super::prelude::*;
use super::stage::Skip;
use super::{fits, labels, resources, selection, settings, varied};
use crate::folders::workspace;
use crate::product::injector::{Injector, policy};
use crate::product::replicas::SIDECAR_IMAGE;

scenarios! {
    same_objects: ControlPlane, Alone, "policy/same-objects",
        "the golden pods and workloads come out the same by the webhook and by the policy, but for what docs/policy.md lists";
    same_settings: ControlPlane, Alone, "policy/same-settings",
        "so do pods with every kind of value of each setting, and of resources";
    same_flags: ControlPlane, Alone, "policy/same-flags",
        "the first five variables are what the webhook's flags are";
    same_scenarios: ControlPlane, Alone, "policy/same-scenarios",
        "what labels/, fits/, resources/, selection/ and settings/ show of the webhook they show of the policy";
    nobody_else: ControlPlane, Alone, "policy/nobody-else",
        "a policy that fails refuses those who ask, and nobody else";
    hostile_pods: ControlPlane, Alone, "policy/hostile-pods",
        "a refusal has no control characters in it, and a container of 60,000 arguments is answered at once";
    under_load: ControlPlane, Alone, "policy/under-load",
        "from the webhook to the policy no pod is refused or without its sidecar; uninstalling it as the docs say refuses none";
}

/// How many pods are created before the next step.
const STEP: u64 = 60;
/// How many create pods at the same time.
const CLIENTS: usize = 4;
/// Such a pod takes the API server a quarter of a second without a policy; searched to its end, over half a minute.
const AT_ONCE: Duration = Duration::from_secs(5);
const DOCS: &str = "docs/policy.md";

/// Takes `steps` with another injector, and puts the webhook back whatever comes of them.
pub(super) async fn with<T>(
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
fn row(name: &str, by_webhook: &Made, by_policy: &Made) -> Result<Option<String>> {
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

async fn same_settings(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let pods = varied::pods(&namespace);
    let by_webhook = made(scene, &namespace, pods.values()).await?;
    let by_policy =
        with(scene, Injector::Policy, async || made(scene, &namespace, pods.values()).await);
    same(pods.keys(), &by_webhook, &by_policy.await?)?;
    scene.note(format!("{} pods", pods.len())).await;
    Ok(())
}

/// What would be made of each of the pods, or why it is refused.
async fn made(
    scene: &Scene,
    namespace: &str,
    pods: impl Iterator<Item = &Value>,
) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for pod in pods {
        let made = match scene.api().dry_run(pod).await {
            Ok(made) => comparable(&made, namespace)?.to_string(),
            Err(error) => sentence(&format!("{error:#}")).to_owned(),
        };
        // What is a flag there is a default here.
        all.push(made.replace("the policy's default ", "the flag --sidecar-"));
    }
    Ok(all)
}

fn same<'a>(
    cases: impl Iterator<Item = &'a String>,
    by_webhook: &[String],
    by_policy: &[String],
) -> Result<()> {
    for (case, (one, other)) in cases.zip(by_webhook.iter().zip(by_policy)) {
        ensure!(one == other, "{case}: by the webhook\n{one}\nby the policy\n{other}");
    }
    Ok(())
}

async fn same_flags(scene: &Scene) -> Result<()> {
    let replicas = scene.replicas()?;
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let pods = varied::pods(&namespace);
    let flags = [
        "--sidecar-pull-policy=Always",
        "--sidecar-port=8080",
        "--sidecar-health-port=8081",
        "--sidecar-secret-provider-class=flags",
        "--sidecar-secret-key=flags",
        "--sidecar-mode=native",
        "--sidecar-log-level=warn",
        "--sidecar-cpu=10m",
        "--sidecar-memory=10Mi",
        "--sidecar-run-as-user=none",
    ];
    let by_webhook = replicas.restored_after(async || {
        replicas.kill_all().await?;
        replicas.start("with-flags", &flags).await?;
        replicas.ready().await?;
        made(scene, &namespace, pods.values()).await
    });
    let by_webhook = by_webhook.await?;
    let defaults = json!({
        "port": "8080", "health-port": "8081", "secret-provider-class": "flags", "secret-key": "flags",
        "mode": "native", "log-level": "warn",
    });
    let variables = [
        ("image", "'other:1'"),
        ("pullPolicy", "'Always'"),
        ("defaults", &defaults.to_string()),
        ("sizes", "{'cpu': '10m', 'memory': '10Mi'}"),
        ("runAsUser", "0"),
    ];
    let by_policy = with(scene, Injector::Policy, async || {
        install::apply(scene.cluster(), &policy(scene.cluster(), &variables).await?).await?;
        injects(scene, "other:1").await?;
        made(scene, &namespace, pods.values()).await
    });
    let by_policy: Vec<_> =
        by_policy.await?.iter().map(|made| made.replace("other:1", SIDECAR_IMAGE)).collect();
    same(pods.keys(), &by_webhook, &by_policy)
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
        let broken =
            policy(scene.cluster(), &[("image", "string(int(object.metadata.name))")]).await?;
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

async fn hostile_pods(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    let asks = labelled(pod(&namespace, "hostile"), "true");
    with(scene, Injector::Policy, async || {
        for value in ["\u{1b}[31m", "\u{9b}31m", "x\u{202e}", "\u{2028}", "\u{feff}"] {
            let refused = scene.api().refusal(&in_mode(asks.clone(), value)).await?;
            let shown = refused.message.contains("secret-handshake/mode is \"…\": expected");
            ensure!(shown && !refused.message.contains(value), "{refused:?}");
        }
        let mut many = asks.clone();
        let arguments = vec!["--legacy-por"; 60_000];
        many["spec"]["containers"][0] = json!({ "name": NAME, "image": "x", "args": arguments });
        let asked = Instant::now();
        let refused = scene.api().refusal(&many).await?;
        ensure!(
            refused.message.contains("has a container secret-handshake of its own"),
            "{refused}"
        );
        ensure!(asked.elapsed() < AT_ONCE, "answered after {:?}", asked.elapsed());
        Ok(())
    })
    .await
}

async fn under_load(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    let mut template = labelled(pod(&namespace, "load"), "true");
    // No scheduler need look at them.
    template["spec"]["schedulerName"] = json!("nobody");
    with(scene, Injector::Webhook, async || {
        let load = Load::start(scene.api(), &template, CLIENTS, |pod| the_sidecar(pod).is_ok());
        let changed = to_the_policy(scene, &load).await;
        ended(scene, load, changed).await
    })
    .await?;
    let namespace = scene.namespace(&[]).await?;
    template["metadata"]["namespace"] = json!(namespace);
    with(scene, Injector::Policy, async || {
        let load = Load::start(scene.api(), &template, CLIENTS, |_| true);
        let removed = uninstalled(scene, &load).await;
        ended(scene, load, removed).await
    })
    .await
}

async fn ended(scene: &Scene, load: Load, steps: Result<()>) -> Result<()> {
    let counted = load.stop().await;
    steps.with_context(|| counted.to_string())?;
    ensure!(counted.refused == 0 && counted.wrong == 0, "{counted}");
    scene.note(counted.to_string()).await;
    Ok(())
}

async fn to_the_policy(scene: &Scene, load: &Load) -> Result<()> {
    load.more(STEP).await?;
    // By its image people see whose sidecar it is.
    let of_policy = "secret-handshake-sidecar:policy";
    let objects = policy(scene.cluster(), &[("image", &format!("\"{of_policy}\""))]).await?;
    install::apply(scene.cluster(), &objects).await?;
    injects(scene, of_policy).await?;
    load.more(STEP).await?;
    scene.api().delete("MutatingWebhookConfiguration", "", CONFIGURATION).await?;
    load.more(STEP).await
}

async fn injects(scene: &Scene, image: &str) -> Result<()> {
    until("the policy's sidecar", PATIENCE, async || {
        let made = scene.api().dry_run(&labelled(pod("default", "legacy"), "true")).await?;
        let found = &the_sidecar(&made)?["image"];
        ensure!(found == image, "the sidecar is {found}");
        Ok(())
    })
    .await
}

/// Removes the policy as docs/policy.md says.
async fn uninstalled(scene: &Scene, load: &Load) -> Result<()> {
    load.more(STEP).await?;
    let lines = console(&fs::read_to_string(workspace().join(DOCS))?, "**Uninstalling**");
    ensure!(!lines.is_empty(), "{DOCS} does not say how");
    for line in lines {
        read(&mut scene.kubectl().shell(&line, workspace()))?;
    }
    load.more(STEP).await
}

/// The commands of the first block after `mark` in a document.
fn console(text: &str, mark: &str) -> Vec<String> {
    let after = text.split_once(mark).map_or("", |(_, after)| after);
    let block = after.split("```").nth(1).unwrap_or_default();
    block.lines().filter_map(|line| Some(line.strip_prefix("$ ")?.to_owned())).collect()
}
