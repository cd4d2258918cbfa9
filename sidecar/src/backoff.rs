//! How long to pause before trying again.

use std::time::Duration;

/// The pauses while nothing listens, and after failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The shortest pause between two connects.
    pub connect_min: Duration,
    /// The longest pause between two connects.
    pub connect_max: Duration,
    /// Between the two, the pause is the time waited so far divided by this.
    pub connect_divisor: u32,
    /// The longest pause after a first failure.
    pub retry_min: Duration,
    /// The longest pause after any failure.
    pub retry_max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            // A connect that is refused costs some 30 us of CPU, so 200 of them a second are 0.6 % of a
            // core, and 20 a second nothing.
            connect_min: Duration::from_millis(5),
            connect_max: Duration::from_millis(50),
            // Half a percent: nobody notices that a start took so much longer.
            connect_divisor: 200,
            retry_min: Duration::from_millis(100),
            // As long as an operator who has just corrected the Secret likes to wait.
            retry_max: Duration::from_secs(5),
        }
    }
}

impl Backoff {
    /// The pause before the next connect: a fixed share of the time waited so far, so that a long start
    /// is not made much longer and a long wait costs little. Jitter shortens it by up to a fifth: pods
    /// that start together spread out, and no connect comes later than it should.
    pub(crate) fn connect(&self, waited: Duration, jitter: f64) -> Duration {
        let share = waited / self.connect_divisor.max(1);
        share.min(self.connect_max).max(self.connect_min).mul_f64(1.0 - jitter / 5.0)
    }

    /// The pause after the nth failure in a row: doubled each time up to the most, with full jitter.
    pub(crate) fn retry(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.retry_min.saturating_mul(doubled).min(self.retry_max).mul_f64(jitter)
    }
}
