//! Which newcomer gets a place, and whose place it gets when all are taken. Pure: no sockets, no clock.
//!
//! A connection is *unfinished* when its TLS handshake, or the head or body of a request, has been
//! incomplete for more than a second, or when the client has not taken an answer for as long. A healthy
//! client needs milliseconds for each.
//!
//! At the cap a newcomer takes the place of the oldest unfinished connection of the address that has
//! most of them, unless that is its own address. While there is no unfinished one at all, a newcomer
//! waits for a second, since those that have just come may turn out to be unfinished. Then it takes
//! the place of the connection that has been idle longest, of the address that has most idle ones
//! among those with more places than its own. Else it waits. So:
//!
//! - A request that is being answered keeps its place, until its client does not take the answer.
//! - No address takes a place from itself, and one with many places takes no idle one from an address
//!   with fewer. Whoever opens many connections competes with itself.
//! - An address all of whose connections are finished or idle takes the place of an unfinished one at
//!   once, however many newcomers of other addresses wait.
//! - A free place goes to the waiting address that has fewest places, then to the one that has waited
//!   longest.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How old what is incomplete is when it counts as unfinished.
pub(crate) const UNFINISHED_AFTER: Duration = Duration::from_secs(1);

/// How long a newcomer waits before it takes the place of an idle connection.
const IDLE_AFTER: Duration = UNFINISHED_AFTER;

/// What counts as one client: an IPv4 address, or the /64 that one IPv6 host can have all to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// What a connection that has a place is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Its handshake, or a request's head or body, is incomplete, or the client takes no more of an answer.
    Incomplete,
    Answering,
    Idle,
}

/// A connection that has a place. `T` names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<T> {
    pub(crate) name: T,
    pub(crate) source: Source,
    pub(crate) doing: Doing,
    /// For how long it has been doing that.
    pub(crate) age: Duration,
}

impl<T> Place<T> {
    pub(crate) fn is_unfinished(&self) -> bool {
        self.doing == Doing::Incomplete && self.age > UNFINISHED_AFTER
    }
}

/// A connection that waits for a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) source: Source,
    pub(crate) waited: Duration,
}

/// What one address has.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    places: usize,
    unfinished: usize,
    idle: usize,
}

/// Who gets the next place: the index in `waiting`, which is in the order of arrival, and the
/// connection that has to leave for it, if all `most` places are taken.
pub(crate) fn next<T: Copy>(
    most: usize,
    open: &[Place<T>],
    waiting: &[Newcomer],
) -> Option<(usize, Option<T>)> {
    let mut counts = HashMap::<Source, Count>::new();
    for place in open {
        let count = counts.entry(place.source).or_default();
        count.places += 1;
        count.unfinished += usize::from(place.is_unfinished());
        count.idle += usize::from(place.doing == Doing::Idle);
    }
    let count = |source: Source| counts.get(&source).copied().unwrap_or_default();

    // Of each address, the one that has waited longest.
    let mut first = BTreeMap::new();
    for (index, newcomer) in waiting.iter().enumerate() {
        first.entry(newcomer.source).or_insert((index, newcomer.waited));
    }
    let mut first: Vec<_> = first.into_iter().collect();
    first.sort_by_key(|&(source, (index, _))| (count(source).places, index));

    first.into_iter().find_map(|(source, (index, waited))| {
        if open.len() < most {
            return Some((index, None));
        }
        let victim = victim(open, count, source, waited)?;
        Some((index, Some(victim)))
    })
}

fn victim<T: Copy>(
    open: &[Place<T>],
    count: impl Fn(Source) -> Count,
    newcomer: Source,
    waited: Duration,
) -> Option<T> {
    let own = count(newcomer);
    let unfinished = open.iter().filter(|place| place.is_unfinished());
    let most_unfinished = unfinished.clone().map(|place| count(place.source).unfinished).max();
    if let Some(most) = most_unfinished {
        return unfinished
            .filter(|place| most > own.unfinished && count(place.source).unfinished == most)
            .max_by_key(|place| place.age)
            .map(|place| place.name);
    }
    open.iter()
        .filter(|place| waited >= IDLE_AFTER && place.doing == Doing::Idle)
        .filter(|place| count(place.source).places > own.places)
        .max_by_key(|place| (count(place.source).idle, place.age))
        .map(|place| place.name)
}

