//! Carries out what the handshake says is next, and tells others what came of it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use listen::Address;
use tokio::time::{sleep, timeout};

use crate::args::Args;
use crate::client::{Answer, Client};
use crate::handshake::{Action, Event, Failure, Handshake, Report};
use crate::log::{Level, Log};
use crate::messages::{self, Line};
use crate::secret::{Half, Secret};
use crate::status::Status;
use crate::watch::Watch;

/// The pause between two requests beside the watch.
const BESIDE_EVERY: Duration = Duration::from_millis(50);

/// Why the sidecar's own port can't be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {0}: {1}. Choose another port with --listen; in a pod, whose containers share their \
     ports, with the annotation secret-handshake/health-port"
)]
pub struct BindError(Address, #[source] io::Error);

impl Args {
    /// Takes the sidecar's own port.
    ///
    /// # Errors
    /// When the port is taken, or the system does not give it away.
    pub fn bind(self) -> Result<Bound, BindError> {
        let bound = listen::bind(self.listen, self.limits.port);
        let listener = bound.map_err(|error| BindError(self.listen, error))?;
        let log = Log::stdout(self.log_level, self.log_format);
        Ok(Bound { args: self, listener, log })
    }
}

/// A sidecar that has its port and has not begun.
pub struct Bound {
    args: Args,
    listener: listen::Bound,
    log: Log,
}

impl Bound {
    /// The address of `/readyz`, `/livez` and `/metrics`.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Writes the log somewhere else than to stdout.
    #[must_use]
    pub fn log_to(mut self, out: Box<dyn io::Write + Send>) -> Self {
        self.log = Log::new(self.args.log_level, self.args.log_format, out);
        self
    }

    /// Does the handshake, and again whenever Legacy restarts, until `shutdown` completes. Then it ends at
    /// once, whatever is open. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// When the runtime can't take the listener, or there is no HTTP client.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { args, listener, log } = self;
        let log = Arc::new(log);
        let began = Instant::now();
        let trace = Arc::clone(&log);
        let client = Client::new(args.legacy_port, args.request_timeout, move |it| {
            trace.line(Level::Debug, "request", &it);
        });
        let status =
            Status::new(args.legacy_port, args.hold, args.limits.held, Arc::clone(&log), began);
        let status = Arc::new(status);
        let answering = Arc::clone(&status);
        write(&log, &messages::started(&args, listener.local_addr()));
        let serving = listener
            .serve(move |request| Arc::clone(&answering).answer(request), std::future::pending());
        let driver = Driver {
            client: client.map_err(io::Error::other)?,
            watch: None,
            args: &args,
            status: &status,
            log: &log,
            began,
        };
        tokio::select! {
            biased;
            () = shutdown => {}
            never = driver.drive() => match never {},
            failed = serving => failed?,
        }
        write(&log, &messages::stopped());
        Ok(())
    }
}

fn write(log: &Log, line: &Line) {
    log.line(line.level, line.event, &line.message);
}

struct Driver<'a> {
    client: Client,
    watch: Option<Watch>,
    args: &'a Args,
    status: &'a Status,
    log: &'a Log,
    began: Instant,
}

impl Driver<'_> {
    /// Carries out one action after another.
    async fn drive(mut self) -> Infallible {
        let mut handshake = Handshake::new(self.args.timing, Duration::ZERO);
        let mut action = Action::Connect;
        loop {
            let event = self.act(action).await;
            let next = handshake.step(event, self.began.elapsed(), fastrand::f64());
            let state = handshake.state();
            self.status.update(state, self.began + handshake.since(), next.report);
            if let Some(report) = next.report {
                write(self.log, &messages::report(self.args, self.client.address(), report));
                // Legacy may take many minutes to listen; nobody should learn only then what is missing.
                if let Report::Waiting(_) = report
                    && let Err(error) = Half::read(&self.args.half_file)
                {
                    write(self.log, &messages::half(self.args, error));
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
            Action::Connect if self.client.connect().await => Event::Accepted,
            Action::Connect => Event::Refused,
            Action::Check => Event::Checked(self.client.check().await),
            Action::Handshake => Event::Answered(self.handshake().await),
            Action::Watch => self.open_watch().await,
            Action::Sleep(pause) => self.sleep(pause).await,
        }
    }

    /// The half first: as long as there is none, Legacy is not asked for its key.
    async fn handshake(&self) -> Result<Answer, Failure> {
        let half = Half::read(&self.args.half_file)?;
        let key = self.client.key().await?;
        Ok(self.client.send(Secret::join(&key, &half)).await?)
    }

    /// Opens the watch, and keeps it if Legacy serves others beside it. A first request beside it may fail
    /// for reasons of its own, so it is tried again until the time is over.
    async fn open_watch(&mut self) -> Event {
        let Ok(mut watch) = Watch::open(self.client.address(), self.args.request_timeout).await
        else {
            return Event::WatchEnded;
        };
        let served = async {
            while self.client.health().await.is_err() {
                sleep(BESIDE_EVERY).await;
            }
        };
        let served = tokio::select! {
            biased;
            () = watch.ended() => return Event::WatchEnded,
            served = timeout(self.args.timing.beside_watch, served) => served,
        };
        let serves_one_at_a_time = served.is_err();
        self.watch = (!serves_one_at_a_time).then_some(watch);
        Event::Watched { serves_one_at_a_time }
    }

    async fn sleep(&mut self, pause: Duration) -> Event {
        let Some(watch) = &mut self.watch else {
            sleep(pause).await;
            return Event::Slept;
        };
        tokio::select! {
            biased;
            () = watch.ended() => {
                self.watch = None;
                Event::WatchEnded
            }
            () = sleep(pause) => Event::Slept,
        }
    }
}
