//! Which newcomer gets a place, and whose place it gets when all are taken. Pure: no sockets, no clock.
//!
//! A connection is *unfinished* when its TLS handshake, or the head or body of a request, has been
//! incomplete for more than a second. A healthy client needs milliseconds for each.
//!
//! At the cap a newcomer takes the place of the oldest unfinished connection of the address that has
//! most of them, unless that is its own address. While there is no unfinished one at all, a newcomer
//! waits for a second, since those that have just come may turn out to be unfinished. Then it takes
//! the place of the connection that has been idle longest, of the address that has most idle ones
//! among those with more places than its own. Else it waits. So:
//!
//! - A request that is being answered keeps its place.
//! - No address takes a place from itself, and one with many places takes no idle one from an address
//!   with fewer. Whoever opens many connections competes with itself.
//! - An address all of whose connections are finished or idle takes the place of an unfinished one at
//!   once, however many newcomers of other addresses wait.
//! - A free place goes to the waiting address that has fewest places, then to the one that has waited
//!   longest.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How old an incomplete handshake, head or body is when it counts as unfinished.
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
    /// Its handshake, head or body is incomplete.
    Receiving,
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
        self.doing == Doing::Receiving && self.age > UNFINISHED_AFTER
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

    fn source(number: u8) -> Source {
        Source::from(IpAddr::from([127, 0, 0, number]))
    }

    /// `a I5, b R2`: the connections' addresses, what they do and for how many half seconds.
    fn places(text: &str) -> Vec<Place<usize>> {
        let words = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        words
            .enumerate()
            .map(|(name, text)| {
                let bytes = text.as_bytes();
                Place {
                    name,
                    source: source(bytes[0]),
                    doing: match bytes[2] {
                        b'R' => Doing::Receiving,
                        b'A' => Doing::Answering,
                        b'I' => Doing::Idle,
                        _ => panic!("{text}"),
                    },
                    age: text[3..].parse::<u32>().unwrap() * Duration::from_millis(500),
                }
            })
            .collect()
    }

    /// `a0 b3`: the newcomers' addresses and for how many half seconds they have waited.
    fn newcomers(text: &str) -> Vec<Newcomer> {
        text.split_whitespace()
            .map(|text| Newcomer {
                source: source(text.as_bytes()[0]),
                waited: text[1..].parse::<u32>().unwrap() * Duration::from_millis(500),
            })
            .collect()
    }

    #[test]
    fn whose_place_is_taken() {
        let cases = [
            ("of the oldest unfinished", "b R3, b R9, b R4", "a0", Some((0, 1))),
            ("of the address with most", "b R9, c R3, c R4", "a0", Some((0, 2))),
            ("not before a second has passed", "b R2, b R1", "a9", None),
            ("an unfinished one rather than an idle one", "b I9, b I9, b R3", "a9", Some((0, 2))),
            ("never of one that is being answered", "b A99, b A99", "a99", None),
            ("never its own", "a R9, a R9, a I99", "a9", None),
            ("not if its own address has most", "a R9, a R9, b R9", "a9", None),
            ("not if its own address has as many", "a R9, b R9", "a9", None),
            ("if its own has fewer", "a R9, b R5, b R4", "a9", Some((0, 1))),
            ("another one's, though its own waits too", "b R9, b R8", "b9 a0", Some((1, 0))),
            ("idle: after a second", "b I9, b I3", "a1", None),
            ("idle: the longest", "b I3, b I9", "a2", Some((0, 1))),
            ("idle: of the address that has most", "b I9, c I3, c I4", "a2", Some((0, 2))),
            ("idle: not of an address with fewer places", "a A1, a A1, b I9", "a9", None),
            ("idle: not of one with as many", "a A1, b I9", "a9", None),
            (
                "idle: though its own has more idle ones",
                "a I9, a I9, b I5, b A1, b A1",
                "a2",
                Some((0, 2)),
            ),
            ("not idle while there are unfinished ones", "a R9, b I9, b I9", "a9", None),
            ("the address with fewest places first", "b R9, b R8, a A1", "a9 c0", Some((1, 0))),
            ("of one address the first", "b R9, b R8", "a3 a2", Some((0, 0))),
            ("nobody waits", "b R9", "", None),
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
            ("the first", "", "b0 a0", Some(0)),
            ("the address with fewest places", "a A1, a A1, b I1", "a9 b0", Some(1)),
            ("of two with as many the first", "a A1, b I1", "b3 a9", Some(0)),
            ("nobody", "a R9", "", None),
        ];
        for (what, open, waiting, expected) in cases {
            let open = places(open);
            let found = next(open.len() + 1, &open, &newcomers(waiting));
            assert_eq!(found, expected.map(|index| (index, None)), "{what}");
        }
    }

    #[test]
    fn who_is_turned_away() {
        let cases = [
            ("the newest of the address that waits most", "", "a9 a9 b9", Some(1)),
            ("places count too", "b A1, b A1", "a9 a9 b9", Some(2)),
            ("of two with as many the newest", "", "a9 b9 a9 b9", Some(3)),
            ("nobody waits", "a A1", "", None),
        ];
        for (what, open, waiting, expected) in cases {
            let open = places(open).into_iter().map(|place| place.source);
            assert_eq!(surplus(open, &newcomers(waiting)), expected, "{what}");
        }
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let cases = [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("fd00:1:2:3::1", "fd00:1:2:3:ffff::2", true),
            ("fd00:1:2:3::1", "fd00:1:2:4::1", false),
            // The old notation for IPv4 in IPv6, which no socket uses.
            ("10.0.0.1", "::10.0.0.1", false),
        ];
        for (one, other, same) in cases {
            let [one, other] = [one, other].map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(Source::from(one) == Source::from(other), same, "{one} {other}");
        }
    }

    fn any_place() -> impl Strategy<Value = (u8, Doing, u64)> {
        let doing = prop_oneof![Just(Doing::Receiving), Just(Doing::Answering), Just(Doing::Idle)];
        (0..5_u8, doing, 0..4000_u64)
    }

    proptest! {
        #[test]
        fn nobody_loses_what_is_theirs(
            open in prop::collection::vec(any_place(), 1..40),
            waiting in prop::collection::vec((0..6_u8, 0..3000_u64), 1..10),
        ) {
            let open: Vec<_> = open
                .into_iter()
                .enumerate()
                .map(|(name, (from, doing, age))| Place {
                    name,
                    source: source(from),
                    doing,
                    age: Duration::from_millis(age),
                })
                .collect();
            let waiting: Vec<_> = waiting
                .into_iter()
                .map(|(from, waited)| Newcomer {
                    source: source(from),
                    waited: Duration::from_millis(waited),
                })
                .collect();
            let places = |of: Source| open.iter().filter(|place| place.source == of).count();
            let unfinished = |of: Source| {
                open.iter().filter(|place| place.source == of && place.is_unfinished()).count()
            };
            let any_unfinished = open.iter().any(Place::is_unfinished);
            if let Some((index, name)) = next(open.len(), &open, &waiting) {
                let (newcomer, victim) = (waiting[index].source, open[name.unwrap()]);
                prop_assert_ne!(victim.source, newcomer);
                prop_assert_ne!(victim.doing, Doing::Answering);
                prop_assert_eq!(victim.is_unfinished(), any_unfinished);
                if any_unfinished {
                    prop_assert!(unfinished(victim.source) > unfinished(newcomer));
                } else {
                    prop_assert_eq!(victim.doing, Doing::Idle);
                    prop_assert!(places(victim.source) > places(newcomer));
                }
            } else {
                // Whoever has nothing unfinished is never kept waiting by those who have.
                let waits_in_vain = waiting.iter().any(|newcomer| {
                    let own = unfinished(newcomer.source);
                    open.iter().any(|place| unfinished(place.source) > own)
                });
                prop_assert!(!waits_in_vain);
            }
        }
    }
}
