//! How a replica's certificates stand: for `/readyz`, for metrics, and on one screen for a person.

use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::duration::{between, show};
use crate::replica::Replica;
use crate::rotate::{Authorities, Ca, Phase};
use crate::settings::Settings;

/// How one replica's certificates stand at one moment. It holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When this was so, by the API server's clock as far as it is known.
    pub now: Timestamp,
    /// Why the replica must not get requests; `None` if it may.
    pub not_ready: Option<String>,
    /// What went wrong at the last look at the cluster.
    pub problem: Option<String>,
    /// A sentence about this node's clock, if it is far off.
    pub clock: Option<String>,
    /// The serving certificate.
    pub leaf: Option<LeafStatus>,
    /// How far the change from one CA to the next has come.
    pub phase: Option<Phase>,
    /// The CAs in the Secret, the signing one first.
    pub authorities: Vec<AuthorityStatus>,
    /// The entries of the webhook configuration.
    pub entries: Vec<EntryStatus>,
    /// What happens next, in words, and when.
    pub next: Option<(String, Timestamp)>,
    /// How many serving certificates were signed in place of an older one.
    pub renewals_total: u64,
    /// How often caBundles were put right that somebody else had changed.
    pub repairs_total: u64,
    /// Whether somebody else changes the caBundles again and again.
    pub is_fighting: bool,
}

/// The serving certificate of a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafStatus {
    /// The fingerprint of the CA that signed it, shortened.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// When a new one is signed.
    pub renew_at: Timestamp,
}

/// One CA of a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityStatus {
    /// What it does: `signs`, `is next` or `signed before`.
    pub role: String,
    /// Its fingerprint, shortened.
    pub fingerprint: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// When it is dropped, if that is settled.
    pub drop_after: Option<Timestamp>,
}

/// One webhook of the configuration in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryStatus {
    /// The webhook's name.
    pub name: String,
    /// Whether its caBundle holds exactly the Secret's CAs.
    pub matches: bool,
    /// Who wrote its caBundle last, if it was not this webhook.
    pub writer: Option<String>,
}

impl Status {
    /// How `replica` stands.
    #[must_use]
    pub fn of(replica: &Replica, settings: &Settings, time: Time) -> Self {
        let clock = replica.clock();
        let cas = replica.authorities();
        let not_ready = replica.readiness(time).err().map(|why| match replica.problem() {
            Some(problem) => format!("{why} ({problem})"),
            None => why.to_string(),
        });
        Self {
            now: clock.now(time),
            not_ready,
            problem: replica.problem().map(str::to_owned),
            clock: clock.complaint(time, settings.skew / 2),
            leaf: replica.leaf().map(|leaf| LeafStatus {
                issuer: leaf.issuer.to_string(),
                not_before: leaf.validity.not_before,
                not_after: leaf.validity.not_after,
                renew_at: leaf.renew_at,
            }),
            phase: cas.map(Authorities::phase),
            authorities: cas.map(authorities).unwrap_or_default(),
            entries: entries(replica),
            next: next(replica, settings, time),
            renewals_total: replica.renewals_total(),
            repairs_total: replica.repairs_total(),
            is_fighting: replica.is_fighting(),
        }
    }

    /// Whether every caBundle holds exactly the Secret's CAs.
    #[must_use]
    pub fn cabundle_matches(&self) -> bool {
        !self.entries.is_empty() && self.entries.iter().all(|entry| entry.matches)
    }

    /// The CA that signs.
    #[must_use]
    pub fn signing(&self) -> Option<&AuthorityStatus> {
        self.authorities.first()
    }

