//! The cluster that the replicas live in: a store, API servers whose caches lag, and bad luck.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use certs::bundle::Entry;
use certs::certificate::{Fingerprint, Validity};
use certs::keeper::Failure;
use certs::rotate::Settings;
use certs::secret::{Ca, Content};
use jiff::Timestamp;

mod invariant;
mod replica;
mod store;
mod tally;
mod trouble;

use replica::{Answer, Replica, Request};
pub(crate) use tally::Tally;

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
/// The longest that an API server's cache lags behind.
const LAG: u64 = 25 * SECOND;
/// How often a replica looks when nothing seems to happen.
const LOOK: u64 = 10 * SECOND;

/// What is broken on purpose.
#[derive(Clone, Copy)]
pub(crate) enum Sabotage {
    /// Each write of the Secret goes through this.
    Writes(fn(&mut Vec<Ca>)),
    /// The settle time is nothing.
    NoSettling,
    /// Each replica reads the Secret once and then for days goes by what it has read.
    StaleSecret,
}

#[derive(Debug)]
enum Event {
    /// A replica's rest is over, unless it was woken or restarted since.
    Rested { slot: usize, ticket: u64 },
    /// A request reaches the store.
    Apply { slot: usize, birth: u64, request: Request },
    /// An answer reaches the replica.
    Deliver { slot: usize, birth: u64, answer: Answer },
    /// A change of the configuration reaches a replica's watch.
    Watch { slot: usize, birth: u64, version: u64 },
    /// An API server's cache catches up with a version of the configuration.
    Cache { server: usize, version: u64, entries: Arc<Vec<Entry>> },
    /// A replica starts.
    Start { slot: usize },
    /// Something may have ended: only to check the invariant at that moment.
    Check,
    /// Something bad happens, and the next bad thing is planned.
    Trouble { is_extra: bool },
    /// The same somebody overwrites the caBundle again, so often more.
    Fight { left: u32 },
    /// A deleted configuration is applied again.
    Reapply,
}

#[derive(Default)]
struct Slot {
    replica: Option<Replica>,
    birth: u64,
    ticket: u64,
    started: u64,
    wall_offset_ms: i64,
    /// The version of the configuration that its watch has told it.
    watched: u64,
    /// Until when it can't reach the API.
    away_until: u64,
    /// When its rest is over and whether a change ends it, if it rests.
    rest: Option<(Option<u64>, bool)>,
    was_ready: bool,
}

struct Server {
    seen: u64,
    cache: Arc<Vec<Entry>>,
    skew_ms: i64,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a property of this world of its own")]
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
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    made: Vec<Validity>,
    configuration: (u64, Arc<Vec<Entry>>),
    /// The Secret: its CAs, or something that can't be read.
    secret: (u64, Result<Vec<Ca>, ()>),
    asked: bool,
    backup: Option<Vec<Ca>>,
    version: u64,
    servers: Vec<Server>,
    slots: Vec<Slot>,
    /// Until when nobody may patch the configuration.
    blocked_until: u64,
    /// Until when nobody may read or write the Secret.
    forbidden_until: u64,
    /// Until when the invariant may be broken, because of something that no replica could prevent.
    excused_until: u64,
    /// Since when something is being recovered from.
    disturbed_since: Option<u64>,
    /// Whether the API has been there ever since, so that the time it takes says something.
    is_measured: bool,
    /// Whether somebody has tampered with the Secret: a new CA is no surprise then.
    is_tampered: bool,
    tally: Tally,
}

fn empty_entries() -> Arc<Vec<Entry>> {
    let names = ["namespace", "pod", "workload"];
    let entries = names.map(|name| Entry {
        name: name.to_owned(),
        bundle: Vec::new(),
        is_broken: false,
        foreign_writer: None,
    });
    Arc::new(entries.into())
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, is_told: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // A leaf of 24 h takes forty times as many events as one of 30 days: fewer seeds have it.
        let days = [1, 7, 7, 7, 14, 14, 14, 14, 14, 14, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30]
            [rng.usize(0..20)];
        let mut settings =
            Settings { leaf_life: Duration::from_secs(days * 86_400), ..Settings::default() };
        if matches!(sabotage, Some(Sabotage::NoSettling)) {
            settings.settle = Duration::ZERO;
        }
        let skew = |rng: &mut fastrand::Rng| rng.i64(-120..=120) * 1_000;
        let entries = empty_entries();
        let servers = (0..rng.usize(1..=3)).map(|_| Server {
            seen: 1,
            cache: entries.clone(),
            skew_ms: skew(&mut rng),
        });
        let servers = servers.collect();
        let slots = (0..rng.usize(1..=4))
            .map(|_| Slot { wall_offset_ms: skew(&mut rng), ..Slot::default() });
        let slots = slots.collect();
        let mut world = Self {
            is_prompt: rng.bool(),
            has_dates: rng.bool(),
            rng,
            settings,
            sabotage,
            is_told,
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            made: Vec::new(),
            configuration: (1, entries),
            secret: (1, Ok(Vec::new())),
            asked: false,
            backup: None,
            version: 1,
            servers,
            slots,
            blocked_until: 0,
            forbidden_until: 0,
            excused_until: 0,
            disturbed_since: None,
            is_measured: true,
            is_tampered: true,
            tally: Tally { seed, ..Tally::default() },
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
            Event::Rested { slot, ticket } if self.slots[slot].ticket == ticket => {
                self.wake(slot, false)
            }
            Event::Rested { .. } => Ok(()),
            Event::Apply { slot, birth, request } => self.apply(slot, birth, request),
            Event::Deliver { slot, birth, answer } => self.deliver(slot, birth, answer),
            Event::Watch { slot, birth, version } => {
                let slot_ref = &mut self.slots[slot];
                if slot_ref.birth != birth {
                    return Ok(());
                }
                slot_ref.watched = slot_ref.watched.max(version);
                if self.has_watched_news(slot) { self.wake(slot, true) } else { Ok(()) }
            }
            Event::Cache { server, version, entries } => {
                let server = &mut self.servers[server];
                if server.seen < version {
                    server.seen = version;
                    server.cache = entries;
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
                self.excuse();
                self.configure(&empty_entries());
                self.check()
            }
        }
    }

    fn ca_validity(&self, id: Fingerprint) -> Validity {
        let index = u64::from_be_bytes(id.0[..8].try_into().unwrap());
        self.made[usize::try_from(index).unwrap()]
    }

    fn true_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.now).unwrap()
    }

    fn moment(&self) -> Timestamp {
        Timestamp::from_millisecond(self.true_ms()).unwrap()
    }

    fn server_time(&self, server: usize) -> Timestamp {
        Timestamp::from_millisecond(self.true_ms() + self.servers[server].skew_ms).unwrap()
    }

    /// The clock that a replica goes by.
    fn replica_time(&self, slot: usize) -> Timestamp {
        let slot = &self.slots[slot];
        let heard = slot.replica.as_ref().and_then(|replica| replica.heard_offset_ms);
        let offset = heard.unwrap_or(slot.wall_offset_ms);
        Timestamp::from_millisecond(self.true_ms() + offset).unwrap()
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
        self.queue.push(Reverse((self.now.saturating_add(pause), key)));
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{} {}", self.moment(), what());
        }
    }
}
