//! The binary: exit codes, signals, and what never reaches anybody's eyes.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legacy_mock::{AnswerFault, Config, Faults, KeyFault, Legacy, What};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::pod::{HALF, get, within};

const BINARY: &str = env!("CARGO_BIN_EXE_sidecar");

async fn run(arguments: &[&str]) -> Output {
    within("the sidecar's end", Command::new(BINARY).args(arguments).output()).await.unwrap()
}

/// A sidecar in a process of its own, and its log so far.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: Vec<String>,
}

impl Process {
    fn start(program: &mut Command) -> Self {
        let mut child = program
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, log: Vec::new() }
    }

    /// Reads the log up to a line with this in it, and returns the line.
    async fn until(&mut self, part: &str) -> String {
        loop {
            let line = within(part, self.lines.next_line()).await.unwrap();
            let Some(line) = line else { panic!("no {part:?} in {:#?}", self.log) };
            self.log.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The port that the first line tells.
    async fn port(&mut self) -> u16 {
        let line = self.until("status on ").await;
        line.rsplit_once(':').unwrap().1.trim_end_matches(']').parse().unwrap()
    }

    async fn signal(&self, name: &str) {
        signal(self.child.id().unwrap(), name).await;
    }

    /// Waits for its end: exit code, the rest of stdout, stderr.
    async fn end(mut self) -> (Option<i32>, String, String) {
        let status = within("the sidecar's end", self.child.wait()).await.unwrap();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.log.push(line);
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).await.unwrap();
        (status.code(), self.log.join("\n"), stderr)
    }
}

async fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().await;
    assert!(sent.unwrap().success());
}

fn sidecar(legacy_port: u16, half: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg(format!("--legacy-port={legacy_port}")).arg("--listen=127.0.0.1:0");
    command.arg("--half-file").arg(half);
    command
}

#[tokio::test]
async fn help_and_version_go_to_stdout() {
    let help = run(&["--help"]).await;
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("--legacy-port PORT"));
    assert!(help.stderr.is_empty());
    let version = run(&["--version"]).await;
    assert_eq!(version.status.code(), Some(0));
    let expected = format!("secret-handshake sidecar {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
}

