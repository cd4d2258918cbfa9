//! The whole life of CA and leaf, as one pure decision.
//!
//! [`decide`] is asked again after every step: what one replica sees goes in, the next step comes
//! out. There is no leader: each replica decides for itself, and because every step is a write with
//! the resourceVersion that was read, it does no harm if two decide the same.
//!
//! ```text
//!              two thirds of the CA's life,         every entry has it,
//!              or a person asked                    and it has settled
//!   Steady ──────────────────────────▶ Publishing ─────────────────────▶ Retiring ──▶ Steady
//!   caBundle: A                        caBundle: A, B                    A, B         B
//!   leaves:   A                        leaves:   A                       B            B
//!                                                          every leaf of A must have ended
//! ```

use std::time::Duration;

use jiff::Timestamp;

use crate::inspect::Fingerprint;
use crate::settings::Settings;
use crate::validity::{Validity, after, before};

/// A CA, as far as a decision goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ca {
    /// Which one.
    pub id: Fingerprint,
    /// From when until when it is valid.
    pub validity: Validity,
}

impl Ca {
    /// Whether it can sign at `now`. One that is not valid yet by more than clocks may differ was
    /// made while some clock was far ahead: no API server would take it.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp, settings: &Settings) -> bool {
        before(self.validity.not_before, settings.skew) <= now && now < self.validity.not_after
    }
}

/// What the Secret holds: the CA that signs, and while one follows another, the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The CA that leaves are signed with.
    pub signing: Ca,
    /// The CA that will sign once every API server knows it.
    pub next: Option<Ca>,
    /// CAs that signed before, each with the moment after which no leaf of it can be left. Their
    /// keys are gone already.
    pub previous: Vec<(Ca, Timestamp)>,
    /// Whether a person asked for a new CA (by the Secret's annotation).
    pub asked: bool,
}

/// How far the change from one CA to the next has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// One CA.
    Steady,
    /// The next one is made known and does not sign yet.
    Publishing,
    /// The next one signs, and the old one is still trusted.
    Retiring,
}

impl Authorities {
    /// One CA alone.
    #[must_use]
    pub fn only(signing: Ca) -> Self {
        Self { signing, next: None, previous: Vec::new(), asked: false }
    }

    /// How far the change from one CA to the next has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (&self.next, self.previous.is_empty()) {
            (Some(_), _) => Phase::Publishing,
            (None, false) => Phase::Retiring,
            (None, true) => Phase::Steady,
        }
    }

    /// All of them: what every caBundle has to hold, neither more nor less.
    pub fn all(&self) -> impl Iterator<Item = Ca> + Clone + '_ {
        let previous = self.previous.iter().map(|(ca, _)| *ca);
        std::iter::once(self.signing).chain(self.next).chain(previous)
    }

    /// The fingerprints of all of them.
    pub fn ids(&self) -> impl Iterator<Item = Fingerprint> + Clone + '_ {
        self.all().map(|ca| ca.id)
    }

    /// The CA with this fingerprint, if it is among them.
    #[must_use]
    pub fn find(&self, id: Fingerprint) -> Option<Ca> {
        self.all().find(|ca| ca.id == id)
    }

    /// The same with a CA that shall follow.
    #[must_use]
    pub fn introduced(&self, next: Ca) -> Self {
        Self { next: Some(next), asked: false, ..self.clone() }
    }

    /// The same after the next CA has taken over. With no next one, nothing changes.
    #[must_use]
    pub fn switched(&self, now: Timestamp, settings: &Settings) -> Self {
        let Some(next) = self.next else {
            return self.clone();
        };
        Self { signing: next, next: None, ..self.retiring(self.signing, now, settings) }
    }

    /// The same, and one that signs no more but is still trusted, until all its leaves have ended.
    #[must_use]
    pub fn retiring(&self, ca: Ca, now: Timestamp, settings: &Settings) -> Self {
        let mut cas = self.clone();
        cas.previous.push((ca, after(now, settings.retirement())));
        cas
    }

    /// The same without those of which no leaf can be left.
    #[must_use]
    pub fn dropped(&self, now: Timestamp) -> Self {
        let mut cas = self.clone();
        cas.previous.retain(|(_, over)| now <= *over);
        cas
    }

    /// When the next of the CAs that signed before can be dropped.
    fn next_drop(&self) -> Option<Timestamp> {
        self.previous.iter().map(|(_, over)| *over).min()
    }
}

