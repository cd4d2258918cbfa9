//! The loop that keeps certificates: it only carries out what [`Replica`] asks for.
//!
//! ```text
//!             ┌───────── Replica ◀────────┐  wake
//!         Ask ▼                           │  ┌───────── watch of the configuration
//!   cluster, keyring ──▶ Answer ──────────┘  │
//!         │                               Rest until something is due
//!         └─ a new leaf ─▶ serving;  how things stand ─▶ status
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::bundle::Configuration;
use crate::clock::Time;
use crate::cluster::Cluster;
use crate::duration;
use crate::inspect::Fingerprint;
use crate::issue::{Authority, Names};
use crate::key::PrivateKey;
use crate::replica::{Answer, Event, Failure, Replica, Request, Step};
use crate::rotate::{Authorities, Live, Secret, Why};
use crate::serving::ServingCertificate;
use crate::settings::Settings;
use crate::status::Status;
use crate::store::{Keyring, Object};
use crate::validity::Validity;

/// The pause before a watch that failed is tried again, doubled each time up to the second.
const WATCH_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Keeps this replica's serving certificate, and together with its peers the CA and the caBundles.
pub struct Keeper {
    replica: Replica,
    cluster: Arc<Cluster>,
    settings: Settings,
    names: Names,
    keyring: Keyring,
    /// The objects as they were read last: what a write is made from.
    secret: Option<Object>,
    configuration: Option<Configuration>,
    start: Instant,
    serving: watch::Sender<Option<ServingCertificate>>,
    status: watch::Sender<Status>,
}

impl Keeper {
    /// A keeper that has done nothing yet. `names` are what the serving certificate is good for;
    /// `seed` spreads this replica's pauses and renewals.
    #[must_use]
    pub fn new(cluster: Cluster, names: Names, settings: Settings, seed: u64) -> Self {
        let replica = Replica::new(settings.clone(), seed);
        let status = Status::of(&replica, &settings, Time::now(Duration::ZERO));
        Self {
            replica,
            cluster: Arc::new(cluster),
            settings,
            names,
            keyring: Keyring::default(),
            secret: None,
            configuration: None,
            start: Instant::now(),
            serving: watch::Sender::new(None),
            status: watch::Sender::new(status),
        }
    }

    /// The certificate to serve with: `None` until there is one, then always the newest.
    #[must_use]
    pub fn serving(&self) -> watch::Receiver<Option<ServingCertificate>> {
        self.serving.subscribe()
    }

