//! The command line.

mod certificates;
mod duration;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use tracing::level_filters::LevelFilter;

pub use certificates::CertificateArgs;
use injection::Policy;

use crate::log::Format;
use duration::{HOUR, within};

/// Serves the admission webhook that adds the handshake sidecar to pods that ask for it.
#[derive(Clone, Debug, Parser)]
#[command(name = "webhook", version)]
pub struct Args {
    /// Which lines are written to the standard error: error, warn, info (one for each admission) or
    /// debug (connections that broke off, and why)
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,

    /// How a log line looks
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log_format: Format,

    /// Where to serve HTTPS: `:PORT` (all addresses, IPv6 and IPv4) or ADDRESS:PORT; port 0 takes a
    /// free one
    #[arg(long, value_name = "ADDRESS", default_value = ":8443")]
    pub listen: listen::Address,

    /// Where to serve /livez, /readyz and /metrics over plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = ":8080")]
    pub admin_listen: listen::Address,

    /// The webhook's own namespace, whose pods it leaves alone [default: that of the pod that it runs
    /// in]
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// How to reach the API server [default: the file that the environment variable KUBECONFIG names
    /// or ~/.kube/config, else the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Read no settings from the annotations of Namespaces, for a webhook that runs outside of the cluster
    /// that calls it. Where no API server is known (see --kubeconfig) none are read either
    #[arg(long)]
    pub no_namespace_settings: bool,

    /// After SIGTERM or SIGINT: time for which new connections are still served, until no API server
    /// sends any. An endpoint's removal reaches every node within a second or two; 0s for a webhook
    /// that is not behind a Service. Requests that are under way then get 10 s more, and both together
    /// should be less than the pod's terminationGracePeriodSeconds. A second signal ends it at once
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = within(Duration::ZERO, HOUR))]
    pub drain: Duration,

    /// Certificates
    #[command(flatten)]
    pub certificates: CertificateArgs,

    /// The sidecar
    #[command(flatten)]
    pub sidecar: Policy,
}

impl Args {
    /// Reads the command line of this process; bad usage ends it with exit code 2 and a reason.
    #[must_use]
    pub fn read() -> Self {
        let args = Self::parse();
        if let Err(reason) = args.check() {
            Self::command().error(ErrorKind::ValueValidation, reason).exit();
        }
        args
    }

    /// Checks what no flag can be told alone.
    fn check(&self) -> anyhow::Result<()> {
        self.certificates.settings()?;
        Ok(self.sidecar.check()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ErrorKind> {
        let words = std::iter::once("webhook").chain(line.split_whitespace());
        Args::try_parse_from(words).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn bad_usage_is_told_apart() {
        for (line, expected) in [
            ("serve", ErrorKind::UnknownArgument),
            ("--what", ErrorKind::UnknownArgument),
            ("--tls-cert a.pem", ErrorKind::MissingRequiredArgument),
            ("--tls-key a.pem", ErrorKind::MissingRequiredArgument),
            ("--ca-bundle a.pem", ErrorKind::MissingRequiredArgument),
            ("--ca-life soon", ErrorKind::ValueValidation),
            ("--drain 5", ErrorKind::ValueValidation),
            ("--drain 2h", ErrorKind::ValueValidation),
            ("--tls-poll 0s", ErrorKind::ValueValidation),
            ("--drain -5s", ErrorKind::UnknownArgument),
            ("--listen 8443", ErrorKind::ValueValidation),
            ("--sidecar-run-as-user 0", ErrorKind::ValueValidation),
            ("--sidecar-memory 12m", ErrorKind::ValueValidation),
            ("--log-level loud", ErrorKind::ValueValidation),
            ("--version", ErrorKind::DisplayVersion),
            ("--help", ErrorKind::DisplayHelp),
        ] {
            assert_eq!(parse(line).err(), Some(expected), "{line}");
        }
    }

    #[test]
    fn lives_that_cannot_work_together_are_bad_usage() {
        assert!(parse("").unwrap().check().is_ok());
        let refused = parse("--cert-life 24h --ca-life 25h").unwrap().check();
        assert!(refused.unwrap_err().to_string().contains("--ca-life"));
        let refused = parse("--sidecar-port 8080 --sidecar-health-port 8080").unwrap().check();
        assert!(refused.unwrap_err().to_string().contains("--sidecar-health-port"));
    }

    #[test]
    fn the_certificate_is_for_the_service_and_for_what_else_it_is_called() {
        let line = "--service s --cert-name w.example --cert-name 127.0.0.1 --cert-name ::1";
        let names = parse(line).unwrap().certificates.names("ns");
        let service = ["s.ns.svc", "s.ns.svc.cluster.local", "s.ns"];
        assert_eq!(names[..3], service);
        assert_eq!(names[3..], ["w.example", "127.0.0.1", "::1"]);
    }

    #[test]
    fn every_flag_is_documented() {
        for flag in Args::command().get_arguments() {
            assert!(flag.get_help().is_some(), "{}", flag.get_id());
        }
    }
}