/// What a read of the Secret found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// It could not be read: the API server is away, or the read is forbidden.
    Unknown,
    /// There is none.
    Absent,
    /// It holds no CA that could be used, for this reason.
    Unreadable(String),
    /// It holds these.
    Held(Authorities),
}

/// The webhook configuration as it is in the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Whether there is such a configuration at all.
    pub exists: bool,
    /// Its `metadata.generation`, which every change of an entry raises.
    pub generation: i64,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// One webhook of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The webhook's name.
    pub name: String,
    /// The CAs in its caBundle.
    pub bundle: Vec<Fingerprint>,
    /// Whether there is something in the caBundle that is no certificate.
    pub is_broken: bool,
    /// Who wrote the caBundle last, if it was not this webhook: the field manager's name.
    pub foreign_writer: Option<String>,
}

impl Live {
    /// Whether every entry trusts this CA.
    #[must_use]
    pub fn trusts(&self, id: Fingerprint) -> bool {
        self.exists && self.entries.iter().all(|entry| entry.bundle.contains(&id))
    }

    /// The entries whose caBundle is not exactly what it has to be.
    pub fn differing<'a>(
        &'a self,
        wanted: impl Iterator<Item = Fingerprint> + Clone + 'a,
    ) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| {
            entry.is_broken
                || entry.bundle.iter().any(|id| !wanted.clone().any(|wanted| wanted == *id))
                || wanted.clone().any(|id| !entry.bundle.contains(&id))
        })
    }
}

/// The serving certificate that this replica has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The CA that signed it.
    pub issuer: Fingerprint,
    /// From when until when it is valid.
    pub validity: Validity,
    /// When a new one is to be signed: two thirds of its life, a little earlier by chance, so that
    /// replicas that started together do not renew together.
    pub renew_at: Timestamp,
}

/// What one replica sees at one moment.
#[derive(Debug)]
pub struct View<'a> {
    /// The time, by the clock that API servers go by.
    pub now: Timestamp,
    /// The Secret as just read.
    pub secret: &'a Secret,
    /// What the Secret held when it was last readable; this replica has the keys.
    pub memory: Option<&'a Authorities>,
    /// For how long there has been nothing readable in the Secret, by a clock that does not jump.
    pub lost_for: Duration,
    /// The configuration as last read.
    pub live: Option<&'a Live>,
    /// Whether a patch of the configuration may be tried: it was just read, and nobody is fighting
    /// over it so hard that it is better to wait.
    pub may_publish: bool,
    /// How long the configuration has been seen as it is, by a clock that does not jump.
    pub unchanged_for: Duration,
    /// The serving certificate in use.
    pub leaf: Option<&'a Leaf>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a CA and write it into the Secret as the only one.
    Found(Why),
    /// Make a CA and write it into the Secret as the next one.
    Introduce,
    /// Write this into the Secret.
    Write(Authorities, Why),
    /// Write these CAs into every caBundle that differs.
    Publish(Authorities),
    /// Sign a new leaf with this CA.
    Sign(Ca),
    /// Nothing now.
    Rest,
}

/// Why the Secret is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There was none.
    #[error("there was no Secret yet")]
    First,
    /// It is gone, and this replica still has what was in it.
    #[error("the Secret was deleted while replicas ran: what was in it is put back")]
    Deleted,
    /// It holds nothing that can be used.
    #[error("the Secret held no usable CA ({0}): it is replaced")]
    Unreadable(String),
    /// It holds another CA than the one that API servers trust.
    #[error(
        "the Secret was changed to another CA while replicas ran: both are trusted for a while"
    )]
    Replaced,
    /// The CA is two thirds through its life, or a person asked.
    #[error("it is time for another CA: the next one is introduced")]
    Introduce,
    /// The next CA takes over.
    #[error("every caBundle has the next CA and has settled: it signs from now on")]
    Switch,
    /// The old CA has had its day.
    #[error("no certificate of the old CA is left: it is dropped")]
    Drop,
}

