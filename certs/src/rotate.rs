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
//! - One is added at two thirds of the newest's life, or when a person asks.
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

/// A person who asks again and again is answered as long as there are no more CAs than this.
const ENOUGH_CAS: usize = 8;

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

/// Settings that can't work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The serving certificate would be replaced all the time.
    #[error("--cert-life {:#} is too short, 10s is the least", shown(*.0))]
    LeafTooShort(Duration),
    /// A CA would end before its successor signs alone.
    #[error(
        "--ca-life {:#} is too short for --cert-life and --ca-settle: a rotation takes a leaf's life \
         and twice the settle time and begins at two thirds of the CA's life, so that must be at \
         least {:#}", shown(*.is), shown(*.least)
    )]
    CaTooShort {
        /// The life that was asked for.
        is: Duration,
        /// The shortest that works.
        least: Duration,
    },
}

fn shown(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
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
    /// [`SettingsError`] names the flag and what it must be.
    pub fn check(self) -> Result<Self, SettingsError> {
        if self.leaf_life < Duration::from_secs(10) {
            return Err(SettingsError::LeafTooShort(self.leaf_life));
        }
        let least = self.until_drop().saturating_mul(3);
        if self.ca_life < least {
            return Err(SettingsError::CaTooShort { is: self.ca_life, least });
        }
        Ok(self)
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
pub(crate) fn next(view: &View<'_>, settings: &Settings) -> Step {
    if let Some(leaf) = view.leaf_to_sign(settings) {
        return Step::Sign(leaf);
    }
    if !view.may_write {
        return Step::Rest;
    }
    let ids: Vec<_> = view.cas.iter().map(|ca| ca.id).collect();
    if !ids.is_empty() && view.entries.iter().any(|entry| !entry.holds_exactly(&ids)) {
        return Step::Publish;
    }
    let cas = view.kept(settings);
    let add = view.needs_another(&cas, settings);
    if add || view.is_broken || cas != view.cas {
        return Step::Write { cas, add };
    }
    Step::Rest
}

impl View<'_> {
    fn is_in_every_bundle(&self, id: Fingerprint) -> bool {
        self.entries.iter().all(|entry| entry.bundle.contains(&id))
    }

    fn has_settled(&self, ca: &Ca, settings: &Settings) -> bool {
        ca.seen.is_some_and(|seen| after(seen, settings.settle) <= self.now)
    }

    fn signer(&self, settings: &Settings) -> Option<&Ca> {
        let usable = || self.cas.iter().filter(|ca| ca.validity.contains(self.now));
        let settled = usable().rfind(|ca| self.has_settled(ca, settings));
        settled
            .or_else(|| usable().find(|ca| self.is_in_every_bundle(ca.id)))
            .or_else(|| usable().next())
    }

    /// A leaf is due at two thirds of its life, or when its CA is not in the Secret any more.
    fn leaf_to_sign(&self, settings: &Settings) -> Option<Leaf> {
        let signer = self.signer(settings)?;
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
        let validity = Validity::starting(self.now, settings.leaf_life).in_use();
        let validity = validity.within(signer.validity);
        let left = Duration::try_from(validity.not_after.duration_since(self.now));
        let renew_at = after(self.now, left.unwrap_or_default() * 2 / 3);
        Some(Leaf { issuer: signer.id, validity, renew_at })
    }

    /// The CAs that stay, with a record for those that are now in every caBundle.
    fn kept(&self, settings: &Settings) -> Vec<Ca> {
        let is_alone =
            |ca: &Ca| ca.seen.is_some_and(|seen| after(seen, settings.until_drop()) <= self.now);
        let first = self.cas.iter().rposition(is_alone).unwrap_or(0);
        let current = self.cas.iter().skip(first).filter(|ca| self.now <= ca.validity.not_after);
        current
            .map(|ca| {
                let is_seen = !self.entries.is_empty() && self.is_in_every_bundle(ca.id);
                Ca { seen: ca.seen.or(is_seen.then_some(self.now)), ..*ca }
            })
            .collect()
    }

    fn needs_another(&self, kept: &[Ca], settings: &Settings) -> bool {
        let Some(newest) = kept.last() else {
            return true;
        };
        let third = settings.ca_life / 3;
        // A person's question waits until the last one has been answered to the end.
        let is_asked = self.asked && self.has_settled(newest, settings) && kept.len() < ENOUGH_CAS;
        is_asked
            || newest.validity.not_after <= after(self.now, third)
            || !kept.iter().any(|ca| ca.validity.contains(self.now))
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

    const SECOND: i64 = 1;
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

    /// A CA that was made on day `number`, was seen in every caBundle then, and lives for 365 days.
    fn ca(number: u8) -> Ca {
        let made = i64::from(number) * DAY;
        let validity = Validity { not_before: at(made - 300), not_after: at(made + 365 * DAY) };
        Ca { id: id(number), validity, seen: Some(at(made)) }
    }

    fn unseen(number: u8) -> Ca {
        Ca { seen: None, ..ca(number) }
    }

    fn seen(number: u8, second: i64) -> Ca {
        Ca { seen: Some(at(second)), ..ca(number) }
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

    struct Case<'a> {
        now: i64,
        bundles: &'a [&'a [u8]],
        cas: &'a [Ca],
        leaf: Option<Leaf>,
    }

    impl Case<'_> {
        fn step(&self) -> Step {
            self.step_with(|_| {})
        }

        fn step_with(&self, change: impl FnOnce(&mut View<'_>)) -> Step {
            let entries = entries(self.bundles);
            let mut view = View {
                now: at(self.now),
                entries: &entries,
                cas: self.cas,
                asked: false,
                is_broken: false,
                leaf: self.leaf.as_ref(),
                may_write: true,
            };
            change(&mut view);
            next(&view, &Settings::default())
        }

        /// What signs, if a leaf is signed.
        fn signer(&self) -> Option<Fingerprint> {
            match self.step() {
                Step::Sign(leaf) => Some(leaf.issuer),
                _ => None,
            }
        }
    }

    fn write(cas: &[Ca], add: bool) -> Step {
        Step::Write { cas: cas.to_vec(), add }
    }

    #[test]
    fn a_first_start_step_by_step() {
        let now = DAY;
        let (new, new_leaf) = (unseen(1), leaf(1, now));
        for (bundles, cas, leaf, expected) in [
            (&[&[][..], &[]], &[][..], None, write(&[], true)),
            (&[&[], &[]], &[new], None, Step::Sign(new_leaf)),
            (&[&[], &[]], &[new], Some(new_leaf), Step::Publish),
            (&[&[1], &[]], &[new], Some(new_leaf), Step::Publish),
            (&[&[1], &[1]], &[new], Some(new_leaf), write(&[seen(1, now)], false)),
            (&[&[1], &[1]], &[seen(1, now)], Some(new_leaf), Step::Rest),
        ] {
            let case = Case { now, bundles, cas, leaf };
            assert_eq!(case.step(), expected, "{bundles:?} {cas:?}");
        }
        // With no configuration there is nothing to record.
        let alone = Case { now, bundles: &[], cas: &[new], leaf: Some(new_leaf) };
        assert_eq!(alone.step(), Step::Rest);
    }

    #[test]
    fn a_rotation_step_by_step() {
        let old = ca(0);
        let begin = 365 * DAY - 365 * DAY / 3;
        let new = |seen| Ca { seen, ..ca(243) };
        let publish = begin + MINUTE;
        let settled = publish + 10 * MINUTE;
        let dropped = publish + 20 * MINUTE + DAY;
        for (now, bundles, cas, expected) in [
            (begin - SECOND, &[&[0][..]], &[old][..], Step::Rest),
            (begin, &[&[0]], &[old], write(&[old], true)),
            (begin, &[&[0]], &[old, new(None)], Step::Publish),
            (
                publish,
                &[&[0, 243]],
                &[old, new(None)],
                write(&[old, new(Some(at(publish)))], false),
            ),
            (settled, &[&[0, 243]], &[old, new(Some(at(publish)))], Step::Rest),
            (dropped - SECOND, &[&[0, 243]], &[old, new(Some(at(publish)))], Step::Rest),
            (
                dropped,
                &[&[0, 243]],
                &[old, new(Some(at(publish)))],
                write(&[new(Some(at(publish)))], false),
            ),
            (dropped, &[&[0, 243]], &[new(Some(at(publish)))], Step::Publish),
        ] {
            let leaf = Some(leaf(if now < dropped { 0 } else { 243 }, now));
            assert_eq!(Case { now, bundles, cas, leaf }.step(), expected, "at {now}: {cas:?}");
        }
        // Whoever signs meanwhile: the old one until the new one has settled.
        for (now, expected) in [(publish, 0), (settled - SECOND, 0), (settled, 243)] {
            let cas = &[old, new(Some(at(publish)))];
            let case = Case { now, bundles: &[&[0, 243]], cas, leaf: None };
            assert_eq!(case.signer(), Some(id(expected)), "at {now}");
        }
    }

    #[test]
    fn the_signer_where_nothing_has_settled_is_the_one_that_will_first() {
        let now = 2 * DAY;
        let young = |number| seen(number, now - MINUTE);
        for (bundles, cas, expected) in [
            (&[&[1][..], &[1]], &[unseen(1)][..], Some(1)),
            (&[&[1, 2], &[1, 2]], &[young(1), young(2)], Some(1)),
            (&[&[2], &[1, 2]], &[young(1), young(2)], Some(2)),
            (&[&[], &[]], &[unseen(1), unseen(2)], Some(1)),
            // Not valid yet: made while somebody's clock was far ahead.
            (&[&[9], &[9]], &[ca(9)], None),
        ] {
            let signer = Case { now, bundles, cas, leaf: None }.signer();
            assert_eq!(signer, expected.map(id), "{bundles:?} {cas:?}");
        }
    }

    #[test]
    fn a_leaf_is_renewed_at_two_thirds_or_when_its_ca_is_gone_but_never_for_a_worse_one() {
        let now = 10 * DAY;
        for (bundles, cas, leaf, expected) in [
            (&[&[1][..]], &[ca(1)][..], leaf(1, now - 16 * HOUR + SECOND), None),
            (&[&[1]], &[ca(1)], leaf(1, now - 16 * HOUR), Some(1)),
            (&[&[2]], &[ca(2)], leaf(1, now), Some(2)),
            // The caBundles are still right for the leaf in use: first they are changed.
            (&[&[1]], &[ca(2)], leaf(1, now), None),
            (&[&[1]], &[ca(1), ca(2)], leaf(1, now - 16 * HOUR), None),
            (&[&[]], &[ca(1), ca(2)], leaf(1, now - 16 * HOUR), Some(2)),
            // It has ended, or the clock was set back by a day.
            (&[&[1]], &[ca(1), ca(2)], leaf(1, now - DAY - SECOND), Some(2)),
            (&[&[1]], &[ca(1)], leaf(1, now + DAY), Some(1)),
        ] {
            let case = Case { now, bundles, cas, leaf: Some(leaf) };
            assert_eq!(case.signer(), expected.map(id), "{bundles:?} {cas:?} {leaf:?}");
        }
    }

    #[test]
    fn a_leaf_does_not_outlive_its_ca_and_is_renewed_early_near_the_end() {
        let end = 366 * DAY;
        let case = Case { now: end - 3 * HOUR, bundles: &[&[1]], cas: &[ca(1)], leaf: None };
        let Step::Sign(leaf) = case.step() else { panic!("nothing is signed") };
        assert_eq!((leaf.validity.not_after, leaf.renew_at), (at(end), at(end - HOUR)));
    }

    #[test]
    fn signing_goes_on_while_publication_is_blocked_and_writes_wait_while_somebody_fights() {
        let now = 10 * DAY;
        let (cas, due) = (&[ca(1), unseen(9)], leaf(1, now - 16 * HOUR));
        let blocked = Case { now, bundles: &[&[1]], cas, leaf: Some(due) };
        assert_eq!(blocked.signer(), Some(id(1)));
        let signed = Case { leaf: Some(leaf(1, now)), ..blocked };
        assert_eq!(signed.step(), Step::Publish);
        assert_eq!(signed.step_with(|view| view.may_write = false), Step::Rest);
        // Not in every caBundle, so it has no record, does not sign, and nothing is dropped: for days.
        let later = now + 25 * HOUR;
        let later = Case { now: later, bundles: &[&[1]], cas, leaf: Some(leaf(1, later)) };
        assert_eq!(later.step(), Step::Publish);
    }

    #[test]
    fn what_is_asked_for_is_done_when_the_last_one_has_settled() {
        let now = 10 * DAY;
        let ask = |cas: &[Ca], bundle: &[u8]| {
            let case = Case { now, bundles: &[bundle], cas, leaf: Some(leaf(1, now)) };
            case.step_with(|view| view.asked = true)
        };
        assert_eq!(ask(&[ca(1)], &[1]), write(&[ca(1)], true));
        let young = [ca(1), seen(9, now - MINUTE)];
        assert_eq!(ask(&young, &[1, 9]), Step::Rest);
        let many: Vec<_> = (1..=8).map(|number| seen(number, now - HOUR)).collect();
        assert_eq!(ask(&many, &[1, 2, 3, 4, 5, 6, 7, 8]), Step::Rest);
    }

    #[test]
    fn what_has_ended_goes_and_what_is_broken_is_written_again() {
        let now = 366 * DAY + SECOND;
        let both = [ca(1), seen(200, 200 * DAY)];
        let case = Case { now, bundles: &[&[1, 200]], cas: &both, leaf: Some(leaf(200, now)) };
        assert_eq!(case.step(), write(&both[1..], false));
        let alone = Case { now, bundles: &[&[1]], cas: &[ca(1)], leaf: Some(leaf(1, now)) };
        assert_eq!(alone.step(), write(&[], true));
        let broken = Case { now: DAY, bundles: &[&[0]], cas: &[ca(0)], leaf: Some(leaf(0, DAY)) };
        assert_eq!(broken.step(), Step::Rest);
        assert_eq!(broken.step_with(|view| view.is_broken = true), write(&[ca(0)], false));
    }

    #[test]
    fn readiness_names_the_reason() {
        let now = 10 * DAY;
        let (good, old) = (leaf(1, now), leaf(1, now - 2 * DAY));
        let (right, wrong) = (entries(&[&[1], &[2, 1]]), entries(&[&[1], &[2]]));
        for (leaf, entries, expected) in [
            (Some(&good), Some(&right[..]), Ok(())),
            (None, Some(&right), Err("no serving certificate")),
            (Some(&old), Some(&right), Err("the serving certificate is for 2026-01-08")),
            (Some(&good), None, Err("not been read")),
            (Some(&good), Some(&[]), Err("does not exist")),
            (Some(&good), Some(&wrong), Err("the caBundle of e does not have")),
        ] {
            match (readiness(leaf, entries, at(now)), expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
                (found, expected) => panic!("{found:?} and not {expected:?}"),
            }
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_the_flag_to_change() {
        let day = Duration::from_secs(86_400);
        let second = Duration::from_secs(1);
        let good = Settings::default();
        assert_eq!(good.clone().check(), Ok(good.clone()));
        for (settings, expected) in [
            (Settings { leaf_life: 5 * second, ..good.clone() }, "--cert-life 5s is too short"),
            (Settings { ca_life: 2 * day, ..good.clone() }, "--ca-life 48h is too short"),
            (Settings { settle: 70 * day, ..good }, "must be at least 10152h"),
        ] {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let quick = Settings { leaf_life: 10 * second, ca_life: 48 * second, settle: 2 * second };
        quick.check().unwrap();
    }
}
