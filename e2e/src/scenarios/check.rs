//! `kubectl secret-handshake check`: nothing is found where all is well, and exactly what was broken where
//! one thing is.

use std::path::Path;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use lab::cluster::pki::kubeconfig;
use lab::command::{command, feed};
use lab::schema;

use super::prelude::*;
use crate::folders::workspace;
use crate::product::tool;

scenarios! {
    all_well: ControlPlane, Alone, "check/all-well",
        "nothing is found; text, short and JSON, which meets the schema in the docs; before installing too";
    settings: ControlPlane, Alone, "check/settings",
        "a setting on a workload, an unusable one, a label that a rollback brought back: found, each alone";
    labels: ControlPlane, Alone, "check/labels",
        "a label on a namespace that is left out, and one that says `none`: found";
    missing_sidecars: ControlPlane, Alone, "check/missing-sidecars",
        "a pod that is older than its namespace's label: found, with the line that makes it anew";
    secrets: ControlPlane, Alone, "check/secrets",
        "no Secret, no key, an empty one: found, and nothing of its content is told";
    limits: ControlPlane, Alone, "check/limits",
        "a LimitRange that refuses the sidecar: found, and the annotation that is told answers it";
    sidecars: ControlPlane, Alone, "check/sidecars",
        "an image that can't be pulled, and a sidecar that has not been ready for long: found";
    few_rights: ControlPlane, Alone, "check/few-rights",
        "who may do almost nothing is told which right is missing; who works in a namespace checks that";
    no_api_server: ControlPlane, Together, "check/no-api-server",
        "without an API server one check fails, all others are skipped";
}

