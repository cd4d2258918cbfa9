//! The certificates that the webhook looks after itself, in numbers.

use certs::rotate::Phase;
use certs::status::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: &'static str,
}

/// What [`Status`] says.
#[derive(Clone, Debug, Default)]
pub struct CertificateMetrics {
    ca_not_after: Gauge,
    matches: Gauge,
    contested: Gauge,
    renewals: Counter,
    repairs: Counter,
    phase: Family<PhaseLabels, Gauge>,
}

impl CertificateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { ca_not_after, matches, contested, renewals, repairs, phase } = self.clone();
        registry.register(
            "ca_not_after_seconds",
            "When the CA that signs ends, in seconds since 1970",
            ca_not_after,
        );
        registry.register(
            "cabundle_matches",
            "1 if the caBundle of every entry holds exactly the CAs that it should",
            matches,
        );
        registry.register(
            "cabundle_contested",
            "1 while somebody else changes the caBundles again and again",
            contested,
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
        registry.register(
            "ca_rotation_phase",
            "1 for the phase that the change from one CA to the next is in",
            phase,
        );
    }

    /// Shows how things stand.
    pub fn show(&self, status: &Status) {
        let Self { ca_not_after, matches, contested, renewals, repairs, phase } = self;
        if let Some(signing) = status.signing() {
            ca_not_after.set(signing.not_after.as_second());
        }
        matches.set(status.cabundle_matches().into());
        contested.set(status.is_fighting.into());
        count_up_to(renewals, status.renewals_total);
        count_up_to(repairs, status.repairs_total);
        for (name, is) in [
            ("steady", Phase::Steady),
            ("publishing", Phase::Publishing),
            ("retiring", Phase::Retiring),
        ] {
            let current = status.phase == Some(is);
            phase.get_or_create(&PhaseLabels { phase: name }).set(current.into());
        }
    }
}

fn count_up_to(counter: &Counter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
