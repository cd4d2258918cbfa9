//! Where people put settings: on the pod template, on the Namespace, or in the webhook's flags.

use super::prelude::*;

scenarios! {
    on_a_namespace: ControlPlane, Together, "settings/on-a-namespace",
        "kubectl annotate namespace sets Legacy's port for unchanged manifests; the pod template's own counts more";
    invalid_on_a_namespace: ControlPlane, Together, "settings/invalid-on-a-namespace",
        "an invalid value on a Namespace: pods that inherit the wish are noted, pods that ask are refused";
    limits_of_the_namespace: ControlPlane, Together, "settings/limits-of-the-namespace",
        "a LimitRange's minimum or a quota refuses a pod for the sidecar's size: annotations of the Namespace answer it";
    half_from_elsewhere: ControlPlane, Together, "settings/half-from-elsewhere",
        "a half from a file or from the Secrets Store CSI driver: admitted under `restricted`, no Secret's volume";
    priority: ControlPlane, Together, "settings/priority",
        "the webhook's requests are in the FlowSchema of its own, in workload-high";
    by_flags: ControlPlane, Alone, "settings/by-flags",
        "what neither the pod nor its Namespace sets, the webhook's flags do";
    unreadable_namespace: ControlPlane, Alone, "settings/unreadable-namespace",
        "without the right to read Namespaces pods are refused with the reason, and come when it is back";
}

/// Whether the sidecar of a pod has this argument.
fn has_argument(pod: &Value, argument: &str) -> Result<()> {
    let arguments = &the_sidecar(pod)?["args"];
    let found = arguments.as_array().is_some_and(|all| all.iter().any(|one| one == argument));
    ensure!(found, "no {argument} among {arguments}");
    Ok(())
}

async fn annotate(scene: &Scene, namespace: &str, annotation: &str) -> Result<()> {
    let command = ["annotate", "--overwrite", "namespace", namespace, annotation];
    scene.kubectl().run(&command).await.map(drop)
}

async fn on_a_namespace(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    annotate(scene, &namespace, "secret-handshake/port=8080").await?;
    annotate(scene, &namespace, "secret-handshake/log-level=debug").await?;
    scene.api().create(&workload("Deployment", &namespace, "legacy")).await?;
    has_argument(&scene.a_pod(&namespace, "app=legacy").await?, "--legacy-port=8080")?;
    let own = annotated(pod(&namespace, "own"), "secret-handshake/port", "9090");
    let stored = scene.api().create(&own).await?;
    has_argument(&stored, "--legacy-port=9090")?;
    has_argument(&stored, "--log-level=debug")?;
    // It counts for the next pod at once.
    annotate(scene, &namespace, "secret-handshake/port=8081").await?;
    has_argument(&scene.api().create(&pod(&namespace, "next")).await?, "--legacy-port=8081")?;
    annotate(scene, &namespace, "secret-handshake/port-").await?;
    has_argument(&scene.api().create(&pod(&namespace, "last")).await?, "--legacy-port=3000")
}

async fn invalid_on_a_namespace(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    annotate(scene, &namespace, "secret-handshake/port=http").await?;
    let says = "the namespace's annotation secret-handshake/port is \"http\": expected a port";
    let stored = scene.api().create(&pod(&namespace, "inherits")).await?;
    let status = stored["metadata"]["annotations"]["secret-handshake/status"].as_str();
    ensure!(status.is_some_and(|status| status.contains(says)), "the status is {status:?}");
    let refused = scene.api().refusal(&labelled(pod(&namespace, "asks"), "true")).await?;
    ensure!(refused.code == 403 && refused.message.contains(says), "{refused}");
    let own = annotated(labelled(pod(&namespace, "own"), "true"), "secret-handshake/port", "80");
    has_argument(&scene.api().create(&own).await?, "--legacy-port=80")
}

/// The messages are the API server's own, by which the README's table is searched.
async fn limits_of_the_namespace(scene: &Scene) -> Result<()> {
    let resources = json!({ "cpu": "200m", "memory": "128Mi" });
    let legacy = |namespace: &str| {
        let mut pod = pod(namespace, "legacy");
        pod["spec"]["containers"][0]["resources"]["limits"] = resources.clone();
        pod
    };
    let minimum =
        json!({ "limits": [{ "type": "Container", "min": { "cpu": "100m", "memory": "64Mi" } }] });
    let hard = json!({ "hard": { "limits.cpu": "220m", "limits.memory": "1Gi" } });
    for (kind, spec, message, annotations) in [
        (
            "LimitRange",
            minimum,
            "minimum cpu usage per Container is 100m, but request is 50m",
            ["secret-handshake/cpu=100m", "secret-handshake/memory=64Mi"],
        ),
        (
            "ResourceQuota",
            hard,
            "exceeded quota: limits",
            ["secret-handshake/cpu=20m", "secret-handshake/memory=12Mi"],
        ),
    ] {
        let namespace = scene.namespace(&[(NAME, "true")]).await?;
        scene.api().create(&object("v1", kind, &namespace, "limits", &spec)).await?;
        until("the refusal", PATIENCE, async || {
            let refused = scene.api().refusal(&legacy(&namespace)).await?;
            ensure!(refused.code == 403 && refused.message.contains(message), "{refused}");
            Ok(())
        })
        .await
        .context(kind)?;
        for annotation in annotations {
            annotate(scene, &namespace, annotation).await?;
        }
        scene.injected(&legacy(&namespace)).await.context(kind)?;
    }
    Ok(())
}

