use json_patch::jsonptr::Token;
use serde::Serialize;

/// JSON Patch operations, written as JSON one after the other.
pub(super) struct Operations<'a> {
    json: Vec<u8>,
    at: &'a [&'a str],
    /// A JSON Pointer (RFC 6901) in the making: its room is used again and again.
    pointer: String,
}

#[derive(Serialize)]
struct Operation<'a, V: Serialize> {
    op: &'static str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a V>,
}

impl<'a> Operations<'a> {
    /// No operations yet; each path will be counted from the part of the object at `at`.
    pub(super) fn new(at: &'a [&'a str]) -> Self {
        // A whole sidecar fits.
        let mut json = Vec::with_capacity(3072);
        json.push(b'[');
        Self { json, at, pointer: String::with_capacity(128) }
    }

    /// Counts the paths of what follows from the part at `at`.
    pub(super) fn move_to(&mut self, at: &'a [&'a str]) {
        self.at = at;
    }

    /// Adds a member to an object, in place of one of that name, or an element to an array; `-`
    /// is the place after its last.
    pub(super) fn add<V: Serialize>(&mut self, path: &[&str], value: &V) {
        self.push("add", path, Some(value));
    }

    /// Removes what is at `path`; it must be there.
    pub(super) fn remove(&mut self, path: &[&str]) {
        self.push::<()>("remove", path, None);
    }

    fn push<V: Serialize>(&mut self, op: &'static str, path: &[&str], value: Option<&V>) {
        self.pointer.clear();
        for token in self.at.iter().chain(path) {
            self.pointer.push('/');
            self.pointer.push_str(Token::new(*token).encoded());
        }
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        let operation = Operation { op, path: &self.pointer, value };
        #[expect(
            clippy::expect_used,
            reason = "writing to a Vec can't fail, and no value here has a map with other keys than strings"
        )]
        serde_json::to_writer(&mut self.json, &operation).expect("plain data is JSON");
    }

    /// The patch, a JSON array.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.json.push(b']');
        self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_a_json_patch_that_the_library_reads() {
        let mut operations = Operations::new(&["spec", "template"]);
        operations.add(&["metadata", "labels", "a/b~c"], &"x\"y");
        operations.move_to(&[]);
        operations.remove(&["metadata", "annotations", "ü/é"]);
        let json = operations.finish();
        let expected = r#"[{"op":"add","path":"/spec/template/metadata/labels/a~1b~0c","value":"x\"y"},{"op":"remove","path":"/metadata/annotations/ü~1é"}]"#;
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        let patch: json_patch::Patch = serde_json::from_slice(&json).unwrap();
        assert_eq!(patch.len(), 2);
    }

    #[test]
    fn no_operations_are_an_empty_patch() {
        assert_eq!(Operations::new(&[]).finish(), b"[]");
    }
}
