//! `certs issue` and `certs inspect`: what they are asked, and how they answer.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use jiff::Timestamp;

use crate::inspect::{self, CertificateFacts, Section};
use crate::issue::Names;
use crate::write;

/// Certificates for the secret-handshake webhook: issue them into files, or look at files.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Issue(IssueArgs),
    Inspect(InspectArgs),
}

/// Write a CA certificate (ca.crt) and a serving certificate with its key (tls.crt, tls.key).
///
/// The first run makes a CA. Its key is thrown away unless --keep-ca-key is given, so nobody can
/// sign with it later. Another run signs a new tls.crt with the CA that is there if DIR/ca.key
/// was kept; else it refuses to replace ca.crt, which clients trust, unless --new-ca is given.
#[derive(Debug, clap::Args)]
pub struct IssueArgs {
    /// A DNS name that the certificate is good for; may be given many times
    #[arg(long, value_name = "NAME", required_unless_present = "ip")]
    pub dns: Vec<String>,
    /// An IP address that the certificate is good for; may be given many times
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Vec<IpAddr>,
    /// The folder that the files are written to; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How long the serving certificate lives (s, m, h, d), never longer than its CA
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = crate::duration::parse)]
    pub life: Duration,
    /// How long a new CA lives
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = crate::duration::parse)]
    pub ca_life: Duration,
    /// Replace a CA that is already in DIR
    #[arg(long)]
    pub new_ca: bool,
    /// Keep the new CA's key as DIR/ca.key (mode 0600), to sign with it again
    #[arg(long)]
    pub keep_ca_key: bool,
}

impl IssueArgs {
    /// The names asked for.
    #[must_use]
    pub fn names(&self) -> Names {
        Names { dns: self.dns.clone(), ips: self.ip.clone() }
    }
}

/// Show on one screen what PEM files hold: whose certificates, until when, good for which names.
///
/// Private keys are named but never shown.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// PEM files: certificates, chains, caBundles, keys
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

impl Args {
    /// Does what was asked, at the time `now`, and writes what a person reads to `out`.
    ///
    /// # Errors
    /// What could not be read, issued or written, and what to do about it.
    pub fn run(self, out: &mut impl Write, now: Timestamp) -> anyhow::Result<()> {
        match self.command {
            Command::Issue(args) => write::issue(&args, out, now),
            Command::Inspect(args) => {
                args.files.iter().try_for_each(|file| inspect_file(file, out, now))
            }
        }
    }
}

fn inspect_file(file: &Path, out: &mut impl Write, now: Timestamp) -> anyhow::Result<()> {
    let shown = file.display();
    let pem = write::read(file)?;
    let sections = inspect::sections(&pem).with_context(|| format!("{shown} is not readable"))?;
    anyhow::ensure!(!sections.is_empty(), "{shown} holds no PEM: no BEGIN line was found");
    writeln!(out, "{shown}")?;
    for (index, section) in sections.iter().enumerate() {
        let number = index + 1;
        match section {
            Section::Certificate(der) => match inspect::certificate(der) {
                Ok(facts) => writeln!(out, "{}", screen(number, &facts, now))?,
                Err(error) => writeln!(out, "{number:3}  broken certificate: {error}")?,
            },
            Section::PrivateKey(kind) => {
                writeln!(out, "{number:3}  private key ({kind}), not shown")?;
            }
            Section::Other => writeln!(out, "{number:3}  something else, not looked at")?,
        }
    }
    Ok(())
}

/// One certificate in six lines.
fn screen(number: usize, facts: &CertificateFacts, now: Timestamp) -> String {
    let kind = if facts.is_ca { "CA certificate" } else { "certificate" };
    let by = if facts.issuer == facts.subject { "itself" } else { &facts.issuer };
    let mut names = facts.dns.clone();
    names.extend(facts.ips.iter().map(ToString::to_string));
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let uses = if facts.uses.is_empty() { "unsaid".to_owned() } else { facts.uses.join(", ") };
    format!(
        "{number:3}  {kind} {}\n     signed by    {by}\n     names        {names}\n     \
         life         {} to {}: {}\n     key          {}, for: {uses}\n     SHA-256      {:#}",
        facts.subject,
        facts.validity.not_before,
        facts.validity.not_after,
        facts.standing(now),
        facts.key,
        facts.fingerprint,
    )
}
