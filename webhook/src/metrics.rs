//! What the webhook counts, for Prometheus. Few labels, and few values for each: none of them is
//! anything that a request says.

use std::time::Duration;

use certs::keeper::Status;
use jiff::Timestamp;
use listen::{Cut, Event};
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

/// All names begin with it.
const PREFIX: &str = "secret_handshake_webhook";

/// Upper bounds of the histogram of admissions, in seconds. An answer takes some ten microseconds; the
/// API server gives up after five seconds (`timeoutSeconds`).
const SECONDS: [f64; 14] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5,
    1.0, 5.0,
];

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HandshakeFailure {
    /// The client went away, or reset the connection.
    Connection,
    /// The client does not trust our certificate: the caBundle is not that of our CA.
    Distrusted,
    /// `--client-ca` is given, and the client showed no certificate of that CA.
    ClientCertificate,
    /// No certificate to show yet.
    NotReady,
    /// Not TLS, or none that we speak.
    Protocol,
}

impl HandshakeFailure {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Distrusted => "distrusted",
            Self::ClientCertificate => "client-certificate",
            Self::NotReady => "not-ready",
            Self::Protocol => "protocol",
        }
    }
}

const fn cut_name(cut: Cut) -> &'static str {
    match cut {
        Cut::Handshake => "handshake-time",
        Cut::Head => "head-time",
        Cut::Idle => "idle-time",
        Cut::Write => "write-time",
        Cut::UnfinishedForNewcomer => "unfinished-for-newcomer",
        Cut::IdleForNewcomer => "idle-for-newcomer",
        Cut::Waiting => "waiting",
    }
}

/// Names and values.
type Labels<const N: usize, V = &'static str> = [(&'static str, V); N];

/// The webhook's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    admissions: Family<Labels<3>, Counter>,
    seconds: Histogram,
    refusals: Family<Labels<1, u16>, Counter>,
    panics: Counter,
    body_bytes: Gauge,
    connections: Family<Labels<1>, Gauge>,
    connections_opened: Family<Labels<1>, Counter>,
    connections_cut: Family<Labels<2>, Counter>,
    handshake_failures: Family<Labels<1>, Counter>,
    certificate_not_after: Gauge,
    certificate_installs: Counter,
    certificate_refusals: Counter,
    certificates: CertificateMetrics,
}

impl Metrics {
    /// All at zero. `log_dropped` counts the log lines that could not be written. Where certificates
    /// come from files, what is known only of those that the webhook keeps itself (`keeps_certificates`)
    /// is not shown at all: a zero would look like a CA that has ended.
    #[must_use]
    pub fn new(log_dropped: Counter, keeps_certificates: bool) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let r = &mut registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "The running version", version);
        let mut not_shown = Registry::default();
        let certificates =
            CertificateMetrics::new(if keeps_certificates { r } else { &mut not_shown });
        r.register(
            "log_lines_dropped",
            "Log lines that could not be written: whoever reads the log is slow, or gone",
            log_dropped,
        );
        let seconds = Histogram::new(SECONDS);
        r.register(
            "admission_seconds",
            "From the end of a request's body to its answer",
            seconds.clone(),
        );
        Self {
            admissions: new(r, "admissions", "Admission requests, by what became of them"),
            seconds,
            refusals: new(r, "http_refusals", "Requests answered with an HTTP error, by status"),
            panics: new(r, "panics", "Requests answered with 500 because of a bug"),
            body_bytes: new(r, "body_bytes", "Bytes of request bodies held in memory"),
            connections: new(r, "connections", "Open connections"),
            connections_opened: new(r, "connections_opened", "Connections accepted"),
            connections_cut: new(r, "connections_cut", "Connections ended by a limit, by which"),
            handshake_failures: new(r, "tls_handshake_failures", "TLS handshakes that failed"),
            certificate_not_after: new(
                r,
                "cert_not_after_seconds",
                "When the serving certificate ends, in seconds since 1970",
            ),
            certificate_installs: new(r, "cert_installs", "Serving certificates taken into use"),
            certificate_refusals: new(
                r,
                "cert_refusals",
                "Serving certificates or client CAs that were not taken into use",
            ),
            certificates,
            registry,
        }
    }

    /// In the `OpenMetrics` text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a String can't fail, and a metric that can't be written leaves the page short.
        let _ = text::encode(&mut page, &self.registry);
        page
    }

    pub(crate) fn admission(
        &self,
        endpoint: &'static str,
        outcome: &'static str,
        reason: &'static str,
        took: Duration,
    ) {
        let labels = [("endpoint", endpoint), ("outcome", outcome), ("reason", reason)];
        self.admissions.get_or_create(&labels).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts a request that was answered with an HTTP error.
    pub(crate) fn refusal(&self, status: http::StatusCode) {
        self.refusals.get_or_create(&[("status", status.as_u16())]).inc();
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    pub(crate) fn handshake_failed(&self, cause: HandshakeFailure) {
        self.handshake_failures.get_or_create(&[("cause", cause.as_str())]).inc();
    }

    /// Notes the end of the serving certificate that is now in use.
    pub(crate) fn certificate_installed(&self, not_after: Timestamp) {
        self.certificate_not_after.set(not_after.as_second());
        self.certificate_installs.inc();
    }

    /// Counts a certificate, or a client CA, that was not taken into use.
    pub(crate) fn certificate_refused(&self) {
        self.certificate_refusals.inc();
    }

    /// The part of it about certificates that the webhook looks after itself.
    pub(crate) fn certificates(&self) -> &CertificateMetrics {
        &self.certificates
    }

    /// Counts what happens on the port of this name.
    pub(crate) fn port(&self, port: &'static str) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
        let open = self.connections.get_or_create_owned(&[("port", port)]);
        let opened = self.connections_opened.get_or_create_owned(&[("port", port)]);
        let (cut, body_bytes) = (self.connections_cut.clone(), self.body_bytes.clone());
        let refusals = self.refusals.clone();
        move |event| match event {
            Event::Opened => {
                open.inc();
                opened.inc();
            }
            Event::Closed => {
                open.dec();
            }
            Event::Cut(cause) => {
                cut.get_or_create(&[("port", port), ("cause", cut_name(*cause))]).inc();
            }
            Event::Refused(status) => {
                refusals.get_or_create(&[("status", status.as_u16())]).inc();
            }
            Event::BodyBytes(change) => {
                body_bytes.inc_by(*change);
            }
            _ => {}
        }
    }
}

/// What the [`Status`] of certificates says that the webhook keeps itself.
#[derive(Clone, Debug)]
pub struct CertificateMetrics {
    ca_not_after: Gauge,
    matches: Gauge,
    renewals: Counter,
    repairs: Counter,
}

impl CertificateMetrics {
    fn new(registry: &mut Registry) -> Self {
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

fn new<M: Metric + Default + Clone>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