async fn half_from_elsewhere(scene: &Scene) -> Result<()> {
    let labels = [(NAME, "true"), ("pod-security.kubernetes.io/enforce", "restricted")];
    let namespace = scene.namespace(&labels).await?;
    let volume = |pod: &Value| -> Option<Value> {
        let mut volumes = pod["spec"]["volumes"].as_array()?.iter();
        volumes.find(|volume| volume["name"] == NAME).cloned()
    };
    annotate(scene, &namespace, "secret-handshake/secret-provider-class=legacy-half").await?;
    let stored = scene.api().create(&restricted_pod(&namespace, "provider")).await?;
    has_argument(&stored, "--half-file=/etc/secret-handshake/half")?;
    let csi = volume(&stored).context("no volume")?["csi"].clone();
    let expected = json!({
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": true,
        "volumeAttributes": { "secretProviderClass": "legacy-half" },
    });
    ensure!(csi == expected, "the volume is {csi}");

    let file = restricted_pod(&namespace, "file");
    let file = annotated(file, "secret-handshake/half-file", "/vault/secrets/half");
    let stored = scene.api().create(&file).await?;
    has_argument(&stored, "--half-file=/vault/secrets/half")?;
    ensure!(volume(&stored).is_none(), "there is a volume");
    Ok(())
}

async fn priority(scene: &Scene) -> Result<()> {
    let schema = scene.api().get("FlowSchema", "", WEBHOOK).await?;
    let level = &schema["spec"]["priorityLevelConfiguration"]["name"];
    ensure!(level == "workload-high", "its level is {level}");
    let uid = schema["metadata"]["uid"].as_str().context("no uid")?;
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{WEBHOOK}");
    let group = "--as-group=system:serviceaccounts";
    // The API server names the FlowSchema in a header, which kubectl shows with enough verbosity.
    let get = ["get", "--raw", "/api/v1/namespaces/default", &account, group, "-v=8"];
    until("the FlowSchema", PATIENCE, async || {
        let printed = scene.kubectl().call(&get, "").await?;
        ensure!(printed.success, "{}", printed.stderr);
        ensure!(printed.stderr.contains(uid), "another one took it: {}", printed.stderr);
        Ok(())
    })
    .await
}

async fn by_flags(scene: &Scene) -> Result<()> {
    let replicas = scene.replicas()?;
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    annotate(scene, &namespace, "secret-handshake/secret-name=namespaces").await?;
    let steps = async || {
        replicas.kill_all().await?;
        let flags = [
            "--sidecar-port=8080",
            "--sidecar-secret-name=flags",
            "--sidecar-secret-key=flags",
            "--sidecar-log-level=warn",
        ];
        replicas.start("with-flags", &flags).await?;
        replicas.ready().await?;
        let own = annotated(pod(&namespace, "own"), "secret-handshake/log-level", "error");
        let stored = scene.api().create(&own).await?;
        for argument in
            ["--legacy-port=8080", "--secret=namespaces", "--secret-key=flags", "--log-level=error"]
        {
            has_argument(&stored, argument)?;
        }
        Ok(())
    };
    replicas.restored_after(steps).await
}

async fn unreadable_namespace(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    let role = scene.api().get("ClusterRole", "", WEBHOOK).await?;
    let rules = role["rules"].as_array().context("no rules")?;
    let others: Vec<&Value> =
        rules.iter().filter(|rule| rule["resources"] != json!(["namespaces"])).collect();
    ensure!(others.len() + 1 == rules.len(), "the right to read Namespaces is not there");
    let put = async |rules: &Value| {
        scene.api().merge("ClusterRole", "", WEBHOOK, &json!({ "rules": rules })).await
    };
    put(&json!(others)).await?;
    let shown = async {
        // RBAC has its own view of the roles, which lags a little.
        until("the right to be gone", PATIENCE, async || {
            let refused = scene.api().refusal(&pod(&namespace, "legacy")).await?;
            let says = format!("can't read the Namespace {namespace}");
            ensure!(refused.code == 500 && refused.message.contains(&says), "{refused}");
            ensure!(refused.message.contains("forbidden"), "{refused}");
            Ok(())
        })
        .await?;
        scene.api().create(&workload("Deployment", &namespace, "legacy")).await?;
        scene.failed_create(&namespace, "can't read the Namespace").await
    }
    .await;
    put(&json!(rules)).await?;
    shown?;
    the_sidecar(&scene.a_pod(&namespace, "app=legacy").await?).map(drop)
}
