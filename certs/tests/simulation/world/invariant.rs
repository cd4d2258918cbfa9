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
            let Some(replica) = &self.slots[slot].replica else {
                continue;
            };
            let not_ready = replica.not_ready();
            let refused = replica.leaf.and_then(|leaf| {
                let refuses = |server: &usize| {
                    let now = self.server_time(*server);
                    let cache = &self.servers[*server].cache;
                    !(leaf.validity.contains(now)
                        && self.ca_validity(leaf.issuer).contains(now)
                        && cache.iter().all(|entry| entry.bundle.contains(&leaf.issuer)))
                };
                (0..self.servers.len()).find(refuses)
            });
            is_well &= not_ready.is_none() && refused.is_none();
            if is_excused {
                self.slots[slot].was_ready = false;
                continue;
            }
            if let (None, Some(server)) = (&not_ready, refused) {
                return Err(format!(
                    "at {} API server {server} does not accept the leaf of replica {slot}, which \
                     says it is ready: {:?}",
                    self.moment(),
                    replica.leaf
                ));
            }
            // Who was ready stays ready; who could reach the API for a while is ready.
            let cut_off_until = self.slots[slot].away_until.max(self.forbidden_until);
            let since = self.slots[slot].started.max(cut_off_until).max(self.excused_until);
            let had_time = self.now > since + 180 * SECOND;
            let was_ready = self.slots[slot].was_ready && cut_off_until + 45 * SECOND < self.now;
            self.slots[slot].was_ready = not_ready.is_none();
            if let (Some(why), true) = (not_ready, had_time || was_ready) {
                return Err(format!("at {} replica {slot} is not ready: {why}", self.moment()));
            }
        }
        if is_well && let Some(since) = self.disturbed_since.take() {
            if self.is_measured {
                self.tally.recovered(self.now - since, self.is_prompt);
            }
            self.is_measured = true;
        }
        if is_well && !is_excused && self.is_tampered {
            self.is_tampered = !self.is_agreed();
        }
        Ok(())
    }

    /// Whether every replica and every API server has caught up with the Secret and the configuration.
    fn is_agreed(&self) -> bool {
        let Ok(cas) = &self.secret.1 else {
            return false;
        };
        !cas.is_empty()
            && cas.iter().all(|ca| self.is_cached(ca.id))
            && self.slots.iter().all(|slot| {
                slot.replica.as_ref().is_some_and(|it| {
                    it.secret.cas == *cas && it.configuration_version == self.configuration.0
                })
            })
    }
}
