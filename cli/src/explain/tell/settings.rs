//! Which settings were found where, and which of them count.

use injection::{keys, printable};

use super::super::facts::{Facts, OfNamespace};
use super::super::target::Kind;
use super::text;
use crate::manifest::Value;

/// Three that answer the same question: the nearest place that has one of them decides.
const HALF: [&str; 3] = [keys::HALF_FILE, keys::SECRET_PROVIDER_CLASS, keys::SECRET_NAME];

/// `pod` is the pod or the pod template.
pub(super) fn lines(facts: &Facts, pod: &Value) -> Vec<String> {
    let namespace = match &facts.around.of_namespace {
        OfNamespace::Known(known) => Some(&known.object),
        _ => None,
    };
    let of_pod = match facts.kind {
        Kind::Namespace => None,
        Kind::Pod => Some((pod, "on the pod")),
        Kind::Workload(_) => Some((pod, "on the pod template")),
    };
    let mut rows = Vec::new();
    for key in keys::SETTINGS {
        let row = |value: &str, place: &str| {
            (format!("{key}={}", printable(value, 253)), place.to_owned())
        };
        let near = of_pod.and_then(|(pod, place)| Some((annotation(pod, key)?, place)));
        rows.extend(near.map(|(value, place)| row(value, place)));
        let Some(value) = namespace.and_then(|namespace| annotation(namespace, key)) else {
            continue;
        };
        let same = if HALF.contains(&key) { &HALF[..] } else { &[key] };
        let overridden =
            of_pod.is_some_and(|(pod, _)| same.iter().any(|key| annotation(pod, key).is_some()));
        rows.push(row(
            value,
            match (facts.around.flags.namespace_settings, overridden) {
                (false, _) => {
                    "on the namespace, which this webhook doesn't look at (--no-namespace-settings)"
                }
                (true, true) => "on the namespace; the nearer one counts",
                (true, false) => "on the namespace",
            },
        ));
    }
    text::columns(&rows)
}

fn annotation<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}
