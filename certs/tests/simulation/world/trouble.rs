//! Bad luck and bad will.

use super::*;

impl World {
    pub(super) fn trouble(&mut self, is_extra: bool) -> Result<(), String> {
        if !is_extra {
            let pause = self.rng.u64(2 * DAY..120 * DAY);
            self.plan(pause, Event::Trouble { is_extra: false });
            // It seldom comes alone.
            while self.rng.bool() {
                let soon = self.rng.u64(SECOND..5 * MINUTE);
                self.plan(soon, Event::Trouble { is_extra: true });
            }
        }
        let slot = self.rng.usize(0..self.slots.len());
        match self.rng.u32(0..12) {
            0 => {
                if self.slots[slot].replica.is_some() {
                    self.crash(slot);
                }
            }
            1 => (0..self.slots.len()).for_each(|slot| {
                if self.slots[slot].replica.is_some() {
                    self.crash(slot);
                }
            }),
            2 => {
                self.tally.outages += 1;
                let hours = self.rng.u64(1..12);
                self.tell(|| format!("the API is away from replica {slot} for {hours} h"));
                let until = self.now + hours * HOUR;
                self.slots[slot].away_until = self.slots[slot].away_until.max(until);
                self.prolong();
            }
            3 => {
                self.tally.outages += 1;
                let length = self.rng.u64(SECOND..12 * HOUR);
                self.tell(|| format!("the API is away for {length} ms"));
                let until = self.now + length;
                for slot in &mut self.slots {
                    slot.away_until = slot.away_until.max(until);
                }
                self.prolong();
            }
            4 if self.has_dates => {
                let day = i64::try_from(DAY).unwrap();
                let jump = if self.rng.bool() { day } else { -day };
                self.slots[slot].wall_offset_ms += jump;
                self.tell(|| format!("the clock of replica {slot} jumps by {jump} ms"));
            }
            5 => {
                self.vandalise(true, "the caBundle is wiped");
                self.overwrite(false);
            }
            6 => {
                self.vandalise(true, "the caBundle is replaced");
                self.overwrite(true);
            }
            7 => {
                self.vandalise(false, "the Secret is deleted");
                self.set_secret(None);
            }
            8 => {
                self.vandalise(false, "the Secret is garbled");
                self.set_secret(Some(Err(())));
            }
            9 => {
                if let Some(backup) = self.backup.clone() {
                    self.vandalise(false, "an old backup of the Secret is restored");
                    self.set_secret(Some(Ok(backup)));
                }
            }
            10 if !self.is_prompt => {
                self.vandalise(true, "somebody fights over the caBundle");
                let left = self.rng.u32(4..12);
                self.plan(0, Event::Fight { left });
            }
            10 => {
                self.vandalise(true, "the configuration is deleted");
                let live = Live { exists: false, generation: 0, entries: Vec::new() };
                self.configure(live);
                let at = self.rng.u64(100..30 * SECOND);
                self.plan(at, Event::Reapply);
            }
            _ => {
                if let Some((_, Ok(cas))) = &self.secret {
                    self.backup = Some(cas.clone());
                    let asked = Authorities { asked: true, ..cas.clone() };
                    self.tell(|| "somebody asks for a new CA".to_owned());
                    self.set_secret(Some(Ok(asked)));
                }
            }
        }
        self.check()
    }

    pub(super) fn vandalise(&mut self, breaks_bundle: bool, what: &str) {
        self.tally.vandalism += 1;
        self.tell(|| what.to_owned());
        if breaks_bundle {
            self.excuse();
        } else {
            self.is_tampered = true;
        }
    }

    pub(super) fn overwrite(&mut self, with_foreign: bool) {
        if !self.configuration.1.exists {
            return;
        }
        self.excuse();
        let mut live = (*self.configuration.1).clone();
        let only_one = self.rng.bool();
        let bundle = if with_foreign { vec![Fingerprint([0xFF; 32])] } else { Vec::new() };
        let count = if only_one { 1 } else { live.entries.len() };
        for entry in live.entries.iter_mut().take(count) {
            entry.bundle.clone_from(&bundle);
            entry.foreign_writer = Some("vandal".to_owned());
        }
        live.generation += 1;
        self.configure(live);
    }

    /// From now on for so long the invariant may be broken: nobody could prevent it.
    pub(super) fn excuse(&mut self) {
        let reach = self.slots.iter().map(|slot| slot.away_until).max().unwrap_or(0).max(self.now);
        // Slow: a watch that is dead, a look that is due, an answer that is lost and tried again,
        // a truce in a fight, a restart, and a cache that lags.
        // Prompt: with the API away, all but the pause before the next try.
        let seconds = match (self.is_prompt, reach > self.now) {
            (true, false) => 20,
            (true, true) => 45,
            (false, _) => 180,
        };
        self.is_measured &= reach <= self.now;
        self.excused_until = self.excused_until.max(reach + seconds * SECOND);
        if self.now > 0 {
            self.disturbed_since.get_or_insert(self.now);
        }
        let at = self.excused_until - self.now + 1;
        self.plan(at, Event::Check);
    }

    /// An outage comes on top of something that is still being recovered from.
    pub(super) fn prolong(&mut self) {
        if self.now <= self.excused_until || self.disturbed_since.is_some() {
            self.excuse();
        }
    }

    /// In prompt worlds no second fault comes while the first is being recovered from.
    pub(super) fn has_faults(&self) -> bool {
        !(self.is_prompt && self.now < self.excused_until)
    }
}
