//! The driver: carries out what the machine says, and tells others what came of it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::args::Args;
use crate::failure::Failure;
use crate::legacy::{Legacy, Watch};
use crate::listen::{self, BindError};
use crate::log::{Level, Log};
use crate::machine::{Action, Answer, Event, Kindness, Machine, News};
use crate::secret::{Half, Secret};
use crate::status::{self, Board, Status};
use crate::tell::{tell, tell_early};

impl Args {
    /// Takes the sidecar's own port.
    ///
    /// # Errors
    /// When the port is taken, or the system does not give it away.
    pub fn bind(self) -> Result<Bound, BindError> {
        let listener = listen::bind(self.listen)?;
        let log = Log::stdout(self.log_level, self.log_format);
        Ok(Bound { args: self, listener, log })
    }
}

/// A sidecar that has its port and has not begun.
pub struct Bound {
    args: Args,
    listener: TcpListener,
    log: Log,
}

impl Bound {
    /// The address of `/readyz`, `/livez` and `/metrics`.
    ///
    /// # Errors
    /// When the system does not know it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Writes the log somewhere else than to stdout.
    #[must_use]
    pub fn log_to(mut self, out: Box<dyn io::Write + Send>) -> Self {
        self.log = Log::new(self.args.log_level, self.args.log_format, out);
        self
    }

    /// Does the handshake, and again whenever Legacy restarts, until `shutdown` completes. Needs a
    /// tokio runtime with I/O and time.
    ///
    /// # Errors
    /// When the runtime cannot take the listener.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { args, listener, log } = self;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let began = Instant::now();
        let machine = Machine::new(args.pace, Duration::ZERO);
        let board = Arc::new(Board::new(machine.state(), began));
        let status = Arc::new(Status::new(Arc::clone(&board), &args));
        log.line(
            Level::Info,
            "started",
            &format_args!(
                "secret-handshake sidecar {}: Legacy's port {}, half from {}, status on {address}",
                env!("CARGO_PKG_VERSION"),
                args.legacy_port,
                args.half_file.display(),
            ),
        );
        let driver = Driver {
            legacy: Legacy::new(args.legacy_port, args.request_timeout),
            watch: None,
            args: &args,
            board: &board,
            log: &log,
            began,
        };
        let mut serving = pin!(status::serve(listener, Arc::clone(&status), &args));
        tokio::select! {
            biased;
            () = shutdown => {
                log.line(Level::Info, "stopped", &"received SIGTERM, exiting");
                Ok(())
            }
            never = driver.drive(machine) => match never {},
            never = &mut serving => match never {},
        }
    }
}

struct Driver<'a> {
    legacy: Legacy,
    watch: Option<Watch>,
    args: &'a Args,
    board: &'a Board,
    log: &'a Log,
    began: Instant,
}

impl Driver<'_> {
    /// Carries out one action after another.
    async fn drive(mut self, mut machine: Machine) -> Infallible {
        let mut action = machine.first();
        loop {
            let event = self.act(action).await;
            let next = machine.step(event, self.began.elapsed(), fastrand::f64());
            let state = machine.state();
            self.board.show(state, self.began + machine.since(), next.news);
            if let Some(news) = next.news {
                tell(self.log, self.args, &self.legacy.address(), news);
                // Legacy may take many minutes to listen; nobody should learn only then what is missing.
                if let News::Waiting { .. } = news
                    && let Err(problem) = Half::read(&self.args.half_file)
                {
                    tell_early(self.log, self.args, problem);
                }
            }
            if !state.is_ready() {
                self.watch = None;
            }
            action = next.action;
        }
    }

    async fn act(&mut self, action: Action) -> Event {
        match action {
            Action::Knock => Event::Knocked(self.legacy.knock().await),
            Action::Look => Event::Looked(self.legacy.look().await),
            Action::Shake => Event::Shaken(self.shake().await),
            Action::Watch => self.open_watch().await,
            Action::Rest(pause) => self.rest(pause).await,
        }
    }

    /// The half first: as long as there is none, Legacy is not asked for its key.
    async fn shake(&mut self) -> Result<Answer, Failure> {
        let half = Half::read(&self.args.half_file)?;
        let key = self.legacy.key().await?;
        self.legacy.send(Secret::join(&key, &half)).await
    }

    async fn open_watch(&mut self) -> Event {
        self.watch = None;
        let Ok(mut watch) = self.legacy.watch().await else {
            return Event::WatchEnded;
        };
        match self.legacy.kindness(&mut watch, self.args.kindness).await {
            Err(_) => Event::WatchEnded,
            Ok(kindness) => {
                self.watch = (kindness == Kindness::Kind).then_some(watch);
                Event::Watched(kindness)
            }
        }
    }

    async fn rest(&mut self, pause: Duration) -> Event {
        let Some(watch) = &mut self.watch else {
            sleep(pause).await;
            return Event::Rested;
        };
        tokio::select! {
            biased;
            () = watch.ended() => {
                self.watch = None;
                Event::WatchEnded
            }
            () = sleep(pause) => Event::Rested,
        }
    }
}
