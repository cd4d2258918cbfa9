//! The rule by which CAs come, sign and go. Pure: what is there and the time → the next step.
//!
//! The Secret holds a list of CAs, the oldest first, and beside each its *record*: when a replica
//! first saw it in the caBundle of every entry. There is no leader: each replica goes by what it has
//! just read, and writes only with the resourceVersion that it read.
//!
//! - Every caBundle is that list.
//! - The signer is the newest CA whose record is older than the settle time. Where none is (after a
//!   first start, or when the Secret was emptied) it is the oldest that every caBundle holds, and where
//!   none is that either, the oldest.
//! - One is added at two thirds of the newest's life, or when a person asks and there is only one.
//! - One is dropped when no leaf of it can be left: a newer one has been settled for a leaf's life. Or
//!   when it has ended.
//!
//! ```text
//!   Secret     A            A B        A B+record                            B
//!   caBundle   A            A          A B                                   A B     B
//!   signer     A            A          A ────── settle ─────▶ B ── leaf's life ──▶   B
//! ```

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::bundle::Entry;
use crate::certificate::{Fingerprint, Validity, after};
use crate::secret::Ca;

/// How long everything lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A serving certificate's life.
    pub leaf_life: Duration,
    /// A CA's life.
    pub ca_life: Duration,
    /// How long a CA is in every caBundle before it signs: longer than the caches of API servers lag
    /// behind and clocks differ.
    pub settle: Duration,
}

/// A CA would end before its successor signs alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a CA must live for at least {least:#} (--ca-life): a third of that is for a rotation, which takes \
     a certificate's life (--cert-life) and twice the time to settle (--ca-settle)"
)]
pub struct CaTooShort {
    least: SignedDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            leaf_life: Duration::from_secs(24 * 3_600),
            ca_life: Duration::from_secs(365 * 24 * 3_600),
            settle: Duration::from_secs(10 * 60),
        }
    }
}

impl Settings {
    /// Checks that a rotation fits into a CA's life.
    ///
    /// # Errors
    /// [`CaTooShort`].
    pub fn check(self) -> Result<Self, CaTooShort> {
        let least = self.until_drop().saturating_mul(3);
        let least = SignedDuration::try_from(least).unwrap_or(SignedDuration::MAX);
        if SignedDuration::try_from(self.ca_life).is_ok_and(|life| life >= least) {
            Ok(self)
        } else {
            Err(CaTooShort { least })
        }
    }

    /// How long after a CA's record the ones before it are dropped: their last leaf was signed just
    /// before the CA settled, and the second settle time is for the difference between two clocks.
    fn until_drop(&self) -> Duration {
        self.leaf_life.saturating_add(self.settle.saturating_mul(2))
    }
}

/// The serving certificate in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The CA that signed it.
    pub issuer: Fingerprint,
    /// From when until when it is used.
    pub validity: Validity,
    /// When a new one is signed.
    pub renew_at: Timestamp,
}

/// What one replica has just read: first the configuration and then the Secret. So what it writes
/// into a caBundle is never older than what it replaces.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) settings: &'a Settings,
    /// The time, by the API server's clock.
    pub(crate) now: Timestamp,
    /// The entries of the configuration; none if there is no configuration.
    pub(crate) entries: &'a [Entry],
    /// The CAs in the Secret, the oldest first.
    pub(crate) cas: &'a [Ca],
    /// Whether a person has asked for a new CA.
    pub(crate) asked: bool,
    /// Whether there is something in the Secret that can't be used.
    pub(crate) is_broken: bool,
    pub(crate) leaf: Option<&'a Leaf>,
    /// Whether the Secret and the caBundles may be written now.
    pub(crate) may_write: bool,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sign this leaf.
    Sign(Leaf),
    /// Write the Secret's CAs into every caBundle that differs.
    Publish,
    /// Write these CAs into the Secret, and after them a new one if `add`.
    Write { cas: Vec<Ca>, add: bool },
    /// Nothing now.
    Rest,
}

/// Decides the next step. Signing comes first, because it must go on while writes are refused.
pub(crate) fn next(view: &View<'_>) -> Step {
    if let Some(leaf) = view.leaf_to_sign() {
        return Step::Sign(leaf);
    }
    if !view.may_write {
        return Step::Rest;
    }
    let ids: Vec<_> = view.cas.iter().map(|ca| ca.id).collect();
    if !ids.is_empty() && view.entries.iter().any(|entry| !entry.holds_exactly(&ids)) {
        return Step::Publish;
    }
    let cas = view.kept();
    let add = view.needs_another(&cas);
    if add || view.is_broken || cas != view.cas {
        return Step::Write { cas, add };
    }
    Step::Rest
}

