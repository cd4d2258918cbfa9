//! What the kernel says about a process: <https://docs.kernel.org/filesystems/proc.html>.

use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All resident pages, those that it shares with other copies of itself among them.
    pub resident: u64,
    /// The pages that are its own: what one more copy costs.
    pub private: u64,
}

/// The time that all its threads have spent on a CPU, in nanoseconds' precision (the ticks of
/// `/proc/PID/stat` are 10 ms).
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let file = task?.path().join("schedstat");
        let text = match fs::read_to_string(&file) {
            // A thread that has ended since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            text => text?,
        };
        let first = text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
        nanoseconds += first.with_context(|| format!("{} is empty", file.display()))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

pub fn all() -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        all.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(all)
}

/// Its name, at most 15 bytes of it.
pub fn name(pid: u32) -> Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim_end().to_owned())
}

/// The program that it runs, as its first argument names it.
pub fn program(pid: u32) -> Result<String> {
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    Ok(arguments.split('\0').next().unwrap_or_default().to_owned())
}

pub fn cgroups(pid: u32) -> Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/cgroup"))?)
}

/// Ends it at once, as the kernel does when it is out of memory.
pub fn kill(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("process 0 is none")?;
    Ok(kill_process(pid, Signal::KILL)?)
}

pub fn threads(pid: u32) -> Result<u64> {
    number(&fs::read_to_string(format!("/proc/{pid}/status"))?, "Threads")
}

/// Its memory, counted page by page (`VmRSS` in `status` may lag behind).
pub fn memory(pid: u32) -> Result<Memory> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let bytes = |name| number(&rollup, name).map(|kibibytes| kibibytes * 1024);
    Ok(Memory {
        resident: bytes("Rss")?,
        private: bytes("Private_Clean")? + bytes("Private_Dirty")?,
    })
}

fn number(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("the kernel says nothing of {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_memory_and_a_past() {
        let pid = std::process::id();
        assert!(threads(pid).unwrap() >= 1);
        let memory = memory(pid).unwrap();
        assert!(memory.private > 0 && memory.private <= memory.resident, "{memory:?}");
        let before = cpu(pid).unwrap();
        while cpu(pid).unwrap() == before {}
    }

    #[test]
    fn a_name_is_not_found_in_a_longer_one() {
        let text = "Rss_Anon:  7 kB\nRss:      1136 kB\n";
        assert_eq!(number(text, "Rss").unwrap(), 1136);
        assert!(number(text, "Pss").is_err());
    }
}
