//! A sidecar beside a Legacy, both to be measured.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::http::probe;
use lab::network::{claim, localhost};
use lab::process::Process;
use legacy_mock::{Config, Legacy};
use tempfile::NamedTempFile;
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::time::timeout;

const HALF: &str = "-acknowledge";

/// How long anything may take that takes milliseconds.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) legacy: Legacy,
    process: Process,
    pub(super) executed: Instant,
    health: SocketAddr,
    _claim: TcpSocket,
    _half: NamedTempFile,
}

impl Pair {
    /// Starts the sidecar; Legacy listens already, or only has its port.
    pub(super) fn start(program: &Path, legacy_listens: bool) -> Result<Self> {
        let config = Config { half: Some(HALF.into()), ..Config::default() };
        let legacy = Legacy::reserve(config)?;
        if legacy_listens {
            legacy.listen()?;
        }
        let half = NamedTempFile::new()?;
        std::fs::write(half.path(), HALF)?;
        let claim = claim(localhost(0))?;
        let health = claim.local_addr()?;
        let mut command = Command::new(program);
        command.arg(format!("--legacy-port={}", legacy.port()));
        command.arg(format!("--half-file={}", half.path().display()));
        command.arg(format!("--listen={health}"));
        let process = Process::start("the sidecar", command, Box::new(|_| ()))?;
        // The spawn returns when the new program has begun.
        let executed = Instant::now();
        Ok(Self { legacy, process, executed, health, _claim: claim, _half: half })
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.process.pid().context("the sidecar has ended")
    }

    pub(super) async fn initialized(&self) -> Result<()> {
        let accepted = self.legacy.until(|counts| counts.accepted > 0);
        timeout(LIMIT, accepted).await.context("the handshake takes too long")?;
        Ok(())
    }

    /// Waits until the sidecar rests: one connection is its watch, and Legacy has answered `/health`
    /// on it and beside it.
    pub(super) async fn at_rest(&self) -> Result<()> {
        let rests = self.legacy.until(|counts| counts.of("GET /health") >= 2 && counts.open == 1);
        timeout(LIMIT, rests).await.context("the sidecar does not come to rest")?;
        Ok(())
    }

    /// Asks `/readyz` as a kubelet does, as soon as the sidecar listens, and returns when the answer has
    /// come.
    pub(super) async fn ready(&self) -> Result<Instant> {
        let asking = async {
            loop {
                match probe(self.health, "/readyz", LIMIT).await {
                    Ok(answer) => {
                        let now = Instant::now();
                        ensure!(answer.status == 200, "/readyz answered {}", answer.status);
                        return Ok(now);
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(LIMIT, asking).await.context("/readyz takes too long")?
    }

    pub(super) async fn end(mut self) -> Result<()> {
        let status = self.process.terminate(LIMIT).await?;
        ensure!(status.success(), "the sidecar ended with {status}");
        Ok(())
    }
}

/// Has Legacy listen at a moment; gives how long the handshake took from there, and when it was done.
pub(crate) async fn handshake(legacy: &Legacy, at: Instant) -> Result<(Duration, Instant)> {
    let before = legacy.counts().accepted;
    tokio::time::sleep_until(at.into()).await;
    legacy.listen()?;
    let accepted = legacy.until(|counts| counts.accepted > before);
    timeout(LIMIT, accepted).await.context("the handshake takes too long")?;
    let moments = legacy.moments();
    let listening = moments.listening.context("Legacy did not listen")?;
    let accepted = moments.accepted.context("there was no handshake")?;
    Ok((accepted.duration_since(listening), accepted))
}