/// Decides the next step of one replica.
#[must_use]
pub fn decide(view: &View<'_>, settings: &Settings) -> Action {
    // There must be a CA, and the Secret is where all replicas find it. What was lost is put back
    // by whoever still has it.
    let (cas, is_fresh) = match (view.secret, view.memory) {
        (Secret::Held(cas), _) if cas.signing.is_usable(view.now, settings) => (cas, true),
        (Secret::Unknown, Some(cas)) => (cas, false),
        (Secret::Unknown, None) => return Action::Rest,
        (lost, memory) => {
            let memory = memory.filter(|cas| cas.signing.is_usable(view.now, settings));
            if view.others_may_know_better(lost, memory, settings) {
                return Action::Rest;
            }
            return match memory {
                Some(cas) => Action::Write(cas.clone(), view.why_lost(lost, Why::Deleted)),
                None => Action::Found(view.why_lost(lost, Why::First)),
            };
        }
    };
    if let Some(both) = view.reconciled(cas, settings) {
        return Action::Write(both, Why::Replaced);
    }

    // Every caBundle holds exactly the Secret's CAs, …
    let differs = view.live.is_none_or(|live| live.differing(cas.ids()).next().is_some());
    if differs && is_fresh && view.may_publish {
        return Action::Publish(cas.clone());
    }
    // … the leaf is one of the CA that signs, …
    if view.leaf_is_due(cas, is_fresh, settings) {
        return Action::Sign(cas.signing);
    }
    // … and long before a CA ends another takes its place.
    if is_fresh && !differs {
        let settled = view.unchanged_for >= settings.settle;
        match cas.next {
            None if cas.asked || view.now >= cas.signing.validity.two_thirds() => {
                return Action::Introduce;
            }
            // Made by a replica whose clock was far off: it must never sign.
            Some(next) if !next.is_usable(view.now, settings) => return Action::Introduce,
            Some(_) if settled => {
                return Action::Write(cas.switched(view.now, settings), Why::Switch);
            }
            None if cas.next_drop().is_some_and(|over| over < view.now) => {
                return Action::Write(cas.dropped(view.now), Why::Drop);
            }
            _ => {}
        }
    }
    Action::Rest
}

impl View<'_> {
    /// Whether it is better to wait for another replica to put back what was lost: API servers
    /// trust a CA that this replica does not know, so it has just started or was cut off.
    fn others_may_know_better(
        &self,
        lost: &Secret,
        memory: Option<&Authorities>,
        settings: &Settings,
    ) -> bool {
        let is_known = |id: &Fingerprint| memory.is_some_and(|cas| cas.find(*id).is_some());
        let mut trusted = self.live.iter().flat_map(|live| &live.entries).flat_map(|e| &e.bundle);
        !matches!(lost, Secret::Held(_))
            && self.lost_for < settings.patience()
            && trusted.any(|id| !is_known(id))
    }

    fn why_lost(&self, secret: &Secret, absent: Why) -> Why {
        match secret {
            Secret::Absent | Secret::Unknown => absent,
            Secret::Unreadable(why) => Why::Unreadable(why.clone()),
            Secret::Held(cas) if cas.signing.validity.not_after <= self.now => {
                Why::Unreadable(format!("it ended at {}", cas.signing.validity.not_after))
            }
            Secret::Held(cas) => Why::Unreadable(format!(
                "it is not valid before {}",
                cas.signing.validity.not_before
            )),
        }
    }

    /// What the Secret should hold if it was changed behind the replicas' backs (an old backup, or
    /// a deletion just before a replica started) and lost CAs that API servers still trust: those
    /// as well, because leaves of them are in use. So the change becomes a rotation, and nobody is
    /// cut off.
    fn reconciled(&self, cas: &Authorities, settings: &Settings) -> Option<Authorities> {
        let (live, memory) = (self.live?, self.memory?);
        let is_lost = |ca: Ca| cas.find(ca.id).is_none() && live.trusts(ca.id);
        let mut both = if is_lost(memory.signing) && !live.trusts(cas.signing.id) {
            Authorities { next: Some(cas.signing), ..Authorities::only(memory.signing) }
        } else {
            cas.clone()
        };
        let over = after(self.now, settings.retirement());
        let signers = std::iter::once(memory.signing).chain(memory.next).map(|ca| (ca, over));
        // Another replica may rightly have dropped one that is about due.
        let soon = after(self.now, settings.skew.saturating_mul(2));
        let previous = memory.previous.iter().copied().filter(|(_, over)| *over > soon);
        for (ca, over) in signers.chain(previous) {
            let is_usable = ca.is_usable(self.now, settings);
            if is_usable && is_lost(ca) && both.find(ca.id).is_none() {
                both.previous.push((ca, over));
            }
        }
        (both != *cas).then_some(both)
    }

    /// Whether a new leaf is to be signed, and may be.
    fn leaf_is_due(&self, cas: &Authorities, is_fresh: bool, settings: &Settings) -> bool {
        // From memory only while no replica can have begun to replace that CA: a leaf signed later
        // could outlive the CA's place in the caBundle.
        let rotation = before(cas.signing.validity.two_thirds(), settings.skew.saturating_mul(3));
        let may_sign = cas.signing.is_usable(self.now, settings)
            && (is_fresh || (cas.next.is_none() && !cas.asked && self.now < rotation));
        let is_due = match self.leaf {
            None => true,
            Some(leaf) if leaf.validity.not_after < self.now => true,
            // Only after the clock was set back: another one would be no better within the skew.
            Some(leaf) if after(self.now, settings.skew) < leaf.validity.not_before => true,
            Some(leaf) if leaf.issuer == cas.signing.id => leaf.renew_at <= self.now,
            // Another CA signs now: change over as soon as every API server must know it, or at
            // once if the old one is not trusted any more anyway.
            Some(leaf) => self.live.is_some_and(|live| {
                live.trusts(cas.signing.id)
                    && (self.unchanged_for >= settings.settle || !live.trusts(leaf.issuer))
            }),
        };
        may_sign && is_due
    }
}

