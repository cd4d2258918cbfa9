//! Which measurements are made, in which order.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use super::sizes::Linked;
use super::table::{Row, render};
use super::{idle, machine, sizes, starts};

/// Builds the static programs and measures what they cost, on this machine, which should have nothing
/// else to do.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "cargo footprint", bin_name = "cargo footprint", version)]
pub struct Options {
    /// Only these measurements
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    pub only: Vec<Measurement>,

    /// How many starts are measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,

    /// For how many seconds CPU is measured
    #[arg(long, default_value_t = 60, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub idle: u64,

    /// How many seconds a slow Legacy takes until it listens
    #[arg(long, default_value_t = 12, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub slow: u64,

    /// Leave out the sidecar with glibc
    #[arg(long)]
    pub no_glibc: bool,

    /// Fail if a goal is missed
    #[arg(long)]
    pub check: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measurement {
    /// The sizes of the programs
    Size,
    /// Memory and threads at rest
    Memory,
    /// From exec to the first look at Legacy
    Look,
    /// Handshakes with a Legacy that starts fast, and held probes
    Fast,
    /// Handshakes with a Legacy that starts slowly
    Slow,
    /// CPU at rest
    Idle,
    /// CPU while Legacy is not there
    Wait,
}

impl Options {
    fn wants(&self, measurement: Measurement) -> bool {
        self.only.is_empty() || self.only.contains(&measurement)
    }
}

/// Measures, and prints the table.
///
/// # Errors
///
/// Something can't be built or run; with `check`, a goal is missed.
pub async fn run(options: &Options) -> Result<()> {
    if cfg!(not(target_os = "linux")) {
        bail!("the sidecar is measured by what Linux says about it: run this on Linux");
    }
    let rows = measure(options).await?;
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}\n\n{}", machine::describe(), render(&rows))?;
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    ensure!(missed == 0 || !options.check, "{missed} goals are missed");
    Ok(())
}

async fn measure(options: &Options) -> Result<Vec<Row>> {
    let mut linked = vec![sizes::musl().await?];
    if !options.no_glibc {
        linked.push(sizes::glibc(progress).await?);
    }
    let shipped = &linked[0].program;
    let time = Duration::from_secs(options.idle);
    let mut rows = Vec::new();
    if options.wants(Measurement::Size) {
        for linked in &linked {
            rows.push(sizes::sidecar(linked)?);
        }
        progress("building the webhook");
        rows.push(sizes::webhook().await?);
    }
    if options.wants(Measurement::Memory) {
        for Linked { name, program, memory, .. } in &linked {
            rows.extend(idle::memory(program, name, *memory).await?);
        }
    }
    if options.wants(Measurement::Look) {
        progress("first looks");
        rows.push(starts::first_looks(shipped, options.runs).await?);
    }
    if options.wants(Measurement::Fast) {
        progress("fast starts");
        rows.extend(starts::fast(shipped, options.runs).await?);
    }
    if options.wants(Measurement::Slow) {
        progress("slow starts");
        let late = Duration::from_secs(options.slow);
        rows.push(starts::slow(shipped, options.runs, late).await?);
    }
    if options.wants(Measurement::Idle) {
        progress("rest");
        rows.extend(idle::cpu(shipped, time).await?);
    }
    if options.wants(Measurement::Wait) {
        progress("waiting for a Legacy that does not come");
        rows.push(idle::waiting(shipped, time.min(Duration::from_secs(20))).await?);
    }
    Ok(rows)
}

/// On stderr, so that stdout is the table alone.
fn progress(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text} …");
}
