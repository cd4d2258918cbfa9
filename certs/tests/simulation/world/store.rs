//! The store behind the API servers, with resourceVersions, and the caches in front of it.

use super::replica::Leaf;
use super::*;

fn failed(why: &str) -> Answer {
    Answer::Failed(Failure(why.to_owned()))
}

fn refused(until: u64, why: &str) -> Answer {
    Answer::Refused(until, Failure(why.to_owned()))
}

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
        if self.slots[slot].away_until > self.now {
            self.plan(10 * SECOND, Event::Deliver { slot, birth, answer: failed("no answer") });
            return Ok(());
        }
        let is_write = request.is_write();
        let answer = match request {
            Request::ReadConfiguration => {
                Answer::Configuration(self.configuration.0, self.configuration.1.clone())
            }
            Request::ReadSecret | Request::WriteSecret(..) if self.now < self.forbidden_until => {
                refused(self.forbidden_until, "the Secret is forbidden")
            }
            Request::ReadSecret => self.read_secret(slot),
            Request::Publish => self.publish(slot),
            Request::WriteSecret(cas, new) => self.write(slot, cas, new)?,
            Request::Sign(..) | Request::Rest(..) => unreachable!("no request to the store"),
        };
        let is_done = is_write && matches!(answer, Answer::Done);
        if is_done && self.has_faults() && self.rng.u32(..) % 100 < 5 {
            self.crash(slot);
            return self.check();
        }
        if self.has_faults() && self.rng.u32(..) % 1_000 < if is_done { 50 } else { 2 } {
            self.tally.lost_answers += 1;
            self.tell(|| format!("replica {slot} does not get its answer"));
            self.plan(10 * SECOND, Event::Deliver { slot, birth, answer: failed("timed out") });
            return Ok(());
        }
        let at = self.latency();
        self.plan(at, Event::Deliver { slot, birth, answer });
        Ok(())
    }

    fn read_secret(&mut self, slot: usize) -> Answer {
        if matches!(self.sabotage, Some(Sabotage::StaleSecret))
            && let Some(replica) = &self.slots[slot].replica
            && !replica.secret.cas.is_empty()
            && !self.rng.u32(..).is_multiple_of(50)
        {
            return Answer::Secret(replica.secret_version, replica.secret.clone());
        }
        let content = match &self.secret.1 {
            Ok(cas) => Content { cas: cas.clone(), asked: self.asked, problem: None },
            Err(()) => Content { problem: Some("garbled".to_owned()), ..Content::default() },
        };
        Answer::Secret(self.secret.0, content)
    }

    pub(super) fn sign(
        &mut self,
        slot: usize,
        issuer: Fingerprint,
        validity: Validity,
    ) -> Result<Answer, String> {
        let signed = self.replica_time(slot);
        let has_stale_record = self.is_tampered && !self.is_cached(issuer);
        let validity = validity.within(self.ca_validity(issuer));
        let Some(replica) = &mut self.slots[slot].replica else {
            return Ok(failed("gone"));
        };
        if !replica.secret.cas.iter().any(|ca| ca.id == issuer) {
            return Err(format!("replica {slot} signs with {issuer}, which was not in the Secret"));
        }
        replica.leaf = Some(Leaf { issuer, validity, signed });
        // A Secret from a backup has records of caBundles that are gone, and a new one none at all:
        // not every API server has heard of that CA yet, and no replica can know.
        if has_stale_record {
            self.excuse();
        }
        self.tell(|| format!("replica {slot} signs with {issuer}"));
        self.tally.leaves += 1;
        let left = validity.not_after.as_millisecond() - self.true_ms() + 1;
        self.plan(u64::try_from(left).unwrap_or(0), Event::Check);
        Ok(Answer::Done)
    }

    /// Whether every API server trusts this CA in every entry.
    pub(super) fn is_cached(&self, ca: Fingerprint) -> bool {
        let mut caches = self.servers.iter().flat_map(|server| server.cache.iter());
        caches.all(|entry| entry.bundle.contains(&ca))
    }

    fn publish(&mut self, slot: usize) -> Answer {
        if self.now < self.blocked_until {
            return refused(self.blocked_until, "the configuration must not be patched");
        }
        let Some(replica) = &self.slots[slot].replica else {
            return failed("gone");
        };
        if replica.configuration_version != self.configuration.0 {
            self.tally.conflicts += 1;
            return failed("the configuration has changed");
        }
        let cas: Vec<_> = replica.secret.cas.iter().map(|ca| ca.id).collect();
        // Where somebody has tampered with the Secret, this may cut off those who have not read it yet.
        let leaf_of = |slot: &Slot| slot.replica.as_ref()?.leaf.map(|leaf| leaf.issuer);
        let cuts_off = self.slots.iter().filter_map(leaf_of).any(|issuer| !cas.contains(&issuer));
        if self.is_tampered && cuts_off {
            self.excuse();
        }
        let mut entries = self.configuration.1.to_vec();
        for entry in &mut entries {
            entry.bundle.clone_from(&cas);
            entry.is_broken = false;
            entry.foreign_writer = None;
        }
        self.tell(|| format!("replica {slot} publishes {cas:?}"));
        self.configure(&Arc::new(entries));
        Answer::Done
    }

    fn write(
        &mut self,
        slot: usize,
        mut cas: Vec<Ca>,
        new: Option<Validity>,
    ) -> Result<Answer, String> {
        let Some(replica) = &self.slots[slot].replica else {
            return Ok(failed("gone"));
        };
        if replica.secret_version != self.secret.0 {
            self.tally.conflicts += 1;
            return Ok(failed("the Secret has changed"));
        }
        if let Some(ca) = cas.iter().find(|ca| !replica.secret.cas.iter().any(|it| it.id == ca.id))
        {
            return Err(format!("replica {slot} writes {} without its key", ca.id));
        }
        let old = self.secret.1.as_ref().map_or(&[][..], Vec::as_slice);
        self.tally.dropped += u64::try_from(old.len() - cas.len()).unwrap();
        if let Some(validity) = new {
            let due = self.settings.ca_life / 3 + Duration::from_secs(600);
            let is_due = cas.last().is_some_and(|ca| ca.validity.not_after < self.moment() + due);
            if !(is_due || self.asked || self.is_tampered) {
                return Err(format!("replica {slot} makes a new CA for no reason"));
            }
            if is_due || self.asked {
                self.tally.rotations += 1;
            } else {
                self.tally.replaced += 1;
            }
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(self.made.len() as u64).to_be_bytes());
            self.made.push(validity);
            cas.push(Ca { id: Fingerprint(id), validity: validity.in_use(), seen: None });
        }
        if let Some(Sabotage::Writes(mangle)) = self.sabotage {
            mangle(&mut cas);
        }
        self.asked &= new.is_none();
        self.tell(|| format!("replica {slot} writes the Secret: {cas:?}"));
        self.set_secret(Ok(cas));
        Ok(Answer::Done)
    }

    pub(super) fn set_secret(&mut self, content: Result<Vec<Ca>, ()>) {
        self.version += 1;
        self.secret = (self.version, content);
        self.everybody_looks_in_time();
    }

    pub(super) fn configure(&mut self, entries: &Arc<Vec<Entry>>) {
        self.version += 1;
        let version = self.version;
        self.configuration = (version, Arc::clone(entries));
        for server in 0..self.servers.len() {
            let slow = !self.is_prompt && self.rng.u32(..).is_multiple_of(5);
            let lag = if slow { self.rng.u64(0..LAG) } else { self.rng.u64(5..300) };
            self.plan(lag, Event::Cache { server, version, entries: Arc::clone(entries) });
        }
        for slot in 0..self.slots.len() {
            let birth = self.slots[slot].birth;
            if self.slots[slot].away_until <= self.now
                && (self.is_prompt || !self.rng.u32(..).is_multiple_of(10))
            {
                let lag = self.rng.u64(5..500);
                self.plan(lag, Event::Watch { slot, birth, version });
            }
        }
        self.everybody_looks_in_time();
    }
}
