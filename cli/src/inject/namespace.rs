//! The Namespaces in the input, which count for the objects before them as well.

use std::collections::HashMap;

use super::input::Input;
use super::label;
use super::list;
use crate::manifest::{Parts, Value};

/// What a Namespace of the input says to the objects in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    pub(super) label: Option<String>,
}

/// The Namespaces of the input by their names. What can't be read is skipped: whoever reads it for
/// its objects says so.
pub(super) fn find(inputs: &[Input]) -> HashMap<String, Namespace> {
    let parts = inputs.iter().flat_map(|input| Parts::of(&input.text)).filter_map(Result::ok);
    // Most documents are none, and needn't be read twice to see that.
    let documents =
        parts.filter(|part| part.contains("Namespace")).filter_map(|part| part.read().ok());
    let mut found = HashMap::new();
    for mut document in documents {
        list::for_each(&mut document.value, &mut |object, api_version, kind| {
            let name = object.get("metadata").and_then(|it| it.get("name")).and_then(Value::as_str);
            if let ("v1", "Namespace", Some(name)) = (api_version, kind, name) {
                let label = label::at(object, &[]).unwrap_or_default();
                found.insert(name.to_owned(), Namespace { label });
            }
        });
    }
    found
}
