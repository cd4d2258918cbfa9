use super::reason::Place;
use crate::keys;
use crate::pod::Metadata;
use crate::printable::printable;

/// What the author of this metadata should know about the keys in it that are ours or look like it.
pub(crate) fn warnings(metadata: Option<&Metadata>, place: Place) -> Vec<String> {
    let unknown = unknown_annotations(metadata, place);
    misplaced_keys(metadata, place).into_iter().chain(unknown).collect()
}

/// Warnings about the label where it is an annotation, and about a setting that is a label.
#[must_use]
pub fn misplaced_keys(metadata: Option<&Metadata>, place: Place) -> Vec<String> {
    let Some(metadata) = metadata else { return Vec::new() };
    let annotation = metadata.annotation(keys::LABEL).map(|_| {
        format!(
            "{} is an annotation of the {place} and has no effect: it must be a label",
            keys::LABEL
        )
    });
    let is_label = |key: &&str| metadata.has_label(key);
    let label = keys::SETTINGS.into_iter().find(is_label).map(|key| {
        format!("{key} is a label of the {place} and has no effect: it must be an annotation")
    });
    annotation.into_iter().chain(label).collect()
}

/// One warning for all annotations that look like ours and are not, if there are any.
fn unknown_annotations(metadata: Option<&Metadata>, place: Place) -> Option<String> {
    let known = |key: &str| {
        keys::SETTINGS.contains(&key) || matches!(key, keys::STATUS | keys::LABEL_COPIED)
    };
    let looks_like_ours = |key: &str| key.starts_with(keys::PREFIX);
    let mut unknown = metadata?.annotation_keys().filter(|key| looks_like_ours(key) && !known(key));
    let first = unknown.next()?;
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
        assert_eq!(
            warning(
                json!({keys::STATUS: "injected", keys::LABEL_COPIED: "true", keys::DONE: "1", "other/x": ""})
            ),
            None
        );
    }

    #[test]
    fn a_label_that_is_an_annotation_and_a_setting_that_is_a_label_draw_a_warning_each() {
        let json = json!({
            "annotations": {keys::LABEL: "false", "secret-handshake/prot": "80"},
            "labels": {keys::LABEL: "true", keys::PORT: "80"},
        });
        let metadata: Metadata = serde_json::from_value(json).unwrap();
        let warnings = warnings(Some(&metadata), Place::Pod);
        assert_eq!(
            warnings[..2],
            [
                "secret-handshake is an annotation of the pod and has no effect: it must be a label",
                "secret-handshake/port is a label of the pod and has no effect: it must be an annotation",
            ]
        );
        assert!(warnings[2].contains("unknown annotation secret-handshake/prot"), "{warnings:?}");
    }
}
