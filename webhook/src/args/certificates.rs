//! Which certificates the webhook shows and demands.

use std::path::PathBuf;
use std::time::Duration;

use certs::rotate::{CaTooShort, Settings};

use super::duration::{HOUR, SECOND, within};

/// Flags about certificates. Without files, the webhook keeps a CA and its own certificate, and
/// publishes the CA in the caBundles.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Certificates")]
pub struct CertificateArgs {
    /// The webhook's Service: its certificate is for SERVICE.NAMESPACE.svc
    #[arg(long, value_name = "NAME", default_value = "secret-handshake-webhook")]
    pub service: String,

    /// A name or an IP address that the certificate is for as well: where the webhook is called by a
    /// URL. Can be given several times
    #[arg(long, value_name = "NAME")]
    pub cert_name: Vec<String>,

    /// The cluster's domain: the certificate is for SERVICE.NAMESPACE.svc.DOMAIN as well
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// The Secret in the webhook's own namespace that holds the CA
    #[arg(long, value_name = "NAME", default_value = "secret-handshake-ca")]
    pub ca_secret: String,

    /// The `MutatingWebhookConfiguration` whose caBundles are kept
    #[arg(long, value_name = "NAME", default_value = "handshake.secret-handshake.dev")]
    pub configuration: String,

    /// How long a serving certificate lives; a new one is signed at two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = within(SECOND, CENTURY))]
    pub cert_life: Duration,

    /// How long a CA lives; the next one is added at two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = within(SECOND, CENTURY))]
    pub ca_life: Duration,

    /// How long a CA is in every caBundle before it signs: longer than the caches of API servers lag
    /// behind and clocks differ
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = within(SECOND, CENTURY))]
    pub ca_settle: Duration,

    /// Serve with the certificate chain in this PEM file, and take a new one into use when the file's
    /// content changes; then no CA is kept, and the caBundles are somebody else's (cert-manager's)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Keep the CAs in this PEM file in the caBundles, for a certificate from --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub ca_bundle: Option<PathBuf>,

    /// Serve only clients with a certificate of a CA in this PEM file: the API server's
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// How often the contents of --tls-cert, --tls-key and --client-ca are compared
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = within(Duration::from_millis(1), HOUR))]
    pub tls_poll: Duration,
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl CertificateArgs {
    /// How long everything lives.
    ///
    /// # Errors
    /// If a rotation does not fit into a CA's life.
    pub fn settings(&self) -> Result<Settings, CaTooShort> {
        let Self { cert_life: leaf_life, ca_life, ca_settle: settle, .. } = *self;
        Settings { leaf_life, ca_life, settle }.check()
    }

    /// The names that a certificate for this webhook is for, first the one by which an API server calls
    /// its Service.
    #[must_use]
    pub fn names(&self, namespace: &str) -> Vec<String> {
        let short = format!("{}.{namespace}", self.service);
        let mut names =
            vec![format!("{short}.svc"), format!("{short}.svc.{}", self.cluster_domain), short];
        names.extend_from_slice(&self.cert_name);
        names
    }
}
