//! The objects of the webhook's golden files, as somebody creates them, and what comes of each.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use injection::WorkloadKind;
use serde_json::{Value, json};

use super::objects::NAME;
use super::scene::Scene;
use crate::folders::workspace;

const REVIEWS: &str = "webhook/tests/reviews";

/// The golden files of reviews with something about the Namespace, and which of [`NAMESPACES`] that is.
const VARIANTS: [(&str, &str); 4] = [
    ("pod-create-own-label", "namespace"),
    ("pod-create-all-settings", "namespace"),
    ("pod-create-own-label", "namespace-invalid"),
    ("pod-create-bare", "namespace-false"),
];

type Annotations = &'static [(&'static str, &'static str)];

/// Namespaces that golden files are about, with their labels and annotations. In the first one are
/// those with no variant: a pod without a label inherits the wish for a sidecar there.
const NAMESPACES: [(&str, &str, Annotations); 4] = [
    ("", "true", &[]),
    (
        "namespace",
        "true",
        &[
            ("secret-handshake/port", "8080"),
            ("secret-handshake/half-file", "/vault/secrets/half"),
            ("secret-handshake/prot", "1"),
        ],
    ),
    ("namespace-invalid", "true", &[("secret-handshake/port", "http")]),
    // No selector knows this spelling.
    ("namespace-false", "fALSE", &[]),
];

/// What somebody sees who creates an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What would be stored, or why it is refused.
    pub(crate) made: Result<Value, String>,
    pub(crate) warnings: Vec<String>,
}

struct Case {
    /// The golden file's.
    name: String,
    /// One of [`NAMESPACES`], or one of Kubernetes' own.
    namespace: String,
    object: Value,
}

/// Creates the object of each golden file in a dry run, and gives what is seen.
pub(crate) async fn create_all(scene: &Scene) -> Result<BTreeMap<String, Seen>> {
    let mut namespaces = BTreeMap::new();
    for (name, label, annotations) in NAMESPACES {
        let namespace = scene.namespace(&[(NAME, label)]).await?;
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        let metadata = json!({ "metadata": { "annotations": annotations } });
        scene.api().merge("Namespace", "", &namespace, &metadata).await?;
        namespaces.insert(name.to_owned(), namespace);
    }
    let mut seen = BTreeMap::new();
    for Case { name, namespace, object } in cases()? {
        let namespace = namespaces.get(&namespace).unwrap_or(&namespace);
        seen.insert(name, create(scene, namespace, object).await?);
    }
    Ok(seen)
}

/// Those that can be created: the others are about requests that are not made by hand.
fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(workspace().join(REVIEWS))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("an odd file name")?;
        let review: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let request = &review["request"];
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let (group, kind) = (text("/kind/group"), text("/kind/kind"));
        let known = kind == "Pod" || WorkloadKind::of(group, kind).is_some();
        if !known || text("/operation") != "CREATE" || !text("/subResource").is_empty() {
            continue;
        }
        let own = if text("/namespace") == "kube-system" { "kube-system" } else { "" };
        let variants = VARIANTS.iter().filter(|(review, _)| *review == name);
        let named = variants.map(|(_, variant)| (format!("{name}@{variant}"), *variant));
        cases.extend(named.chain([(name.to_owned(), own)]).map(|(name, namespace)| Case {
            name,
            namespace: namespace.to_owned(),
            object: by_hand(&request["object"]),
        }));
    }
    Ok(cases)
}

/// The object of a review without what the API server has put there by then.
fn by_hand(reviewed: &Value) -> Value {
    let mut object = reviewed.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        let kept = ["name", "generateName", "labels", "annotations"];
        metadata.retain(|key, value| kept.contains(&key.as_str()) && !value.is_null());
    }
    if object["metadata"]["name"].is_null() && object["metadata"]["generateName"].is_null() {
        object["metadata"]["generateName"] = json!("legacy-");
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("serviceAccount");
        spec.remove("serviceAccountName");
    }
    if !object["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null() {
        object["spec"]["nodeName"] = json!("nowhere");
    }
    object
}

async fn create(scene: &Scene, namespace: &str, mut object: Value) -> Result<Seen> {
    object["metadata"]["namespace"] = json!(namespace);
    let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let printed = scene.kubectl().call(&create, &object.to_string()).await?;
    let warnings = printed.warnings().into_iter().map(str::to_owned).collect();
    let made = if printed.success {
        Ok(comparable(&serde_json::from_str(&printed.stdout)?, namespace)?)
    } else {
        let said = printed.stderr.lines().filter(|line| !line.starts_with("Warning: "));
        Err(sentence(&said.collect::<Vec<_>>().join(" ")).replace(namespace, "NAMESPACE"))
    };
    Ok(Seen { made, warnings })
}

/// What a refusal says, without who says it.
pub(crate) fn sentence(refusal: &str) -> &str {
    let said = ["denied the request: ", "denied request: "];
    said.iter().find_map(|by| Some(refusal.split_once(by)?.1)).unwrap_or(refusal)
}

/// An object without what differs from one creation to the next, and from one namespace to the other.
pub(crate) fn comparable(made: &Value, namespace: &str) -> Result<Value> {
    let mut made = made.clone();
    if let Some(metadata) = made["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let mut text = made.to_string().replace(namespace, "NAMESPACE");
    let metadata = &made["metadata"];
    for field in ["uid", "creationTimestamp"] {
        let found = metadata[field].as_str().with_context(|| format!("no {field}"))?;
        text = text.replace(found, field);
    }
    if metadata["generateName"].is_string() {
        let name = metadata["name"].as_str().context("no name")?;
        text = text.replace(name, "generated");
    }
    let volumes = made["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = volumes.iter().filter_map(|volume| volume["name"].as_str());
    for token in names.filter(|name| name.starts_with("kube-api-access-")) {
        text = text.replace(token, "kube-api-access");
    }
    Ok(serde_json::from_str(&text)?)
}
