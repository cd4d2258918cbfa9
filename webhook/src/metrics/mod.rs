//! What the webhook counts, for Prometheus. Few labels, and few values for each: none of them is
//! anything that a request says.

mod certificates;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use certificates::CertificateMetrics;

/// All names begin with it.
const PREFIX: &str = "secret_handshake_webhook";

/// Upper bounds of the histogram of admissions, in seconds. An answer takes some ten microseconds; the
/// API server gives up after five seconds (`timeoutSeconds`).
const SECONDS: [f64; 14] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5,
    1.0, 5.0,
];

/// One of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// HTTPS, for the API server.
    Webhook,
    /// Plain HTTP, for the kubelet and Prometheus.
    Admin,
}

/// Why the server ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// The TLS handshake took too long.
    HandshakeTime,
    /// Nothing came after it.
    FirstByteTime,
    /// A request's head took too long.
    HeadTime,
    /// Kept alive, and not used for too long.
    IdleTime,
    /// The peer did not take its answer.
    WriteTime,
    /// All places were taken, and it had rested longest.
    MadeRoom,
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
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

impl Port {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Admin => "admin",
        }
    }
}

impl Cut {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HandshakeTime => "handshake-time",
            Self::FirstByteTime => "first-byte-time",
            Self::HeadTime => "head-time",
            Self::IdleTime => "idle-time",
            Self::WriteTime => "write-time",
            Self::MadeRoom => "made-room",
        }
    }
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    endpoint: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabels {
    port: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    port: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: u16,
}

/// The webhook's metrics. Cheap to clone; every clone counts into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    admissions: Family<AdmissionLabels, Counter>,
    seconds: Histogram,
    refusals: Family<StatusLabels, Counter>,
    panics: Counter,
    body_bytes: Gauge,
    connections: Family<PortLabels, Gauge>,
    connections_opened: Family<PortLabels, Counter>,
    connections_cut: Family<CutLabels, Counter>,
    handshake_failures: Family<HandshakeLabels, Counter>,
    certificate_not_after: Gauge,
    certificate_installs: Counter,
    certificate_refusals: Counter,
    certificates: CertificateMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero, for certificates that somebody else looks after.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// All at zero, with those about certificates that the webhook looks after itself. Where it does
    /// not, they are not shown at all: a zero would look like a CA that has ended.
    #[must_use]
    pub fn with_kept_certificates() -> Self {
        Self::with(CertificateMetrics::register)
    }

    fn with(certificate_metrics: impl FnOnce(&CertificateMetrics, &mut Registry)) -> Self {
        let certificates = CertificateMetrics::default();
        let mut registry = Registry::with_prefix(PREFIX);
        let r = &mut registry;
        r.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        certificate_metrics(&certificates, r);
        Self {
            admissions: new(r, "admissions", "Admission requests, by what became of them"),
            seconds: {
                let seconds = Histogram::new(SECONDS);
                let help =
                    "From the end of a request's head to its answer, the body's arrival included";
                r.register("admission_seconds", help, seconds.clone());
                seconds
            },
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
            registry: Arc::new(registry),
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

    /// Counts an admission and how long it took.
    pub fn admission(
        &self,
        endpoint: &'static str,
        outcome: &'static str,
        reason: &'static str,
        took: Duration,
    ) {
        self.admissions.get_or_create(&AdmissionLabels { endpoint, outcome, reason }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts a request that was answered with an HTTP error.
    pub fn refusal(&self, status: http::StatusCode) {
        self.refusals.get_or_create(&StatusLabels { status: status.as_u16() }).inc();
    }

    /// Counts a panic that cost a request.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a TLS handshake that failed.
    pub fn handshake_failed(&self, cause: HandshakeFailure) {
        self.handshake_failures.get_or_create(&HandshakeLabels { cause: cause.as_str() }).inc();
    }

    /// Notes the end of the serving certificate that is now in use.
    pub fn certificate_installed(&self, not_after: Timestamp) {
        self.certificate_not_after.set(not_after.as_second());
        self.certificate_installs.inc();
    }

    /// Counts a certificate, or a client CA, that was not taken into use.
    pub fn certificate_refused(&self) {
        self.certificate_refusals.inc();
    }

    /// The part of it about certificates that the webhook looks after itself.
    #[must_use]
    pub fn certificates(&self) -> &CertificateMetrics {
        &self.certificates
    }

    /// Bytes of request bodies in memory.
    pub(crate) fn body_bytes(&self) -> &Gauge {
        &self.body_bytes
    }

    /// The part of it that counts one port's connections.
    #[must_use]
    pub fn port(&self, port: Port) -> PortMetrics {
        let labels = PortLabels { port: port.as_str() };
        PortMetrics {
            port,
            open: self.connections.get_or_create_owned(&labels),
            opened: self.connections_opened.get_or_create_owned(&labels),
            cut: self.connections_cut.clone(),
        }
    }
}

fn new<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Default + Clone + prometheus_client::registry::Metric,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Counts the connections of one port.
#[derive(Clone, Debug)]
pub struct PortMetrics {
    port: Port,
    open: Gauge,
    opened: Counter,
    cut: Family<CutLabels, Counter>,
}

impl PortMetrics {
    pub(crate) fn opened(&self) {
        self.open.inc();
        self.opened.inc();
    }

    pub(crate) fn closed(&self) {
        self.open.dec();
    }

    pub(crate) fn cut(&self, cause: Cut) {
        self.cut
            .get_or_create(&CutLabels { port: self.port.as_str(), cause: cause.as_str() })
            .inc();
    }
}
