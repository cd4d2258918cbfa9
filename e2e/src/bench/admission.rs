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

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::footprint::proc;
use crate::images::compile;
use crate::product::Product;
use crate::workspace;
use lab::image::Architecture;
use lab::progress::say;

/// An API server keeps connections; how many depends on how many pods are created at one time.
const CONNECTIONS: usize = 50;

/// A review as an API server sends it: of a pod with two containers, 7 KB.
const REVIEW: &str = "webhook/tests/reviews/pod-create-8-kib.json";

/// A running server. Ends when it is dropped.
struct Server {
    name: &'static str,
    address: String,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `load` prints, in microseconds.
#[derive(Deserialize)]
struct Times {
    elapsed: u32,
    p50: u32,
    p99: u32,
}

/// One server in one round.
#[derive(Clone, Copy)]
struct Round {
    /// CPU time of one request, in microseconds.
    cpu: f64,
    /// Requests in a second.
    rate: f64,
    /// Of the time for one request, in microseconds.
    p50: f64,
    p99: f64,
    /// Resident, in MiB, after the round.
    memory: f64,
}

/// Sends `requests` requests to each server in each of `rounds` rounds, and gives the table. `webhook` is
/// measured instead of the one that is shipped, if it is named.
pub(crate) async fn run(webhook: Option<&Path>, rounds: u32, requests: u32) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let shipped = match webhook {
        Some(program) => program.to_owned(),
        None => compile(Product::Webhook, Architecture::host()).await?,
    };
    let [echo, load] = ["echo", "load"].map(|name| go(&folder, name));
    let (echo, load) = (echo?, load?);
    let path = |name: &str| folder.path().join(name);
    certificate(&path("tls.crt"), &path("tls.key"))?;
    let review = std::fs::read_to_string(workspace().join(REVIEW))?;
    // Without the spaces that make the file readable: no API server sends any.
    let review: Value = serde_json::from_str(&review)?;
    std::fs::write(path("review.json"), review.to_string())?;

    let servers = [start_webhook(&shipped, &folder)?, start_echo(&echo, &folder)?];
    let before = servers.each_ref().map(|server| memory(server.process.id()));
    let mut measured: [Vec<Round>; 2] = Default::default();
    for round in 1..=rounds {
        say(&format!("round {round} of {rounds}"));
        for (server, rounds) in servers.iter().zip(&mut measured) {
            let round = measure(server, &load, &folder, requests);
            rounds.push(round.with_context(|| server.name.to_owned())?);
        }
    }
    let before = before.into_iter().collect::<Result<Vec<_>>>()?;
    table(&servers, &before, &measured, requests)
}

fn go(folder: &TempDir, name: &str) -> Result<PathBuf> {
    let program = folder.path().join(name);
    let built = Command::new("go")
        .arg("build")
        .arg("-o")
        .arg(&program)
        .arg(workspace().join(format!("e2e/bench/{name}/main.go")))
        .status()
        .context("can't run go: it is needed for the server to compare with")?;
    ensure!(built.success(), "go could not build e2e/bench/{name}");
    Ok(program)
}

/// A certificate for 127.0.0.1 that signs itself, of the kind that the webhook makes for itself.
fn certificate(certificate: &Path, key: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    std::fs::write(certificate, made.cert.pem())?;
    std::fs::write(key, made.signing_key.serialize_pem())?;
    Ok(())
}

/// With its log as it is by default, which is read as a container runtime does.
fn start_webhook(program: &Path, folder: &TempDir) -> Result<Server> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", folder.path().join(name).display());
    let mut process = Command::new(program)
        .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json"])
        .args([file("tls-cert", "tls.crt"), file("tls-key", "tls.key")])
        .arg("--namespace=secret-handshake")
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not start", program.display()))?;
    let log = process.stderr.take().context("it was asked for")?;
    let mut server = Server { name: "webhook", address: String::new(), process };
    let mut log = BufReader::new(log);
    // The certificate is read after it is said where it will be shown.
    for message in ["serving", "serving certificate in use", "ready"] {
        let line = line_about(&mut log, message)?;
        if let Some(address) = line["address"].as_str() {
            address.clone_into(&mut server.address);
        }
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok(server)
}