/// When time alone will change the decision, if it ever will; by the same clock as `view.now`.
#[must_use]
pub fn due(view: &View<'_>, settings: &Settings) -> Option<Timestamp> {
    let cas = match view.secret {
        Secret::Held(cas) => Some(cas),
        _ => view.memory,
    };
    if matches!(view.secret, Secret::Absent | Secret::Unreadable(_)) {
        return Some(after(view.now, settings.patience().saturating_sub(view.lost_for)));
    }
    let settles = after(view.now, settings.settle.saturating_sub(view.unchanged_for));
    let change = cas.map(|cas| {
        let dropped = cas.next_drop().map(|over| after(over, Duration::from_millis(1)));
        let rotated = cas.signing.validity.two_thirds();
        cas.next.map_or(dropped.map_or(rotated, |over| over.min(rotated)), |_| settles)
    });
    let leaf = view.leaf.map(|leaf| match cas {
        Some(cas) if cas.signing.id != leaf.issuer => settles.min(leaf.validity.not_after),
        _ => leaf.renew_at,
    });
    change.into_iter().chain(leaf).filter(|moment| *moment > view.now).min()
}

/// Why a replica must not get requests: its leaf would not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// There is no leaf.
    #[error("there is no serving certificate yet")]
    NoLeaf,
    /// The leaf is too old or too new.
    #[error("the serving certificate is valid from {} to {} only", .0.not_before, .0.not_after)]
    OutOfDate(Validity),
    /// The configuration has not been read yet.
    #[error("the webhook configuration has not been read yet")]
    NotSeen,
    /// There is no such configuration.
    #[error("there is no such webhook configuration")]
    NoConfiguration,
    /// Entries whose caBundle does not have the leaf's CA.
    #[error("the serving certificate does not verify against the caBundle of {}", .0.join(", "))]
    Untrusted(Vec<String>),
}

/// Whether a leaf is accepted wherever the configuration sends requests from.
///
/// A caBundle that holds the very certificate of the leaf's CA verifies it: each leaf is verified
/// against that certificate when it is signed, so what is left to compare is which one, and when.
///
/// # Errors
/// [`NotReady`] with the reason.
pub fn readiness(leaf: Option<&Leaf>, live: Option<&Live>, now: Timestamp) -> Result<(), NotReady> {
    let leaf = leaf.ok_or(NotReady::NoLeaf)?;
    if !leaf.validity.contains(now) {
        return Err(NotReady::OutOfDate(leaf.validity));
    }
    let live = live.ok_or(NotReady::NotSeen)?;
    if !live.exists {
        return Err(NotReady::NoConfiguration);
    }
    let untrusted = live.entries.iter().filter(|entry| !entry.bundle.contains(&leaf.issuer));
    let untrusted: Vec<_> = untrusted.map(|entry| entry.name.clone()).collect();
    if untrusted.is_empty() { Ok(()) } else { Err(NotReady::Untrusted(untrusted)) }
}
