//! What happened in all the worlds.

use std::fmt;

/// What happened, counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) events: u64,
    pub(super) leaves: u64,
    pub(super) switches: u64,
    pub(super) crashes: u64,
    pub(super) conflicts: u64,
    pub(super) lost_answers: u64,
    pub(super) outages: u64,
    pub(super) vandalism: u64,
    pub(super) repairs: u64,
    pub(super) put_back: u64,
    /// How often, and in how many milliseconds in all and at worst, every replica was accepted
    /// everywhere again, where caches are prompt and the API is there.
    pub(super) recoveries: u64,
    pub(super) recovery_ms: u64,
    pub(super) slowest_recovery_ms: u64,
    pub(super) checks: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.leaves += other.leaves;
        self.switches += other.switches;
        self.crashes += other.crashes;
        self.conflicts += other.conflicts;
        self.lost_answers += other.lost_answers;
        self.outages += other.outages;
        self.vandalism += other.vandalism;
        self.repairs += other.repairs;
        self.put_back += other.put_back;
        self.recoveries += other.recoveries;
        self.recovery_ms += other.recovery_ms;
        self.slowest_recovery_ms = self.slowest_recovery_ms.max(other.slowest_recovery_ms);
        self.checks += other.checks;
    }

    /// A simulation in which nothing happens proves nothing.
    pub(crate) fn check_that_enough_happened(&self, seeds: u64) {
        // A CA is replaced every eight months: fifteen times in ten years.
        assert!(self.switches >= 14 * seeds, "{self}");
        for (count, what) in [
            (self.crashes, "crashes"),
            (self.conflicts, "conflicts"),
            (self.lost_answers, "lost answers"),
            (self.outages, "outages"),
            (self.vandalism, "vandalism"),
            (self.repairs, "repairs"),
            (self.put_back, "Secrets put back"),
        ] {
            assert!(count >= seeds, "too few {what}: {self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events, {} leaves, {} CA switches, {} crashes, {} conflicts, {} lost answers, \
             {} outages, {} acts of vandalism ({} repairs, {} Secrets put back), recovery \
             {} ms on average and {} ms at worst, {} checks of the invariant",
            self.events,
            self.leaves,
            self.switches,
            self.crashes,
            self.conflicts,
            self.lost_answers,
            self.outages,
            self.vandalism,
            self.repairs,
            self.put_back,
            self.recovery_ms / self.recoveries.max(1),
            self.slowest_recovery_ms,
            self.checks,
        )
    }
}
