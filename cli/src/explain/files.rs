//! The facts that manifests tell, without a cluster.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use injection::printable;

use super::facts::{Configuration, Facts, NamespaceSeen, OfNamespace, Source, Surroundings};
use super::target::Kind;
use crate::inject::{input, label, list, object};
use crate::manifest::{Parts, Value};
use crate::webhook::{Flags, NAMESPACE};

/// What is known beside the manifests.
pub(super) struct Beside<'a> {
    /// The namespace of objects that name none.
    pub(super) namespace: Option<&'a str>,
    /// The label of the namespaces that are not among the manifests.
    pub(super) namespace_label: Option<&'a str>,
}

/// The objects that may have to do with sidecars, in their order, and how many others there are. A
/// Namespace counts for the objects before it too.
pub(super) fn read(
    files: &[PathBuf],
    recursive: bool,
    beside: &Beside<'_>,
) -> anyhow::Result<(Vec<Facts>, usize)> {
    let texts = input::read(files, recursive)?;
    let texts = texts.iter().map(|input| (input.name.as_str(), input.text.as_str()));
    facts(texts, beside)
}

pub(super) fn facts<'t>(
    texts: impl Iterator<Item = (&'t str, &'t str)>,
    beside: &Beside<'_>,
) -> anyhow::Result<(Vec<Facts>, usize)> {
    let (mut objects, mut others) = (Vec::new(), 0);
    for (name, text) in texts {
        for (index, part) in Parts::of(text).enumerate() {
            let place = |error| anyhow!("{name}: document {}: {error}", index + 1);
            let mut document = part.and_then(|part| part.read()).map_err(place)?;
            if document.value == Value::Null {
                continue;
            }
            list::for_each(&mut document.value, &mut |object, version, kind| {
                let group = version.split_once('/').map_or("", |(group, _)| group);
                match Kind::of(group, kind) {
                    Some(kind) => objects.push((kind, object.clone())),
                    None => others += 1,
                }
            });
        }
    }
    let namespaces: HashMap<String, Value> = objects
        .iter()
        .filter(|(kind, _)| *kind == Kind::Namespace)
        .map(|(_, object)| (object::name(object).to_owned(), object.clone()))
        .collect();
    let facts = objects.into_iter().map(|(kind, object)| {
        let name = printable(object::name(&object), 253);
        let namespace = match kind {
            Kind::Namespace => Some(name.clone()),
            _ => own_namespace(&object).or(beside.namespace).map(|it| printable(it, 63)),
        };
        let of_namespace = namespace.as_deref().and_then(|name| namespaces.get(name));
        let of_namespace = match (of_namespace, beside.namespace_label) {
            (Some(object), label) => known(object, label)?,
            (None, Some(label)) => OfNamespace::Known(Box::new(NamespaceSeen {
                label: Some(label.to_owned()),
                metadata: <_>::default(),
                object: Value::Null,
                labelled_at: None,
            })),
            (None, None) => OfNamespace::NotLookedAt,
        };
        Ok(Facts {
            kind,
            name,
            namespace,
            object,
            source: Source::File,
            owners: Vec::new(),
            around: Arc::new(Surroundings {
                of_namespace,
                configuration: Configuration::NotLookedAt,
                flags: Flags::default_in(NAMESPACE),
                flags_assumed: None,
            }),
            running: None,
            pods: None,
            secret: None,
        })
    });
    Ok((facts.collect::<anyhow::Result<_>>()?, others))
}

/// A Namespace's metadata; `label` is its label if it has none itself.
fn known(namespace: &Value, otherwise: Option<&str>) -> anyhow::Result<OfNamespace> {
    let own = label::at(namespace, &[])?;
    let metadata = namespace.get("metadata").map_or(Value::Null, Value::clone).to_json();
    let metadata = match metadata {
        serde_json::Value::Null => <_>::default(),
        metadata => object::read(&metadata)?,
    };
    Ok(OfNamespace::Known(Box::new(NamespaceSeen {
        label: own.or(otherwise.map(str::to_owned)),
        metadata,
        object: namespace.clone(),
        labelled_at: None,
    })))
}

fn own_namespace(object: &Value) -> Option<&str> {
    let namespace = object.get("metadata")?.get("namespace")?.as_str()?;
    (!namespace.is_empty()).then_some(namespace)
}
