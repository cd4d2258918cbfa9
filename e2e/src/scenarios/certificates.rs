//! Certificates that look after themselves, also while they are changed under load, or spoilt by somebody else.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lab::cluster::pki::Authority;

use super::prelude::*;
use super::replicas::under_load;
use crate::product::install::CA_SECRET;

scenarios! {
    replicas_agree: ControlPlane, Alone, "certificates/replicas-agree",
        "two replicas that start at the same instant, with an empty Secret, agree on one CA";
    secret_emptied: ControlPlane, Alone, "certificates/secret-emptied",
        "the Secret is emptied or garbled under running replicas: a new CA takes its place";
    secret_deleted: ControlPlane, Alone, "certificates/secret-deleted",
        "the Secret is deleted under running replicas: they serve on, and applying it again heals";
    applied_again: ControlPlane, Alone, "certificates/applied-again",
        "kubectl apply of the empty Secret, client-side and server-side, leaves the CA alone";
    ca_bundle: ControlPlane, Alone, "certificates/ca-bundle",
        "a caBundle that is wiped, foreign or partly wrong is repaired";
    rotation: ControlPlane, Alone, "certificates/rotation",
        "leaves swapped and the CA rotated under load: not one pod refused, none without its sidecar";
    client_ca: ControlPlane, Alone, "certificates/client-ca",
        "--client-ca serves an API server that has a client certificate, and none that has not";
}

/// Lives so short that a whole rotation fits into a scenario. A CA must live for three times the life of a
/// leaf and twice the settle time; at two thirds of that its successor comes.
pub(super) const SHORT_LIVES: [&str; 3] = ["--cert-life=10s", "--ca-life=48s", "--ca-settle=2s"];

/// A rotation with these lives: two thirds of the CA's, twice the settle time, a leaf's life and a look.
const ROTATION: Duration = Duration::from_secs(150);

const LIVE: (&str, &str, &str) = ("MutatingWebhookConfiguration", "", CONFIGURATION);

/// The CA certificates in the caBundle of all the configuration's entries, if they agree.
fn bundle_of(configuration: &Value) -> Result<BTreeSet<String>> {
    let entries = configuration["webhooks"].as_array().context("no entries")?;
    let mut bundles = BTreeSet::new();
    for entry in entries {
        let bundle = entry["clientConfig"]["caBundle"].as_str().context("no caBundle")?;
        bundles.insert(String::from_utf8(STANDARD.decode(bundle)?)?);
    }
    ensure!(bundles.len() == 1, "the entries' bundles differ");
    let bundle = bundles.pop_first().unwrap_or_default();
    let begin = "-----BEGIN CERTIFICATE-----";
    let certificates: BTreeSet<String> =
        bundle.split(begin).skip(1).map(|certificate| certificate.trim().to_owned()).collect();
    ensure!(!certificates.is_empty(), "an empty bundle");
    Ok(certificates)
}

async fn bundle(scene: &Scene) -> Result<BTreeSet<String>> {
    bundle_of(&scene.api().get(LIVE.0, LIVE.1, LIVE.2).await?)
}

/// Waits until pods are admitted, and that several times: each connection may go to another replica.
async fn admitted(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    until("pods to be admitted", PATIENCE, async || {
        for _ in 0..10 {
            the_sidecar(&scene.api().dry_run(&pod(&namespace, "dry")).await?)?;
        }
        Ok(())
    })
    .await
}

async fn set_secret(scene: &Scene, data: &Value) -> Result<()> {
    let patch = json!({ "data": data });
    scene.api().merge("Secret", NAMESPACE, CA_SECRET, &patch).await.map(drop)
}

/// What is in a Secret that holds a CA.
fn filled(secret: &Value) -> Result<Value> {
    ensure!(secret["data"]["cas.json"].is_string(), "it holds no CA");
    Ok(secret["data"].clone())
}

async fn manifest(scene: &Scene) -> Result<Value> {
    let objects = install::render(scene.cluster(), "deploy/webhook").await?;
    let secret = objects.into_iter().find(|object| object["kind"] == "Secret");
    secret.context("the manifests have no Secret")
}

/// Brings the cluster to what it is before the first start: nobody runs, there is no CA, and none is
/// published.
pub(super) async fn from_nothing(scene: &Scene) -> Result<()> {
    scene.replicas()?.kill_all().await?;
    set_secret(scene, &Value::Null).await?;
    set_bundles(scene, 3, &Value::Null).await
}

/// Puts something else into the caBundle of the first `count` of the configuration's entries.
async fn set_bundles(scene: &Scene, count: usize, bundle: &Value) -> Result<()> {
    let live = scene.api().get(LIVE.0, LIVE.1, LIVE.2).await?;
    let mut entries = live["webhooks"].clone();
    for entry in entries.as_array_mut().context("no entries")?.iter_mut().take(count) {
        entry["clientConfig"]["caBundle"] = bundle.clone();
    }
    let patch = json!({ "webhooks": entries });
    scene.api().merge(LIVE.0, LIVE.1, LIVE.2, &patch).await.map(drop)
}

async fn replicas_agree(scene: &Scene) -> Result<()> {
    let replicas = scene.replicas()?;
    let steps = async || {
        for _ in 0..3 {
            from_nothing(scene).await?;
            tokio::try_join!(replicas.start("replica-a", &[]), replicas.start("replica-b", &[]))?;
            replicas.ready().await?;
            let bundle = bundle(scene).await?;
            ensure!(bundle.len() == 1, "there are {} CAs", bundle.len());
            admitted(scene).await?;
        }
        Ok(())
    };
    replicas.restored_after(steps).await
}

