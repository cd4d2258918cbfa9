//! `check`: whether all is well with the webhook, the certificates and the sidecars of a cluster.
//!
//! ```text
//! read ─▶ facts ─▶ api_server, configuration, certificates, replicas, admission,  ─▶ findings ─▶ report
//!                  labels, settings, pods, limits, sidecars: pure, a function a check
//! ```

mod admission;
mod all;
mod api_server;
mod certificates;
mod configuration;
mod finding;
mod labels;
mod limits;
mod namespace;
mod pods;
mod read;
mod replicas;
mod report;
mod settings;
mod sidecars;
#[cfg(test)]
mod tests;
mod workload;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::finding::{Finding, State};
use self::read::Scope;
pub use self::report::Output;
use self::report::Verdict;
use crate::cluster::{Cluster, Connection};

/// How long is waited before all is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// What to check.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Which cluster
    #[command(flatten)]
    pub connection: Connection,

    /// Look before anything is installed: whether the cluster and your rights will do
    #[arg(long, conflicts_with = "for_namespace")]
    pub pre: bool,

    /// Look at one namespace alone, with the rights of somebody who works in it
    #[arg(long = "for", value_name = "NAMESPACE")]
    pub for_namespace: Option<String>,

    /// Look again until all is well, for so long at the most: 60s, 5m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub wait: Option<Duration>,

    /// Warnings count: exit with 2 if there are any
    #[arg(long)]
    pub strict: bool,

    /// How to tell
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// Checks what `args` name. The exit code is 0 if all is well, 1 if something failed, 2 for warnings if they
/// count.
///
/// # Errors
/// If there is no kubeconfig to go by.
pub async fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&args.connection).await?;
    let scope = Scope { pre: args.pre, namespace: args.for_namespace.clone() };
    let started = Instant::now();
    let mut told = String::new();
    let findings = loop {
        let facts = Box::pin(read::read(&cluster, &scope)).await;
        let findings = all::findings(&facts, &scope);
        let is_well = Verdict::of(&findings).exit_code(args.strict) == 0;
        let left = args.wait.and_then(|wait| wait.checked_sub(started.elapsed()));
        match left {
            Some(left) if !is_well => {
                let line = waits_for(&findings, args.strict);
                if line != told {
                    // Where nobody can be told, it is waited all the same.
                    _ = io::stderr().lock().write_all(line.as_bytes());
                    told = line;
                }
                tokio::time::sleep(PAUSE.min(left)).await;
            }
            _ => break findings,
        }
    };
    let text = report::write(&findings, args.output)?;
    let mut stdout = anstream::AutoStream::auto(io::stdout().lock());
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("can't write the findings")?,
    }
    Ok(ExitCode::from(Verdict::of(&findings).exit_code(args.strict)))
}

/// What is not well yet, in one line.
fn waits_for(findings: &[Finding], strict: bool) -> String {
    let is_waited_for = |finding: &&Finding| match finding.state {
        State::Failed => true,
        State::Warning => strict,
        _ => false,
    };
    let names: Vec<_> = findings.iter().filter(is_waited_for).map(|it| it.check.id()).collect();
    format!("waiting: {}\n", names.join(", "))
}
