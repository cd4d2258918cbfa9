//! Child processes whose output can be shown as it comes, waited for and looked at.
//!
//! They stay in this process's group, so that Ctrl-C in a terminal reaches them even if this process
//! can't pass it on; and they are killed when their [`Process`] is dropped.

use std::fmt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const QUOTED: usize = 10;

/// Called with each line as it comes; see [`Process::start`].
pub type Watcher = Box<dyn Fn(&str) + Send + Sync>;

pub struct Process {
    name: String,
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    reader: JoinHandle<()>,
}

impl Process {
    /// Starts `command`, with nothing on its stdin. Its lines, of stdout and of stderr, are kept, and
    /// shown to `watcher` as they come.
    ///
    /// # Errors
    ///
    /// The program can't be started.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(name: &str, mut command: Command, watcher: Watcher) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("{name} does not start: {}", command.as_std().get_program().display())
            })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (sender, lines) = watch::channel(Vec::new());
        let reader = tokio::spawn(async move {
            tokio::join!(read(stdout, &sender, &watcher), read(stderr, &sender, &watcher));
        });
        Ok(Self { name: name.to_owned(), child, lines, reader })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, while it has not been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// All that it has written so far, stdout's and stderr's lines as they came.
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// The first line that `wanted` accepts, among those written already and those to come. `what`
    /// names it in messages.
    pub async fn line(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut lines = self.lines.clone();
        let found = lines.wait_for(|lines| lines.iter().any(|line| wanted(line)));
        match timeout(limit, found).await {
            Ok(Ok(lines)) => {
                lines.iter().find(|line| wanted(line)).cloned().context("it was there a moment ago")
            }
            Ok(Err(_)) => Err(self.error(&format!("ended before {what}"))),
            Err(_) => Err(self.error(&format!("did not come to {what} within {limit:?}"))),
        }
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| self.error("has ended already"))?;
        rustix::process::kill_process(pid, signal)
            .with_context(|| format!("{} can't be sent a signal", self.name))
    }

    /// Waits for its end and for its last line.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = async {
            let status = self.child.wait().await?;
            // A panic of the reader has been reported; what it read is there.
            let _ = (&mut self.reader).await;
            anyhow::Ok(status)
        };
        match timeout(limit, ended).await {
            Ok(status) => status,
            Err(_) => bail!("{} is still running after {limit:?}", self.name),
        }
    }

    /// Sends SIGTERM, as a kubelet does, and waits for the end.
    ///
    /// # Errors
    ///
    /// It has ended already, or is still running after `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended(limit).await.with_context(|| format!("{} was sent SIGTERM", self.name))
    }

    fn error(&self, what: &str) -> anyhow::Error {
        let lines = self.lines.borrow();
        let last = &lines[lines.len().saturating_sub(QUOTED)..];
        if last.is_empty() {
            return anyhow!("{} {what}; it has said nothing", self.name);
        }
        anyhow!("{} {what}; its last lines:\n  {}", self.name, last.join("\n  "))
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

/// Reads lines until there are no more. Bytes that are not UTF-8 are replaced.
async fn read(
    output: Option<impl AsyncRead + Unpin>,
    lines: &watch::Sender<Vec<String>>,
    watcher: &Watcher,
) {
    let Some(output) = output else { return };
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        watcher(&text);
        lines.send_modify(|lines| lines.push(text));
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("the shell", command, Box::new(|_| ())).unwrap()
    }

    #[tokio::test]
    async fn lines_are_waited_for_and_kept() {
        let mut process = shell("echo one; echo two >&2; echo three");
        process.line("its end", LIMIT, |line| line == "three").await.unwrap();
        process.line("two", LIMIT, |line| line == "two").await.unwrap();
        assert!(process.ended(LIMIT).await.unwrap().success());
        let mut lines = process.lines();
        lines.sort();
        assert_eq!(lines, ["one", "three", "two"]);
    }

    #[tokio::test]
    async fn a_line_that_never_comes_is_an_error_that_quotes_the_others() {
        let error = shell("echo why").line("ready", LIMIT, |line| line == "x").await.unwrap_err();
        assert_eq!(error.to_string(), "the shell ended before ready; its last lines:\n  why");

        let process = shell("exec sleep 60");
        let limit = Duration::from_millis(50);
        let error = process.line("ready", limit, |_| true).await.unwrap_err().to_string();
        assert_eq!(error, "the shell did not come to ready within 50ms; it has said nothing");
    }

    #[tokio::test]
    async fn sigterm_ends_it() {
        let mut process = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        process.line("ready", LIMIT, |line| line == "ready").await.unwrap();
        assert_eq!(process.terminate(LIMIT).await.unwrap().code(), Some(7));
        assert!(process.signal(Signal::TERM).is_err());
    }

    #[tokio::test]
    async fn dropped_it_is_killed() {
        let process = shell("exec sleep 60");
        let mut lines = process.lines.clone();
        drop(process);
        // Its output ends with it.
        assert!(timeout(LIMIT, lines.changed()).await.unwrap().is_err());
    }
}
