//! `kubectl secret-handshake check`, with something wrong between the API server and the webhook.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use super::check::{check, finds, tells};
use super::prelude::*;
use crate::product::install::CA_SECRET;

scenarios! {
    configuration: ControlPlane, Alone, "check/configuration",
        "a second configuration, and one that asks nobody: found, each alone";
    certificates: ControlPlane, Alone, "check/certificates",
        "an empty caBundle and a garbled CA Secret, which the webhook may not put right: found, each alone";
    call: ControlPlane, Alone, "check/call",
        "a call that is refused, times out, or meets a certificate for another name: found, with the cause";
    wait: ControlPlane, Alone, "check/wait",
        "--wait goes on until the webhook has started";
}

async fn labelled_namespace(scene: &Scene) -> Result<String> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    Ok(namespace)
}

async fn configuration(scene: &Scene) -> Result<()> {
    labelled_namespace(scene).await?;
    finds(scene, &[]).await?;
    let api = scene.api();
    let old = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "secret-handshake-old" },
        "webhooks": [{
            "name": "pods.secret-handshake.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": { "url": "https://127.0.0.1:1/" },
            // It asks about nothing that is there.
            "rules": [{ "apiGroups": ["nobody.invalid"], "apiVersions": ["v1"], "resources": ["x"], "operations": ["CREATE"] }],
        }],
    });
    api.create(&old).await?;
    let found = finds(scene, &[("configuration", "failed")]).await;
    api.delete("MutatingWebhookConfiguration", "", "secret-handshake-old").await?;
    tells(&found?[0], "kubectl delete mutatingwebhookconfiguration secret-handshake-old")?;

    // All entries are there, and the one for namespaces chooses none.
    let none = json!([{ "op": "add", "path": "/webhooks/0/namespaceSelector/matchLabels", "value": { "no": "namespace" } }]);
    let patch = ["patch", "mutatingwebhookconfiguration", CONFIGURATION, "--type=json", "-p"];
    scene.kubectl().run(&[&patch[..], &[&none.to_string()]].concat()).await?;
    let found = finds(scene, &[("dry-run", "failed")]).await;
    let back = json!([{ "op": "remove", "path": "/webhooks/0/namespaceSelector/matchLabels" }]);
    scene.kubectl().run(&[&patch[..], &[&back.to_string()]].concat()).await?;
    tells(&found?[0], "comes back without the sidecar")?;
    finds(scene, &[]).await.map(drop)
}

