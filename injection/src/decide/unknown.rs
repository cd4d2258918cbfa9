use super::reason::Place;
use crate::keys;
use crate::pod::Metadata;
use crate::printable::printable;

/// One warning for all annotations that look like ours and are not, if there are any.
pub(crate) fn unknown_annotations(metadata: Option<&Metadata>, place: Place) -> Option<String> {
    let known = |key: &str| {
        keys::SETTINGS.contains(&key) || matches!(key, keys::STATUS | keys::LABEL_COPIED)
    };
    let looks_like_ours = |key: &str| key == keys::LABEL || key.starts_with(keys::PREFIX);
    let mut unknown = metadata?.annotation_keys().filter(|key| looks_like_ours(key) && !known(key));
    let first = unknown.next()?;
    if first == keys::LABEL {
        return Some(format!(
            "{first} is an annotation of the {place} and has no effect: it must be a label"
        ));
    }
    let more = unknown.count();
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let settings = keys::SETTINGS.map(|key| &key[keys::PREFIX.len()..]).join(", ");
    let first = printable(first, 64);
    Some(format!("unknown annotation {first}{more} on the {place}; known settings: {settings}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_unknown_annotation_draws_a_warning_that_lists_the_known_ones() {
        let warning = |annotations: Value| {
            let json = json!({ "annotations": annotations });
            let metadata: Metadata = serde_json::from_value(json).unwrap();
            unknown_annotations(Some(&metadata), Place::Namespace)
        };
        let one = warning(json!({"secret-handshake/prot": "80", keys::PORT: "80"})).unwrap();
        assert!(
            one.starts_with("unknown annotation secret-handshake/prot on the namespace;")
                && one.contains("port, health-port"),
            "{one}"
        );
        let three = warning(
            json!({"secret-handshake/a": "", "secret-handshake/b": "", "secret-handshake/": ""}),
        )
        .unwrap();
        assert!(three.contains("(and 2 more)"), "{three}");
        let label = warning(json!({"secret-handshake": "false"})).unwrap();
        assert!(label.contains("must be a label"), "{label}");
        assert_eq!(
            warning(
                json!({keys::STATUS: "injected", keys::LABEL_COPIED: "true", keys::DONE: "1", "other/x": ""})
            ),
            None
        );
    }
}
