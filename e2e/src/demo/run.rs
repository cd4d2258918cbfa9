//! The demo, from the first certificate to the last exit status.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize as _;
use serde_json::Value;

use super::api_server::ApiServer;
use super::kubelet::Kubelet;
use super::manifests::{Manifests, Secret};
use super::ports::{Ports, add_flags};
use super::probe::Readiness;
use super::screen::{Who, heading, line, say};
use super::selection::{Entry, Labels};
use super::{manifests, replica_set, screen, selection};
use crate::folders::workspace;
use crate::product::webhook::{issue, serve};
use crate::product::{self, Product};
use lab::http::get;
use lab::network::localhost;
use lab::process::Process;

/// How long any one step may take on a slow machine. None takes more than a second on an idle one.
const LIMIT: Duration = Duration::from_secs(30);
/// The exit status of a Legacy that a signal has stopped.
const LEGACY_STOPPED: i32 = 2;

/// Shows the main job with no cluster: the real webhook over TLS is sent a pod, and the pod that comes
/// back is run as processes, twice initialised by its sidecar.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo", version)]
pub struct Options {
    /// Take free ports for the pod even if 3000 and 13300 are free
    #[arg(long)]
    pub free_ports: bool,

    /// A flag for Legacy, such as --legacy=-late=3s: it listens only then. Can be given several times
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub legacy: Vec<String>,
}

/// Runs the demo.
///
/// # Errors
///
/// The first step that fails. All that was started has been ended then.
pub async fn run(options: &Options) -> Result<()> {
    heading("Programs");
    let mut programs = product::programs().run(|text| say(text)).await?;
    programs.append(&mut product::sidecar().run(|text| say(text)).await?);
    let began = Instant::now();
    let (ports, secret, pod, entry) = read(options)?;

    heading("Certificates for the webhook's Service");
    let certificates = tempfile::tempdir().context("there is no temporary folder")?;
    issue(&entry.host, certificates.path())?;
    say(format_args!("a CA, and from it a certificate for {}", entry.host));

    heading("The webhook, over TLS");
    let image = format!("--sidecar-image={}", Product::SIDECAR.reference());
    let watcher = Box::new(|text: &str| line(Who::WEBHOOK, text));
    let flags = ["--drain=0s", &image];
    let (mut webhook, address) =
        serve(&programs["webhook"], certificates.path(), &flags, watcher).await?;

    heading("A pod of Legacy's Deployment is created");
    let api_server = ApiServer::new(&certificates.path().join("ca.crt"), &entry.host, address)?;
    let pod = create(&api_server, &entry, &pod).await?;

    heading("The pod that came back starts");
    let kubelet = Kubelet::new(&pod, &secret, programs)?;
    let mut legacy = start_legacy(&kubelet).await?;
    expect(ports.legacy, "Uninitialized").await?;
    let mut sidecar = kubelet.start(kubelet.sidecar()?)?;
    let readiness = Readiness::watch(kubelet.sidecar()?)?;
    readiness.until(true, LIMIT).await?;
    expect(ports.legacy, "It works!").await?;

    heading("Legacy restarts, and knows nothing of the handshake any more");
    end(&mut legacy, LEGACY_STOPPED).await?;
    readiness.until(false, LIMIT).await?;
    let mut legacy = start_legacy(&kubelet).await?;
    readiness.until(true, LIMIT).await?;
    expect(ports.legacy, "It works!").await?;

    heading("The end");
    drop(readiness);
    end(&mut sidecar, 0).await?;
    end(&mut legacy, LEGACY_STOPPED).await?;
    end(&mut webhook, 0).await?;
    let seconds = began.elapsed().as_secs_f64();
    say(format_args!("Two starts, two handshakes, in {seconds:.1} s."));
    Ok(())
}

/// Reads what is applied: the pod that comes of it on these ports, with its Secret, and where the API server
/// sends it.
fn read(options: &Options) -> Result<(Ports, Secret, Value, Entry)> {
    let deploy = workspace().join("deploy");
    let Manifests { namespace, mut deployment, secret } = Manifests::read(&deploy.join("demo"))?;
    let ports = Ports::claim(!options.free_ports)?;
    ports.note(&mut deployment);
    add_flags(&mut deployment, &options.legacy);
    let configuration = manifests::configuration(&deploy.join("webhook"))?;
    let [namespace, pod] = [&namespace, &deployment["spec"]["template"]]
        .map(|object| Labels::deserialize(&object["metadata"]["labels"]).unwrap_or_default());
    let entry = selection::entry(&configuration, &namespace, &pod)?;
    Ok((ports, secret, replica_set::pod(&deployment)?, entry))
}

async fn create(api_server: &ApiServer, entry: &Entry, pod: &Value) -> Result<Pod> {
    say(format_args!("Its namespace's label leads to {}, {}.", entry.name, entry.path));
    let admitted = api_server.admit(entry, pod).await.context("the pod is refused")?;
    for warning in &admitted.warnings {
        say(format_args!("Warning: {warning}"));
    }
    let milliseconds = admitted.took.as_secs_f64() * 1000.0;
    let operations = admitted.operations;
    say(format_args!("{operations} changes, in {milliseconds:.0} ms. The pod before and after:"));
    screen::difference(pod, &admitted.pod)?;
    serde_json::from_value(admitted.pod).context("it is no Pod any more")
}

async fn start_legacy(kubelet: &Kubelet) -> Result<Process> {
    let legacy = kubelet.start(kubelet.legacy()?)?;
    legacy.line("listening", LIMIT, |line| line.contains("server is listening")).await?;
    Ok(legacy)
}

/// Calls Legacy, as its Service would send a caller, and shows what curl would show. The answer must be
/// this one.
async fn expect(port: u16, wanted: &str) -> Result<()> {
    screen::command(format_args!(r"curl -sw '%{{http_code}}\n' http://localhost:{port}/"));
    let answer = get(localhost(port), "/", LIMIT).await.context("Legacy can't be asked")?;
    let (status, body) = (answer.status, answer.body.trim_end());
    for line in [body, &status.to_string()] {
        screen::output(line, status == 200);
    }
    ensure!(body == wanted, "Legacy should answer {wanted:?}, not {status} {body:?}");
    Ok(())
}

async fn end(process: &mut Process, wanted: i32) -> Result<()> {
    let status = process.terminate(LIMIT).await?;
    match status.code() {
        Some(code) if code == wanted => {
            line(Who::KUBELET, format_args!("{} ends with status {code}", process.name()));
            Ok(())
        }
        _ => bail!("{} ended with {status}, not with {wanted}", process.name()),
    }
}
