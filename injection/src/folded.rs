use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// An entry that is asked one question while its list is read.
pub(crate) trait Entry {
    fn says_yes(&self) -> bool;
}

/// What is kept of a list instead of its entries, so that it costs no memory however long it is: what
/// they answered.
#[derive(Debug)]
pub(crate) struct Folded<E> {
    /// Whether one of them says yes.
    pub(crate) any: bool,
    /// Whether there are some, and each says yes.
    pub(crate) all: bool,
    entries: PhantomData<E>,
}

impl<'de, E: Entry + Deserialize<'de>> Deserialize<'de> for Folded<E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Entries(PhantomData))
    }
}

struct Entries<E>(PhantomData<E>);

impl<'de, E: Entry + Deserialize<'de>> Visitor<'de> for Entries<E> {
    type Value = Folded<E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Folded<E>, A::Error> {
        let (mut yes, mut no) = (false, false);
        while let Some(entry) = entries.next_element::<E>()? {
            if entry.says_yes() {
                yes = true;
            } else {
                no = true;
            }
        }
        Ok(Folded { any: yes, all: yes && !no, entries: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Answer(bool);

    impl Entry for Answer {
        fn says_yes(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn a_list_is_what_its_entries_say() {
        for (json, any, all) in [
            ("[]", false, false),
            ("[false]", false, false),
            ("[true]", true, true),
            ("[true, true]", true, true),
            ("[true, false]", true, false),
            ("[false, true]", true, false),
        ] {
            let folded: Folded<Answer> = serde_json::from_str(json).unwrap();
            assert_eq!((folded.any, folded.all), (any, all), "{json}");
        }
        assert!(serde_json::from_str::<Folded<Answer>>("{}").is_err());
        assert!(serde_json::from_str::<Folded<Answer>>("[1]").is_err());
    }
}
