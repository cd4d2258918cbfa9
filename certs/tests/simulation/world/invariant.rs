//! What must be true at every instant.

use super::*;

impl World {
    pub(super) fn is_calm(&self) -> bool {
        self.disturbed_since.is_none() && self.now > self.excused_until && !self.is_tampered
    }

    pub(super) fn check(&mut self) -> Result<(), String> {
        self.tally.checks += 1;
        let is_excused = self.now <= self.excused_until;
        let mut is_well = true;
        for slot in 0..self.slots.len() {
            let time = self.time(slot);
            let Some(replica) = &self.slots[slot].replica else {
                continue;
            };
            let readiness = replica.readiness(time);
            let refused = replica.leaf().and_then(|leaf| {
                let refuses = |server: &usize| {
                    let now = self.server_time(*server);
                    let cache = &self.servers[*server].cache;
                    !(leaf.validity.contains(now)
                        && self.ca_validity(leaf.issuer).contains(now)
                        && cache.entries.iter().all(|entry| entry.bundle.contains(&leaf.issuer)))
                };
                (0..self.servers.len()).find(refuses)
            });
            let is_ready = readiness.is_ok();
            is_well &= is_ready && refused.is_none();
            if is_excused {
                self.slots[slot].was_ready = false;
                continue;
            }
            if let (true, Some(server)) = (is_ready, refused) {
                return Err(format!(
                    "at {} API server {server} does not accept the leaf of replica {slot}, which \
                     says it is ready: {:?}",
                    self.moment(),
                    replica.leaf()
                ));
            }
            // Who was ready stays ready; who could reach the API for a while is ready.
            let since = self.slots[slot].started.max(self.slots[slot].away_until);
            let had_time = self.now > since.max(self.excused_until) + 180 * SECOND;
            let was_ready =
                self.slots[slot].was_ready && self.slots[slot].away_until + 45 * SECOND < self.now;
            if let (Err(why), true) = (readiness, had_time || was_ready) {
                return Err(format!("at {} replica {slot} is not ready: {why}", self.moment()));
            }
            self.slots[slot].was_ready = is_ready;
        }
        if is_well && let Some(since) = self.disturbed_since.take() {
            if self.is_prompt && self.is_measured {
                let took = self.now - since;
                self.tally.recoveries += 1;
                self.tally.recovery_ms += took;
                self.tally.slowest_recovery_ms = self.tally.slowest_recovery_ms.max(took);
            }
            self.is_measured = true;
        }
        if is_well && matches!(&self.secret, Some((_, Ok(_)))) && !is_excused {
            let agreed = self.slots.iter().all(|slot| {
                let memory = slot.replica.as_ref().and_then(Replica::authorities);
                matches!((&self.secret, memory), (Some((_, Ok(cas))), Some(memory)) if cas == memory)
            });
            self.is_tampered &= !agreed;
        }
        Ok(())
    }
}
