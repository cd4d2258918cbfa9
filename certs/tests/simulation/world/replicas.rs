//! The replicas: they start, crash, ask, get answers and rest.

use super::*;

impl World {
    pub(super) fn start(&mut self, slot: usize) -> Result<(), String> {
        let seed = self.rng.u64(..);
        let now = self.now;
        let slot_ref = &mut self.slots[slot];
        slot_ref.birth += 1;
        slot_ref.started = now;
        slot_ref.keys.clear();
        slot_ref.known.clear();
        slot_ref.secret_version = None;
        slot_ref.was_ready = false;
        slot_ref.replica = Some(Replica::new(self.settings.clone(), seed));
        self.tell(|| format!("replica {slot} starts"));
        self.next(slot)
    }

    pub(super) fn crash(&mut self, slot: usize) {
        self.tally.crashes += 1;
        self.tell(|| format!("replica {slot} crashes"));
        let slot_ref = &mut self.slots[slot];
        slot_ref.replica = None;
        slot_ref.birth += 1;
        slot_ref.ticket += 1;
        slot_ref.is_idle = false;
        let longest = if self.is_prompt { 3 } else { 20 };
        let at = self.rng.u64(100..longest * SECOND);
        self.plan(at, Event::Start { slot });
    }

    pub(super) fn next(&mut self, slot: usize) -> Result<(), String> {
        let time = self.time(slot);
        let birth = self.slots[slot].birth;
        self.slots[slot].is_idle = false;
        let Some(replica) = &mut self.slots[slot].replica else {
            return Ok(());
        };
        match replica.next(time) {
            Step::Ask(request) => {
                let is_write = matches!(request, Request::WriteSecret(..) | Request::Publish(_));
                if self.has_faults() && self.rng.u32(..) % 1_000 < if is_write { 50 } else { 1 } {
                    self.crash(slot);
                    return Ok(());
                }
                match request {
                    Request::MakeCa(..) | Request::Sign(..) => self.apply(slot, birth, request),
                    _ => {
                        let at = self.latency();
                        self.plan(at, Event::Apply { slot, birth, request });
                        Ok(())
                    }
                }
            }
            Step::Rest { look, due } => {
                self.rest(slot, look, due);
                if self.is_calm() { Ok(()) } else { self.check() }
            }
        }
    }

    /// A replica rests. Looks that would find nothing new are left out: they change nothing.
    pub(super) fn rest(&mut self, slot: usize, look: Duration, due: Option<Duration>) {
        let slot_ref = &mut self.slots[slot];
        let millis = |steady: Duration| {
            slot_ref.started + u64::try_from(steady.as_millis()).unwrap_or(u64::MAX / 2)
        };
        let (look, due) = (millis(look), due.map(|due| millis(due) + 1));
        let has_seen_all = slot_ref.configuration_version == self.configuration.0
            && slot_ref.secret_version == self.secret.as_ref().map(|(version, _)| *version)
            && slot_ref.replica.as_ref().is_some_and(|replica| replica.problem().is_none());
        let at = if slot_ref.away_until > self.now {
            let back = slot_ref.away_until + self.rng.u64(0..30 * SECOND);
            Some(due.map_or(back, |due| due.min(back)))
        } else if has_seen_all {
            due
        } else {
            Some(due.map_or(look, |due| due.min(look)))
        };
        if let Some(cas) = slot_ref.replica.as_ref().and_then(Replica::authorities) {
            slot_ref.known.clear();
            slot_ref.known.extend(cas.all().map(|ca| ca.id));
        }
        slot_ref.is_idle = true;
        slot_ref.ticket += 1;
        let ticket = slot_ref.ticket;
        slot_ref.next_at = at.map(|at| at.max(self.now + 1));
        if let Some(at) = slot_ref.next_at {
            self.plan(at - self.now, Event::Next { slot, ticket });
        }
    }

    /// Lets an idle replica look again in so many milliseconds, if it would not sooner anyway.
    pub(super) fn schedule(&mut self, slot: usize, pause: u64) {
        let at = self.now + pause;
        let slot_ref = &mut self.slots[slot];
        if let Some(replica) = &mut slot_ref.replica {
            replica.wake();
        }
        if slot_ref.next_at.is_none_or(|next_at| at < next_at) {
            slot_ref.next_at = Some(at);
            slot_ref.ticket += 1;
            let ticket = slot_ref.ticket;
            self.plan(pause, Event::Next { slot, ticket });
        }
    }

    pub(super) fn deliver(
        &mut self,
        slot: usize,
        birth: u64,
        result: Result<Answer, Failure>,
        versions: Versions,
    ) -> Result<(), String> {
        let time = self.time(slot);
        // Any API server may have answered, and each has its own clock.
        let server = self.rng.usize(0..self.servers.len());
        let date = (self.has_dates && !matches!(result, Err(Failure::Unavailable(_))))
            .then(|| self.server_time(server));
        let slot_ref = &mut self.slots[slot];
        if slot_ref.birth != birth {
            return Ok(());
        }
        let Some(replica) = &mut slot_ref.replica else {
            return Ok(());
        };
        // What changes neither leaf nor readiness needs no check.
        let mut is_news = matches!(result, Ok(Answer::Signed));
        if let Some(version) = versions.configuration {
            is_news |= slot_ref.configuration_version != version;
            slot_ref.configuration_version = version;
        }
        if versions.has_secret {
            slot_ref.secret_version = versions.secret;
        }
        if let Ok(Answer::Secret(Secret::Held(cas))) = &result {
            slot_ref.keys.extend([cas.signing.id].into_iter().chain(cas.next.map(|ca| ca.id)));
        }
        replica.answer(time, date, result);
        slot_ref.keys.retain(|id| replica.needs(*id));
        slot_ref.keys.sort_unstable();
        slot_ref.keys.dedup();
        for event in replica.events() {
            match &event {
                Told::Repaired { .. } => self.tally.repairs += 1,
                Told::Wrote(Why::Deleted) => self.tally.put_back += 1,
                Told::Wrote(Why::Switch) => self.tally.switches += 1,
                _ => {}
            }
            if self.is_told {
                let text = format!("replica {slot}: {event:?}");
                self.tell(|| text);
            }
        }
        if is_news || !self.is_calm() {
            self.check()?;
        }
        self.next(slot)
    }
}
