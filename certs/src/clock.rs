//! The time by which certificates are judged.
//!
//! The verifier of a webhook's certificate is an API server, so it is the API server's clock that
//! counts, not the node's. Every answer of an API server carries a `Date` (RFC 9110, section
//! 6.6.1); from the last one on, time is counted with a clock that never jumps. So a node whose
//! clock is off, or is set forward or back by a day, makes no certificate that no API server takes.

use std::time::Duration;

use jiff::Timestamp;

use crate::duration::show;

/// What the machine's clocks show at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    /// The wall clock: it may be wrong, and it may jump.
    pub wall: Timestamp,
    /// Since some moment in the past, by a clock that never jumps.
    pub steady: Duration,
}

impl Time {
    /// What the wall clock shows now, beside what the steady one shows.
    #[must_use]
    pub fn now(steady: Duration) -> Self {
        Self { wall: Timestamp::now(), steady }
    }
}

/// The API servers' clock, as far as it is known; the wall clock before the first answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    heard: Option<(Timestamp, Duration)>,
}

impl Clock {
    /// Takes note of the `Date` of an answer that has just come in.
    pub fn hear(&mut self, date: Timestamp, time: Time) {
        self.heard = Some((date, time.steady));
    }

    /// The time.
    #[must_use]
    pub fn now(&self, time: Time) -> Timestamp {
        self.heard.map_or(time.wall, |(date, steady)| {
            crate::validity::after(date, time.steady.saturating_sub(steady))
        })
    }

    /// A sentence about the machine's clock if it is off by more than `tolerated`.
    #[must_use]
    pub fn complaint(&self, time: Time, tolerated: Duration) -> Option<String> {
        let apart = time.wall.duration_since(self.now(time));
        let way = if apart.is_negative() { "behind" } else { "ahead of" };
        let apart = apart.unsigned_abs();
        (apart > tolerated)
            .then(|| format!("this node's clock is {} {way} the API server's", show(apart)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(wall: i64, steady: u64) -> Time {
        Time { wall: Timestamp::from_second(wall).unwrap(), steady: Duration::from_secs(steady) }
    }

    #[test]
    fn the_wall_clock_counts_until_an_api_server_was_heard_and_its_jumps_do_not_after() {
        let mut clock = Clock::default();
        assert_eq!(clock.now(time(1_000, 0)).as_second(), 1_000);
        clock.hear(Timestamp::from_second(5_000).unwrap(), time(1_000, 0));
        let day = 86_400;
        for jump in [0, day, -day] {
            assert_eq!(clock.now(time(1_010 + jump, 10)).as_second(), 5_010);
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_complained_of() {
        let mut clock = Clock::default();
        clock.hear(Timestamp::from_second(5_000).unwrap(), time(5_000, 0));
        let minute = Duration::from_secs(60);
        assert_eq!(clock.complaint(time(5_050, 0), minute), None);
        let ahead = clock.complaint(time(5_100, 0), minute).unwrap();
        assert_eq!(ahead, "this node's clock is 1 min 40 s ahead of the API server's");
        assert!(clock.complaint(time(4_900, 0), minute).unwrap().contains("behind"));
    }
}