async fn secret_emptied(scene: &Scene) -> Result<()> {
    let replicas = scene.replicas()?;
    replicas.start("replica-b", &[]).await?;
    let steps = async || {
        for data in [Value::Null, json!({ "cas.json": STANDARD.encode("garbled") })] {
            replicas.ready().await?;
            let before = bundle(scene).await?;
            set_secret(scene, &data).await?;
            let replaced = |live: &Value| {
                let now = bundle_of(live)?;
                ensure!(now.len() == 1 && now.is_disjoint(&before), "{} CAs", now.len());
                Ok(())
            };
            scene.api().wait(LIVE, PATIENCE, replaced).await?;
            replicas.ready().await?;
            admitted(scene).await?;
        }
        Ok(())
    };
    replicas.restored_after(steps).await
}

async fn secret_deleted(scene: &Scene) -> Result<()> {
    let replicas = scene.replicas()?;
    replicas.ready().await?;
    scene.api().delete("Secret", NAMESPACE, CA_SECRET).await?;
    admitted(scene).await?;
    replicas.ready().await?;
    install::apply(scene.cluster(), &[manifest(scene).await?]).await?;
    scene.api().wait(("Secret", NAMESPACE, CA_SECRET), PATIENCE, filled).await?;
    replicas.ready().await?;
    admitted(scene).await
}

async fn applied_again(scene: &Scene) -> Result<()> {
    scene.replicas()?.ready().await?;
    let data = async || filled(&scene.api().get("Secret", NAMESPACE, CA_SECRET).await?);
    let before = data().await?;
    let manifest = manifest(scene).await?.to_string();
    for how in [&["apply", "-f", "-"][..], &["apply", "--server-side", "-f", "-"]] {
        scene.cluster().kubectl.run_with(how, &manifest).await?;
        ensure!(data().await? == before, "{how:?} has changed it");
    }
    Ok(())
}

async fn ca_bundle(scene: &Scene) -> Result<()> {
    let replicas = scene.replicas()?;
    replicas.ready().await?;
    let good = bundle(scene).await?;
    let foreign = STANDARD.encode(Authority::new(scene.cluster().scratch(), "foreign")?.pem());
    let repaired = |live: &Value| {
        let now = bundle_of(live)?;
        ensure!(now == good, "{} certificates", now.len());
        Ok(())
    };
    let mut slowest = Duration::ZERO;
    for (case, count, bundle) in [
        ("wiped", 3, &Value::Null),
        ("foreign", 3, &json!(foreign)),
        ("partly wiped", 1, &Value::Null),
        ("partly foreign", 2, &json!(foreign)),
    ] {
        set_bundles(scene, count, bundle).await?;
        let began = Instant::now();
        scene.api().wait(LIVE, PATIENCE, repaired).await.context(case)?;
        slowest = slowest.max(began.elapsed());
        replicas.ready().await?;
        admitted(scene).await.context(case)?;
    }
    scene.note(format!("repaired within {} ms", slowest.as_millis())).await;
    Ok(())
}

async fn rotation(scene: &Scene) -> Result<()> {
    from_nothing(scene).await?;
    let counted = under_load(scene, &SHORT_LIVES, async |replicas, _| {
        let old = bundle(scene).await?;
        let before = replicas.metric(RENEWALS).await?;
        let rotated = |live: &Value| {
            let now = bundle_of(live)?;
            ensure!(now.is_disjoint(&old), "the old CA is still there, of {}", now.len());
            Ok(())
        };
        scene.api().wait(LIVE, ROTATION, rotated).await?;
        let renewed = replicas.metric(RENEWALS).await? - before;
        ensure!(renewed >= 4.0, "two replicas have renewed their leaves {renewed} times");
        scene.note(format!("{renewed} leaves and the CA swapped")).await;
        Ok(())
    })
    .await;
    // The next scenario needs a CA that lives for more than a minute.
    from_nothing(scene).await?;
    scene.replicas()?.restore().await?;
    let counted = counted?;
    ensure!(counted.refused == 0, "{counted}");
    Ok(())
}

const RENEWALS: &str = "secret_handshake_webhook_cert_renewals_total";

async fn client_ca(scene: &Scene) -> Result<()> {
    let replicas = scene.replicas()?;
    let control_plane = scene.cluster().control_plane()?;
    let flag = format!("--client-ca={}", control_plane.ca.display());
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let steps = async || {
        replicas.kill_all().await?;
        // The API server's admission configuration names this address, and has a certificate for it.
        let certified = SocketAddr::from((Ipv4Addr::LOCALHOST, control_plane.certified_port));
        replicas.start_listening(certified, "certified", &[&flag]).await?;
        replicas.call_at(certified).await?;
        until("a pod by way of the client certificate", PATIENCE, async || {
            let name = format!("pod-{}", scene.number());
            scene.injected(&labelled(pod(&namespace, &name), "true")).await
        })
        .await?;
        // At any other address it has none to show.
        replicas.kill_all().await?;
        replicas.start("uncertified", &[&flag]).await?;
        replicas.ready().await?;
        replicas.call_at(replicas.address()).await?;
        until("the refusal of an API server without a certificate", PATIENCE, async || {
            let refused = scene.api().refusal(&pod(&namespace, "none")).await?;
            ensure!(refused.message.contains("certificate required"), "{refused}");
            Ok(())
        })
        .await
    };
    let served = replicas.restored_after(steps).await;
    replicas.call_at(replicas.address()).await?;
    served
}
