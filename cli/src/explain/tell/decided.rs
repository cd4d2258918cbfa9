//! What the webhook decides when it is asked: the very functions that it calls itself.

use anyhow::anyhow;
use injection::{Context, Outcome, Pod, decide_pod, keys, says_yes};

use super::super::facts::{Facts, OfNamespace, Source};
use super::super::target::Kind;
use crate::inject::{object, previous};
use crate::manifest::{Value, patch::apply};
use crate::sidecar::Sidecar;

pub(super) struct Decided {
    pub(super) outcome: Outcome,
    pub(super) warnings: Vec<String>,
    /// The sidecar that a new pod gets.
    pub(super) sidecar: Option<Sidecar>,
    pub(super) lines: Vec<String>,
}

/// The pod as it is sent to the webhook, with `label` for its own. One that is there is taken without the
/// sidecar that it may have from the webhook; for a namespace it is a plain one.
pub(super) fn template(facts: &Facts, label: Option<&str>) -> Value {
    let mut pod = match facts.kind {
        Kind::Namespace => Value::from(&serde_json::json!({
            "metadata": {}, "spec": {"containers": [{"name": "legacy"}]},
        })),
        Kind::Pod => facts.object.clone(),
        Kind::Workload(kind) => {
            let object = object::with_claims(&facts.object);
            let path = kind.template_path().iter();
            let template = path.copied().try_fold(&*object, |value, member| value.get(member));
            template.cloned().unwrap_or_else(|| Value::from(&serde_json::json!({})))
        }
    };
    if matches!((facts.kind, &facts.source), (Kind::Pod, Source::Cluster(_))) {
        previous::remove(&mut pod);
    }
    set_label(&mut pod, label);
    pod
}

fn set_label(pod: &mut Value, label: Option<&str>) {
    let mut at = pod;
    for member in ["metadata", "labels"] {
        let Value::Map(members) = at else { return };
        at = members.entry(member.to_owned()).or_insert(Value::Null);
        if *at == Value::Null {
            *at = Value::Map(<_>::default());
        }
    }
    let Value::Map(labels) = at else { return };
    match label {
        Some(label) => drop(labels.insert(keys::LABEL.to_owned(), Value::String(label.to_owned()))),
        None => drop(labels.shift_remove(keys::LABEL)),
    }
}

/// Decides about a pod that is sent to the webhook.
pub(super) fn decide(facts: &Facts, mut pod: Value) -> anyhow::Result<Decided> {
    let json = pod.to_json();
    let read: Pod = object::read(&json)?;
    let (label, metadata) = match &facts.around.of_namespace {
        OfNamespace::Known(known) => (known.label.as_deref(), Some(&known.metadata)),
        _ => (None, None),
    };
    let metadata = metadata.filter(|_| facts.around.flags.namespace_settings);
    let context = Context {
        namespace: facts.namespace.as_deref(),
        workload_label: None,
        // That it comes at all says what its namespace asks for, unless the webhook reads a no there.
        namespace_asks: Some(metadata.is_none() || label.is_none_or(says_yes)),
        namespace_metadata: metadata,
    };
    let decision = decide_pod(&read, context, &facts.around.flags.policy, &[]);
    apply(&mut pod, &decision.patch).map_err(|path| anyhow!("the patch does not fit at {path}"))?;
    let injected = matches!(decision.outcome, Outcome::Injected(_));
    let sidecar = if injected { sidecar_in(&pod) } else { None };
    let mut lines = match (&decision.outcome, &sidecar) {
        (Outcome::Injected(mode), Some(sidecar)) => vec![
            format!("a sidecar, as a {} container with the image {}", mode.as_str(), sidecar.image),
            format!(
                "Legacy's port {}, its own {}, your half from {}",
                sidecar.argument("legacy-port").unwrap_or("?"),
                sidecar.argument("listen").unwrap_or("?").trim_start_matches(':'),
                half(sidecar),
            ),
        ],
        (Outcome::Skipped(reason), _) if reason.is_obstacle() => {
            vec![format!("let through without a sidecar: {reason}")]
        }
        (Outcome::Denied(_), _) => vec![format!("refused: {}", decision.outcome)],
        (outcome, _) => vec![format!("left as it is: {outcome}")],
    };
    // What is let through has its reason as a warning as well.
    let is_skipped = matches!(decision.outcome, Outcome::Skipped(_));
    let told = |warning: &&String| !(is_skipped && warning.starts_with("this pod gets no sidecar"));
    lines
        .extend(decision.warnings.iter().filter(told).map(|warning| format!("warning: {warning}")));
    match &facts.around.of_namespace {
        OfNamespace::NotLookedAt | OfNamespace::Unreadable(_)
            if facts.around.flags.namespace_settings =>
        {
            lines.push("(what annotations of the Namespace would set is not known)".to_owned());
        }
        _ => {}
    }
    Ok(Decided { outcome: decision.outcome, warnings: decision.warnings, sidecar, lines })
}

/// The sidecar of a pod or a pod template, if it has one.
pub(super) fn sidecar_in(pod: &Value) -> Option<Sidecar> {
    Sidecar::of(&serde_json::from_value(pod.to_json()).ok()?)
}

/// Where a sidecar has the half from.
pub(super) fn half(sidecar: &Sidecar) -> String {
    match sidecar.secret() {
        Some((name, key)) => format!("the key {key} of the Secret {name}"),
        None => format!("the file {}", sidecar.argument("half-file").unwrap_or("?")),
    }
}