    /// All of it on one screen; `replica` is what the replica is called, a pod's name.
    #[must_use]
    pub fn screen(&self, replica: &str) -> String {
        let mut screen = match &self.not_ready {
            None => format!("{replica}  ready\n"),
            Some(why) => format!("{replica}  NOT READY: {why}\n"),
        };
        for (key, text) in self.lines() {
            let _ = writeln!(screen, "  {key:<12} {text}");
        }
        screen
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let left = |until: Timestamp| {
            if until < self.now {
                "ended".to_owned()
            } else {
                format!("{} left", between(self.now, until))
            }
        };
        let leaf = self.leaf.as_ref().map_or("none yet".to_owned(), |leaf| {
            let LeafStatus { issuer, not_after, renew_at, .. } = leaf;
            let left = left(*not_after);
            format!("until {not_after} ({left}), signed by {issuer}, renewed from {renew_at}")
        });
        let mut lines = vec![("certificate", leaf)];
        for ca in &self.authorities {
            let AuthorityStatus { fingerprint, role, not_after, .. } = ca;
            let over =
                ca.drop_after.map_or(String::new(), |over| format!(", trusted until {over}"));
            let left = left(*not_after);
            lines.push(("CA", format!("{fingerprint} {role}, until {not_after} ({left}){over}")));
        }
        if self.authorities.is_empty() {
            lines.push(("CA", "none yet".to_owned()));
        }
        for entry in &self.entries {
            let how = match (entry.matches, &entry.writer) {
                (true, _) => "has exactly these CAs".to_owned(),
                (false, None) => "DIFFERS".to_owned(),
                (false, Some(writer)) => format!("DIFFERS, written by {writer}"),
            };
            lines.push(("caBundle", format!("{}: {how}", entry.name)));
        }
        if let Some((what, when)) = &self.next {
            lines.push(("next", format!("{what} in {}, at {when}", between(self.now, *when))));
        }
        let counts = format!("{} renewals, {} repairs", self.renewals_total, self.repairs_total);
        lines.push(("so far", counts));
        if self.is_fighting {
            let text = "somebody else writes the caBundles again and again; repairs are held back";
            lines.push(("WARNING", text.to_owned()));
        }
        lines.extend(self.problem.iter().map(|text| ("PROBLEM", text.clone())));
        lines.extend(self.clock.iter().map(|text| ("CLOCK", text.clone())));
        lines
    }
}

fn entries(replica: &Replica) -> Vec<EntryStatus> {
    let Some(live) = replica.live() else {
        return Vec::new();
    };
    let differing: Option<Vec<_>> = replica
        .authorities()
        .map(|cas| live.differing(cas.ids()).map(|entry| &entry.name).collect());
    let status = |entry: &crate::rotate::Entry| EntryStatus {
        name: entry.name.clone(),
        matches: differing.as_ref().is_some_and(|differing| !differing.contains(&&entry.name)),
        writer: entry.foreign_writer.clone(),
    };
    live.entries.iter().map(status).collect()
}

fn authorities(cas: &Authorities) -> Vec<AuthorityStatus> {
    let status = |role: &str, ca: &Ca, drop_after| AuthorityStatus {
        role: role.to_owned(),
        fingerprint: ca.id.to_string(),
        not_before: ca.validity.not_before,
        not_after: ca.validity.not_after,
        drop_after,
    };
    let mut list = vec![status("signs", &cas.signing, None)];
    list.extend(cas.next.iter().map(|ca| status("is next", ca, None)));
    list.extend(cas.previous.iter().map(|(ca, over)| status("signed before", ca, Some(*over))));
    list
}

/// What happens next, in words, and when.
fn next(replica: &Replica, settings: &Settings, time: Time) -> Option<(String, Timestamp)> {
    let cas = replica.authorities()?;
    if cas.next.is_some() {
        let what = format!(
            "the next CA signs, once all caBundles have settled for {}",
            show(settings.settle)
        );
        return Some((what, crate::validity::after(replica.clock().now(time), settings.settle)));
    }
    let introduced = ("a new CA is introduced".to_owned(), cas.signing.validity.two_thirds());
    let dropped =
        cas.previous.iter().map(|(ca, over)| (format!("the CA {} is dropped", ca.id), *over));
    let renewed =
        replica.leaf().map(|leaf| ("the certificate is renewed".to_owned(), leaf.renew_at));
    std::iter::once(introduced).chain(dropped).chain(renewed).min_by_key(|(_, when)| *when)
}
