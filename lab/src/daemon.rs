//! A process that belongs to a cluster: started, watched and killed here, ended by its cluster's
//! [`State`] if nobody does it before.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::state::State;
use crate::until::{Permanent, until};

const TAIL: usize = 15;

#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`. Its output goes to a log of the state directory, named after it.
    pub fn start(state: &State, name: &str, mut command: Command) -> Result<Self> {
        let log = state.log(name);
        let output = File::options().create(true).append(true).open(&log)?;
        let child = command
            // Ctrl-C in the terminal is not for it: the cluster ends it in its own time.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("can't run {}", command.get_program().display()))?;
        state.note_process(name, child.id())?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes sure that it is running.
    ///
    /// # Errors
    ///
    /// It has ended: [`Permanent`], with the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = tail(&self.log);
            bail!(Permanent(format!(
                "{} has ended ({status}); its log ends with\n{log}",
                self.name
            )));
        }
        Ok(())
    }

    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, as the kubelet does, and waits for that.
    ///
    /// # Errors
    ///
    /// It is still running after `limit`.
    pub async fn terminate(mut self, limit: Duration) -> Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let end = format!("the end of {} after SIGTERM", self.name);
        until(&end, limit, async || self.child.try_wait()?.context("still running")).await?;
        Ok(())
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
