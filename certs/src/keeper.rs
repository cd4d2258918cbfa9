//! The loop that keeps one replica's certificate, and together with the other replicas the CAs and
//! the caBundles.
//!
//! ```text
//!   ┌▶ read the configuration ─▶ read the Secret ─▶ rotate::next ─▶ one step ─┐
//!   │                                                        └▶ rest ─┐       │
//!   └── a change was seen, or it is time ◀────────────────────────────┘◀──────┘
//! ```
//!
//! After each step everything is read again, so a restart at any point, a lost answer or another
//! replica's write is nothing special.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::bundle::Entry;
use crate::certificate::{Fingerprint, Validity};
use crate::rotate::{self, Leaf, Settings, Step, View, readiness};
use crate::secret::{Ca, Content};

/// How often everything is looked at when nothing seems to happen: the Secret is not watched.
const LOOK: Duration = Duration::from_secs(10);
/// The pause after the first failure in a row, doubled with each further one up to [`LOOK`].
const RETRY: Duration = Duration::from_millis(100);
/// So many writes are made as soon as they are due, from one quiet time to the next: a start needs
/// three, a rotation five. Against whoever undoes more than that there is one in [`LOOK`].
const WRITES_AT_ONCE: u32 = 8;
/// How often /readyz learns what is going on while writes are held back.
const HELD_LOOK: Duration = Duration::from_secs(1);

/// What could not be done, and what to do about it. Every failure is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// How one replica's certificates are. It holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Why the replica must not get requests; `None` if it may.
    pub not_ready: Option<String>,
    /// When the CA of the serving certificate ends.
    pub ca_not_after: Option<Timestamp>,
    /// Whether the caBundle of every entry holds exactly the Secret's CAs.
    pub bundles_match: bool,
    /// How many serving certificates were signed in place of an older one.
    pub renewals: u64,
    /// How often caBundles were put right that somebody else had changed.
    pub repairs: u64,
}

impl Default for Status {
    /// Before the first look.
    fn default() -> Self {
        Self {
            not_ready: Some("there is no serving certificate yet".to_owned()),
            ca_not_after: None,
            bundles_match: false,
            renewals: 0,
            repairs: 0,
        }
    }
}

/// The cluster, as far as certificates go: the API server, or the simulation of one.
///
/// A write is refused if its object has changed since it was last read here, and so is a signature by
/// a CA that was not in the Secret then.
#[expect(async_fn_in_trait, reason = "whether its futures are `Send` is up to who implements it")]
pub trait Cluster {
    /// The time, by the API server's clock.
    fn now(&self) -> Timestamp;

    /// Reads the configuration's entries; there are none where there is no configuration.
    async fn read_configuration(&mut self) -> Result<Vec<Entry>, Failure>;

    /// Reads the Secret.
    async fn read_secret(&mut self) -> Result<Content, Failure>;

    /// Makes a leaf of this CA the serving certificate.
    async fn sign(&mut self, ca: Fingerprint, validity: Validity) -> Result<(), Failure>;

    /// Writes the Secret's CAs into every caBundle.
    async fn publish(&mut self) -> Result<(), Failure>;

    /// Writes these CAs into the Secret, and with a validity a new one after them.
    async fn write_secret(&mut self, cas: &[Ca], new: Option<Validity>) -> Result<(), Failure>;

    /// Takes note of how things are.
    fn report(&mut self, status: &Status);

    /// Waits for so long, or until somebody else changes the configuration if that `wakes`; says
    /// whether that was it.
    async fn rest(&mut self, limit: Duration, wakes: bool) -> bool;
}

/// Keeps certificates for as long as it is polled. It can be dropped at any point.
pub async fn keep(cluster: &mut impl Cluster, settings: &Settings) {
    let mut keeper = Keeper {
        settings,
        leaf: None,
        entries: None,
        matched: Vec::new(),
        owed: Duration::ZERO,
        failures: 0,
        problem: None,
        status: Status::default(),
    };
    loop {
        let looked = keeper.look(cluster).await;
        keeper.report(cluster, looked.as_ref().err());
        match looked {
            Ok(Looked::Again) => {}
            Ok(Looked::Done) if !keeper.may_write() => {
                cluster.rest(HELD_LOOK, false).await;
                keeper.owed -= HELD_LOOK;
            }
            Ok(Looked::Done) => {
                if !cluster.rest(keeper.until_due(cluster.now()), true).await {
                    keeper.owed = Duration::ZERO;
                }
            }
            Err(_) => {
                let pause = RETRY.saturating_mul(1 << keeper.failures.min(16)).min(LOOK);
                cluster.rest(pause, true).await;
            }
        }
    }
}

enum Looked {
    Again,
    Done,
}

