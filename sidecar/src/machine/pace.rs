//! How long the pauses are.

use std::time::Duration;

/// The machine's numbers. Every one is a flag of the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The shortest pause between two looks for a listener.
    pub look_min: Duration,
    /// The longest pause between two looks for a listener.
    pub look_max: Duration,
    /// Between the two, the pause is the time waited so far divided by this.
    pub look_divisor: u32,
    /// The longest pause after a first failure.
    pub retry_min: Duration,
    /// The longest pause after any failure.
    pub retry_max: Duration,
    /// The pause between two checks of `/` after Legacy took the secret.
    pub verify_every: Duration,
    /// How long these checks go on before they count as a failure.
    pub verify_for: Duration,
    /// The time between two looks at an initialised Legacy while the watch holds.
    pub idle_look: Duration,
    /// The least time between two of those looks, and the time between them without a watch.
    pub idle_look_min: Duration,
    /// The least time between two equal lines in the log.
    pub remind: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look_min: Duration::from_millis(5),
            look_max: Duration::from_millis(50),
            look_divisor: 200,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(5),
            verify_every: Duration::from_millis(20),
            verify_for: Duration::from_secs(5),
            idle_look: Duration::from_secs(60),
            idle_look_min: Duration::from_secs(5),
            remind: Duration::from_secs(10),
        }
    }
}

impl Pace {
    /// The pause before the next look for a listener: a fixed share of the time waited so far, so that
    /// a long start is not made much longer, and a long wait not dear. Jitter shortens it by up to a
    /// fifth: pods that start together spread out, and no look comes later than it should.
    pub(super) fn look_pause(&self, waited: Duration, jitter: f64) -> Duration {
        let share = waited / self.look_divisor.max(1);
        share.min(self.look_max).max(self.look_min).mul_f64(1.0 - jitter / 5.0)
    }

    /// The pause after the nth failure in a row: doubled each time up to the most, with full jitter.
    pub(super) fn retry_pause(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.retry_min.saturating_mul(doubled).min(self.retry_max).mul_f64(jitter)
    }
}
