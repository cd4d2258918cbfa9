//! Which measurements are made, in which order.

use std::io::Write as _;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::table::{Quantity, Row, render};
use super::{idle, starts};
use crate::product::Product;
use crate::product::compile;
use lab::image::Architecture;
use lab::progress::say;

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
    writeln!(out, "{}\n\n{}", machine(), render(&rows))?;
    let missed = rows.iter().filter(|row| row.is_missed()).count();
    ensure!(missed == 0 || !options.check, "{missed} goals are missed");
    Ok(())
}

async fn measure(options: &Options) -> Result<Vec<Row>> {
    let wants = |what| options.only.is_empty() || options.only.contains(&what);
    let shipped = &compile(Product::SIDECAR, Architecture::host()).await?;
    let time = Duration::from_secs(options.idle);
    let mut rows = Vec::new();
    if wants(Measurement::Size) {
        rows.push(size("sidecar", shipped, 1_350_000)?);
        let webhook = compile(Product::WEBHOOK, Architecture::host()).await?;
        rows.push(size("webhook", &webhook, 9_000_000)?);
    }
    if wants(Measurement::Memory) {
        rows.extend(idle::memory(shipped).await?);
    }
    if wants(Measurement::Look) {
        progress("first looks");
        rows.push(starts::first_looks(shipped, options.runs).await?);
    }
    if wants(Measurement::Fast) {
        progress("fast starts");
        rows.extend(starts::fast(shipped, options.runs).await?);
    }
    if wants(Measurement::Slow) {
        progress("slow starts");
        rows.push(starts::slow(shipped, options.runs).await?);
    }
    if wants(Measurement::Idle) {
        progress("rest");
        rows.extend(idle::cpu(shipped, time).await?);
    }
    if wants(Measurement::Wait) {
        progress("waiting for a Legacy that does not come");
        rows.push(idle::waiting(shipped, time.min(Duration::from_secs(20))).await?);
    }
    Ok(rows)
}

/// The size of a program as it is in its image: static, with musl, and stripped.
fn size(name: &str, program: &Path, goal: u64) -> Result<Row> {
    let metadata = std::fs::metadata(program);
    let metadata = metadata.with_context(|| format!("{} is gone", program.display()))?;
    let goal = Some(Quantity::Bytes(goal));
    Ok(Row::one(format!("{name}, static with musl"), Quantity::Bytes(metadata.len()), goal))
}

/// One line about this machine: processor, cores, kernel and how busy it is.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let mut lines = processors.lines();
    let model = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = available_parallelism().map_or(1, usize::from);
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let load = load.split(' ').next().unwrap_or("unknown");
    format!("{model}, {cores} cores, Linux {}, load {load}", kernel.trim_end())
}

fn progress(text: &str) {
    say(&format!("{text} …"));
}
