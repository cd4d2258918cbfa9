//! Lists, which kubectl takes apart.

use crate::manifest::Value;

/// Calls `visit` with an object, its apiVersion and its kind, or with each object of a list; lists in
/// lists as well.
pub(crate) fn for_each(object: &mut Value, visit: &mut impl FnMut(&mut Value, &str, &str)) {
    let (api_version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    for_each_of(object, &api_version, &kind, visit);
}

fn for_each_of(
    object: &mut Value,
    api_version: &str,
    kind: &str,
    visit: &mut impl FnMut(&mut Value, &str, &str),
) {
    let Some(item_kind) = kind.strip_suffix("List") else {
        return visit(object, api_version, kind);
    };
    let Value::Map(members) = object else { return };
    let Some(Value::List(items)) = members.get_mut("items") else { return };
    for item in items {
        // Items of a typed list, such as a PodList, may leave to it what they are.
        match text(item, "kind").as_str() {
            "" => for_each_of(item, api_version, item_kind, visit),
            kind => for_each_of(item, &text(item, "apiVersion"), kind, visit),
        }
    }
}

/// A member that is a text; the empty one where there is none.
fn text(object: &Value, member: &str) -> String {
    object.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
}