/// Which of the Secret's CAs new serving certificates are signed by at `now`; `None` if none can.
#[must_use]
pub fn signer<'a>(
    settings: &Settings,
    now: Timestamp,
    entries: &[Entry],
    cas: &'a [Ca],
) -> Option<&'a Ca> {
    let view = View {
        settings,
        now,
        entries,
        cas,
        asked: false,
        is_broken: false,
        leaf: None,
        may_write: false,
    };
    let signer = view.signer()?.id;
    cas.iter().find(|ca| ca.id == signer)
}

impl View<'_> {
    fn is_in_every_bundle(&self, id: Fingerprint) -> bool {
        self.entries.iter().all(|entry| entry.bundle.contains(&id))
    }

    fn has_settled(&self, ca: &Ca) -> bool {
        ca.seen.is_some_and(|seen| after(seen, self.settings.settle) <= self.now)
    }

    fn signer(&self) -> Option<&Ca> {
        let usable = || self.cas.iter().filter(|ca| ca.validity.contains(self.now));
        let settled = usable().rfind(|ca| self.has_settled(ca));
        settled
            .or_else(|| usable().find(|ca| self.is_in_every_bundle(ca.id)))
            .or_else(|| usable().next())
    }

    /// A leaf is due at two thirds of its life, or when its CA is not in the Secret any more.
    fn leaf_to_sign(&self) -> Option<Leaf> {
        let signer = self.signer()?;
        if let Some(leaf) = self.leaf.filter(|leaf| leaf.validity.contains(self.now)) {
            let is_due =
                leaf.renew_at <= self.now || self.cas.iter().all(|ca| ca.id != leaf.issuer);
            // One that is accepted does not make way for one that is not yet.
            let is_better =
                self.is_in_every_bundle(signer.id) || !self.is_in_every_bundle(leaf.issuer);
            if !is_due || !is_better {
                return None;
            }
        }
        let validity = Validity::starting(self.now, self.settings.leaf_life).in_use();
        let validity = validity.within(signer.validity);
        let left = Duration::try_from(validity.not_after.duration_since(self.now));
        let renew_at = after(self.now, left.unwrap_or_default() * 2 / 3);
        Some(Leaf { issuer: signer.id, validity, renew_at })
    }

    /// The CAs that stay, with a record for those that are now in every caBundle.
    fn kept(&self) -> Vec<Ca> {
        let until_drop = self.settings.until_drop();
        let is_alone = |ca: &Ca| ca.seen.is_some_and(|seen| after(seen, until_drop) <= self.now);
        let first = self.cas.iter().rposition(is_alone).unwrap_or(0);
        let current = self.cas.iter().skip(first).filter(|ca| self.now <= ca.validity.not_after);
        current
            .map(|ca| {
                let is_seen = !self.entries.is_empty() && self.is_in_every_bundle(ca.id);
                Ca { seen: ca.seen.or(is_seen.then_some(self.now)), ..*ca }
            })
            .collect()
    }

    fn needs_another(&self, kept: &[Ca]) -> bool {
        let third = self.settings.ca_life / 3;
        let is_new = |ca: &Ca| after(self.now, third) < ca.validity.not_after;
        let is_usable = |ca: &Ca| ca.validity.contains(self.now);
        // A person's request waits for the end of the rotation that is under way.
        let is_asked = self.asked && kept.len() == 1;
        is_asked || !kept.last().is_some_and(is_new) || !kept.iter().any(is_usable)
    }
}

