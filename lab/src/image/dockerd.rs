//! A Docker daemon of our own, for a machine that has the program and runs none.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal};

use super::engine::Engine;
use crate::command::read;
use crate::until::{Permanent, retry, until};

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(30);
/// How long images and build layers are kept that no later build has made again.
const KEPT: &str = "168h";

/// A running `dockerd`, ended when this is dropped. Its images stay for the next time, up to a week: a
/// build leaves gigabytes of layers.
#[derive(Debug)]
pub struct Dockerd {
    child: Child,
    engine: Engine,
}

impl Dockerd {
    /// Starts it with all that it keeps in `folder`, with neither bridge nor firewall rules: what it
    /// builds has the host's network, what it runs has none.
    ///
    /// # Errors
    ///
    /// This isn't root, there is no `dockerd`, another one has the same folder, or it doesn't answer
    /// within a minute; its log is named then.
    pub async fn start(folder: &Path) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("no Docker daemon answers, and only root can start one");
        }
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
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
        until("dockerd", START, async || {
            if let Some(status) = daemon.child.try_wait()? {
                bail!(Permanent(format!("it has ended ({status})")));
            }
            ensure!(daemon.engine.answers(), "it doesn't answer");
            Ok(())
        })
        .await
        .with_context(|| format!("the log of dockerd is {}", log.display()))?;
        let filter = format!("--filter=until={KEPT}");
        let prune = ["image", "prune", "--all", "--force", &filter];
        read(&mut daemon.engine.command(prune)).context("removing old images")?;
        Ok(daemon)
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // It unmounts and stops what is left, which a SIGKILL would not.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        if !retry(END, || !matches!(self.child.try_wait(), Ok(None))) {
            let _ = self.child.kill();
        }
    }
}
