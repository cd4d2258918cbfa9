//! The store behind the API servers, with resourceVersions, and the caches in front of it.

use super::*;

impl World {
    pub(super) fn apply(
        &mut self,
        slot: usize,
        birth: u64,
        request: Request,
    ) -> Result<(), String> {
        if self.slots[slot].birth != birth {
            return Ok(());
        }
        let mut versions = Versions::default();
        let is_local = matches!(request, Request::MakeCa(..) | Request::Sign(..));
        if !is_local && self.slots[slot].away_until > self.now {
            let failure = Failure::Unavailable("no answer".to_owned());
            let at = 10 * SECOND;
            self.plan(at, Event::Deliver { slot, birth, result: Err(failure), versions });
            return Ok(());
        }
        let is_write = matches!(request, Request::WriteSecret(..) | Request::Publish(_));
        let result = match request {
            Request::ReadConfiguration => {
                versions.configuration = Some(self.configuration.0);
                Ok(Answer::Configuration(self.configuration.1.clone()))
            }
            Request::ReadSecret => {
                versions.has_secret = true;
                versions.secret = self.secret.as_ref().map(|(version, _)| *version);
                Ok(Answer::Secret(match &self.secret {
                    None => Secret::Absent,
                    Some((_, Err(()))) => Secret::Unreadable("garbled".to_owned()),
                    Some((_, Ok(cas))) => Secret::Held(cas.clone()),
                }))
            }
            Request::MakeCa(validity, _) => {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&(self.made.len() as u64).to_be_bytes());
                self.made.push(validity);
                let ca = Ca { id: Fingerprint(id), validity };
                self.slots[slot].keys.push(ca.id);
                Ok(Answer::Made(ca))
            }
            Request::WriteSecret(cas, why) => self.write(slot, cas, &why)?,
            Request::Publish(cas) => self.publish(slot, &cas),
            Request::Sign(ca, validity) => {
                if !self.slots[slot].keys.contains(&ca) {
                    return Err(format!("replica {slot} has no key of {ca}"));
                }
                // Started just after somebody put another CA into the Secret: it cannot know that
                // not every API server has heard of that CA yet.
                let is_new = self.slots[slot].replica.as_ref().is_some_and(|r| r.leaf().is_none());
                let is_known = |server: &Server| server.cache.trusts(ca);
                if self.is_tampered && is_new && !self.servers.iter().all(is_known) {
                    self.excuse();
                }
                self.tally.leaves += 1;
                let end = self.until(validity.not_after);
                self.plan(end, Event::Check);
                Ok(Answer::Signed)
            }
        };
        if is_local {
            return self.deliver(slot, birth, result, versions);
        }
        if is_write && self.has_faults() && self.rng.u32(..) % 100 < 5 {
            self.crash(slot);
            return Ok(());
        }
        if self.has_faults() && self.rng.u32(..) % 1_000 < if is_write { 50 } else { 2 } {
            self.tally.lost_answers += 1;
            self.tell(|| format!("replica {slot} does not get its answer"));
            let failure = Failure::Unavailable("timed out".to_owned());
            let versions = Versions::default();
            self.plan(10 * SECOND, Event::Deliver { slot, birth, result: Err(failure), versions });
            return Ok(());
        }
        let at = self.latency();
        self.plan(at, Event::Deliver { slot, birth, result, versions });
        Ok(())
    }

    pub(super) fn publish(&mut self, slot: usize, cas: &Authorities) -> Result<Answer, Failure> {
        if self.slots[slot].configuration_version == self.configuration.0 {
            // A Secret that was tampered with: a replica that has just started, or was cut
            // off, knows no better, and one that is cut off now cannot be heard.
            let leaf_of =
                |slot: &Slot| slot.replica.as_ref().and_then(Replica::leaf).map(|leaf| leaf.issuer);
            let known = &self.slots[slot].known;
            let cuts_off = |other: &Slot| {
                leaf_of(other).is_some_and(|issuer| {
                    cas.find(issuer).is_none()
                        && (other.away_until > self.now || !known.contains(&issuer))
                })
            };
            if self.is_tampered
                && (!self.configuration.1.trusts(cas.signing.id) || self.slots.iter().any(cuts_off))
            {
                self.excuse();
            }
            let mut live = (*self.configuration.1).clone();
            for entry in &mut live.entries {
                entry.bundle = cas.all().map(|ca| ca.id).collect();
                entry.is_broken = false;
                entry.foreign_writer = None;
            }
            live.generation += 1;
            self.tell(|| format!("caBundle: {} CAs", cas.all().count()));
            self.configure(live);
            Ok(Answer::Done)
        } else {
            self.tally.conflicts += 1;
            Err(Failure::Conflict("the configuration has changed".to_owned()))
        }
    }

    pub(super) fn write(
        &mut self,
        slot: usize,
        cas: Authorities,
        why: &Why,
    ) -> Result<Result<Answer, Failure>, String> {
        let stored = self.secret.as_ref().map(|(version, _)| *version);
        if stored != self.slots[slot].secret_version {
            self.tally.conflicts += 1;
            return Ok(Err(Failure::Conflict("the Secret has changed".to_owned())));
        }
        for ca in [cas.signing].into_iter().chain(cas.next) {
            if !self.slots[slot].keys.contains(&ca.id) {
                return Err(format!("replica {slot} writes {} without its key", ca.id));
            }
        }
        let cas = match self.sabotage {
            Some(Sabotage::Writes(mangle)) => mangle(&cas),
            _ => cas,
        };
        // A CA that nobody trusts yet signs: right only where there was no other way.
        if matches!(why, Why::First | Why::Unreadable(_))
            && !self.configuration.1.trusts(cas.signing.id)
        {
            if !self.is_tampered {
                return Err(format!("replica {slot} makes a new CA for no reason: {why}"));
            }
            self.excuse();
        }
        self.tell(|| format!("replica {slot} writes the Secret: {:?}: {why}", cas.phase()));
        self.set_secret(Some(Ok(cas)));
        Ok(Ok(Answer::Done))
    }

    pub(super) fn set_secret(&mut self, content: Option<Result<Authorities, ()>>) {
        self.version += 1;
        let version = self.version;
        self.secret = content.map(|content| (version, content));
        self.everybody_looks_in_time();
    }

    /// The Secret is not watched: its changes are seen at the next look, within the resync time.
    pub(super) fn everybody_looks_in_time(&mut self) {
        let resync = u64::try_from(self.settings.resync.as_millis()).unwrap();
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_idle {
                let back = self.slots[slot].away_until.saturating_sub(self.now);
                let pause = back + self.rng.u64(0..resync);
                self.schedule(slot, pause);
            }
        }
    }

    pub(super) fn configure(&mut self, live: Live) {
        self.version += 1;
        let live = Arc::new(live);
        self.configuration = (self.version, live.clone());
        for server in 0..self.servers.len() {
            let slow = !self.is_prompt && self.rng.u32(..).is_multiple_of(5);
            let lag = if slow { self.rng.u64(0..LAG) } else { self.rng.u64(5..300) };
            let version = self.version;
            self.plan(lag, Event::Cache { server, version, live: live.clone() });
        }
        for slot in 0..self.slots.len() {
            let birth = self.slots[slot].birth;
            if self.slots[slot].away_until <= self.now
                && (self.is_prompt || !self.rng.u32(..).is_multiple_of(10))
            {
                let lag = self.rng.u64(5..500);
                self.plan(lag, Event::Watch { slot, birth });
            }
        }
        self.everybody_looks_in_time();
    }
}