struct Keeper<'a> {
    settings: &'a Settings,
    leaf: Option<Leaf>,
    /// The configuration's entries as last read.
    entries: Option<Vec<Entry>>,
    /// The CAs that every caBundle was last seen to hold exactly.
    matched: Vec<Fingerprint>,
    /// How long to hold back for the writes since there was last quiet: [`LOOK`] for each.
    owed: Duration,
    /// Failures in a row.
    failures: u32,
    problem: Option<String>,
    status: Status,
}

impl Keeper<'_> {
    fn may_write(&self) -> bool {
        self.owed <= LOOK * (WRITES_AT_ONCE - 1)
    }

    /// One look at the cluster and one step.
    async fn look(&mut self, cluster: &mut impl Cluster) -> Result<Looked, Failure> {
        let may_write = self.may_write();
        let entries = self.entries.insert(cluster.read_configuration().await?);
        let Content { cas, asked, problem } = cluster.read_secret().await?;
        let ids: Vec<_> = cas.iter().map(|ca| ca.id).collect();
        let differing: Vec<_> =
            entries.iter().filter(|entry| !entry.holds_exactly(&ids)).cloned().collect();
        self.status.bundles_match = !entries.is_empty() && differing.is_empty();
        if self.status.bundles_match {
            self.matched.clone_from(&ids);
        }
        let view = View {
            settings: self.settings,
            now: cluster.now(),
            entries,
            cas: &cas,
            asked,
            is_broken: problem.is_some(),
            leaf: self.leaf.as_ref(),
            may_write,
        };
        let now = view.now;
        match rotate::next(&view) {
            Step::Rest => return Ok(Looked::Done),
            Step::Sign(leaf) => {
                cluster.sign(leaf.issuer, Validity::starting(now, self.settings.leaf_life)).await?;
                self.status.renewals += u64::from(self.leaf.is_some());
                self.status.ca_not_after =
                    cas.iter().find(|ca| ca.id == leaf.issuer).map(|ca| ca.validity.not_after);
                self.leaf = Some(leaf);
            }
            Step::Publish => {
                cluster.publish().await?;
                self.owed += LOOK;
                self.published(&differing, &ids);
            }
            Step::Write { cas, add } => {
                let new = add.then(|| Validity::starting(now, self.settings.ca_life));
                cluster.write_secret(&cas, new).await?;
                self.owed += LOOK;
                if let Some(problem) = problem {
                    warn!("the CA Secret was not usable and was written again: {problem}");
                }
                let kept: Vec<_> = cas.iter().map(|ca| ca.id).collect();
                info!(cas = ?kept, has_new = add, "CA Secret written");
            }
        }
        Ok(Looked::Again)
    }

    /// Tells apart what followed the Secret and what somebody else had changed.
    fn published(&mut self, differing: &[Entry], ids: &[Fingerprint]) {
        let entries: Vec<_> = differing.iter().map(|entry| entry.name.as_str()).collect();
        let entries = entries.join(", ");
        if self.matched != ids {
            info!(entries, cas = ?ids, "caBundles written");
            return;
        }
        self.status.repairs += 1;
        let writer = differing.iter().find_map(|entry| entry.foreign_writer.as_deref());
        let writer = writer.unwrap_or("somebody");
        warn!("the caBundle of {entries} was changed by {writer} and put right");
        if !self.may_write() {
            warn!(
                "{writer} changes caBundles again and again: they are put right only once in {LOOK:?} \
                 from now on; keep {writer} from writing them"
            );
        }
    }

    fn report(&mut self, cluster: &mut impl Cluster, failure: Option<&Failure>) {
        self.failures = failure.map_or(0, |_| self.failures.saturating_add(1));
        // The first one is not told: most often another replica was faster.
        let problem = failure.filter(|_| self.failures > 1).map(ToString::to_string);
        if problem != self.problem {
            if let Some(problem) = &problem {
                warn!("certificate reconciliation failed: {problem}");
            } else {
                info!("certificate reconciliation works again");
            }
        }
        self.problem = problem;
        let readiness = readiness(self.leaf.as_ref(), self.entries.as_deref(), cluster.now());
        self.status.not_ready = readiness.err().map(|reason| match &self.problem {
            Some(problem) => format!("{reason} ({problem})"),
            None => reason,
        });
        cluster.report(&self.status);
    }

    /// How long to rest when all is well.
    fn until_due(&self, now: Timestamp) -> Duration {
        let leaf = self.leaf.iter().flat_map(|leaf| [leaf.renew_at, leaf.validity.not_after]);
        let left = leaf.filter_map(|at| Duration::try_from(at.duration_since(now)).ok());
        left.filter(|left| !left.is_zero()).fold(LOOK, Duration::min)
    }
}
