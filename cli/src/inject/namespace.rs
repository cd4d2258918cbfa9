//! The Namespaces in the input, which count for the objects before them as well.

use std::collections::HashMap;

use injection::{Metadata, printable};

use super::input::Input;
use super::list;
use super::object::read;
use crate::manifest::{Parts, Value};

/// The metadata of the Namespaces of the input by their names, or what is wrong with it: that is told
/// with the objects in them. Documents that can't be read are skipped: whoever reads them for their
/// objects says so.
pub(super) fn find(inputs: &[Input]) -> HashMap<String, Result<Metadata, String>> {
    let parts = inputs.iter().flat_map(|input| Parts::of(&input.text)).filter_map(Result::ok);
    // Most documents are none, and needn't be read twice to see that.
    let documents =
        parts.filter(|part| part.contains("Namespace")).filter_map(|part| part.read().ok());
    let mut found = HashMap::new();
    for mut document in documents {
        list::for_each(&mut document.value, &mut |object, api_version, kind| {
            let name = object.get("metadata").and_then(|it| it.get("name")).and_then(Value::as_str);
            if let ("v1", "Namespace", Some(name)) = (api_version, kind, name) {
                let metadata = object.get("metadata").map_or_else(Default::default, Value::to_json);
                let metadata = read::<Metadata>(&metadata);
                let metadata = metadata.map_err(|error| {
                    format!("Namespace/{}: metadata.{error}", printable(name, 63))
                });
                found.insert(name.to_owned(), metadata);
            }
        });
    }
    found
}
