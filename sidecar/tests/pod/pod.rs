//! A pod in one process: a mock of Legacy, a sidecar, and what can be asked of both.

use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use legacy_mock::{Config, Faults, Legacy};
use listen::Address;
use sidecar::args::Args;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// The demo's operations half.
pub(crate) const HALF: &str = "-acknowledge";

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for it, and fails the test when it takes too long.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

pub(crate) struct Pod {
    pub(crate) legacy: Legacy,
    pub(crate) sidecar: Sidecar,
    /// The file with the operations half.
    pub(crate) half: PathBuf,
    folder: TempDir,
}

impl Pod {
    /// A healthy Legacy and a sidecar with the right half.
    pub(crate) fn start() -> Self {
        Self::with(Config::default(), |_| {})
    }

    /// A Legacy with these faults, and a sidecar that tries again soon. Where Legacy does not answer,
    /// it does not wait long; elsewhere it does, so that a slow machine is no fault.
    pub(crate) fn with_faults(faults: Faults, silent: bool) -> Self {
        let config = Config { faults, ..Config::default() };
        Self::with(config, |args| {
            soon(args);
            if silent {
                args.request_timeout = Duration::from_millis(400);
            }
        })
    }

    /// Legacy listens before the sidecar looks.
    pub(crate) fn with(config: Config, set: impl FnOnce(&mut Args)) -> Self {
        let pod = Self::reserve(config, set);
        pod.legacy.listen().unwrap();
        pod
    }

    /// Legacy has a port, but does not listen yet.
    pub(crate) fn reserve(config: Config, set: impl FnOnce(&mut Args)) -> Self {
        let legacy = Legacy::reserve(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let half = folder.path().join("half");
        std::fs::write(&half, HALF).unwrap();
        let mut args = Args {
            legacy_port: legacy.port(),
            half_file: half.clone(),
            listen: Address::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            ..Args::default()
        };
        set(&mut args);
        let sidecar = Sidecar::start(args);
        Self { legacy, sidecar, half, folder }
    }

    /// Waits until the sidecar says that Legacy is initialised.
    pub(crate) async fn ready(&self) {
        self.sidecar.until("/readyz", |answer| answer.starts_with("200")).await;
        assert!(self.legacy.is_initialized());
    }

    /// Another sidecar beside the same Legacy: the first one restarted.
    pub(crate) async fn restart_sidecar(self, set: impl FnOnce(&mut Args)) -> Self {
        let Self { legacy, sidecar, half, folder } = self;
        let mut args = sidecar.args.clone();
        sidecar.stop().await;
        set(&mut args);
        Self { legacy, sidecar: Sidecar::start(args), half, folder }
    }
}

/// Shorter pauses after failures.
pub(crate) fn soon(args: &mut Args) {
    args.timing.backoff.retry_max = Duration::from_millis(200);
    args.timing.verify_for = Duration::from_millis(300);
}

/// A sidecar in this process.
pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    pub(crate) log: Lines,
    args: Args,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<io::Result<()>>,
}

impl Sidecar {
    pub(crate) fn start(args: Args) -> Self {
        let log = Lines::new();
        let bound = args.clone().bind().unwrap().log_to(Box::new(log.clone()));
        let address = bound.local_addr();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(bound.serve(async {
            let _ = stopped.await;
        }));
        Self { address, log, args, stop, ended }
    }

    /// Asks the sidecar's own port; status, a space and the body.
    pub(crate) async fn get(&self, path: &str) -> String {
        within(path, get(self.address, path)).await.unwrap()
    }

    /// Asks until the answer is as wished.
    pub(crate) async fn until(&self, path: &str, wish: impl Fn(&str) -> bool) -> String {
        let asked = async {
            loop {
                let answer = self.get(path).await;
                if wish(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let log = self.log.clone();
        tokio::time::timeout(DEADLINE, asked)
            .await
            .unwrap_or_else(|_| panic!("waited too long for {path}; the log:\n{}", log.text()))
    }

    /// The value of a metric, by its name and labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
    }

    /// How many attempts came to this.
    pub(crate) async fn attempts(&self, outcome: &str) -> u64 {
        self.metric(&format!("secret_handshake_attempts_total{{outcome=\"{outcome}\"}}")).await
    }

    /// Stops it.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        within("the sidecar's end", self.ended).await.unwrap().unwrap();
    }
}

/// One request over one connection; status, a space and the body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = ask(address, path).await?;
    let answer = read(&mut stream).await?;
    // A connection that had to make room for another has neither.
    let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(ended)?;
    let status = head.split(' ').nth(1).ok_or_else(ended)?;
    Ok(format!("{status} {body}"))
}

/// Sends a request and leaves the answer unread.
pub(crate) async fn ask(address: SocketAddr, path: &str) -> io::Result<TcpStream> {
    ask_as("curl/8", address.ip(), address, path).await
}

/// The same with this user agent, and from this address.
pub(crate) async fn ask_as(
    agent: &str,
    from: IpAddr,
    address: SocketAddr,
    path: &str,
) -> io::Result<TcpStream> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {agent}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Sends these bytes, and reads until the other side ends the connection.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    within("the answer", read(&mut stream)).await.unwrap()
}

/// Reads until the other side ends the connection.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// What was logged.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Mutex<String>>, watch::Sender<()>);

impl Lines {
    fn new() -> Self {
        Self(Arc::default(), watch::Sender::new(()))
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// How many lines have this in them.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.text().lines().filter(|line| line.contains(part)).count()
    }

    /// Waits for a line with this in it.
    pub(crate) async fn until(&self, part: &str) {
        self.until_count(part, 1).await;
    }

    /// Waits for so many lines with this in them.
    pub(crate) async fn until_count(&self, part: &str, count: usize) {
        let mut changed = self.1.subscribe();
        let logged = changed.wait_for(|()| self.count(part) >= count);
        let logged = tokio::time::timeout(DEADLINE, logged).await;
        assert!(logged.is_ok(), "waited too long for {part:?} in the log:\n{}", self.text());
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(std::str::from_utf8(line).expect("lines are UTF-8"));
        self.1.send_replace(());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