    /// How things stand; new with every step.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Runs until `shutdown` is done. It may end between two requests or within one: each write is
    /// one request, and whoever comes next goes on from what is there.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let changed = Notify::new();
        let cluster = Arc::clone(&self.cluster);
        tokio::select! {
            () = shutdown => {}
            () = follow(&cluster, &changed) => {}
            () = self.keep(&changed) => {}
        }
    }

    async fn keep(&mut self, changed: &Notify) {
        loop {
            let step = self.replica.next(self.time());
            self.tell();
            match step {
                Step::Ask(request) => {
                    let result = self.carry_out(request).await;
                    self.replica.answer(self.time(), self.cluster.heard(), result);
                    self.keyring.retain(|id| self.replica.needs(id));
                }
                Step::Rest { look, due } => {
                    let now = self.start.elapsed();
                    // Also when the leaf ends, so that everybody is told in time.
                    let end = self.leaf_end().filter(|end| now < *end);
                    let until = due.into_iter().chain(end).fold(look, Duration::min);
                    tokio::select! {
                        () = tokio::time::sleep(until.saturating_sub(now)) => {}
                        () = changed.notified() => self.replica.wake(),
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::ReadConfiguration => {
                self.configuration = self.cluster.configuration().await?;
                let live =
                    self.configuration.as_ref().map_or_else(Live::default, Configuration::live);
                Ok(Answer::Configuration(Arc::new(live)))
            }
            Request::ReadSecret => {
                self.secret = self.cluster.secret().await?;
                let held = self.secret.as_ref().map(|secret| secret.read(&mut self.keyring));
                Ok(Answer::Secret(match held {
                    None => Secret::Absent,
                    Some(Ok(cas)) => Secret::Held(cas),
                    Some(Err(why)) => Secret::Unreadable(why),
                }))
            }
            Request::MakeCa(validity, _) => self.make(validity),
            Request::WriteSecret(cas, _) => self.write(&cas).await,
            Request::Publish(cas) => self.publish(&cas).await,
            Request::Sign(ca, validity) => self.sign(ca, validity),
        }
    }

    fn make(&mut self, validity: Validity) -> Result<Answer, Failure> {
        let key = PrivateKey::generate().map_err(unable)?;
        Ok(Answer::Made(self.keyring.add(Authority::new(key, validity).map_err(unable)?)))
    }

    async fn write(&mut self, cas: &Authorities) -> Result<Answer, Failure> {
        let names = self.cluster.names();
        let before = self.secret.take();
        let is_new = before.is_none();
        let mut secret = before.unwrap_or_else(|| Object::new(&names.namespace, &names.secret));
        secret.write(cas, &self.keyring).map_err(unable)?;
        let result = if is_new {
            self.cluster.create_secret(&secret).await
        } else {
            self.cluster.update_secret(&secret).await
        };
        result.map(|()| Answer::Done)
    }

    async fn publish(&self, cas: &Authorities) -> Result<Answer, Failure> {
        let (Some(configuration), Some(live)) = (&self.configuration, self.replica.live()) else {
            return Err(Failure::Conflict("the webhook configuration is gone".to_owned()));
        };
        let pem = self.keyring.bundle(cas).map_err(unable)?;
        let patch = configuration.patch(live.differing(cas.ids()), &pem);
        self.cluster.patch_configuration(&patch).await.map(|()| Answer::Done)
    }

    fn sign(&self, ca: Fingerprint, validity: Validity) -> Result<Answer, Failure> {
        let authority = self.keyring.authority(ca).map_err(unable)?;
        let key = PrivateKey::generate().map_err(unable)?;
        let leaf = authority.issue(key, &self.names, validity).map_err(unable)?;
        // What readiness takes for granted from now on: whoever trusts this CA accepts this leaf.
        let root = std::slice::from_ref(authority.certificate());
        leaf.verify(root, &self.names, validity.not_before).map_err(unable)?;
        self.serving.send_replace(Some(leaf));
        Ok(Answer::Signed)
    }

    /// When the leaf ends, by the clock that does not jump.
    fn leaf_end(&self) -> Option<Duration> {
        let time = self.time();
        let end = self.replica.leaf()?.validity.not_after;
        let left = end.duration_since(self.replica.clock().now(time));
        Some(time.steady + Duration::try_from(left).ok()? + Duration::from_millis(1))
    }

    fn time(&self) -> Time {
        Time::now(self.start.elapsed())
    }

    /// Tells the log what has happened, and everybody how things stand.
    fn tell(&mut self) {
        for event in self.replica.events() {
            log(&event);
        }
        let status = Status::of(&self.replica, &self.settings, self.time());
        if let (None, Some(clock)) = (&self.status.borrow().clock, &status.clock) {
            warn!("{clock}; certificates go by the API server's");
        }
        self.status.send_replace(status);
    }
}

/// Watches the configuration, for ever.
async fn follow(cluster: &Cluster, changed: &Notify) {
    let mut pause = WATCH_RETRY.0;
    loop {
        let begun = Instant::now();
        let ended = cluster.watch_configuration(|| changed.notify_one()).await;
        if let Err(failure) = &ended {
            let shown = duration::show(pause);
            warn!("the webhook configuration is not watched, next try in {shown}: {failure}");
        } else if begun.elapsed() > WATCH_RETRY.1 {
            // It lasted: all is well.
            pause = WATCH_RETRY.0;
            continue;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(WATCH_RETRY.1);
    }
}

fn unable(error: impl std::fmt::Display) -> Failure {
    Failure::Unavailable(error.to_string())
}

fn log(event: &Event) {
    match event {
        Event::Wrote(why @ (Why::Deleted | Why::Unreadable(_) | Why::Replaced)) => {
            warn!("CA Secret written: {why}");
        }
        Event::Wrote(why) => info!("CA Secret written: {why}"),
        Event::Published => info!("caBundles written"),
        Event::Repaired { entries, writer, is_fight } => {
            let entries = entries.join(", ");
            let writer = writer.as_deref().unwrap_or("somebody");
            if *is_fight {
                warn!(
                    "the caBundle of {entries} was changed by {writer} again and put right; \
                     repairs are held back from now on: keep {writer} from writing it"
                );
            } else {
                warn!("the caBundle of {entries} was changed by {writer} and put right");
            }
        }
        Event::Signed(leaf) => {
            let until = leaf.validity.not_after;
            info!("serving certificate signed by CA {}, valid until {until}", leaf.issuer);
        }
        Event::Failed(why) => warn!("certificates cannot be looked after: {why}"),
        Event::Recovered => info!("certificates are looked after again"),
    }
}
