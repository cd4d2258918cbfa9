//! `deploy/policy/guard`: who hears of a pod that asked and was forgotten.

use super::policy::with;
use super::prelude::*;
use crate::folders::workspace;
use crate::product::injector::Injector;

scenarios! {
    guard: ControlPlane, Alone, "policy/guard",
        "nobody injects, and the guard warns, or refuses; where somebody does it is silent";
}

const GUARD: &str = "deploy/policy/guard";

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
