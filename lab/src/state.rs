//! A cluster's state directory, and how all that was started from it ends, whatever happens.
//!
//! Every process that belongs to a cluster leaves its process id in `pids/`, and whatever else has to
//! be undone on the machine is a command in `undo/`. So a state directory alone is enough to [`end`] a
//! cluster.
//!
//! Who does that is a second process, the guard. It holds the reading end of a pipe whose writing end is
//! held here and nowhere else: when the pipe ends, because a [`State`] is dropped or because this process
//! has been killed, the guard tears down what there is. That needs no code between fork and exec, works on
//! every Unix, and ends processes that have changed their parent, which `prctl(PR_SET_PDEATHSIG)` does
//! not. The guard is this same program, run as `PROGRAM guard DIR`: its `main` has to call [`guard`] then.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal};

use crate::progress::say;
use crate::until::retry;

const END: Duration = Duration::from_secs(10);
/// A file that says that the logs stay.
const KEEP_LOGS: &str = "logs/keep";
/// Where they stay: beside the directory, under its name with this behind it.
const LOGS: &str = "logs";

/// The guards of the clusters that live as long as this process, by their directories.
static GUARDS: Mutex<Vec<(PathBuf, Child)>> = Mutex::new(Vec::new());

/// A state directory that this process owns. Dropping it ends the cluster and removes the directory.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    noted: AtomicU32,
    /// Locks, which are given back only when everything has ended.
    locks: Mutex<Vec<File>>,
}

impl State {
    /// A new one in the folder for temporary files, whose name begins with `prefix`.
    pub fn temporary(prefix: &str) -> Result<Self> {
        let private = fs::Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix(prefix).permissions(private).tempdir()?;
        Self::new(dir.keep())
    }

    /// One at a place of its own, for a cluster that outlives this process.
    ///
    /// # Errors
    ///
    /// There is a cluster in it already, or it can't be created.
    pub fn at(dir: &Path) -> Result<Self> {
        ensure!(!dir.join("pids").exists(), "there is a cluster in {} already", dir.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Self::new(dir.to_owned())
    }

    fn new(dir: PathBuf) -> Result<Self> {
        for part in ["pids", "undo", "logs", "pki"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let guard = Command::new(std::env::current_exe()?)
            .arg("guard")
            .arg(&dir)
            // A group of its own, so that Ctrl-C in the terminal does not reach it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("the guard does not start")?;
        lock(&GUARDS).push((dir.clone(), guard));
        Ok(Self { dir, noted: AtomicU32::new(0), locks: Mutex::new(Vec::new()) })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// The logs stay when everything else goes, because somebody will want to read them.
    pub fn keep_logs(&self) {
        let _ = fs::write(self.path(KEEP_LOGS), "");
    }

    /// Keeps a locked file open until everything has ended.
    pub(crate) fn hold(&self, file: File) {
        lock(&self.locks).push(file);
    }

    pub(crate) fn note_process(&self, name: &str, pid: u32) -> Result<()> {
        let born = born(pid).unwrap_or_default();
        self.note("pids", &format!("{}-{name}", self.number()), &format!("{pid} {born}"))
    }

    /// Notes a command that is to be run when all processes have ended. They are run latest first.
    pub(crate) fn note_undo(&self, command: &[&str]) -> Result<()> {
        self.note("undo", &self.number(), &command.join("\n"))
    }

    fn number(&self) -> String {
        format!("{:03}", self.noted.fetch_add(1, Ordering::Relaxed))
    }

    fn note(&self, part: &str, name: &str, text: &str) -> Result<()> {
        let file = self.dir.join(part).join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    pub fn leave_running(self) -> Result<()> {
        if let Some(mut guard) = take_guard(&self.dir) {
            guard.kill()?;
            guard.wait()?;
        }
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let Some(guard) = take_guard(&self.dir) else {
            return;
        };
        let (kept, logs) = (self.path(KEEP_LOGS).exists(), self.dir.with_extension(LOGS));
        dismiss(&self.dir, guard);
        if kept {
            say(&format!("logs: {}", logs.display()));
        }
    }
}

fn take_guard(dir: &Path) -> Option<Child> {
    let mut guards = lock(&GUARDS);
    let place = guards.iter().position(|(guarded, _)| guarded == dir)?;
    Some(guards.swap_remove(place).1)
}

/// Lets a guard end its cluster, and does it in its place if it could not.
fn dismiss(dir: &Path, mut guard: Child) {
    drop(guard.stdin.take());
    if !guard.wait().is_ok_and(|status| status.success())
        && let Err(error) = end(dir)
    {
        say(&format!("{}: not everything could be ended: {error:#}", dir.display()));
    }
}

/// Ends every cluster that this process has started and not left running: what a signal handler calls
/// before it exits.
pub fn end_all() {
    let guards = std::mem::take(&mut *lock(&GUARDS));
    for (dir, guard) in guards {
        dismiss(&dir, guard);
    }
}

/// What the guard does: waits for the end of its standard input, then ends the cluster of `dir`.
pub fn guard(dir: &Path) -> Result<()> {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    end(dir)
}

/// Ends the cluster whose state directory this is, and removes the directory. Nothing in it is worth a
/// graceful end: the processes are killed.
pub fn end(dir: &Path) -> Result<()> {
    if !dir.join("pids").exists() {
        return Ok(());
    }
    let mut killed = Vec::new();
    for entry in latest_first(&dir.join("pids"))? {
        let text = fs::read_to_string(&entry)?;
        let (pid, then) = text.split_once(' ').unwrap_or((&text, ""));
        let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        // The number may be somebody else's by now.
        let same = born(number(pid)).is_none_or(|now| now == then);
        if same && !gone(pid) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            killed.push(pid);
        }
    }
    retry(END, || killed.iter().all(|pid| gone(*pid)));
    let mut failed = Vec::new();
    for entry in latest_first(&dir.join("undo"))? {
        let text = fs::read_to_string(&entry)?;
        let mut words = text.split('\n');
        let program = words.next().unwrap_or_default();
        let done = Command::new(program).args(words).stdin(Stdio::null()).output();
        if !done.is_ok_and(|done| done.status.success()) {
            failed.push(text.replace('\n', " "));
        }
    }
    // A process that was killed a moment ago may still have been writing.
    let removed = retry(END, || remove(dir).is_ok());
    ensure!(removed, "cannot remove {}", dir.display());
    ensure!(failed.is_empty(), "did not work: {}", failed.join("; "));
    Ok(())
}

fn remove(dir: &Path) -> std::io::Result<()> {
    if dir.join(KEEP_LOGS).exists() {
        let kept = dir.with_extension(LOGS);
        let _ = fs::remove_dir_all(&kept);
        fs::rename(dir.join("logs"), kept)?;
    }
    fs::remove_dir_all(dir)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn latest_first(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let sorted = entries.collect::<Result<BTreeSet<_>>>()?;
    Ok(sorted.into_iter().rev().collect())
}

/// Whether a process has ended. One whose parent has not asked how is left as a zombie.
fn gone(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_err()
        || stat(number(pid)).is_some_and(|fields| fields.starts_with('Z'))
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().cast_unsigned()
}

/// When a process was started, in the kernel's ticks: with it a process id names one process only.
/// `None` where there is no `/proc`.
fn born(pid: u32) -> Option<String> {
    // Field 22 of proc_pid_stat(5); the third is the first of what follows the name.
    stat(pid)?.split(' ').nth(19).map(str::to_owned)
}

/// What follows the name in `/proc/PID/stat`: the name may have spaces and parentheses in it.
fn stat(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ").map(|(_, fields)| fields.to_owned())
}