#[tokio::test]
async fn wrong_usage_is_one_line_on_stderr_and_exit_2() {
    for arguments in [
        &["--nonsense"][..],
        &["--legacy-port"],
        &["--legacy-port", "0"],
        &["--hold=5"],
        &["--log-level=loud"],
        &["positional"],
        &["-x"],
        &["--listen=:3000"],
    ] {
        let output = run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("sidecar: "), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn a_taken_port_is_exit_1_and_says_which_flag_and_which_annotation_change_it() {
    let taken = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let output = run(&[&listen]).await;
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains("ERROR") && stdout.contains("secret-handshake/health-port"),
        "{stdout}"
    );
    assert!(stdout.contains("Choose another port with --listen"), "{stdout}");
    assert_eq!(stdout.lines().count(), 1);
}

#[tokio::test]
async fn a_proxy_that_the_cluster_sets_for_everybody_is_not_for_localhost() {
    let legacy = Legacy::start(Config::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half");
    std::fs::write(&half, HALF).unwrap();
    let mut command = sidecar(legacy.port(), &half);
    for proxy in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(proxy, "http://127.0.0.1:1");
    }
    let mut process = Process::start(&mut command);
    process.until("Legacy is initialised; ready after ").await;
    assert!(legacy.is_initialized());
    process.signal("TERM").await;
    let (code, stdout, stderr) = process.end().await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
}

#[tokio::test]
async fn sigterm_and_sigint_end_it_with_0_whatever_it_does() {
    for name in ["TERM", "INT"] {
        let nobody = Legacy::reserve(Config::default()).unwrap();
        let mut process = Process::start(&mut sidecar(nobody.port(), "/nonexistent".as_ref()));
        let port = process.port().await;
        process.until("waiting for Legacy").await;
        // A held request does not hold it up.
        let held = tokio::spawn(get(([127, 0, 0, 1], port).into(), "/readyz"));
        let asked = Instant::now();
        process.signal(name).await;
        let (code, stdout, _) = process.end().await;
        assert_eq!(code, Some(0), "{stdout}");
        assert!(asked.elapsed() < Duration::from_secs(10));
        assert!(stdout.ends_with("received SIGTERM, exiting"), "{stdout}");
        held.abort();
    }
}

/// The first process of a container gets no signal that it has no handler for.
#[tokio::test]
async fn sigterm_ends_it_as_process_1_too() {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
    let mut allowed = Command::new("unshare");
    allowed.args(["--user", "--map-root-user", "--pid", "--fork", "true"]);
    if !allowed.output().await.is_ok_and(|output| output.status.success()) {
        println!("skipped: this machine does not let us make a PID namespace");
        return;
    }
    let nobody = Legacy::reserve(Config::default()).unwrap();
    unshare.arg(BINARY).arg(format!("--legacy-port={}", nobody.port())).arg("--listen=127.0.0.1:0");
    let mut process = Process::start(&mut unshare);
    process.until("waiting for Legacy").await;
    let outer = process.child.id().unwrap();
    let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap();
    let first: u32 = children.trim().parse().unwrap();
    signal(first, "TERM").await;
    let (code, stdout, _) = process.end().await;
    assert_eq!(code, Some(0), "{stdout}");
}

#[tokio::test]
async fn a_closed_stdout_ends_nothing() {
    let legacy = Legacy::reserve(Config::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half");
    std::fs::write(&half, HALF).unwrap();
    let mut process = Process::start(&mut sidecar(legacy.port(), &half));
    process.until("waiting for Legacy").await;
    let Process { lines, mut child, .. } = process;
    drop(lines);
    legacy.listen().unwrap();
    within("the handshake", legacy.until(|counts| counts.accepted == 1)).await;
    signal(child.id().unwrap(), "TERM").await;
    let status = within("the sidecar's end", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

/// A pipe takes 64 KiB; then a write would block, and everything with it.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let legacy = Legacy::reserve(Config::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half");
    std::fs::write(&half, HALF).unwrap();
    let mut command = sidecar(legacy.port(), &half);
    let mut process = Process::start(command.arg("--log-level=debug"));
    let port = process.port().await;
    let metrics = async || get(([127, 0, 0, 1], port).into(), "/metrics").await.unwrap();
    let dropped = async {
        while metrics().await.contains("secret_handshake_log_lines_dropped_total 0\n") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Each connect is a line.
    within("lines to be dropped", dropped).await;
    legacy.listen().unwrap();
    within("the handshake", legacy.until(|counts| counts.accepted == 1)).await;
    within("the watch", legacy.until(|counts| counts.of("GET /health") == 2)).await;
    // Who reads again gets what comes then.
    let dropped = metrics().await;
    let reading = tokio::spawn(async move {
        process.until("Legacy is gone").await;
        process
    });
    let gone = async {
        while !reading.is_finished() {
            // On a busy machine its port may still be taken for a moment: the next one succeeds.
            let _ = legacy.restart().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("the lines after that", gone).await;
    assert!(!dropped.contains("secret_handshake_log_lines_dropped_total 0\n"));
    reading.await.unwrap().signal("TERM").await;
}

/// A wait of 10 s with nothing listening: what it costs is printed, and bounded generously.
#[tokio::test]
async fn waiting_costs_little() {
    let nobody = Legacy::reserve(Config::default()).unwrap();
    let mut command = sidecar(nobody.port(), "/nonexistent".as_ref());
    let mut process = Process::start(&mut command);
    process.until("still waiting for Legacy to listen on port").await;
    let id = process.child.id().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    println!("10 s of waiting cost {ticks} hundredths of a second of CPU");
    assert!(ticks < 100, "{ticks}");
    let threads = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    assert!(threads.contains("\nThreads:\t1\n"), "{threads}");
}

/// Every form in which a secret could slip out.
fn forms_of(secret: &[u8]) -> Vec<String> {
    let plain = String::from_utf8_lossy(secret).into_owned();
    let base64 = STANDARD.encode(secret);
    // Inside a longer base64 text, a secret looks like one of three, by where it begins; its first and
    // last characters depend on its neighbours.
    let shifted = (1..3).map(|shift| {
        let text = STANDARD.encode([vec![0; shift], secret.to_vec()].concat());
        text[4..text.len() - 4].to_owned()
    });
    let debug = format!("{secret:?}");
    [plain, base64[..base64.len() - 4].to_owned(), debug].into_iter().chain(shifted).collect()
}

#[tokio::test]
async fn no_half_key_or_secret_is_ever_told() {
    let key = b"the key that Legacy keeps";
    let half = b"the half that operations keep";
    let other = b"another half, and a wrong one";
    let config = Config {
        key: key.to_vec(),
        half: Some(half.to_vec()),
        faults: Faults { key: KeyFault::Garbage, ..Faults::default() },
        ..Config::default()
    };
    let legacy = Legacy::start(config).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("half");
    std::fs::write(&file, other).unwrap();
    let mut command = sidecar(legacy.port(), &file);
    command.args(["--log-level=debug", "--request-timeout=1s"]);
    let mut process = Process::start(&mut command);
    let port = process.port().await;
    let mut seen = String::new();
    let mut look_around = async |process: &mut Process, part: &str| {
        process.until(part).await;
        for path in ["/metrics", "/readyz", "/livez"] {
            seen += &get(([127, 0, 0, 1], port).into(), path).await.unwrap();
        }
    };

    look_around(&mut process, "is not base64").await;
    legacy.set_faults(Faults::default()).await;
    look_around(&mut process, "Legacy refused the secret").await;
    std::fs::write(&file, half).unwrap();
    let fault = |what| Faults {
        answer: Some(AnswerFault::always(what).on("/internal/secret")),
        ..Faults::default()
    };
    legacy.set_faults(fault(What::Status(500))).await;
    look_around(&mut process, "status 500").await;
    legacy
        .set_faults(Faults { uninitialized_for: Duration::from_secs(3600), ..Faults::default() })
        .await;
    look_around(&mut process, "still does not answer as initialised").await;
    legacy.set_faults(Faults::default()).await;
    look_around(&mut process, "Legacy is initialised").await;
    process.signal("TERM").await;
    let (code, stdout, stderr) = process.end().await;
    assert_eq!(code, Some(0));

    seen += &stdout;
    seen += &stderr;
    let secret = [key.as_slice(), half].concat();
    for kept in [key.as_slice(), half, other, &secret] {
        for form in forms_of(kept) {
            assert!(!seen.contains(&form), "{form:?} in:\n{seen}");
        }
    }
}