/// Why a replica must not get requests: its certificate would not be accepted. `entries` are those of
/// the configuration as last read, `None` if it has not been read yet.
pub(crate) fn readiness(
    leaf: Option<&Leaf>,
    entries: Option<&[Entry]>,
    now: Timestamp,
) -> Result<(), String> {
    let leaf = leaf.ok_or("there is no serving certificate yet")?;
    if !leaf.validity.contains(now) {
        let Validity { not_before, not_after } = leaf.validity;
        return Err(format!("the serving certificate is for {not_before} to {not_after} only"));
    }
    let entries = entries.ok_or("the webhook configuration has not been read yet")?;
    if entries.is_empty() {
        return Err("the webhook configuration does not exist, or is empty".to_owned());
    }
    let untrusted: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.bundle.contains(&leaf.issuer))
        .map(|entry| entry.name.as_str())
        .collect();
    if untrusted.is_empty() {
        return Ok(());
    }
    let untrusted = untrusted.join(", ");
    Err(format!("the caBundle of {untrusted} does not have the serving certificate's CA"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    /// Seconds after the start of 2026.
    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn id(number: u8) -> Fingerprint {
        Fingerprint([number; 32])
    }

    /// A CA that was made on day `number` for 365 days, with its record.
    fn ca(number: u8, seen: Option<i64>) -> Ca {
        let made = i64::from(number) * DAY;
        let validity = Validity { not_before: at(made - 300), not_after: at(made + 365 * DAY) };
        Ca { id: id(number), validity, seen: seen.map(at) }
    }

    /// One that was seen on the day on which it was made.
    fn old(number: u8) -> Ca {
        ca(number, Some(i64::from(number) * DAY))
    }

    fn leaf(issuer: u8, signed: i64) -> Leaf {
        let validity = Validity { not_before: at(signed - 300), not_after: at(signed + DAY) };
        Leaf { issuer: id(issuer), validity, renew_at: at(signed + 16 * HOUR) }
    }

    fn entries(bundles: &[&[u8]]) -> Vec<Entry> {
        let entry = |bundle: &&[u8]| Entry {
            name: "e".to_owned(),
            bundle: bundle.iter().copied().map(id).collect(),
            is_broken: false,
            foreign_writer: None,
        };
        bundles.iter().map(entry).collect()
    }

    /// The next step, with whatever else `change` changes in the view.
    fn step_with(
        now: i64,
        bundles: &[&[u8]],
        cas: &[Ca],
        leaf: Option<Leaf>,
        change: impl FnOnce(&mut View<'_>),
    ) -> Step {
        let mut view = View {
            settings: &Settings::default(),
            now: at(now),
            entries: &entries(bundles),
            cas,
            asked: false,
            is_broken: false,
            leaf: leaf.as_ref(),
            may_write: true,
        };
        change(&mut view);
        next(&view)
    }

    fn step(now: i64, bundles: &[&[u8]], cas: &[Ca], leaf: Option<Leaf>) -> Step {
        step_with(now, bundles, cas, leaf, |_| {})
    }

    fn signer(now: i64, bundles: &[&[u8]], cas: &[Ca], leaf: Option<Leaf>) -> Option<u8> {
        match step(now, bundles, cas, leaf) {
            Step::Sign(leaf) => Some(leaf.issuer.0[0]),
            _ => None,
        }
    }

    fn write(cas: &[Ca], add: bool) -> Step {
        Step::Write { cas: cas.to_vec(), add }
    }

    #[test]
    fn a_first_start_step_by_step() {
        let (now, new, seen) = (DAY, ca(1, None), ca(1, Some(DAY)));
        let signed = leaf(1, now);
        for (bundles, cas, leaf, expected) in [
            (&[&[][..], &[]][..], &[][..], None, write(&[], true)),
            (&[&[], &[]], &[new], None, Step::Sign(signed)),
            (&[&[], &[]], &[new], Some(signed), Step::Publish),
            (&[&[1], &[]], &[new], Some(signed), Step::Publish),
            (&[&[1], &[1]], &[new], Some(signed), write(&[seen], false)),
            (&[&[1], &[1]], &[seen], Some(signed), Step::Rest),
            // With no configuration there is nothing to record.
            (&[], &[new], Some(signed), Step::Rest),
        ] {
            assert_eq!(step(now, bundles, cas, leaf), expected, "{bundles:?} {cas:?}");
        }
    }

    #[test]
    fn a_rotation_step_by_step() {
        let begin = 365 * DAY - 365 * DAY / 3;
        let (a, b) = (old(0), ca(243, None));
        let publish = begin + MINUTE;
        let seen = ca(243, Some(publish));
        let dropped = publish + 20 * MINUTE + DAY;
        for (now, bundle, cas, expected) in [
            (begin - 1, &[0][..], &[a][..], Step::Rest),
            (begin, &[0], &[a], write(&[a], true)),
            (begin, &[0], &[a, b], Step::Publish),
            (publish, &[0, 243], &[a, b], write(&[a, seen], false)),
            (dropped - 1, &[0, 243], &[a, seen], Step::Rest),
            (dropped, &[0, 243], &[a, seen], write(&[seen], false)),
            (dropped, &[0, 243], &[seen], Step::Publish),
        ] {
            let leaf = Some(leaf(if now < dropped { 0 } else { 243 }, now));
            assert_eq!(step(now, &[bundle], cas, leaf), expected, "at {now}: {cas:?}");
        }
        let settled = publish + 10 * MINUTE;
        for (now, expected) in [(publish, 0), (settled - 1, 0), (settled, 243)] {
            assert_eq!(signer(now, &[&[0, 243]], &[a, seen], None), Some(expected), "at {now}");
        }
    }

    #[test]
    fn where_nothing_has_settled_signs_what_will_first() {
        let now = 2 * DAY;
        let young = |number| ca(number, Some(now - MINUTE));
        for (bundles, cas, expected) in [
            (&[&[1][..], &[1]], &[ca(1, None)][..], Some(1)),
            (&[&[1, 2], &[1, 2]], &[young(1), young(2)], Some(1)),
            (&[&[2], &[1, 2]], &[young(1), young(2)], Some(2)),
            (&[&[], &[]], &[ca(1, None), ca(2, None)], Some(1)),
            // Not valid yet: made while somebody's clock was far ahead.
            (&[&[9], &[9]], &[old(9)], None),
        ] {
            assert_eq!(signer(now, bundles, cas, None), expected, "{bundles:?} {cas:?}");
        }
    }

    #[test]
    fn a_leaf_is_renewed_at_two_thirds_or_when_its_ca_is_gone_but_never_for_a_worse_one() {
        let now = 10 * DAY;
        let due = leaf(1, now - 16 * HOUR);
        for (bundle, cas, leaf, expected) in [
            (&[1][..], &[old(1)][..], leaf(1, now - 16 * HOUR + 1), None),
            (&[1], &[old(1)], due, Some(1)),
            (&[2], &[old(2)], leaf(1, now), Some(2)),
            // The caBundle is still right for the leaf in use: it is to be changed first.
            (&[1], &[old(2)], leaf(1, now), None),
            (&[1], &[old(1), old(2)], due, None),
            (&[], &[old(1), old(2)], due, Some(2)),
            // It has ended, or the clock was set back by a day.
            (&[1], &[old(1), old(2)], leaf(1, now - DAY - 1), Some(2)),
            (&[1], &[old(1)], leaf(1, now + DAY), Some(1)),
            // Publication is blocked: the new CA waits, and the old one goes on signing.
            (&[1], &[old(1), ca(9, None)], due, Some(1)),
        ] {
            assert_eq!(signer(now, &[bundle], cas, Some(leaf)), expected, "{cas:?} {leaf:?}");
        }
        // Near the end of its CA a leaf is short, and renewed early.
        let end = 366 * DAY;
        let Step::Sign(leaf) = step(end - 3 * HOUR, &[&[1]], &[old(1)], None) else { panic!() };
        assert_eq!((leaf.validity.not_after, leaf.renew_at), (at(end), at(end - HOUR)));
    }

    #[test]
    fn what_is_asked_for_ended_or_broken_is_written_unless_somebody_fights() {
        let now = 366 * DAY + 1;
        let (ended, good, young) = (old(1), old(200), ca(201, None));
        let signed = Some(leaf(200, now));
        let asked: fn(&mut View<'_>) = |view| view.asked = true;
        for (bundle, cas, change, expected) in [
            (&[1, 200][..], &[ended, good][..], None, write(&[good], false)),
            (&[1], &[ended], None, write(&[], true)),
            (&[200], &[good], Some(asked), write(&[good], true)),
            (&[200, 201], &[good, young], Some(asked), write(&[good, ca(201, Some(now))], false)),
            (&[200, 201], &[good, ca(201, Some(now))], Some(asked), Step::Rest),
            (&[200], &[good], Some(|view| view.is_broken = true), write(&[good], false)),
            (&[], &[good], Some(|view| view.may_write = false), Step::Rest),
        ] {
            let found = step_with(now, &[bundle], cas, signed, change.unwrap_or(|_| {}));
            assert_eq!(found, expected, "{cas:?}");
        }
    }

    #[test]
    fn readiness_names_the_reason() {
        let now = 10 * DAY;
        let (good, ended) = (leaf(1, now), leaf(1, now - 2 * DAY));
        let (right, wrong) = (entries(&[&[1], &[2, 1]]), entries(&[&[1], &[2]]));
        for (leaf, entries, expected) in [
            (Some(&good), Some(&right[..]), "ready"),
            (None, Some(&right), "no serving certificate"),
            (Some(&ended), Some(&right), "the serving certificate is for 2026-01-08"),
            (Some(&good), None, "not been read"),
            (Some(&good), Some(&[]), "does not exist"),
            (Some(&good), Some(&wrong), "the caBundle of e does not have"),
        ] {
            let found = readiness(leaf, entries, at(now)).err().unwrap_or("ready".to_owned());
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_rotation_must_fit_into_a_cas_life() {
        let [leaf_life, ca_life, settle] = [10, 48, 2].map(Duration::from_secs);
        let quick = Settings { leaf_life, ca_life, settle };
        quick.clone().check().unwrap();
        Settings::default().check().unwrap();
        let error = Settings { ca_life: leaf_life, ..quick }.check().unwrap_err().to_string();
        assert!(error.contains("at least 42s (--ca-life)"), "{error}");
    }
}
