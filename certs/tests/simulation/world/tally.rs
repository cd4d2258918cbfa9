//! What happened in all the worlds.

use std::fmt;

/// What happened, counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) seed: u64,
    pub(super) events: u64,
    pub(super) checks: u64,
    pub(super) leaves: u64,
    /// New CAs because it was time or a person asked, and CAs that went.
    pub(super) rotations: u64,
    pub(super) dropped: u64,
    /// New CAs because somebody had tampered with the Secret.
    pub(super) replaced: u64,
    pub(super) crashes: u64,
    pub(super) conflicts: u64,
    pub(super) lost_answers: u64,
    pub(super) outages: u64,
    pub(super) vandalism: u64,
    pub(super) repairs: u64,
    /// How long it took until every replica was accepted everywhere again, while the API was there:
    /// where caches and watches are quick, and where they are not.
    pub(super) prompt: Recovery,
    pub(super) slow: Recovery,
}

#[derive(Debug, Default)]
pub(super) struct Recovery {
    count: u64,
    total_ms: u64,
    /// The longest, and the seed that it was in.
    worst_ms: u64,
    worst_seed: u64,
}

impl Recovery {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total_ms += other.total_ms;
        if self.worst_ms < other.worst_ms {
            (self.worst_ms, self.worst_seed) = (other.worst_ms, other.worst_seed);
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = self.total_ms / self.count.max(1);
        write!(f, "{mean} ms on average, {} ms at worst (seed {})", self.worst_ms, self.worst_seed)
    }
}

impl Tally {
    pub(super) fn recovered(&mut self, ms: u64, is_prompt: bool) {
        let recovery = if is_prompt { &mut self.prompt } else { &mut self.slow };
        recovery.add(&Recovery { count: 1, total_ms: ms, worst_ms: ms, worst_seed: self.seed });
    }

    /// The longest recovery, in milliseconds.
    pub(crate) fn worst_ms(&self) -> u64 {
        self.prompt.worst_ms.max(self.slow.worst_ms)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.checks += other.checks;
        self.leaves += other.leaves;
        self.rotations += other.rotations;
        self.dropped += other.dropped;
        self.replaced += other.replaced;
        self.crashes += other.crashes;
        self.conflicts += other.conflicts;
        self.lost_answers += other.lost_answers;
        self.outages += other.outages;
        self.vandalism += other.vandalism;
        self.repairs += other.repairs;
        self.prompt.add(&other.prompt);
        self.slow.add(&other.slow);
    }

    /// A simulation in which nothing happens proves nothing.
    pub(crate) fn check_that_enough_happened(&self, seeds: u64) {
        // A CA is replaced every eight months: fifteen times in ten years.
        assert!(self.rotations >= 14 * seeds && self.dropped >= 12 * seeds, "{self}");
        for (count, what) in [
            (self.crashes, "crashes"),
            (self.conflicts, "conflicts"),
            (self.lost_answers, "lost answers"),
            (self.outages, "outages"),
            (self.vandalism, "vandalism"),
            (self.repairs, "repairs"),
            (self.replaced, "replaced CAs"),
        ] {
            assert!(count >= seeds, "too few {what}: {self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, checks, leaves, rotations, dropped, replaced, crashes, .. } = self;
        let Self { conflicts, lost_answers, outages, vandalism, repairs, prompt, slow, .. } = self;
        write!(
            f,
            "{events} events, {checks} checks of the invariant, {leaves} leaves, {rotations} \
             rotations, {dropped} CAs dropped, {crashes} crashes, {conflicts} conflicts, \
             {lost_answers} lost answers, {outages} outages, {vandalism} acts of vandalism \
             ({repairs} repairs, {replaced} new CAs); recovery: {prompt}; with slow caches and \
             watches: {slow}",
        )
    }
}
