//! The certificates that the webhook keeps itself, in numbers.

use certs::keeper::Status;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What [`Status`] says.
#[derive(Clone, Debug, Default)]
pub struct CertificateMetrics {
    ca_not_after: Gauge,
    matches: Gauge,
    renewals: Counter,
    repairs: Counter,
}

impl CertificateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { ca_not_after, matches, renewals, repairs } = self.clone();
        registry.register(
            "ca_not_after_seconds",
            "When the CA of the serving certificate ends, in seconds since 1970",
            ca_not_after,
        );
        registry.register(
            "cabundle_matches",
            "1 if the caBundle of every entry holds exactly the CAs that it should",
            matches,
        );
        registry.register(
            "cert_renewals",
            "Serving certificates signed in place of an older one",
            renewals,
        );
        registry.register(
            "cabundle_repairs",
            "Times that caBundles were put right that somebody else had changed",
            repairs,
        );
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
