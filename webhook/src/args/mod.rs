//! The command line.

mod certificates;
mod sidecar;
mod units;

use std::path::PathBuf;
use std::time::Duration;

use certs::settings::{Settings, SettingsError};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

pub use certificates::CertificateArgs;
pub use sidecar::{RunAsUser, SidecarArgs};

use crate::listen::ListenAddress;
use crate::log::{Format, Level};
use units::{duration, duration_or_zero, size};

/// Serves the admission webhook that adds the handshake sidecar to pods that ask for it.
#[derive(Clone, Debug, Parser)]
#[command(name = "webhook", version)]
pub struct Args {
    /// From which severity on log lines are written, to the standard error
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,

    /// How a log line looks
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log_format: Format,

    /// Everything else
    #[command(flatten)]
    pub serve: ServeArgs,
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
    fn check(&self) -> Result<(), SettingsError> {
        Settings::try_from(&self.serve.certificates.life).map(drop)
    }
}

/// Flags about serving.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to serve HTTPS: `:PORT` (all addresses, IPv6 and IPv4) or ADDRESS:PORT; port 0 takes a
    /// free one
    #[arg(long, value_name = "ADDRESS", default_value = ":8443")]
    pub listen: ListenAddress,

    /// Where to serve /livez, /readyz, /metrics and /cert over plain HTTP
    #[arg(long, value_name = "ADDRESS", default_value = ":8080")]
    pub admin_listen: ListenAddress,

    /// The webhook's own namespace, whose pods it leaves alone [default: that of the pod that it runs
    /// in]
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// How to reach the API server [default: the file that the environment variable KUBECONFIG names,
    /// else the pod's service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Certificates
    #[command(flatten)]
    pub certificates: CertificateArgs,

    /// The sidecar
    #[command(flatten)]
    pub sidecar: SidecarArgs,

    /// Limits
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Shutdown
    #[command(flatten)]
    pub shutdown: ShutdownArgs,
}

/// Flags about what a client may use up.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Connections that may be open at one time. One more, and the one that rested longest is closed
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "1024",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub max_connections: u32,

    /// Time for a TLS handshake
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub handshake_timeout: Duration,

    /// Time from the TLS handshake to the first byte of a request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub first_byte_timeout: Duration,

    /// Time from the first byte of a request to the end of its head
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub head_timeout: Duration,

    /// Time for a request's body; an API server waits 5 s for the answer
    #[arg(long, value_name = "DURATION", default_value = "4s", value_parser = duration)]
    pub body_timeout: Duration,

    /// Time for which a connection is kept between two requests; an API server keeps it for 90 s and
    /// should be the one to close it
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub idle_timeout: Duration,

    /// Time for a client to take its answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub write_timeout: Duration,

    /// Size of a request's body; an API server sends at most two objects of 3 MiB
    #[arg(long, value_name = "SIZE", default_value = "6MiB", value_parser = size)]
    pub max_body: usize,

    /// Size of all bodies that are in memory at one time; one more body may go over it
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = size)]
    pub max_bodies: usize,
}

/// Flags about the end.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Shutdown")]
pub struct ShutdownArgs {
    /// After SIGTERM or SIGINT: time for which new connections are still served, until no API server
    /// sends any. An endpoint's removal reaches every node within a second or two; 0s for a webhook
    /// that is not behind a Service. A second signal ends it at once
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration_or_zero)]
    pub drain: Duration,

    /// Then: time for requests that are under way to end. Together with --drain less than the pod's
    /// terminationGracePeriodSeconds
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub shutdown_timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ErrorKind> {
        let words = std::iter::once("webhook").chain(line.split_whitespace());
        Args::try_parse_from(words).map_err(|error| error.kind())
    }

    fn serve(line: &str) -> ServeArgs {
        parse(line).unwrap().serve
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn both_forms_of_a_flag_mean_the_same() {
        let spaced = serve("--listen 127.0.0.1:0 --max-body 1MiB --drain 0s");
        let joined = serve("--listen=127.0.0.1:0 --max-body=1MiB --drain=0s");
        for args in [spaced, joined] {
            assert_eq!(args.listen, ListenAddress::At(([127, 0, 0, 1], 0).into()));
            assert_eq!(args.limits.max_body, 1 << 20);
            assert_eq!(args.shutdown.drain, Duration::ZERO);
        }
    }

    #[test]
    fn defaults_hold_together() {
        let args = serve("");
        let limits = args.limits;
        assert!(limits.idle_timeout > Duration::from_secs(90), "Go's client closes first");
        assert!(limits.body_timeout < Duration::from_secs(5), "the API server hears why");
        assert!(limits.max_body >= crate::http::MAX_BODY && limits.max_bodies >= limits.max_body);
        let end = args.shutdown.drain + args.shutdown.shutdown_timeout;
        assert!(end < Duration::from_secs(30), "within terminationGracePeriodSeconds");
    }

    #[test]
    fn bad_usage_is_told_apart() {
        for (line, expected) in [
            ("--what", ErrorKind::UnknownArgument),
            ("extra", ErrorKind::UnknownArgument),
            ("--tls-cert a.pem", ErrorKind::MissingRequiredArgument),
            ("--tls-key a.pem", ErrorKind::MissingRequiredArgument),
            ("--ca-bundle a.pem", ErrorKind::MissingRequiredArgument),
            ("--ca-life soon", ErrorKind::ValueValidation),
            ("--idle-timeout 90", ErrorKind::ValueValidation),
            ("--idle-timeout 0s", ErrorKind::ValueValidation),
            ("--max-body 6", ErrorKind::ValueValidation),
            ("--max-connections 0", ErrorKind::ValueValidation),
            ("--listen 8443", ErrorKind::ValueValidation),
            ("--kubernetes-version 1.37", ErrorKind::UnknownArgument),
            ("--sidecar-run-as-user 0", ErrorKind::ValueValidation),
            ("--sidecar-memory 12m", ErrorKind::ValueValidation),
            ("--log-level loud", ErrorKind::InvalidValue),
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
    }

    #[test]
    fn the_certificate_is_for_the_service_and_for_what_else_it_is_called() {
        let args = serve("--service s --cert-name w.example --cert-name 127.0.0.1 --cert-name ::1");
        let names = args.certificates.names("ns");
        assert_eq!(names.dns, ["s.ns.svc", "s.ns.svc.cluster.local", "s.ns", "w.example"]);
        assert_eq!(names.ips.len(), 2);
    }

    #[test]
    fn every_flag_is_documented() {
        fn check(command: &clap::Command) {
            for flag in command.get_arguments() {
                assert!(flag.get_help().is_some(), "{} {}", command.get_name(), flag.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Args::command());
    }

    #[test]
    fn the_policy_is_what_the_flags_say() {
        let args = serve(
            "--sidecar-image r/i:1 --sidecar-pull-policy Never --sidecar-cpu 5m \
             --sidecar-memory 9Mi --sidecar-run-as-user none --exclude-namespace a \
             --exclude-namespace b",
        );
        let policy = args.sidecar.policy(Some("own".into()));
        assert_eq!(policy.image, "r/i:1");
        assert_eq!(policy.pull_policy.unwrap().to_string(), "Never");
        assert_eq!((policy.cpu.as_str(), policy.memory.as_str()), ("5m", "9Mi"));
        assert_eq!(policy.run_as_user, None);
        for excluded in ["kube-system", "kube-public", "kube-node-lease", "a", "b", "own"] {
            assert!(policy.excludes(excluded), "{excluded}");
        }
        assert!(!policy.excludes("default"));
    }
}
