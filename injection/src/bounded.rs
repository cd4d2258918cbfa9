use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The most entries of a list or a map that are read: far more than any pod has, and few enough
/// that a body full of empty ones costs little more memory than itself.
pub const MOST_ENTRIES: usize = 4096;

/// What the error of a longer list or map says.
pub const TOO_MANY_ENTRIES: &str = "a list or a map of more than 4096 entries";

/// A collection that is no longer than [`MOST_ENTRIES`]; reading a longer one is an error.
#[derive(Debug, Default)]
pub(crate) struct Bounded<C>(C);

pub(crate) type List<T> = Bounded<Vec<T>>;

/// A null is an empty string, as it is to the API server. Of a key that stands there twice the last
/// one counts, also as it does there.
pub(crate) type Map<V> = Bounded<BTreeMap<String, V>>;

impl<C> Deref for Bounded<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}

struct Entries<C>(PhantomData<C>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Entries::<Vec<T>>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<Vec<T>> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if list.len() == MOST_ENTRIES {
                return Err(Error::custom(TOO_MANY_ENTRIES));
            }
            list.push(entry);
        }
        Ok(Bounded(list))
    }
}

impl<'de, V: Deserialize<'de> + Default> Deserialize<'de> for Map<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries::<BTreeMap<String, V>>(PhantomData))
    }
}

impl<'de, V: Deserialize<'de> + Default> Visitor<'de> for Entries<BTreeMap<String, V>> {
    type Value = Map<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Option<V>>()? {
            if map.len() == MOST_ENTRIES {
                return Err(Error::custom(TOO_MANY_ENTRIES));
            }
            map.insert(key, value.unwrap_or_default());
        }
        Ok(Bounded(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(json: &str) -> Result<usize, String> {
        serde_json::from_str::<List<u8>>(json)
            .map(|list| list.len())
            .or_else(|_| serde_json::from_str::<Map<u8>>(json).map(|map| map.len()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_or_a_map_is_read_up_to_its_bound() {
        let list = |length: usize| format!("[{}]", vec!["1"; length].join(","));
        let map = |length: usize| {
            let entries: Vec<String> = (0..length).map(|key| format!("\"{key}\":1")).collect();
            format!("{{{}}}", entries.join(","))
        };
        for most in [0, 1, MOST_ENTRIES] {
            assert_eq!(length(&list(most)), Ok(most));
            assert_eq!(length(&map(most)), Ok(most));
        }
        let list = serde_json::from_str::<List<u8>>(&list(MOST_ENTRIES + 1)).unwrap_err();
        assert!(list.to_string().contains(TOO_MANY_ENTRIES), "{list}");
        let map = serde_json::from_str::<Map<u8>>(&map(MOST_ENTRIES + 1)).unwrap_err();
        assert!(map.to_string().contains(TOO_MANY_ENTRIES), "{map}");
        assert!(TOO_MANY_ENTRIES.contains(&MOST_ENTRIES.to_string()));
    }

    #[test]
    fn the_last_of_two_equal_keys_counts_and_null_is_empty() {
        let map: Map<String> = serde_json::from_str(r#"{"a": "1", "b": null, "a": "2"}"#).unwrap();
        assert_eq!(map.get("a").map(String::as_str), Some("2"));
        assert_eq!(map.get("b").map(String::as_str), Some(""));
    }
}
