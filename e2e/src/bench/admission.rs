//! `cargo e2e -- bench admission`: what an admission costs the webhook as it is shipped, beside a server
//! in Go that reads each AdmissionReview and allows it as it is (`e2e/bench/echo`).
//!
//! ```text
//!   load (e2e/bench/load) ──▶ webhook ┐
//!                         └─▶ echo    ├─ /proc: CPU time, memory
//!                in turn, round after round
//! ```
//!
//! Both servers run from the first round to the last, so that what they keep shows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::command::{command, read, show};
use lab::image::Architecture;
use lab::proc;
use lab::process::Process;
use lab::progress::say;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::folders::workspace;
use crate::product::webhook::{issue, serve};
use crate::product::{Product, compile};
use crate::table::{Table, median};

/// An API server keeps connections; how many depends on how many pods are created at one time.
const CONNECTIONS: usize = 50;
/// How many requests each server gets in a round.
const REQUESTS: u32 = 100_000;

/// A review as an API server sends it: of a pod with two containers, 7 KB.
const REVIEW: &str = "webhook/tests/reviews/pod-create-8-kib.json";

const START: Duration = Duration::from_secs(20);

struct Server {
    name: &'static str,
    address: String,
    process: Process,
    rounds: Vec<Round>,
    /// Resident, in MiB, before the first round.
    memory: f64,
}

/// What `load` prints, in microseconds.
#[derive(Deserialize)]
struct Times {
    elapsed: u32,
    p50: u32,
    p99: u32,
}

/// The figures of a round, and the memory that is resident after it, in MiB.
type Round = [f64; 5];
type Show = fn(f64) -> String;
const FIGURES: [(&str, Show); 4] = [
    ("CPU a request", |microseconds| format!("{microseconds:.1} µs")),
    ("requests a second", |rate| format!("{rate:.0}")),
    ("p50", |milliseconds| format!("{milliseconds:.2} ms")),
    ("p99", |milliseconds| format!("{milliseconds:.2} ms")),
];
const MEMORY: usize = FIGURES.len();

/// Measures both servers in turn in each of `rounds` rounds, and gives the table. `webhook` is measured
/// instead of the one that is shipped, if it is named.
pub(crate) async fn run(webhook: Option<&Path>, rounds: u32) -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path();
    let shipped = match webhook {
        Some(program) => program.to_owned(),
        None => compile(Product::WEBHOOK, Architecture::host()).await?,
    };
    let (echo, load) = (go(folder, "echo")?, go(folder, "load")?);
    issue("127.0.0.1", folder)?;
    // Without the spaces that make the file readable: no API server sends any.
    let review: Value = serde_json::from_str(&std::fs::read_to_string(workspace().join(REVIEW))?)?;
    std::fs::write(folder.join("review.json"), review.to_string())?;

    // Its log is read, as a container runtime does.
    let (webhook, address) =
        serve(&shipped, folder, &["--log-format=json"], Box::new(|_| ())).await?;
    let webhook = Server::new("webhook", &address.to_string(), webhook)?;
    let mut servers = [webhook, start_echo(&echo, folder).await?];
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        for server in &mut servers {
            let round = measure(server, &load, folder);
            server.rounds.push(round.with_context(|| server.name.to_owned())?);
        }
    }
    table(&servers)
}

fn go(folder: &Path, name: &str) -> Result<PathBuf> {
    let program = folder.join(name);
    let mut go = command("go", ["build", "-o"]);
    show(go.arg(&program).arg(workspace().join(format!("e2e/bench/{name}/main.go"))))?;
    Ok(program)
}

async fn start_echo(program: &Path, folder: &Path) -> Result<Server> {
    let mut command = Command::new(program);
    command.args([folder.join("tls.crt"), folder.join("tls.key")]);
    let process = Process::start("echo", command, Box::new(|_| ()))?;
    let address = process.line("its address", START, |_| true).await?;
    Server::new("echo in Go", &address, process)
}

impl Server {
    fn new(name: &'static str, address: &str, process: Process) -> Result<Self> {
        let memory = memory(process.pid().context("it has ended")?)?;
        Ok(Self { name, address: address.to_owned(), process, rounds: Vec::new(), memory })
    }
}

fn measure(server: &Server, load: &Path, folder: &Path) -> Result<Round> {
    let pid = server.process.pid().context("it has ended")?;
    let before = proc::cpu(pid)?;
    let mut load = command(load, [format!("https://{}/mutate/pods?timeout=5s", server.address)]);
    load.args([folder.join("ca.crt"), folder.join("review.json")]);
    load.args([CONNECTIONS.to_string(), REQUESTS.to_string()]);
    let times: Times = serde_json::from_str(&read(&mut load)?)?;
    let cpu = proc::cpu(pid)?.saturating_sub(before);
    let each = |total: f64| total / f64::from(REQUESTS);
    Ok([
        each(cpu.as_secs_f64() * 1e6),
        1e6 / each(f64::from(times.elapsed)),
        f64::from(times.p50) / 1e3,
        f64::from(times.p99) / 1e3,
        memory(pid)?,
    ])
}

fn memory(pid: u32) -> Result<f64> {
    let kibibytes = u32::try_from(proc::memory(pid)?.resident >> 10)?;
    Ok(f64::from(kibibytes) / 1024.0)
}

fn table(servers: &[Server; 2]) -> Result<String> {
    let mut table = Table::new(
        &[&[""], &FIGURES.map(|(name, _)| name)[..], &["memory at first", "at last"]].concat(),
    );
    let mebibytes = |memory: f64| format!("{memory:.1} MiB");
    for Server { name, rounds, memory, .. } in servers {
        let last = rounds.last().context("there was no round")?[MEMORY];
        let figures = FIGURES.iter().enumerate().map(|(place, (_, show))| {
            show(median(rounds.iter().map(|round| round[place]).collect()))
        });
        let memory = [mebibytes(*memory), mebibytes(last)];
        table.row([(*name).to_owned()].into_iter().chain(figures).chain(memory));
    }
    let [webhook, echo] = servers;
    let ratio = |place: usize| {
        let pairs = webhook.rounds.iter().zip(&echo.rounds);
        format!("{:.2}", median(pairs.map(|(one, other)| one[place] / other[place]).collect()))
    };
    let ratios = (0..MEMORY).map(ratio).chain([String::new(), ratio(MEMORY)]);
    table.row(["ratio".to_owned()].into_iter().chain(ratios));
    Ok(format!(
        "{table}\nmedians of {} rounds in turn, of {REQUESTS} requests each over {CONNECTIONS} kept \
         connections\n",
        webhook.rounds.len()
    ))
}
