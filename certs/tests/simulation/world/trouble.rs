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
        match self.rng.u32(0..14) {
            0 => self.crash(slot),
            1 => (0..self.slots.len()).for_each(|slot| self.crash(slot)),
            2 => {
                let length = self.rng.u64(HOUR..40 * HOUR);
                self.outage("the API is away from one replica", length);
                let until = self.now + length;
                self.slots[slot].away_until = self.slots[slot].away_until.max(until);
                self.prolong();
            }
            3 => {
                let length = self.rng.u64(SECOND..12 * HOUR);
                self.outage("the API is away", length);
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
                self.vandalise(false, "the Secret is emptied");
                self.set_secret(Ok(Vec::new()));
            }
            8 => {
                self.vandalise(false, "the Secret is garbled");
                self.set_secret(Err(()));
            }
            9 => {
                if let Some(backup) = self.backup.clone() {
                    self.vandalise(false, "an old backup of the Secret is restored");
                    self.set_secret(Ok(backup));
                }
            }
            10 if !self.is_prompt => {
                self.vandalise(true, "somebody fights over the caBundle");
                let left = self.rng.u32(4..20);
                self.plan(0, Event::Fight { left });
            }
            10 => {
                self.vandalise(true, "the configuration is deleted");
                self.configure(&Arc::default());
                let at = self.rng.u64(100..30 * SECOND);
                self.plan(at, Event::Reapply);
            }
            11 => {
                // Longer than a leaf lives: leaves must go on, and no CA may sign or go meanwhile.
                let leaf_life = u64::try_from(self.settings.leaf_life.as_millis()).unwrap();
                let length = leaf_life + HOUR;
                self.outage("publication is blocked", length);
                self.blocked_until = self.blocked_until.max(self.now + length);
                self.ask();
                self.prolong();
            }
            12 => {
                let length = self.rng.u64(HOUR..40 * HOUR);
                self.outage("the Secret is forbidden", length);
                self.forbidden_until = self.forbidden_until.max(self.now + length);
                self.prolong();
                self.plan(length, Event::Check);
            }
            _ => self.ask(),
        }
        self.check()
    }

    fn outage(&mut self, what: &str, length: u64) {
        self.tally.outages += 1;
        self.tell(|| format!("{what} for {} min", length / MINUTE));
    }

    /// A person asks for a new CA, after a backup.
    fn ask(&mut self) {
        if let Ok(cas) = &self.secret.1 {
            self.backup = Some(cas.clone());
            self.tell(|| "somebody asks for a new CA".to_owned());
            self.asked = true;
            self.set_secret(Ok(cas.clone()));
        }
    }

    fn vandalise(&mut self, breaks_bundle: bool, what: &str) {
        self.tally.vandalism += 1;
        self.tell(|| what.to_owned());
        self.is_tampered |= !breaks_bundle;
        // A CA whose key is lost can't be replaced as long as none can be published.
        if breaks_bundle || self.now < self.blocked_until {
            self.excuse();
        }
    }

    pub(super) fn overwrite(&mut self, with_foreign: bool) {
        if self.configuration.1.is_empty() {
            return;
        }
        self.excuse();
        let mut entries = self.configuration.1.to_vec();
        let count = if self.rng.bool() { 1 } else { entries.len() };
        for entry in entries.iter_mut().take(count) {
            entry.bundle = if with_foreign { vec![Fingerprint([0xFF; 32])] } else { Vec::new() };
            entry.foreign_writer = Some("vandal".to_owned());
        }
        self.configure(&Arc::new(entries));
    }

    /// From now on for so long the invariant may be broken: nobody could prevent it.
    pub(super) fn excuse(&mut self) {
        let away = self.slots.iter().map(|slot| slot.away_until).max().unwrap_or(0);
        let reach = away.max(self.blocked_until).max(self.forbidden_until).max(self.now);
        // Slow: a watch that is dead, a look that is due, an answer that is lost and tried again,
        // repairs held back in a fight, a restart, and a cache that lags.
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
    fn prolong(&mut self) {
        if self.now <= self.excused_until || self.disturbed_since.is_some() || self.is_tampered {
            self.excuse();
        }
    }

    /// In prompt worlds no second fault comes while the first is being recovered from.
    pub(super) fn has_faults(&self) -> bool {
        !(self.is_prompt && self.now < self.excused_until)
    }
}