fn line_about(log: &mut BufReader<ChildStderr>, message: &str) -> Result<Value> {
    let mut seen = String::new();
    loop {
        let begin = seen.len();
        let read = log.read_line(&mut seen)?;
        ensure!(read > 0, "the webhook has ended before it was {message}:\n{seen}");
        let line: Value = serde_json::from_str(&seen[begin..]).unwrap_or_default();
        if line["message"] == message {
            return Ok(line);
        }
    }
}

fn start_echo(program: &Path, folder: &TempDir) -> Result<Server> {
    let mut process = Command::new(program)
        .args([folder.path().join("tls.crt"), folder.path().join("tls.key")])
        .stdout(Stdio::piped())
        .spawn()
        .context("the echo server does not start")?;
    let said = process.stdout.take().context("it was asked for")?;
    let mut server = Server { name: "echo in Go", address: String::new(), process };
    BufReader::new(said).read_line(&mut server.address)?;
    server.address.truncate(server.address.trim_end().len());
    Ok(server)
}

fn measure(server: &Server, load: &Path, folder: &TempDir, requests: u32) -> Result<Round> {
    let pid = server.process.id();
    let before = proc::cpu(pid)?;
    let output = Command::new(load)
        .arg(format!("https://{}/mutate/pods?timeout=5s", server.address))
        .args([folder.path().join("tls.crt"), folder.path().join("review.json")])
        .args([CONNECTIONS.to_string(), requests.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "a request has failed");
    let cpu = proc::cpu(pid)?.saturating_sub(before);
    let times: Times = serde_json::from_slice(&output.stdout)?;
    let each = |total: f64| total / f64::from(requests);
    Ok(Round {
        cpu: each(cpu.as_secs_f64() * 1e6),
        rate: 1e6 / each(f64::from(times.elapsed)),
        p50: f64::from(times.p50),
        p99: f64::from(times.p99),
        memory: memory(pid)?,
    })
}

fn memory(pid: u32) -> Result<f64> {
    let kibibytes = u32::try_from(proc::memory(pid)?.resident >> 10)?;
    Ok(f64::from(kibibytes) / 1024.0)
}

fn table(
    servers: &[Server; 2],
    before: &[f64],
    measured: &[Vec<Round>; 2],
    requests: u32,
) -> Result<String> {
    let mut table = String::from(
        "| | CPU a request | requests a second | p50 | p99 | memory at first | at last |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for ((server, before), rounds) in servers.iter().zip(before).zip(measured) {
        let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        let last = rounds.last().context("there was no round")?;
        writeln!(
            table,
            "| {} | {:.1} µs | {:.0} | {:.2} ms | {:.2} ms | {before:.1} MiB | {:.1} MiB |",
            server.name,
            of(|round| round.cpu),
            of(|round| round.rate),
            of(|round| round.p50) / 1000.0,
            of(|round| round.p99) / 1000.0,
            last.memory,
        )?;
    }
    let [webhook, echo] = measured;
    let ratio = |value: fn(&Round) -> f64| {
        median(webhook.iter().zip(echo).map(|(one, other)| value(one) / value(other)).collect())
    };
    writeln!(
        table,
        "| ratio | {:.2} | {:.2} | {:.2} | {:.2} | | {:.2} |",
        ratio(|round| round.cpu),
        ratio(|round| round.rate),
        ratio(|round| round.p50),
        ratio(|round| round.p99),
        ratio(|round| round.memory),
    )?;
    writeln!(
        table,
        "\nmedians of {} rounds in turn, of {requests} requests each over {CONNECTIONS} kept connections",
        webhook.len()
    )?;
    Ok(table)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
