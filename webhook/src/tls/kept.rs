//! Certificates that the webhook keeps itself: what its keeper makes is shown and told.

use certs::keeper::Keeper;
use certs::serving::ServingCertificate;
use certs::status::Status;
use tokio::sync::watch;

use super::Tls;
use crate::admin::Condition;
use crate::metrics::CertificateMetrics;

/// What a keeper tells.
#[derive(Debug)]
pub struct Kept {
    serving: watch::Receiver<Option<ServingCertificate>>,
    status: watch::Receiver<Status>,
}

impl Kept {
    /// Listens to `keeper`, which is to be run beside this.
    #[must_use]
    pub fn by(keeper: &Keeper) -> Self {
        Self { serving: keeper.serving(), status: keeper.status() }
    }

    /// How things stand, asked for at any time.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Keeps `tls` serving with the newest certificate, and `condition` and `metrics` telling how
    /// things stand, until the keeper ends.
    pub async fn follow(mut self, tls: Tls, condition: Condition, metrics: CertificateMetrics) {
        let mut refused = None;
        loop {
            // A keeper says that it is ready after it has handed out the certificate, so that one is
            // taken into use before anybody is told.
            let status = self.status.borrow_and_update().clone();
            if self.serving.has_changed().unwrap_or(false) {
                refused = self.install(&tls);
            }
            metrics.show(&status);
            match refused.clone().or(status.not_ready) {
                None => condition.met(),
                Some(reason) => condition.unmet(reason),
            }
            if self.status.changed().await.is_err() {
                return;
            }
        }
    }

    /// Says why not, if it can't be.
    fn install(&mut self, tls: &Tls) -> Option<String> {
        let newest = self.serving.borrow_and_update();
        let error = tls.install(newest.as_ref()?).err()?;
        tracing::error!(%error, "new certificate refused, the old one stays");
        Some(format!("the new certificate can't be used: {error}"))
    }
}