/// How `check` ended.
pub(super) struct Checked {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// `kubectl secret-handshake check ARGUMENTS`, as an administrator.
pub(super) async fn check(scene: &Scene, arguments: &[&str]) -> Result<Checked> {
    let kubeconfig = scene.kubectl().kubeconfig.as_deref();
    check_as(kubeconfig, scene.kubectl().context.as_deref(), arguments).await
}

async fn check_as(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
    arguments: &[&str],
) -> Result<Checked> {
    let mut program = command(tool::program().await?, ["check"]);
    program.args(arguments);
    if let Some(kubeconfig) = kubeconfig {
        program.arg("--kubeconfig").arg(kubeconfig);
    }
    if let Some(context) = context {
        program.args(["--context", context]);
    }
    let output = feed(program, "", Duration::from_secs(120)).await?;
    Ok(Checked {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

/// A report in JSON, which meets the schema and fits its exit code.
fn report(checked: &Checked) -> Result<Value> {
    let report: Value = serde_json::from_str(&checked.stdout)
        .with_context(|| format!("{:?} {}", checked.code, checked.stderr))?;
    let schema = std::fs::read(workspace().join("docs/check.schema.json"))?;
    schema::meets(&report, &serde_json::from_slice(&schema)?, "report")?;
    let code = i32::from(report["result"] == "failed");
    ensure!(checked.code == Some(code), "the exit code is {:?}: {report}", checked.code);
    Ok(report)
}

/// The checks that found something, in a dry run of all of them.
pub(super) async fn found(scene: &Scene, arguments: &[&str]) -> Result<Vec<Value>> {
    let report = report(&check(scene, &[arguments, &["-o", "json"]].concat()).await?)?;
    let checks = report["checks"].as_array().context("no checks")?;
    let bad = |check: &&Value| check["state"] == "failed" || check["state"] == "warning";
    Ok(checks.iter().filter(bad).cloned().collect())
}

/// Waits until exactly these checks find something: what others have left behind goes away by itself,
/// and endpoints, caches and rights come a moment late. Gives the findings.
pub(super) async fn finds(scene: &Scene, expected: &[(&str, &str)]) -> Result<Vec<Value>> {
    until("exactly these findings", PATIENCE, async || {
        let found = found(scene, &[]).await?;
        let states: Vec<_> = found
            .iter()
            .map(|it| [&it["id"], &it["state"]].map(|it| it.as_str().unwrap_or("")))
            .collect();
        let wanted: Vec<_> = expected.iter().map(|(id, state)| [*id, *state]).collect();
        ensure!(states == wanted, "expected {expected:?}, and found {}", json!(found));
        Ok(found)
    })
    .await
}

/// Makes sure that a finding tells this, wherever in it.
pub(super) fn tells(finding: &Value, expected: &str) -> Result<()> {
    let texts = ["what", "objects", "means", "remedy"].map(|name| &finding[name]);
    let strings = texts.iter().flat_map(|text| match text {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        text => text.as_str().into_iter().collect::<Vec<_>>(),
    });
    let told = strings.into_iter().any(|text| text.contains(expected));
    ensure!(told, "{expected} is not told: {finding}");
    Ok(())
}

/// A labelled namespace with the Secret that its sidecars read.
async fn namespace(scene: &Scene) -> Result<String> {
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    Ok(namespace)
}

async fn all_well(scene: &Scene) -> Result<()> {
    let namespace = namespace(scene).await?;
    the_sidecar(&scene.api().create(&pod(&namespace, "legacy")).await?)?;
    finds(scene, &[]).await?;
    let strict = check(scene, &["--strict"]).await?;
    ensure!(strict.code == Some(0), "{:?}: {}", strict.code, strict.stdout);
    let text = &strict.stdout;
    for expected in
        ["√ the API server answers: v1.", "comes back with the sidecar, after", "All is well"]
    {
        ensure!(text.contains(expected), "{expected} is not in {text}");
    }
    ensure!(!text.contains(['×', '‼', '\u{1b}']), "{text}");
    let short = check(scene, &["-o", "short"]).await?;
    ensure!(short.code == Some(0) && short.stdout.starts_with("All is well"), "{}", short.stdout);
    // In a namespace alone, and as if nothing were installed yet.
    for arguments in [&["--for", namespace.as_str(), "-o", "json"][..], &["--pre", "-o", "json"]] {
        let report = report(&check(scene, arguments).await?)?;
        ensure!(report["result"] == "ok", "{arguments:?}: {report}");
    }
    scene
        .note(text.lines().find(|line| line.contains("dry run")).unwrap_or("").trim().to_owned())
        .await;
    Ok(())
}

async fn settings(scene: &Scene) -> Result<()> {
    let namespace = namespace(scene).await?;
    let api = scene.api();
    finds(scene, &[]).await?;
    let deployment = workload("Deployment", &namespace, "on-workload");
    api.create(&annotated(deployment, "secret-handshake/port", "8080")).await?;
    let found = finds(scene, &[("settings", "warning")]).await?;
    tells(
        &found[0],
        &format!(
            "{namespace}/deployment/on-workload: the annotation secret-handshake/port has no effect here"
        ),
    )?;
    api.delete("Deployment", &namespace, "on-workload").await?;

    let set =
        |value: Value| json!({ "metadata": { "annotations": { "secret-handshake/port": value } } });
    api.merge("Namespace", "", &namespace, &set(json!("http"))).await?;
    let found = finds(scene, &[("settings", "warning")]).await?;
    tells(
        &found[0],
        &format!(
            "namespace/{namespace}: the namespace's annotation secret-handshake/port is \"http\""
        ),
    )?;
    api.merge("Namespace", "", &namespace, &set(Value::Null)).await?;
    finds(scene, &[]).await?;

    // A label is copied to the template, is taken away, and comes back without its note.
    let plain = scene.namespace(&[]).await?;
    set_half(scene, &plain, NAME, "half", HALF).await?;
    let stateful = labelled(workload("StatefulSet", &plain, "undone"), "true");
    api.create(&stateful).await?;
    let whole = |command: &[&str]| {
        [command, &["statefulset/undone", "-n", &plain]]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    revisions(scene, &plain, 1).await?;
    scene
        .kubectl()
        .run(
            &whole(&["label"])
                .iter()
                .map(String::as_str)
                .chain(["secret-handshake-"])
                .collect::<Vec<_>>(),
        )
        .await?;
    revisions(scene, &plain, 2).await?;
    scene.kubectl().run(&whole(&["rollout", "undo"])).await?;
    let found = finds(scene, &[("settings", "warning")]).await?;
    tells(
        &found[0],
        &format!(
            "{plain}/statefulset/undone: the label secret-handshake=true of its pod template was brought back by `kubectl rollout undo`"
        ),
    )
}

async fn revisions(scene: &Scene, namespace: &str, count: usize) -> Result<()> {
    let counted = |found: &[&Value]| {
        ensure!(found.len() == count, "{} revisions instead of {count}", found.len());
        Ok(())
    };
    scene.api().wait_all(("ControllerRevision", namespace, ""), PATIENCE, counted).await
}

async fn labels(scene: &Scene) -> Result<()> {
    let api = scene.api();
    let label = |value: Value| json!({ "metadata": { "labels": { NAME: value } } });
    api.merge("Namespace", "", "kube-public", &label(json!("true"))).await?;
    let done = async {
        let found = finds(scene, &[("labels", "warning")]).await?;
        tells(&found[0], "namespace/kube-public: the namespace is always left out")
    };
    let done = done.await;
    api.merge("Namespace", "", "kube-public", &label(Value::Null)).await?;
    done?;
    let namespace = scene.namespace(&[(NAME, "none")]).await?;
    let found = finds(scene, &[("labels", "warning")]).await?;
    tells(&found[0], &format!("namespace/{namespace}: \"none\" says yes"))?;
    // What is told to do does it.
    tells(
        &found[0],
        &format!("kubectl label namespace {namespace} --overwrite secret-handshake=false"),
    )?;
    scene
        .kubectl()
        .run(&["label", "namespace", &namespace, "--overwrite", "secret-handshake=false"])
        .await?;
    finds(scene, &[]).await.map(drop)
}

async fn missing_sidecars(scene: &Scene) -> Result<()> {
    let namespace = scene.namespace(&[]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    let mut deployment = workload("Deployment", &namespace, "older");
    // An old pod, which never becomes ready here, goes before the new one is.
    deployment["spec"]["strategy"] = json!({ "type": "Recreate" });
    scene.api().create(&deployment).await?;
    scene.pods(&namespace, "app=older", 1).await?;
    finds(scene, &[]).await?;
    let label = json!({ "metadata": { "labels": { NAME: "true" } } });
    scene.api().merge("Namespace", "", &namespace, &label).await?;
    let found = finds(scene, &[("missing-sidecars", "warning")]).await?;
    tells(&found[0], &format!("{namespace}/deployment/older, 1 pod"))?;
    let strict = check(scene, &["--strict", "-o", "short"]).await?;
    ensure!(strict.code == Some(2), "{:?}: {}", strict.code, strict.stdout);
    let restart = format!("kubectl -n {namespace} rollout restart deployment/older");
    tells(&found[0], &restart)?;
    let words: Vec<&str> = restart.split(' ').skip(1).collect();
    scene.kubectl().run(&words).await?;
    finds(scene, &[]).await.map(drop)
}

async fn secrets(scene: &Scene) -> Result<()> {
    const SECRET: &str = "what-nobody-may-see";
    let namespace = scene.namespace(&[(NAME, "true")]).await?;
    the_sidecar(&scene.api().create(&pod(&namespace, "legacy")).await?)?;
    let found = finds(scene, &[("secrets", "failed")]).await?;
    tells(&found[0], &format!("{namespace}/{NAME}: there is no such Secret"))?;
    tells(
        &found[0],
        &format!("kubectl -n {namespace} create secret generic {NAME} --from-file=half=FILE"),
    )?;
    set_half(scene, &namespace, NAME, "other", SECRET).await?;
    let found = finds(scene, &[("secrets", "failed")]).await?;
    tells(&found[0], "it has no key half")?;
    set_half(scene, &namespace, NAME, "half", "").await?;
    let found = finds(scene, &[("secrets", "failed")]).await?;
    tells(&found[0], "its key half is empty")?;
    set_half(scene, &namespace, NAME, "half", SECRET).await?;
    finds(scene, &[]).await?;
    for output in ["text", "json"] {
        let told = check(scene, &["-o", output]).await?.stdout;
        ensure!(
            !told.contains(SECRET) && !told.contains("PRIVATE KEY"),
            "a secret is told: {told}"
        );
    }
    Ok(())
}

async fn limits(scene: &Scene) -> Result<()> {
    let namespace = namespace(scene).await?;
    let range = super::objects::limit_range(&namespace, &json!({ "min": { "cpu": "100m" } }));
    scene.api().create(&range).await?;
    let found = finds(scene, &[("limits-and-quotas", "warning")]).await?;
    tells(
        &found[0],
        &format!(
            "{namespace}/limitrange/range: the sidecar's cpu of 50m is below the minimum of 100m"
        ),
    )?;
    let annotate =
        format!("kubectl annotate namespace {namespace} --overwrite secret-handshake/cpu=100m");
    tells(&found[0], &annotate)?;
    let words: Vec<&str> = annotate.split(' ').skip(1).collect();
    scene.kubectl().run(&words).await?;
    finds(scene, &[]).await.map(drop)
}

/// Nothing runs here, so what a kubelet would say is said in its place.
async fn sidecars(scene: &Scene) -> Result<()> {
    let namespace = namespace(scene).await?;
    scene.api().create(&pod(&namespace, "legacy")).await?;
    let say = async |state: Value, since: &str| {
        let status = json!({ "status": {
            "phase": "Pending",
            "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": since }],
            "containerStatuses": [{ "name": NAME, "image": "", "imageID": "", "ready": false,
                "restartCount": 0, "state": state }],
        } });
        let words = [
            "patch",
            "pod",
            "legacy",
            "-n",
            &namespace,
            "--subresource=status",
            "-p",
            &status.to_string(),
        ];
        scene.kubectl().run(&words).await.map(drop)
    };
    let long_ago = "2026-01-01T00:00:00Z";
    let waiting =
        |reason: &str| json!({ "waiting": { "reason": reason, "message": "no such host" } });
    say(waiting("ImagePullBackOff"), long_ago).await?;
    let found = finds(scene, &[("images", "failed")]).await?;
    tells(
        &found[0],
        &format!(
            "{namespace}/legacy: secret-handshake-sidecar:e2e (ImagePullBackOff): no such host"
        ),
    )?;
    say(waiting("CrashLoopBackOff"), long_ago).await?;
    let found = finds(scene, &[("sidecar-states", "warning")]).await?;
    tells(&found[0], &format!("{namespace}/legacy: crashing for "))
}

async fn few_rights(scene: &Scene) -> Result<()> {
    let namespace = namespace(scene).await?;
    scene.api().create(&pod(&namespace, "legacy")).await?;
    finds(scene, &[]).await?;
    let nobody = user(scene, &namespace, None).await?;
    let checked = check_as(Some(&nobody), None, &["-o", "json"]).await?;
    let all = report(&checked)?;
    ensure!(all["result"] == "ok", "it is no failure to have no rights: {all}");
    let checks = all["checks"].as_array().context("no checks")?;
    let of =
        |id: &str| checks.iter().find(|check| check["id"] == id).with_context(|| id.to_owned());
    ensure!(of("api-version")?["state"] == "ok", "{all}");
    ensure!(of("clocks")?["state"] == "ok", "{all}");
    for (id, right) in [
        ("permissions", "list pods"),
        ("configuration", "get mutatingwebhookconfigurations"),
        ("labels", "list namespaces"),
        ("missing-sidecars", "list pods"),
        ("limits-and-quotas", "list limitranges"),
        ("certificate-authorities", "get secrets in namespace secret-handshake"),
    ] {
        ensure!(of(id)?["state"] == "skipped", "{id}: {all}");
        tells(of(id)?, right)?;
    }
    // Who works in a namespace, and has no right beyond it.
    let worker = user(scene, &namespace, Some("admin")).await?;
    let arguments = ["--for", &namespace, "-o", "json"];
    let checked = check_as(Some(&worker), None, &arguments).await?;
    let own = report(&checked)?;
    let checks = own["checks"].as_array().context("no checks")?;
    for id in [
        "dry-run",
        "call",
        "labels",
        "settings",
        "missing-sidecars",
        "secrets",
        "limits-and-quotas",
        "images",
        "sidecar-states",
    ] {
        let check = checks.iter().find(|check| check["id"] == id).with_context(|| id.to_owned())?;
        ensure!(check["state"] == "ok", "{check}");
    }
    Ok(())
}

/// A kubeconfig of a new ServiceAccount, with this role in the namespace.
async fn user(scene: &Scene, namespace: &str, role: Option<&str>) -> Result<std::path::PathBuf> {
    let name = format!("user-{}", scene.number());
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "namespace": namespace, "name": name } });
    scene.api().create(&account).await?;
    if let Some(role) = role {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "namespace": namespace, "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "namespace": namespace, "name": name }],
        });
        scene.api().create(&binding).await?;
    }
    let accounts = kube::Api::<ServiceAccount>::namespaced(scene.api().client(), namespace);
    let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..Default::default() };
    let request = TokenRequest { spec: Some(spec), ..Default::default() };
    let answer = accounts.create_token_request(&name, &PostParams::default(), &request).await?;
    let token = answer.status.and_then(|status| status.token).context("no token")?;
    let path = scene.cluster().scratch().join(format!("{namespace}-{name}.kubeconfig"));
    let control_plane = scene.cluster().control_plane()?;
    let server = format!("https://{}", control_plane.server);
    kubeconfig(&path, &server, &control_plane.ca, &json!({ "token": token }))?;
    Ok(path)
}

async fn no_api_server(scene: &Scene) -> Result<()> {
    let path = scene.cluster().scratch().join("nobody.kubeconfig");
    let control_plane = scene.cluster().control_plane()?;
    let server = format!("https://127.0.0.1:{}", lab::network::free_port()?);
    kubeconfig(&path, &server, &control_plane.ca, &json!({ "token": "x" }))?;
    let report = report(&check_as(Some(&path), None, &["-o", "json"]).await?)?;
    let checks = report["checks"].as_array().context("no checks")?;
    ensure!(checks.len() == 20 && checks[0]["state"] == "failed", "{report}");
    ensure!(checks[1..].iter().all(|check| check["state"] == "skipped"), "{report}");
    Ok(())
}
