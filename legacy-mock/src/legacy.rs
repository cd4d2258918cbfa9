//! The handle: one Legacy on one port, through all its starts.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accept::{End, accept};
use crate::config::Config;
use crate::faults::Faults;
use crate::port::Port;
use crate::record::{Counts, Moments, Record};
use crate::run::{Run, Setting, Shared};

/// One Legacy on one port. Dropped, it ends at once and gives the port back.
#[derive(Debug)]
pub struct Legacy {
    shared: Arc<Shared>,
    port: Arc<Port>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    run: Arc<Run>,
    end: watch::Sender<End>,
    ended: JoinHandle<()>,
}

impl Legacy {
    /// Starts a Legacy: it listens when this returns.
    ///
    /// # Errors
    ///
    /// The port can't be had: it is taken, or the address is not this machine's.
    #[expect(clippy::unused_async, reason = "says that it needs a runtime, as its tasks do")]
    pub async fn start(config: Config) -> io::Result<Self> {
        let legacy = Self::reserve(config)?;
        legacy.listen()?;
        Ok(legacy)
    }

    /// Takes the port and listens on it only with [`listen`](Self::listen): until then, clients
    /// are refused.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn reserve(config: Config) -> io::Result<Self> {
        let port = Port::claim(config.listen, config.families)?;
        let shared = Shared {
            faults: watch::Sender::new(Setting { number: 0, faults: config.faults.clone() }),
            record: Record::new(config.access_log),
            config,
        };
        Ok(Self { shared: Arc::new(shared), port: Arc::new(port), running: Mutex::new(None) })
    }

    /// Starts it on the port it has: a new process, so it is uninitialised unless the
    /// configuration says otherwise. Does nothing while it runs.
    ///
    /// # Errors
    ///
    /// Someone else has begun to listen on the port.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn listen(&self) -> io::Result<()> {
        let mut running = self.running();
        if running.as_ref().is_some_and(|running| !running.ended.is_finished()) {
            return Ok(());
        }
        let listener = self.port.listen()?;
        *self.shared.record.moments() =
            Moments { listening: Some(Instant::now()), ..Moments::default() };
        let run = Arc::new(Run::new(Arc::clone(&self.shared)));
        let (end, ending) = watch::channel(End::NotYet);
        let accept = accept(Arc::clone(&run), Arc::clone(&self.port), listener, ending);
        *running = Some(Running { run, end, ended: tokio::spawn(accept) });
        Ok(())
    }

    /// Stops it as SIGTERM does: no new connection, what is being answered is finished, and after
    /// 5 s the rest is cut off. The port stays reserved.
    pub async fn stop(&self) {
        self.end(End::Gracefully).await;
    }

    /// Stops it as SIGKILL does: every connection ends at once. The port stays reserved.
    pub async fn kill(&self) {
        self.end(End::AtOnce).await;
    }

    /// Kills it and starts it again on the same port, uninitialised.
    ///
    /// # Errors
    ///
    /// As of [`listen`](Self::listen).
    pub async fn restart(&self) -> io::Result<()> {
        self.kill().await;
        self.listen()
    }

    /// Makes it uninitialised without a restart: no connection ends.
    pub fn forget(&self) {
        if let Some(running) = self.running().as_ref() {
            running.run.forget();
        }
    }

    /// Whether it is initialised now.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.running().as_ref().is_some_and(|running| running.run.is_initialized())
    }

    /// Changes what goes wrong. When this returns, the next connection and the next request meet
    /// it; connections that are open keep their own [`close_idle_after`](Faults::close_idle_after).
    pub async fn set_faults(&self, faults: Faults) {
        let mut wanted = 0;
        self.shared.faults.send_modify(|setting| {
            wanted = setting.number + 1;
            *setting = Setting { number: wanted, faults };
        });
        let Some((mut in_force, mut end)) = self
            .running()
            .as_ref()
            .map(|running| (running.run.in_force(), running.end.subscribe()))
        else {
            return;
        };
        tokio::select! {
            _ = in_force.wait_for(|number| *number >= wanted) => {}
            _ = end.wait_for(|end| *end != End::NotYet) => {}
        }
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.shared.faults.borrow().faults.clone()
    }

    /// The address for a client on this machine: `127.0.0.1`, or `[::1]` where it listens on IPv6
    /// alone.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.loopback()
    }

    /// The address it is bound to.
    #[must_use]
    pub fn bound(&self) -> SocketAddr {
        self.port.address()
    }

    /// The port that it keeps through all its starts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.bound().port()
    }

    /// What it was asked, over all its starts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.record.counts().borrow().clone()
    }

    /// Waits until `reached` accepts the counts, and returns them. It has no deadline of its own.
    pub async fn until(&self, reached: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.record.counts();
        match counts.wait_for(reached).await {
            Ok(counts) => counts.clone(),
            // The sender lives as long as `self`.
            Err(_) => self.counts(),
        }
    }

    /// The access lines so far, over all its starts.
    #[must_use]
    pub fn access_lines(&self) -> Vec<String> {
        self.shared.record.lines().clone()
    }

    /// When things happened since it last began to listen.
    #[must_use]
    pub fn moments(&self) -> Moments {
        *self.shared.record.moments()
    }

    async fn end(&self, how: End) {
        let running = self.running().take();
        if let Some(Running { end, ended, .. }) = running {
            end.send_replace(how);
            // An error would be a panic of the accept loop: it has ended all the same.
            let _ = ended.await;
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        if let Some(running) = self.running().take() {
            running.ended.abort();
        }
    }
}