/// Which of those who wait is turned away when too many do: the newest of the address that has most
/// connections, open and waiting ones together.
pub(crate) fn surplus(open: impl Iterator<Item = Source>, waiting: &[Newcomer]) -> Option<usize> {
    let mut counts = HashMap::<Source, usize>::new();
    for source in open.chain(waiting.iter().map(|one| one.source)) {
        *counts.entry(source).or_default() += 1;
    }
    (0..waiting.len()).max_by_key(|index| (counts.get(&waiting[*index].source), *index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(letter: u8) -> Source {
        Source::from(IpAddr::from([127, 0, 0, letter]))
    }

    /// `aU3 bI9`: who has places, what they do there and for how many half seconds.
    fn places(text: &str) -> Vec<Place<usize>> {
        let place = |(name, text): (usize, &str)| Place {
            name,
            source: source(text.as_bytes()[0]),
            doing: match &text[1..2] {
                "U" => Doing::Incomplete,
                "A" => Doing::Answering,
                _ => Doing::Idle,
            },
            age: Duration::from_millis(500) * text[2..].parse().unwrap(),
        };
        text.split_whitespace().enumerate().map(place).collect()
    }

    /// `a0 b3`: who waits, and for how many half seconds.
    fn newcomers(text: &str) -> Vec<Newcomer> {
        let newcomer = |text: &str| Newcomer {
            source: source(text.as_bytes()[0]),
            waited: Duration::from_millis(500) * text[1..].parse().unwrap(),
        };
        text.split_whitespace().map(newcomer).collect()
    }

    #[test]
    fn whose_place_is_taken() {
        let cases = [
            ("of the oldest unfinished", "bU3 bU9 bU4", "a0", Some((0, 1))),
            ("of the address with most", "bU9 cU3 cU4", "a0", Some((0, 2))),
            ("not before a second has passed", "bU2 bU1", "a9", None),
            ("an unfinished one rather than an idle one", "bI9 bI9 bU3", "a9", Some((0, 2))),
            ("never of one that is being answered", "bA99 bA99", "a99", None),
            ("never its own", "aU9 aU9 aI99", "a9", None),
            ("not if its own address has most", "aU9 aU9 bU9", "a9", None),
            ("not if its own address has as many", "aU9 bU9", "a9", None),
            ("if its own has fewer", "aU9 bU5 bU4", "a9", Some((0, 1))),
            ("though the address's own waits too", "bU9 bU8", "b9 a0", Some((1, 0))),
            ("idle: after a second", "bI9 bI3", "a1", None),
            ("idle: the longest", "bI3 bI9", "a2", Some((0, 1))),
            ("idle: of the address with most", "bI9 cI3 cI4", "a2", Some((0, 2))),
            ("idle: not of an address with fewer places", "aA1 aA1 bI9", "a9", None),
            ("idle: not of one with as many", "aA1 bI9", "a9", None),
            ("idle: though its own has more of them", "aI9 aI9 bI5 bA1 bA1", "a2", Some((0, 2))),
            ("not idle while there are unfinished ones", "aU9 bI9 bI9", "a9", None),
            ("the address with fewest places first", "bU9 bU8 aA1", "a9 c0", Some((1, 0))),
            ("of one address the first", "bU9 bU8", "a3 a2", Some((0, 0))),
            ("nobody waits", "bU9", "", None),
        ];
        for (what, open, waiting, expected) in cases {
            let open = places(open);
            let found = next(open.len(), &open, &newcomers(waiting));
            assert_eq!(found, expected.map(|(index, name)| (index, Some(name))), "{what}");
        }
    }

    #[test]
    fn who_gets_a_free_place() {
        let cases = [
            ("the first", "", "b0 a0", 0),
            ("the address with fewest places", "aA1 aA1 bI1", "a9 b0", 1),
            ("of two with as many the first", "aA1 bI1", "b3 a9", 0),
        ];
        for (what, open, waiting, expected) in cases {
            let open = places(open);
            let found = next(open.len() + 1, &open, &newcomers(waiting));
            assert_eq!(found, Some((expected, None)), "{what}");
        }
    }

    #[test]
    fn who_is_turned_away() {
        let cases = [
            ("the newest of the address that waits most", "", "a9 a9 b9", 1),
            ("places count too", "bA1 bA1", "a9 a9 b9", 2),
            ("of two with as many the newest", "", "a9 b9 a9 b9", 3),
        ];
        for (what, open, waiting, expected) in cases {
            let open = places(open).into_iter().map(|place| place.source);
            assert_eq!(surplus(open, &newcomers(waiting)), Some(expected), "{what}");
        }
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let cases = [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("fd00:1:2:3::1", "fd00:1:2:3:ffff::2", true),
            ("fd00:1:2:3::1", "fd00:1:2:4::1", false),
        ];
        for (one, other, same) in cases {
            let [one, other] = [one, other].map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(Source::from(one) == Source::from(other), same, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn nobody_loses_what_is_theirs(
            open in prop::collection::vec("[a-e][UAI][0-9]", 1..40),
            waiting in prop::collection::vec("[a-f][0-9]", 1..10),
        ) {
            let (open, waiting) = (places(&open.join(" ")), newcomers(&waiting.join(" ")));
            let count = |of: Source, which: fn(&Place<usize>) -> bool| {
                open.iter().filter(|place| place.source == of && which(place)).count()
            };
            let unfinished = |of| count(of, Place::is_unfinished);
            let any_unfinished = open.iter().any(Place::is_unfinished);
            if let Some((index, victim)) = next(open.len(), &open, &waiting) {
                let (newcomer, victim) = (waiting[index].source, open[victim.unwrap()]);
                prop_assert_ne!(victim.source, newcomer);
                prop_assert_ne!(victim.doing, Doing::Answering);
                if any_unfinished {
                    prop_assert!(victim.is_unfinished());
                    prop_assert!(unfinished(victim.source) > unfinished(newcomer));
                } else {
                    prop_assert!(count(victim.source, |_| true) > count(newcomer, |_| true));
                }
            } else {
                // Whoever has fewer unfinished ones is not kept waiting by those who have more.
                let served_last = waiting.iter().all(|newcomer| {
                    let own = unfinished(newcomer.source);
                    open.iter().all(|place| unfinished(place.source) <= own)
                });
                prop_assert!(served_last);
            }
        }
    }
}
