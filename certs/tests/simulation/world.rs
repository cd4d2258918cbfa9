//! The cluster that the replicas live in: a store, API servers whose caches lag, and bad luck.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use certs::clock::Time;
use certs::inspect::Fingerprint;
use certs::replica::{Answer, Event as Told, Failure, Replica, Request, Step};
use certs::rotate::{Authorities, Ca, Entry, Live, Secret, Why};
use certs::settings::Settings;
use certs::validity::Validity;
use jiff::Timestamp;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
const END: u64 = 10 * YEAR;
/// Where virtual time starts: 2026-01-01.
const EPOCH_MS: i64 = 1_767_225_600_000;
/// More events than any ten years have: a leaf a day for four replicas is half a million.
const MOST_EVENTS: u64 = 3_000_000;
/// The longest that an API server's cache lags behind; below the settle time of 30 s.
const LAG: u64 = 25 * SECOND;

/// What is broken on purpose.
#[derive(Clone, Copy)]
pub(crate) enum Sabotage {
    /// Each write of the Secret goes through this.
    Writes(fn(Authorities) -> Authorities),
    /// The settle time is nothing.
    NoSettling,
}

/// What happened, counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    events: u64,
    leaves: u64,
    switches: u64,
    crashes: u64,
    conflicts: u64,
    lost_answers: u64,
    outages: u64,
    vandalism: u64,
    repairs: u64,
    put_back: u64,
    /// How often, and in how many milliseconds in all and at worst, every replica was accepted
    /// everywhere again, where caches are prompt and the API is there.
    recoveries: u64,
    recovery_ms: u64,
    slowest_recovery_ms: u64,
    checks: u64,
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

#[derive(Debug)]
enum Event {
    /// A replica does its next step, unless it was woken or restarted since.
    Next { slot: usize, ticket: u64 },
    /// A request reaches the store.
    Apply {
        slot: usize,
        life: u64,
        request: Request,
    },
    /// An answer reaches the replica.
    Deliver {
        slot: usize,
        life: u64,
        result: Result<Answer, Failure>,
        versions: Versions,
    },
    /// A change of the configuration reaches a replica's watch.
    Watch { slot: usize, life: u64 },
    /// An API server's cache catches up with a version of the configuration.
    Cache {
        server: usize,
        version: u64,
        live: Arc<Live>,
    },
    /// A replica starts.
    Start { slot: usize },
    /// A leaf may have ended: only to check the invariant at that moment.
    Check,
    /// Something bad happens, and the next bad thing is planned.
    Trouble { is_extra: bool },
    /// The same somebody overwrites the caBundle again, so often more.
    Fight { left: u32 },
    /// A deleted configuration is applied again.
    Reapply,
}

/// The resourceVersions that came with an answer.
#[derive(Debug, Clone, Copy, Default)]
struct Versions {
    configuration: Option<u64>,
    secret: Option<Option<u64>>,
}

struct Slot {
    replica: Option<Replica>,
    life: u64,
    ticket: u64,
    started: u64,
    wall_offset_ms: i64,
    configuration_version: u64,
    secret_version: Option<u64>,
    /// The CAs that it knew when it last rested.
    known: Vec<Fingerprint>,
    /// The CAs whose keys it has.
    keys: Vec<Fingerprint>,
    /// Until when it cannot reach the API.
    away_until: u64,
    /// Whether it rests, has seen all there is, and need not be polled.
    is_idle: bool,
    /// When its next step is planned, if it rests.
    next_at: Option<u64>,
    was_ready: bool,
}

struct Server {
    seen: u64,
    cache: Arc<Live>,
    skew_ms: i64,
}

