//! The certificates that the webhook keeps itself, in numbers.

use certs::keeper::Status;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::new;

/// What [`Status`] says.
#[derive(Clone, Debug)]
pub struct CertificateMetrics {
    ca_not_after: Gauge,
    matches: Gauge,
    renewals: Counter,
    repairs: Counter,
}

impl CertificateMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            ca_not_after: new(
                registry,
                "ca_not_after_seconds",
                "When the CA of the serving certificate ends, in seconds since 1970",
            ),
            matches: new(
                registry,
                "cabundle_matches",
                "1 if the caBundle of every entry holds exactly the CAs that it should",
            ),
            renewals: new(
                registry,
                "cert_renewals",
                "Serving certificates signed in place of an older one",
            ),
            repairs: new(
                registry,
                "cabundle_repairs",
                "Times that caBundles were put right that somebody else had changed",
            ),
        }
    }

    /// Shows how things are.
    pub(crate) fn show(&self, status: &Status) {
        if let Some(end) = status.ca_not_after {
            self.ca_not_after.set(end.as_second());
        }
        self.matches.set(status.bundles_match.into());
        count_up_to(&self.renewals, status.renewals);
        count_up_to(&self.repairs, status.repairs);
    }
}

fn count_up_to(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
