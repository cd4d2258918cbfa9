//! Certificates that the webhook keeps itself: taken into use as they come, and reported.

use certs::api_server::ApiServer;
use certs::keeper::Status;
use certs::serving::ServingCertificate;
use tokio::sync::watch;

use super::Tls;
use crate::admin::Condition;
use crate::metrics::CertificateMetrics;

/// The certificates that a keeper makes, and how it is.
#[derive(Debug)]
pub(crate) struct Kept {
    serving: watch::Receiver<Option<ServingCertificate>>,
    status: watch::Receiver<Status>,
}

impl Kept {
    /// Those of the keeper that uses `api_server`.
    pub(crate) fn of(api_server: &ApiServer) -> Self {
        Self { serving: api_server.serving(), status: api_server.status() }
    }

    /// Keeps `tls` serving with the newest certificate, and `condition` and `metrics` up to date, until
    /// the keeper ends.
    pub(crate) async fn follow(
        mut self,
        tls: Tls,
        condition: Condition,
        metrics: CertificateMetrics,
    ) {
        let mut refused = None;
        loop {
            // A keeper is ready after it has handed out the certificate, so that one is taken into use
            // before anybody is told.
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