async fn certificates(scene: &Scene) -> Result<()> {
    labelled_namespace(scene).await?;
    finds(scene, &[]).await?;
    let (api, role) = (scene.api(), json!({ "rules": [] }));
    // The webhook goes on with what it has, and may put nothing right.
    for kind in ["ClusterRole", "Role"] {
        let namespace = if kind == "Role" { NAMESPACE } else { "" };
        api.merge(kind, namespace, WEBHOOK, &role).await?;
    }
    let done = async {
        let namespaces = json!({ "rules": [{ "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] }] });
        api.merge("ClusterRole", "", WEBHOOK, &namespaces).await?;
        let whole = api.get("MutatingWebhookConfiguration", "", CONFIGURATION).await?;
        let bundle = whole["webhooks"][2]["clientConfig"]["caBundle"].clone();
        let set = async |bundle: &Value| {
            let patch = json!({ "webhooks": [{ "name": "workload.secret-handshake.dev", "clientConfig": { "caBundle": bundle } }] });
            scene
                .kubectl()
                .run(&[
                    "patch",
                    "mutatingwebhookconfiguration",
                    CONFIGURATION,
                    "--type=strategic",
                    "-p",
                    &patch.to_string(),
                ])
                .await
        };
        set(&Value::Null).await?;
        let found = finds(scene, &[("ca-bundles", "failed")]).await?;
        tells(&found[0], "workload.secret-handshake.dev")?;
        set(&bundle).await?;
        // A person has written it last.
        let found = finds(scene, &[("ca-bundles", "warning")]).await?;
        tells(&found[0], "last written by kubectl-patch")?;
        let secret = api.get("Secret", NAMESPACE, CA_SECRET).await?;
        let put = async |value: &Value| {
            let patch = json!({ "data": { "cas.json": value } });
            api.merge("Secret", NAMESPACE, CA_SECRET, &patch).await
        };
        put(&json!("Z2FyYmFnZQ==")).await?;
        let expected = [("ca-bundles", "warning"), ("certificate-authorities", "failed")];
        let found = finds(scene, &expected).await?;
        tells(&found[1], "cas.json is not a list of CAs in JSON")?;
        put(&secret["data"]["cas.json"]).await?;
        finds(scene, &[("ca-bundles", "warning")]).await
    };
    let done = done.await;
    let objects = install::render(scene.cluster(), "deploy/webhook").await?;
    let roles =
        objects.into_iter().filter(|it| it["kind"] == "Role" || it["kind"] == "ClusterRole");
    install::apply(scene.cluster(), &roles.collect::<Vec<_>>()).await?;
    done?;
    // Written anew by the webhook, the bundle is its own again.
    scene.replicas()?.call_at(scene.replicas()?.address()).await?;
    let patch = json!([{ "op": "remove", "path": "/webhooks/2/clientConfig/caBundle" }]);
    scene
        .kubectl()
        .run(&[
            "patch",
            "mutatingwebhookconfiguration",
            CONFIGURATION,
            "--type=json",
            "-p",
            &patch.to_string(),
        ])
        .await?;
    finds(scene, &[]).await.map(drop)
}

async fn call(scene: &Scene) -> Result<()> {
    labelled_namespace(scene).await?;
    finds(scene, &[]).await?;
    let replicas = scene.replicas()?;
    let done = async {
        // Somebody who takes the connection and says nothing.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        replicas.call_at(silent.local_addr()?).await?;
        let found = finds(scene, &[("call", "failed")]).await?;
        tells(&found[0], "timed out")?;
        tells(&found[0], "open TCP 8443 from the control plane to the nodes")?;
        drop(silent);
        // The webhook's certificate is for 127.0.0.1.
        let port = replicas.address().port();
        let objects = install::render(scene.cluster(), "deploy/webhook").await?;
        let configuration =
            objects.into_iter().filter(|it| it["kind"] == "MutatingWebhookConfiguration");
        let named = install::by_url(configuration.collect(), &format!("https://localhost:{port}"))?;
        install::apply(scene.cluster(), &named).await?;
        let expected = [("serving-certificates", "failed"), ("call", "failed")];
        let found = finds(scene, &expected).await?;
        tells(&found[1], "does not trust the webhook's certificate")?;
        tells(&found[1], "x509: ")?;
        // Nobody is there.
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, lab::network::free_port()?));
        replicas.call_at(nobody).await?;
        let found = finds(scene, &[("call", "failed")]).await?;
        tells(&found[0], "nobody answers where the API server calls the webhook")?;
        tells(&found[0], "connection refused")
    };
    let done = done.await;
    replicas.call_at(replicas.address()).await?;
    done?;
    finds(scene, &[]).await.map(drop)
}

async fn wait(scene: &Scene) -> Result<()> {
    labelled_namespace(scene).await?;
    finds(scene, &[]).await?;
    let replicas = scene.replicas()?;
    replicas.kill_all().await?;
    let at_once = check(scene, &["-o", "short"]).await?;
    let waiting = async {
        let (checked, restored) =
            tokio::join!(check(scene, &["--wait", "60s", "-o", "short"]), replicas.restore());
        restored?;
        checked
    };
    let checked = waiting.await?;
    ensure!(at_once.code == Some(1), "{:?}: {}", at_once.code, at_once.stdout);
    ensure!(checked.code == Some(0), "{:?}: {}", checked.code, checked.stdout);
    ensure!(checked.stdout.starts_with("All is well"), "{}", checked.stdout);
    Ok(())
}
