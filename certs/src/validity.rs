//! From when until when: the one rule by which certificates are too old, too new or due.

use std::time::Duration;

use jiff::Timestamp;

/// How far back `notBefore` lies, so that a verifier whose clock is slow accepts a new certificate
/// at once. It is also the difference between two clocks that everything here takes in its stride.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A certificate's `notBefore` and `notAfter`, both inclusive (RFC 5280, section 4.1.2.5), in whole
/// seconds, which is all that X.509 can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Validity {
    /// The first moment at which the certificate is valid.
    pub not_before: Timestamp,
    /// The last one.
    pub not_after: Timestamp,
}

impl Validity {
    /// From `skew` before `now` until `life` after it.
    #[must_use]
    pub fn starting(now: Timestamp, life: Duration, skew: Duration) -> Self {
        Self { not_before: whole(before(now, skew)), not_after: whole(after(now, life)) }
    }

    /// The part of this that lies within `other`: a leaf must not outlive its CA.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// Whether a verifier whose clock shows `now` accepts it.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// The moment at which two thirds of its life are over: the time to replace it.
    #[must_use]
    pub fn two_thirds(&self) -> Timestamp {
        let third = self.not_after.duration_since(self.not_before) / 3;
        after(self.not_before, Duration::try_from(third * 2).unwrap_or_default())
    }
}

/// `duration` later, or the end of time.
#[must_use]
pub fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// `duration` earlier, or the beginning of time.
#[must_use]
pub fn before(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

fn whole(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn both_ends_belong_to_it() {
        let v = Validity { not_before: at(100), not_after: at(400) };
        let seen: Vec<bool> = [99, 100, 400, 401].map(|s| v.contains(at(s))).into();
        assert_eq!(seen, [false, true, true, false]);
        assert_eq!(v.two_thirds(), at(300));
    }

    #[test]
    fn it_starts_earlier_than_now_and_ends_a_life_later() {
        let v = Validity::starting(at(1_000), Duration::from_secs(60), CLOCK_SKEW);
        assert_eq!(v, Validity { not_before: at(700), not_after: at(1_060) });
        let ca = Validity { not_before: at(900), not_after: at(1_030) };
        assert_eq!(v.within(ca), ca);
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        let forever = Duration::from_secs(u64::MAX);
        assert_eq!(after(at(0), forever), Timestamp::MAX);
        assert_eq!(before(at(0), forever), Timestamp::MIN);
        assert_eq!(Validity::starting(Timestamp::MAX, forever, forever).not_before, Timestamp::MIN);
    }
}
