//! A cluster's state directory, and how all that was started from it ends, whatever happens.
//!
//! Every process that belongs to a cluster leaves its process id in `pids/`, and whatever else has to
//! be undone on the machine is a command in `undo/`. So a state directory alone is enough to end a
//! cluster, and three parties do it with the same function: [`State`] when it is dropped (also in a
//! panic), the signal handler through [`end_all`], and `cargo e2e -- down`.
//!
//! And when this process is killed with no chance to do anything: a second one, the guard, holds the
//! reading end of a pipe whose writing end is held here and nowhere else. When the pipe ends, this
//! process has ended, and the guard tears down what is left. That needs no code between fork and exec,
//! works on every Unix, and ends processes that have changed their parent, which
//! `prctl(PR_SET_PDEATHSIG)` does not.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::progress::say;

/// The argument with which this program becomes the guard of a state directory.
pub const GUARD: &str = "guard";

/// The state directories of the clusters that live as long as this process.
static ACTIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A state directory that this process owns. Dropping it ends the cluster and removes the directory.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    guard: Option<Child>,
    started: AtomicU32,
    keep_logs: Mutex<bool>,
    // A field, so that it is given back only when everything has ended.
    held: Mutex<Vec<File>>,
}

impl State {
    /// A new state directory, in the folder for temporary files.
    ///
    /// # Errors
    ///
    /// It can't be created, or the guard can't be started.
    pub fn temporary() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("secret-handshake-e2e-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()?
            .keep();
        Self::new(dir)
    }

    /// The state directory of `cargo e2e -- up`, which outlives this process.
    ///
    /// # Errors
    ///
    /// There is a cluster in it already, or it can't be created.
    pub fn of_up() -> Result<Self> {
        let dir = up_dir()?;
        ensure!(
            !dir.join("pids").exists(),
            "there is a cluster already: `export KUBECONFIG={}`, or end it with `cargo e2e -- down`",
            dir.join("kubeconfig").display()
        );
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Self::new(dir)
    }

    fn new(dir: PathBuf) -> Result<Self> {
        for part in ["pids", "undo", "logs", "pki"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let guard = Command::new(std::env::current_exe()?)
            .arg(GUARD)
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
            started: AtomicU32::new(0),
            keep_logs: Mutex::new(false),
            held: Mutex::new(Vec::new()),
        })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file or folder in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Where the log of the process `name` is.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// The logs stay when everything else goes, because somebody will want to read them.
    pub fn keep_logs(&self) {
        *lock(&self.keep_logs) = true;
    }

    /// Keeps a locked file open until everything has ended.
    pub(super) fn hold(&self, lock_file: File) {
        lock(&self.held).push(lock_file);
    }

    /// Notes a process that ends with the cluster.
    pub(super) fn note_process(&self, name: &str, pid: u32) -> Result<()> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join("pids").join(format!("{number:03}-{name}"));
        let born = born(pid).unwrap_or_default();
        fs::write(path, format!("{pid} {born}")).context("cannot note a process")
    }

    /// Notes a command that is to be run when all processes have ended. They are run latest first.
    pub(super) fn note_undo(&self, command: &[&str]) -> Result<()> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join("undo").join(format!("{number:03}"));
        fs::write(path, command.join("\n")).context("cannot note what is to be undone")
    }

    /// Lets the cluster run on when this process ends.
    ///
    /// # Errors
    ///
    /// The guard can't be told.
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
        // Without a guard it has been left running.
        let Some(mut guard) = self.guard.take() else {
            return;
        };
        let keep_logs = *lock(&self.keep_logs);
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where the cluster of `cargo e2e -- up` is: `$XDG_STATE_HOME/secret-handshake/up`.
///
/// # Errors
///
/// Neither `XDG_STATE_HOME` nor `HOME` is set.
pub fn up_dir() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
        .context("set HOME or XDG_STATE_HOME: the cluster of `up` is kept there")?;
    Ok(base.join("secret-handshake").join("up"))
}

/// Ends every cluster that this process has started and not left running: what a signal handler calls
/// before it exits.
pub fn end_all() {
    for dir in lock(&ACTIVE).iter() {
        let _ = end(dir, false);
    }
}

/// What the guard does: waits for the end of its standard input, then ends the cluster of `dir`.
///
/// # Errors
///
/// Something could not be ended.
pub fn guard(dir: &Path) -> Result<()> {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    end(dir, false)
}

/// Ends the cluster whose state directory this is, and removes the directory. Nothing in it is worth a
/// graceful end: the processes are killed.
///
/// # Errors
///
/// The directory can't be read or removed, or what was to be undone could not be.
pub fn end(dir: &Path, keep_logs: bool) -> Result<()> {
    // A signal's handler and whoever drops a cluster may come at the same time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = lock(&ONE_AT_A_TIME);
    if !dir.join("pids").exists() {
        return Ok(());
    }
    let mut left = Vec::new();
    for entry in latest_first(&dir.join("pids"))? {
        let text = fs::read_to_string(&entry)?;
        let (pid, then) = text.split_once(' ').unwrap_or((&text, ""));
        let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        // The number may be somebody else's by now.
        let same = born(pid.as_raw_nonzero().get().cast_unsigned()).is_none_or(|now| now == then);
        if same && !gone(pid) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            left.push(pid);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !left.is_empty() && Instant::now() < deadline {
        left.retain(|pid| !gone(*pid));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut failed = Vec::new();
    for entry in latest_first(&dir.join("undo"))? {
        let text = fs::read_to_string(&entry)?;
        let mut words = text.split('\n');
        let Some(program) = words.next() else {
            continue;
        };
        let done = Command::new(program).args(words).stdin(Stdio::null()).output();
        if !done.as_ref().is_ok_and(|done| done.status.success()) {
            failed.push(text.replace('\n', " "));
        }
    }
    if keep_logs {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() && path.ends_with("logs") {
                continue;
            }
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    } else {
        remove(dir)?;
    }
    ensure!(failed.is_empty(), "did not work: {}", failed.join("; "));
    Ok(())
}

/// Removes the directory. A process that was killed a moment ago may still have been writing to it.
fn remove(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir_all(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
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
        Err(_) => rustix::process::test_kill_process(pid).is_err() || zombie(pid),
    }
}

fn zombie(pid: Pid) -> bool {
    stat(pid.as_raw_nonzero().get().cast_unsigned()).is_some_and(|fields| fields.starts_with('Z'))
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