pub(crate) struct World {
    rng: fastrand::Rng,
    settings: Settings,
    sabotage: Option<Sabotage>,
    is_told: bool,
    /// Whether caches and watches are quick and vandalism comes alone: recovery takes seconds then.
    is_prompt: bool,
    /// Whether replicas hear the API servers' clocks; then their own may jump.
    has_dates: bool,
    now: u64,
    clock_offset_ms: i64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    made: Vec<Validity>,
    configuration: (u64, Arc<Live>),
    secret: Option<(u64, Result<Authorities, ()>)>,
    backup: Option<Authorities>,
    version: u64,
    servers: Vec<Server>,
    slots: Vec<Slot>,
    /// Until when the invariant may be broken, because of something that no replica could prevent.
    excused_until: u64,
    /// Since when something is being recovered from.
    disturbed_since: Option<u64>,
    /// Whether somebody has tampered with the Secret: a new CA is no surprise then.
    is_tampered: bool,
    tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, is_told: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // A leaf of 24 h takes forty times as many events as one of 30 days: fewer seeds have it.
        let days = [1, 7, 7, 14, 14, 14, 30, 30, 30, 30][rng.usize(0..10)];
        let mut settings = Settings {
            leaf_life: Duration::from_secs(days * 86_400),
            ..Settings::default()
        };
        if matches!(sabotage, Some(Sabotage::NoSettling)) {
            settings.settle = Duration::ZERO;
        }
        let has_dates = rng.bool();
        let skew = |rng: &mut fastrand::Rng| rng.i64(-120..=120) * 1_000;
        let names = ["namespace", "pod", "workload"];
        let entries = names.iter().map(|name| Entry {
            name: (*name).to_owned(),
            bundle: Vec::new(),
            is_broken: false,
            foreign_writer: None,
        });
        let live = Arc::new(Live {
            exists: true,
            generation: 1,
            entries: entries.collect(),
        });
        let servers = (0..rng.usize(1..=3)).map(|_| Server {
            seen: 1,
            cache: live.clone(),
            skew_ms: skew(&mut rng),
        });
        let servers: Vec<_> = servers.collect();
        let slots = (0..rng.usize(1..=4)).map(|_| Slot {
            replica: None,
            life: 0,
            ticket: 0,
            started: 0,
            wall_offset_ms: skew(&mut rng),
            configuration_version: 0,
            secret_version: None,
            known: Vec::new(),
            keys: Vec::new(),
            away_until: 0,
            is_idle: false,
            next_at: None,
            was_ready: false,
        });
        let slots: Vec<_> = slots.collect();
        let mut world = Self {
            is_prompt: rng.bool(),
            rng,
            settings,
            sabotage,
            is_told,
            has_dates,
            now: 0,
            clock_offset_ms: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            made: Vec::new(),
            configuration: (1, live),
            secret: None,
            backup: None,
            version: 1,
            servers,
            slots,
            excused_until: 0,
            disturbed_since: None,
            is_tampered: true,
            tally: Tally::default(),
        };
        world.excuse();
        for slot in 0..world.slots.len() {
            let at = world.rng.u64(0..5 * SECOND);
            world.plan(at, Event::Start { slot });
        }
        let first = world.rng.u64(HOUR..60 * DAY);
        world.plan(first, Event::Trouble { is_extra: false });
        world
    }

    /// Lives through ten years.
    pub(crate) fn run(mut self) -> Result<Tally, String> {
        while let Some(Reverse((at, key))) = self.queue.pop() {
            if at > END {
                break;
            }
            self.now = at;
            self.tally.events += 1;
            if self.tally.events > MOST_EVENTS {
                return Err(format!("at {} it goes round in circles", self.moment()));
            }
            let index = usize::try_from(key & 0xFFFF_FFFF).unwrap();
            self.free.push(index);
            let event = self.events[index].take().expect("planned events are there");
            self.happen(event)?;
        }
        self.now = END;
        self.check()?;
        Ok(self.tally)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Next { slot, ticket } if self.slots[slot].ticket == ticket => self.next(slot),
            Event::Next { .. } => Ok(()),
            Event::Apply {
                slot,
                life,
                request,
            } => self.apply(slot, life, request),
            Event::Deliver {
                slot,
                life,
                result,
                versions,
            } => self.deliver(slot, life, result, versions),
            Event::Watch { slot, life } => {
                let slot_ref = &mut self.slots[slot];
                if slot_ref.life == life
                    && let Some(replica) = &mut slot_ref.replica
                {
                    replica.wake();
                    if slot_ref.is_idle {
                        self.schedule(slot, 0);
                    }
                }
                Ok(())
            }
            Event::Cache {
                server,
                version,
                live,
            } => {
                let server = &mut self.servers[server];
                if server.seen < version {
                    server.seen = version;
                    server.cache = live;
                }
                self.check()
            }
            Event::Start { slot } => self.start(slot),
            Event::Check => self.check(),
            Event::Trouble { is_extra } => self.trouble(is_extra),
            Event::Fight { left } => {
                self.overwrite(true);
                if left > 0 {
                    let at = self.rng.u64(100..5 * SECOND);
                    self.plan(at, Event::Fight { left: left - 1 });
                }
                self.check()
            }
            Event::Reapply => {
                let mut live = (*self.configuration.1).clone();
                live.exists = true;
                live.generation = 1;
                live.entries = ["namespace", "pod", "workload"]
                    .map(|name| Entry {
                        name: name.to_owned(),
                        bundle: Vec::new(),
                        is_broken: false,
                        foreign_writer: None,
                    })
                    .into();
                self.excuse();
                self.configure(live);
                self.check()
            }
        }
    }

    // ---- the replicas ----

    fn start(&mut self, slot: usize) -> Result<(), String> {
        let seed = self.rng.u64(..);
        let now = self.now;
        let slot_ref = &mut self.slots[slot];
        slot_ref.life += 1;
        slot_ref.started = now;
        slot_ref.keys.clear();
        slot_ref.known.clear();
        slot_ref.secret_version = None;
        slot_ref.was_ready = false;
        slot_ref.replica = Some(Replica::new(self.settings.clone(), seed));
        self.tell(|| format!("replica {slot} starts"));
        self.next(slot)
    }

    fn crash(&mut self, slot: usize) {
        self.tally.crashes += 1;
        self.tell(|| format!("replica {slot} crashes"));
        let slot_ref = &mut self.slots[slot];
        slot_ref.replica = None;
        slot_ref.life += 1;
        slot_ref.ticket += 1;
        slot_ref.is_idle = false;
        let longest = if self.is_prompt { 3 } else { 20 };
        let at = self.rng.u64(100..longest * SECOND);
        self.plan(at, Event::Start { slot });
    }

    fn next(&mut self, slot: usize) -> Result<(), String> {
        let time = self.time(slot);
        let life = self.slots[slot].life;
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
                    Request::MakeCa(..) | Request::Sign(..) => self.apply(slot, life, request),
                    _ => {
                        let at = self.latency();
                        self.plan(
                            at,
                            Event::Apply {
                                slot,
                                life,
                                request,
                            },
                        );
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
    fn rest(&mut self, slot: usize, look: Duration, due: Option<Duration>) {
        let slot_ref = &mut self.slots[slot];
        let millis = |steady: Duration| {
            slot_ref.started + u64::try_from(steady.as_millis()).unwrap_or(u64::MAX / 2)
        };
        let (look, due) = (millis(look), due.map(|due| millis(due) + 1));
        let has_seen_all = slot_ref.configuration_version == self.configuration.0
            && slot_ref.secret_version == self.secret.as_ref().map(|(version, _)| *version)
            && slot_ref
                .replica
                .as_ref()
                .is_some_and(|replica| replica.problem().is_none());
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
    fn schedule(&mut self, slot: usize, pause: u64) {
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

    fn deliver(
        &mut self,
        slot: usize,
        life: u64,
        result: Result<Answer, Failure>,
        versions: Versions,
    ) -> Result<(), String> {
        let time = self.time(slot);
        // Any API server may have answered, and each has its own clock.
        let server = self.rng.usize(0..self.servers.len());
        let date = (self.has_dates && !matches!(result, Err(Failure::Unavailable(_))))
            .then(|| self.server_time(server));
        let slot_ref = &mut self.slots[slot];
        if slot_ref.life != life {
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
        if let Some(version) = versions.secret {
            slot_ref.secret_version = version;
        }
        if let Ok(Answer::Secret(Secret::Held(cas))) = &result {
            slot_ref
                .keys
                .extend([cas.signing.id].into_iter().chain(cas.next.map(|ca| ca.id)));
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
                let line = format!("replica {slot}: {event:?}");
                self.tell(|| line);
            }
        }
        if is_news || !self.is_calm() {
            self.check()?;
        }
        self.next(slot)
    }

    // ---- the store ----

    fn apply(&mut self, slot: usize, life: u64, request: Request) -> Result<(), String> {
        if self.slots[slot].life != life {
            return Ok(());
        }
        let mut versions = Versions::default();
        let is_local = matches!(request, Request::MakeCa(..) | Request::Sign(..));
        if !is_local && self.slots[slot].away_until > self.now {
            let failure = Failure::Unavailable("no answer".to_owned());
            let at = 10 * SECOND;
            self.plan(
                at,
                Event::Deliver {
                    slot,
                    life,
                    result: Err(failure),
                    versions,
                },
            );
            return Ok(());
        }
        let is_write = matches!(request, Request::WriteSecret(..) | Request::Publish(_));
        let result = match request {
            Request::ReadConfiguration => {
                versions.configuration = Some(self.configuration.0);
                Ok(Answer::Configuration(self.configuration.1.clone()))
            }
            Request::ReadSecret => {
                versions.secret = Some(self.secret.as_ref().map(|(version, _)| *version));
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
                let ca = Ca {
                    id: Fingerprint(id),
                    validity,
                };
                self.slots[slot].keys.push(ca.id);
                Ok(Answer::Made(ca))
            }
            Request::WriteSecret(cas, why) => self.write(slot, cas, &why)?,
            Request::Publish(cas) => {
                if self.slots[slot].configuration_version == self.configuration.0 {
                    // A Secret that was tampered with: a replica that has just started, or was cut
                    // off, knows no better, and one that is cut off now cannot be heard.
                    let leaf_of = |slot: &Slot| {
                        slot.replica
                            .as_ref()
                            .and_then(Replica::leaf)
                            .map(|leaf| leaf.issuer)
                    };
                    let known = &self.slots[slot].known;
                    let cuts_off = |other: &Slot| {
                        leaf_of(other).is_some_and(|issuer| {
                            cas.find(issuer).is_none()
                                && (other.away_until > self.now || !known.contains(&issuer))
                        })
                    };
                    if self.is_tampered
                        && (!self.configuration.1.trusts(cas.signing.id)
                            || self.slots.iter().any(cuts_off))
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
                    Err(Failure::Conflict(
                        "the configuration has changed".to_owned(),
                    ))
                }
            }
            Request::Sign(ca, validity) => {
                if !self.slots[slot].keys.contains(&ca) {
                    return Err(format!("replica {slot} has no key of {ca}"));
                }
                self.tally.leaves += 1;
                let end = self.until(validity.not_after);
                self.plan(end, Event::Check);
                Ok(Answer::Signed)
            }
        };
        if is_local {
            return self.deliver(slot, life, result, versions);
        }
        if is_write {
            if self.has_faults() && self.rng.u32(..) % 100 < 5 {
                self.crash(slot);
                return Ok(());
            }
        }
        if self.has_faults() && self.rng.u32(..) % 1_000 < if is_write { 50 } else { 2 } {
            self.tally.lost_answers += 1;
            self.tell(|| format!("replica {slot} does not get its answer"));
            let failure = Failure::Unavailable("timed out".to_owned());
            let versions = Versions::default();
            self.plan(
                10 * SECOND,
                Event::Deliver {
                    slot,
                    life,
                    result: Err(failure),
                    versions,
                },
            );
            return Ok(());
        }
        let at = self.latency();
        self.plan(
            at,
            Event::Deliver {
                slot,
                life,
                result,
                versions,
            },
        );
        Ok(())
    }

    fn write(
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
            Some(Sabotage::Writes(mangle)) => mangle(cas),
            _ => cas,
        };
        // A CA that nobody trusts yet signs: right only where there was no other way.
        if matches!(why, Why::First | Why::Unreadable(_))
            && !self.configuration.1.trusts(cas.signing.id)
        {
            if !self.is_tampered {
                return Err(format!(
                    "replica {slot} makes a new CA for no reason: {why}"
                ));
            }
            self.excuse();
        }
        self.tell(|| format!("replica {slot} writes the Secret: {:?}: {why}", cas.phase()));
        self.set_secret(Some(Ok(cas)));
        Ok(Ok(Answer::Done))
    }

    fn set_secret(&mut self, content: Option<Result<Authorities, ()>>) {
        self.version += 1;
        let version = self.version;
        self.secret = content.map(|content| (version, content));
        self.everybody_looks_in_time();
    }

    /// The Secret is not watched: its changes are seen at the next look, within the resync time.
    fn everybody_looks_in_time(&mut self) {
        let resync = u64::try_from(self.settings.resync.as_millis()).unwrap();
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_idle {
                let back = self.slots[slot].away_until.saturating_sub(self.now);
                let pause = back + self.rng.u64(0..resync);
                self.schedule(slot, pause);
            }
        }
    }

    fn configure(&mut self, live: Live) {
        self.version += 1;
        let live = Arc::new(live);
        self.configuration = (self.version, live.clone());
        for server in 0..self.servers.len() {
            let slow = !self.is_prompt && self.rng.u32(..).is_multiple_of(5);
            let lag = if slow {
                self.rng.u64(0..LAG)
            } else {
                self.rng.u64(5..300)
            };
            let version = self.version;
            self.plan(
                lag,
                Event::Cache {
                    server,
                    version,
                    live: live.clone(),
                },
            );
        }
        for slot in 0..self.slots.len() {
            let life = self.slots[slot].life;
            if self.slots[slot].away_until <= self.now
                && (self.is_prompt || !self.rng.u32(..).is_multiple_of(10))
            {
                let lag = self.rng.u64(5..500);
                self.plan(lag, Event::Watch { slot, life });
            }
        }
        self.everybody_looks_in_time();
    }

    // ---- bad luck ----

    fn trouble(&mut self, is_extra: bool) -> Result<(), String> {
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
                let live = Live {
                    exists: false,
                    generation: 0,
                    entries: Vec::new(),
                };
                self.configure(live);
                let at = self.rng.u64(100..30 * SECOND);
                self.plan(at, Event::Reapply);
            }
            _ => {
                if let Some((_, Ok(cas))) = &self.secret {
                    self.backup = Some(cas.clone());
                    let asked = Authorities {
                        asked: true,
                        ..cas.clone()
                    };
                    self.tell(|| "somebody asks for a new CA".to_owned());
                    self.set_secret(Some(Ok(asked)));
                }
            }
        }
        self.check()
    }

    fn vandalise(&mut self, breaks_bundle: bool, what: &str) {
        self.tally.vandalism += 1;
        self.tell(|| what.to_owned());
        if breaks_bundle {
            self.excuse();
        } else {
            self.is_tampered = true;
        }
    }

    fn overwrite(&mut self, with_foreign: bool) {
        if !self.configuration.1.exists {
            return;
        }
        self.excuse();
        let mut live = (*self.configuration.1).clone();
        let only_one = self.rng.bool();
        let bundle = if with_foreign {
            vec![Fingerprint([0xFF; 32])]
        } else {
            Vec::new()
        };
        let count = if only_one { 1 } else { live.entries.len() };
        for entry in live.entries.iter_mut().take(count) {
            entry.bundle.clone_from(&bundle);
            entry.foreign_writer = Some("vandal".to_owned());
        }
        live.generation += 1;
        self.configure(live);
    }

    /// From now on for so long the invariant may be broken: nobody could prevent it.
    fn excuse(&mut self) {
        let reach = self
            .slots
            .iter()
            .map(|slot| slot.away_until)
            .max()
            .unwrap_or(0)
            .max(self.now);
        // Slow: a watch that is dead, a look that is due, an answer that is lost and tried again,
        // a truce in a fight, a restart, and a cache that lags.
        // Prompt: with the API away, all but the pause before the next try.
        let seconds = match (self.is_prompt, reach > self.now) {
            (true, false) => 20,
            (true, true) => 45,
            (false, _) => 180,
        };
        self.excused_until = self.excused_until.max(reach + seconds * SECOND);
        if self.now > 0 {
            self.disturbed_since.get_or_insert(self.now);
        }
        let at = self.excused_until - self.now + 1;
        self.plan(at, Event::Check);
    }

    /// An outage comes on top of something that is still being recovered from.
    fn prolong(&mut self) {
        if self.now <= self.excused_until || self.disturbed_since.is_some() {
            self.excuse();
        }
    }

    /// In prompt worlds no second fault comes while the first is being recovered from.
    fn has_faults(&self) -> bool {
        !(self.is_prompt && self.now < self.excused_until)
    }

    // ---- the invariant ----

    fn is_calm(&self) -> bool {
        self.disturbed_since.is_none() && self.now > self.excused_until && !self.is_tampered
    }

    fn check(&mut self) -> Result<(), String> {
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
                        && cache
                            .entries
                            .iter()
                            .all(|entry| entry.bundle.contains(&leaf.issuer)))
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
                return Err(format!(
                    "at {} replica {slot} is not ready: {why}",
                    self.moment()
                ));
            }
            self.slots[slot].was_ready = is_ready;
        }
        let is_away = self.slots.iter().any(|slot| slot.away_until > self.now);
        if is_well
            && let Some(since) = self.disturbed_since.take()
            && self.is_prompt
            && !is_away
        {
            let took = self.now - since;
            self.tally.recoveries += 1;
            self.tally.recovery_ms += took;
            self.tally.slowest_recovery_ms = self.tally.slowest_recovery_ms.max(took);
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

    // ---- time and chance ----

    fn ca_validity(&self, id: Fingerprint) -> Validity {
        let index = u64::from_be_bytes(id.0[..8].try_into().unwrap());
        self.made[usize::try_from(index).unwrap()]
    }

    fn true_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.now).unwrap() + self.clock_offset_ms
    }

    fn moment(&self) -> Timestamp {
        Timestamp::from_millisecond(self.true_ms()).unwrap()
    }

    fn server_time(&self, server: usize) -> Timestamp {
        Timestamp::from_millisecond(self.true_ms() + self.servers[server].skew_ms).unwrap()
    }

    fn time(&self, slot: usize) -> Time {
        let wall_ms = self.true_ms() + self.slots[slot].wall_offset_ms;
        Time {
            wall: Timestamp::from_millisecond(wall_ms).unwrap(),
            steady: Duration::from_millis(self.now - self.slots[slot].started),
        }
    }

    /// Milliseconds until a moment by the true clock, and one more.
    fn until(&self, moment: Timestamp) -> u64 {
        u64::try_from(moment.as_millisecond() - self.true_ms() + 1).unwrap_or(0)
    }

    fn latency(&mut self) -> u64 {
        if !self.is_prompt && self.rng.u32(..).is_multiple_of(100) {
            self.rng.u64(30..3 * SECOND)
        } else {
            self.rng.u64(1..30)
        }
    }

    fn plan(&mut self, pause: u64, event: Event) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[index] = Some(event);
        self.sequence += 1;
        // What is planned first happens first among what happens at the same time.
        let key = self.sequence << 32 | index as u64;
        self.queue
            .push(Reverse((self.now.saturating_add(pause), key)));
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{} {}", self.moment(), what());
        }
    }
}
