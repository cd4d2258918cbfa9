//! What the figures were measured on.

use std::fs;
use std::thread::available_parallelism;

/// One line about this machine: processor, cores, kernel and how busy it is.
pub(super) fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(std::env::consts::ARCH, |(_, model)| model);
    let cores = available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{model}, {cores} cores, Linux {}, load {}",
        kernel.trim_end(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}
