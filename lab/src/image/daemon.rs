//! A Docker daemon of our own, for a machine that has the program and runs none.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use super::Engine;
use super::command::read;

const START_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(30);
/// How long images and build layers are kept that no later build has made again.
const KEPT: &str = "168h";

/// A running `dockerd`, ended when this is dropped. Its images stay for the next time, but not for ever:
/// a build leaves gigabytes of layers.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    engine: Engine,
}

impl Daemon {
    /// Starts it, with neither bridge nor firewall rules: what it builds has the host's network, what
    /// it runs has none.
    ///
    /// # Errors
    ///
    /// When this isn't root, when there is no `dockerd`, when another one has the same folder, or when
    /// it doesn't answer within a minute; its log is named then.
    pub fn start() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("no Docker daemon answers, and only root can start one");
        }
        let folder = folder()?;
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let log = folder.join("dockerd.log");
        let output =
            fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let engine = Engine::docker_at(&format!("unix://{}", folder.join("socket").display()));
        let mut command = Command::new("dockerd");
        for (flag, path) in [
            ("--host=unix://", "socket"),
            ("--data-root=", "data"),
            ("--exec-root=", "exec"),
            // Two daemons on one folder would ruin it: the second finds this file, and ends.
            ("--pidfile=", "pid"),
        ] {
            command.arg(format!("{flag}{}", folder.join(path).display()));
        }
        let child = command
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("can't run dockerd (Debian: apt-get install docker.io)")?;
        let mut daemon = Self { child, engine };
        let started = Instant::now();
        while !daemon.engine.answers() {
            let ended = daemon.child.try_wait()?;
            if ended.is_some() || started.elapsed() > START_LIMIT {
                bail!("dockerd doesn't answer; its log is {}", log.display());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let until = format!("--filter=until={KEPT}");
        let prune = ["image", "prune", "--all", "--force", &until];
        read(&mut daemon.engine.command(prune)).context("removing old images")?;
        Ok(daemon)
    }

    /// The engine that talks to it.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It unmounts and stops what is left, which a SIGKILL would not.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if asked.elapsed() > END_LIMIT {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Where images and build layers are kept.
fn folder() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("secret-handshake").join("docker"))
}
