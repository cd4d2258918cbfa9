//! The replicas: each is the real loop of [`certs::keeper`], which is polled whenever an answer is
//! there for it. They start, ask, get answers, rest and crash.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use certs::keeper::{Cluster, Status, keep};

use super::*;

/// What a replica asks of the cluster.
#[derive(Debug, Clone)]
pub(super) enum Request {
    ReadConfiguration,
    ReadSecret,
    Sign(Fingerprint, Validity),
    Publish,
    WriteSecret(Vec<Ca>, Option<Validity>),
    Rest(Duration, bool),
}

impl Request {
    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Publish | Self::WriteSecret(..))
    }
}

/// What comes of it. What is read comes with its version.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Configuration(u64, Arc<Vec<Entry>>),
    Secret(u64, Content),
    Done,
    Rested(bool),
    /// Nobody knows whether it was done; it may work a moment later.
    Failed(Failure),
    /// It will be refused until then.
    Refused(u64, Failure),
}

/// A serving certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    pub(super) issuer: Fingerprint,
    pub(super) validity: Validity,
    pub(super) signed: Timestamp,
}

/// A running replica, and what the world remembers of what it has read.
pub(super) struct Replica {
    future: Pin<Box<dyn Future<Output = ()>>>,
    mailbox: Rc<RefCell<Mailbox>>,
    pub(super) heard_offset_ms: Option<i64>,
    pub(super) configuration_version: u64,
    pub(super) secret_version: u64,
    pub(super) secret: Content,
    pub(super) leaf: Option<Leaf>,
    /// The time at which it has last made up its mind.
    decided: Timestamp,
    /// Whether something failed since it last rested, and until when something will be refused.
    has_failed: bool,
    refused_until: u64,
}

struct Mailbox {
    now: Timestamp,
    request: Option<Request>,
    answer: Option<Answer>,
    status: Status,
}

/// The cluster as the loop sees it.
struct Handle(Rc<RefCell<Mailbox>>);

impl Handle {
    async fn ask(&mut self, request: Request) -> Result<Answer, Failure> {
        self.0.borrow_mut().request = Some(request);
        let answer =
            poll_fn(|_| self.0.borrow_mut().answer.take().map_or(Poll::Pending, Poll::Ready));
        match answer.await {
            Answer::Failed(failure) | Answer::Refused(_, failure) => Err(failure),
            answer => Ok(answer),
        }
    }
}

impl Cluster for Handle {
    fn now(&self) -> Timestamp {
        self.0.borrow().now
    }

