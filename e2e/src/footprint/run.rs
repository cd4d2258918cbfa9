//! Which measurements are made, in which order.

use std::io::Write as _;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use super::sizes::Linked;
use super::table::{Row, render};
use super::{idle, sizes, starts};
use crate::images::compile;
use crate::product::Product;
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
    let linked = [sizes::musl().await?, sizes::glibc(progress).await?];
    let shipped = &linked[0].program;
    let time = Duration::from_secs(options.idle);
    let mut rows = Vec::new();
    if wants(Measurement::Size) {
        for Linked { name, program, size, .. } in &linked {
            rows.push(sizes::row(&format!("sidecar, static with {name}"), program, *size)?);
        }
        let webhook = compile(Product::WEBHOOK, Architecture::host()).await?;
        rows.push(sizes::row("webhook, static with musl", &webhook, 10_500_000)?);
    }
    if wants(Measurement::Memory) {
        for Linked { name, program, memory, .. } in &linked {
            rows.extend(idle::memory(program, name, *memory).await?);
        }
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
