//! Certificates that the webhook keeps itself: taken into use as they come, and reported.

use certs::keeper::Status;
use certs::serving::ServingCertificate;
use tokio::sync::watch::Receiver;

use super::Tls;
use crate::admin::Condition;
use crate::metrics::CertificateMetrics;

/// Keeps `tls` serving with the newest certificate of a keeper, and `condition` and `metrics` up to date
/// with its status, until the keeper ends.
pub(crate) async fn follow(
    mut serving: Receiver<Option<ServingCertificate>>,
    mut status: Receiver<Status>,
    tls: Tls,
    condition: Condition,
    metrics: CertificateMetrics,
) {
    let mut refused = None;
    loop {
        // A keeper is ready after it has handed out the certificate, so that one is taken into use
        // before anybody is told.
        let now = status.borrow_and_update().clone();
        if serving.has_changed().unwrap_or(false) {
            let newest = serving.borrow_and_update().clone();
            refused = newest.and_then(|newest| tls.install(&newest).err()).map(|error| {
                tracing::error!(%error, "new certificate refused, the old one stays");
                format!("the new certificate can't be used: {error}")
            });
        }
        metrics.show(&now);
        match refused.clone().or(now.not_ready) {
            None => condition.met(),
            Some(reason) => condition.unmet(reason),
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
