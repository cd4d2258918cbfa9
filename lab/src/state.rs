//! A cluster's state directory, and how all that was started from it ends, whatever happens.
//!
//! Every process that belongs to a cluster leaves its process id in `pids/`, and whatever else has to
//! be undone on the machine is a command in `undo/`. So a state directory alone is enough to end a
//! cluster, and three parties do it with the same function, [`end`]: a [`State`] that is dropped (also in
//! a panic), a signal handler through [`end_all`], and whoever ends a cluster that was left running.
//!
//! And when this process is killed with no chance to do anything: a second one, the guard, holds the
//! reading end of a pipe whose writing end is held here and nowhere else. When the pipe ends, this
//! process has ended, and the guard tears down what is left. That needs no code between fork and exec,
//! works on every Unix, and ends processes that have changed their parent, which
//! `prctl(PR_SET_PDEATHSIG)` does not. The guard is this same program, run as `PROGRAM guard DIR`: its
//! `main` has to call [`guard`] then.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::progress::say;
use crate::until::retry;

/// How long killed processes may take to be gone.
const END: Duration = Duration::from_secs(10);

/// The state directories of the clusters that live as long as this process.
static ACTIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A state directory that this process owns. Dropping it ends the cluster and removes the directory.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    /// None once the cluster has been left running.
    guard: Option<Child>,
    noted: AtomicU32,
    keep_logs: AtomicBool,
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
            .stderr(Stdio::null())
            .spawn()
            .context("the guard does not start")?;
        lock(&ACTIVE).push(dir.clone());
        Ok(Self {
            dir,
            guard: Some(guard),
            noted: AtomicU32::new(0),
            keep_logs: AtomicBool::new(false),
            locks: Mutex::new(Vec::new()),
        })
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the log of the process `name` is.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// The logs stay when everything else goes, because somebody will want to read them.
    pub fn keep_logs(&self) {
        self.keep_logs.store(true, Ordering::Relaxed);
    }

    /// Keeps a locked file open until everything has ended.
    pub(crate) fn hold(&self, file: File) {
        lock(&self.locks).push(file);
    }

    /// Notes a process that ends with the cluster.
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

    /// Lets the cluster run on when this process ends.
    pub fn leave_running(mut self) -> Result<()> {
        if let Some(mut guard) = self.guard.take() {
            guard.kill()?;
            guard.wait()?;
        }
        lock(&ACTIVE).retain(|dir| *dir != self.dir);
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else {
            return;
        };
        let keep_logs = self.keep_logs.load(Ordering::Relaxed);
        if let Err(error) = end(&self.dir, keep_logs) {
            say(&format!("{}: not everything could be ended: {error:#}", self.dir.display()));
        }
        if keep_logs {
            say(&format!("logs: {}", self.dir.join("logs").display()));
        }
        lock(&ACTIVE).retain(|dir| *dir != self.dir);
        drop(guard.stdin.take());
        let _ = guard.wait();
    }
}

/// Ends every cluster that this process has started and not left running: what a signal handler calls
/// before it exits.
pub fn end_all() {
    for dir in lock(&ACTIVE).iter() {
        let _ = end(dir, false);
    }
}

/// What the guard does: waits for the end of its standard input, then ends the cluster of `dir`.
pub fn guard(dir: &Path) -> Result<()> {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    end(dir, false)
}

/// Ends the cluster whose state directory this is, and removes the directory. Nothing in it is worth a
/// graceful end: the processes are killed.
pub fn end(dir: &Path, keep_logs: bool) -> Result<()> {
    // A signal's handler and whoever drops a cluster may come at the same time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = lock(&ONE_AT_A_TIME);
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
    let removed = retry(END, || remove(dir, keep_logs).is_ok());
    ensure!(removed, "cannot remove {}", dir.display());
    ensure!(failed.is_empty(), "did not work: {}", failed.join("; "));
    Ok(())
}

/// Removes the directory, or all in it but the logs.
fn remove(dir: &Path, keep_logs: bool) -> std::io::Result<()> {
    let all = |path: &Path| match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    };
    if !keep_logs {
        return all(dir);
    }
    let entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let others = entries.iter().filter(|entry| entry.file_name() != "logs");
    others.map(fs::DirEntry::path).try_for_each(|path| all(&path))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn latest_first(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut entries =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    entries.sort();
    entries.reverse();
    Ok(entries)
}

/// Whether a process has ended; one that is a child of ours is reaped by the way.
fn gone(pid: Pid) -> bool {
    match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some(_)) => true,
        Ok(None) => false,
        Err(_) => {
            let zombie = || stat(number(pid)).is_some_and(|fields| fields.starts_with('Z'));
            rustix::process::test_kill_process(pid).is_err() || zombie()
        }
    }
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
