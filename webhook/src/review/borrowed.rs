use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::decision::keys;

/// A text that borrows from the body, unless an escape in it forces a copy.
///
/// `Cow<str>` alone would do, but serde borrows it only where it is a field of its own, not inside
/// of `Option` or `Vec`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string (in YAML, quotes make it one)")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// A map from text to text (labels, annotations, a nodeSelector) of which only the entries that
/// the decision may ask for are kept; a value such as kubectl's last-applied-configuration is
/// skipped as it stands.
#[derive(Debug, Default)]
pub struct Entries<'a> {
    len: Option<usize>,
    kept: Vec<(Text<'a>, Text<'a>)>,
}

impl Entries<'_> {
    /// Whether the map is there at all: neither left out nor null.
    pub fn exists(&self) -> bool {
        self.len.is_some()
    }

    /// Whether the map has no entries, or isn't there.
    pub fn is_empty(&self) -> bool {
        self.len.unwrap_or(0) == 0
    }

    /// The value of a key that is worth keeping. Of a key that stands there twice the last one
    /// counts, as it does for the API server.
    pub fn get(&self, key: &str) -> Option<&str> {
        debug_assert!(keys::is_of_interest(key), "{key} is never kept");
        self.kept.iter().rev().find(|(kept, _)| **kept == *key).map(|(_, value)| &**value)
    }

    /// All keys and values that were kept, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kept.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Entries::default())
            }

            fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Entries::default())
            }

            fn visit_some<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_map(self)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut len = 0;
                let mut kept = Vec::new();
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    len += 1;
                    if keys::is_of_interest(&key) {
                        // A null is an empty text to the API server as well.
                        let value = map.next_value::<Option<Text<'de>>>()?;
                        kept.push((key, value.unwrap_or_default()));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Entries { len: Some(len), kept })
            }
        }

        deserializer.deserialize_option(EntriesVisitor)
    }
}

/// A resource quantity, of which it matters only whether it is zero: `"0"`, `"100m"`, or, in
/// hand-written manifests, a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// A zero counts as nothing where Kubernetes tells a pod's quality-of-service class.
    pub is_zero: bool,
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;

        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount { is_zero: crate::decision::is_zero(text) })
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount { is_zero: number == 0 })
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount { is_zero: number == 0 })
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Amount, E> {
                Ok(Amount { is_zero: number == 0.0 })
            }
        }

        deserializer.deserialize_any(AmountVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_copied_only_where_an_escape_forces_it() {
        let texts: Vec<Text<'_>> =
            serde_json::from_str(r#"["plain", "two\nlines", "\ud83d\ude00"]"#).unwrap();
        assert!(matches!(texts[0].0, Cow::Borrowed("plain")));
        assert_eq!(texts[1].0, Cow::<str>::Owned("two\nlines".to_owned()));
        assert_eq!(&*texts[2], "😀");
    }

    #[test]
    fn a_map_keeps_what_matters_and_knows_whether_it_is_there() {
        let entries: Entries<'_> = serde_json::from_str(
            r#"{"app": "x", "secret-handshake": "true", "other": {"not": ["a", "string"]}, "secret-handshake/port": null, "secret-handshake": "off"}"#,
        )
        .unwrap();
        assert!(entries.exists() && !entries.is_empty());
        assert_eq!(entries.get(keys::LABEL), Some("off"));
        assert_eq!(entries.get("secret-handshake/port"), Some(""));
        assert_eq!(entries.iter().count(), 3);

        let null: Entries<'_> = serde_json::from_str("null").unwrap();
        assert!(!null.exists() && null.is_empty());
        let empty: Entries<'_> = serde_json::from_str("{}").unwrap();
        assert!(empty.exists() && empty.is_empty());
    }

    #[test]
    fn a_label_that_is_no_string_is_refused_with_the_remedy() {
        let error =
            serde_json::from_str::<Entries<'_>>(r#"{"secret-handshake": true}"#).unwrap_err();
        assert!(error.to_string().contains("in YAML, quotes make it one"), "{error}");
    }

    #[test]
    fn amounts_are_read_from_strings_and_numbers() {
        for (json, is_zero) in [
            ("\"0\"", true),
            ("0", true),
            ("0.0", true),
            ("\"0m\"", true),
            ("\"100m\"", false),
            ("2", false),
            ("0.5", false),
            ("-1", false),
        ] {
            assert_eq!(serde_json::from_str::<Amount>(json).unwrap(), Amount { is_zero }, "{json}");
        }
        assert!(serde_json::from_str::<Amount>("[]").is_err());
    }
}