    async fn read_configuration(&mut self) -> Result<Vec<Entry>, Failure> {
        match self.ask(Request::ReadConfiguration).await? {
            Answer::Configuration(_, entries) => Ok(entries.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    async fn read_secret(&mut self) -> Result<Content, Failure> {
        match self.ask(Request::ReadSecret).await? {
            Answer::Secret(_, content) => Ok(content),
            other => panic!("{other:?}"),
        }
    }

    async fn sign(&mut self, ca: Fingerprint, validity: Validity) -> Result<(), Failure> {
        self.ask(Request::Sign(ca, validity)).await.map(drop)
    }

    async fn publish(&mut self) -> Result<(), Failure> {
        self.ask(Request::Publish).await.map(drop)
    }

    async fn write_secret(&mut self, cas: &[Ca], new: Option<Validity>) -> Result<(), Failure> {
        self.ask(Request::WriteSecret(cas.to_vec(), new)).await.map(drop)
    }

    fn report(&mut self, status: &Status) {
        self.0.borrow_mut().status.clone_from(status);
    }

    async fn rest(&mut self, limit: Duration, wakes: bool) -> bool {
        matches!(self.ask(Request::Rest(limit, wakes)).await, Ok(Answer::Rested(true)))
    }
}

impl Replica {
    fn new(settings: Settings) -> Self {
        let mailbox = Rc::new(RefCell::new(Mailbox {
            now: Timestamp::UNIX_EPOCH,
            request: None,
            answer: None,
            status: Status::default(),
        }));
        let mut handle = Handle(Rc::clone(&mailbox));
        Self {
            future: Box::pin(async move { keep(&mut handle, &settings).await }),
            mailbox,
            heard_offset_ms: None,
            configuration_version: 0,
            secret_version: 0,
            secret: Content::default(),
            leaf: None,
            decided: Timestamp::UNIX_EPOCH,
            has_failed: false,
            refused_until: 0,
        }
    }

    /// Why it says that it must not get requests.
    pub(super) fn not_ready(&self) -> Option<String> {
        self.mailbox.borrow().status.not_ready.clone()
    }

    pub(super) fn repairs(&self) -> u64 {
        self.mailbox.borrow().status.repairs
    }

    /// Lets it run until it asks for something.
    fn poll(&mut self, now: Timestamp) -> Request {
        self.mailbox.borrow_mut().now = now;
        let polled = self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "the loop has ended");
        self.mailbox.borrow_mut().request.take().expect("it waits for nothing")
    }
}

impl World {
    pub(super) fn start(&mut self, slot: usize) -> Result<(), String> {
        let slot_ref = &mut self.slots[slot];
        slot_ref.birth += 1;
        slot_ref.started = self.now;
        slot_ref.was_ready = false;
        slot_ref.replica = Some(Replica::new(self.settings.clone()));
        self.tell(|| format!("replica {slot} starts"));
        self.go_on(slot)
    }

    pub(super) fn crash(&mut self, slot: usize) {
        if self.slots[slot].replica.is_none() {
            return;
        }
        self.tally.crashes += 1;
        self.tell(|| format!("replica {slot} crashes"));
        let slot_ref = &mut self.slots[slot];
        slot_ref.replica = None;
        slot_ref.rest = None;
        slot_ref.birth += 1;
        slot_ref.ticket += 1;
        let longest = if self.is_prompt { 3 } else { 20 };
        let at = self.rng.u64(100..longest * SECOND);
        self.plan(at, Event::Start { slot });
    }

    /// Lets a replica run on until its next request is under way.
    fn go_on(&mut self, slot: usize) -> Result<(), String> {
        loop {
            let now = self.replica_time(slot);
            let birth = self.slots[slot].birth;
            let Some(replica) = &mut self.slots[slot].replica else {
                return Ok(());
            };
            match replica.poll(now) {
                Request::Rest(limit, wakes) => {
                    self.rest(slot, limit, wakes);
                    if self.has_watched_news(slot) {
                        return self.wake(slot, true);
                    }
                    return if self.is_calm() { Ok(()) } else { self.check() };
                }
                Request::Sign(ca, validity) => {
                    let answer = self.sign(slot, ca, validity)?;
                    self.hand_over(slot, answer);
                    self.check()?;
                }
                request => {
                    let often = if request.is_write() { 50 } else { 1 };
                    if self.has_faults() && self.rng.u32(..) % 1_000 < often {
                        self.crash(slot);
                        return self.check();
                    }
                    let at = self.latency();
                    self.plan(at, Event::Apply { slot, birth, request });
                    return Ok(());
                }
            }
        }
    }

    /// A replica rests. Looks that would find nothing new are left out: they change nothing.
    fn rest(&mut self, slot: usize, limit: Duration, wakes: bool) {
        let limit = self.now + u64::try_from(limit.as_millis()).unwrap() + 1;
        let due = self.due(slot);
        let spread = self.rng.u64(0..LOOK);
        let slot_ref = &mut self.slots[slot];
        let replica = slot_ref.replica.as_mut().expect("it rests");
        let has_seen_all = replica.configuration_version == self.configuration.0
            && replica.secret_version == self.secret.0
            && !replica.has_failed
            && wakes;
        // Looks that would be refused again are left out as well.
        let back = slot_ref.away_until.max(replica.refused_until);
        replica.has_failed = false;
        replica.refused_until = 0;
        let at = if back > self.now {
            let back = back + spread;
            Some(due.map_or(back, |due| due.min(back)))
        } else if has_seen_all {
            due
        } else {
            Some(due.map_or(limit, |due| due.min(limit)))
        };
        let at = at.map(|at| at.max(self.now + 1));
        slot_ref.rest = Some((at, wakes));
        slot_ref.ticket += 1;
        let ticket = slot_ref.ticket;
        if let Some(at) = at {
            self.plan(at - self.now, Event::Rested { slot, ticket });
        }
    }

    /// When time alone will change what a resting replica does, by the world's clock: at the end of
    /// its rest if it is about its leaf, at the first look after that if it is about a CA.
    fn due(&mut self, slot: usize) -> Option<u64> {
        let now = self.replica_time(slot);
        let Settings { leaf_life, ca_life, settle } = self.settings;
        let spread = self.rng.u64(0..LOOK);
        let replica = self.slots[slot].replica.as_ref()?;
        let decided = replica.decided;
        let left = |at: Timestamp| {
            let left = at.as_millisecond() - now.as_millisecond();
            (at > decided).then(|| u64::try_from(left).unwrap_or(LOOK))
        };
        let leaf = replica.leaf.iter().flat_map(|leaf| {
            let end = leaf.validity.in_use().not_after;
            let life = end.duration_since(leaf.signed);
            [leaf.signed + life * 2 / 3, end].map(left)
        });
        let cas = replica.secret.cas.iter().flat_map(|ca| {
            let seen = ca.seen.map(|seen| [seen + settle, seen + leaf_life + settle * 2]);
            let end = ca.validity.not_after;
            let own = [end - ca_life / 3, end];
            seen.into_iter().flatten().chain(own).map(left).map(move |left| Some(left? + spread))
        });
        leaf.chain(cas).flatten().min().map(|left| self.now + left + 1)
    }

    /// Whether a resting replica's watch has shown it something that it has not read.
    pub(super) fn has_watched_news(&self, slot: usize) -> bool {
        let slot = &self.slots[slot];
        matches!(slot.rest, Some((_, true)))
            && slot.away_until <= self.now
            && slot.replica.as_ref().is_some_and(|it| it.configuration_version < slot.watched)
    }

    pub(super) fn wake(&mut self, slot: usize, is_change: bool) -> Result<(), String> {
        let slot_ref = &mut self.slots[slot];
        if slot_ref.rest.take().is_none() {
            return Ok(());
        }
        slot_ref.ticket += 1;
        self.hand_over(slot, Answer::Rested(is_change));
        self.go_on(slot)
    }

    /// The Secret is not watched: its changes are seen at the next look.
    pub(super) fn everybody_looks_in_time(&mut self) {
        for slot in 0..self.slots.len() {
            let back = self.slots[slot].away_until.max(self.now);
            let at = back + self.rng.u64(1..LOOK);
            let slot_ref = &mut self.slots[slot];
            if let Some((planned, _)) = &mut slot_ref.rest
                && planned.is_none_or(|planned| at < planned)
            {
                *planned = Some(at);
                slot_ref.ticket += 1;
                let ticket = slot_ref.ticket;
                self.plan(at - self.now, Event::Rested { slot, ticket });
            }
        }
    }

    fn hand_over(&mut self, slot: usize, answer: Answer) {
        if let Some(replica) = &mut self.slots[slot].replica {
            replica.has_failed |= matches!(answer, Answer::Failed(_));
            if let Answer::Refused(until, _) = answer {
                replica.refused_until = until;
            }
            replica.mailbox.borrow_mut().answer = Some(answer);
        }
    }

    pub(super) fn deliver(
        &mut self,
        slot: usize,
        birth: u64,
        answer: Answer,
    ) -> Result<(), String> {
        if self.slots[slot].birth != birth {
            return Ok(());
        }
        // Any API server may have answered, and each has its own clock.
        let server = self.rng.usize(0..self.servers.len());
        let skew = self.servers[server].skew_ms;
        if self.has_dates
            && !matches!(answer, Answer::Failed(_))
            && let Some(replica) = &mut self.slots[slot].replica
        {
            replica.heard_offset_ms = Some(skew);
        }
        let time = self.replica_time(slot);
        let Some(replica) = &mut self.slots[slot].replica else {
            return Ok(());
        };
        let mut is_news = false;
        match &answer {
            Answer::Configuration(version, _) => {
                is_news = replica.configuration_version != *version;
                replica.configuration_version = *version;
            }
            Answer::Secret(version, content) => {
                replica.secret_version = *version;
                replica.secret.clone_from(content);
                replica.decided = time;
            }
            _ => {}
        }
        let repairs = replica.repairs();
        self.hand_over(slot, answer);
        self.go_on(slot)?;
        if let Some(replica) = &self.slots[slot].replica {
            self.tally.repairs += replica.repairs() - repairs;
        }
        // What changes neither leaf nor readiness needs no check.
        if is_news || !self.is_calm() { self.check() } else { Ok(()) }
    }
}
