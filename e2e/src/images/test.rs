//! Webhook, Legacy and sidecar as three containers in one network namespace, hardened as in a cluster.
//!
//! The injection says what the pod looks like (`cli::inject`); the sidecar runs with
//! just those arguments, limits and restrictions. Whatever is broken in an image (the user, the entry
//! point, what it does as process 1, what it needs of memory and of a file system) is an error.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use cli::inject::InjectArgs;
use injection::Policy;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as core;
use lab::http::{Answer, answers, get};
use lab::image::{Container, End, Engine, hardening};
use lab::network::{self, localhost};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::folders::workspace;
use crate::product::Product;
use crate::product::webhook::issue;

const LEGACY: u16 = 3000;
const SIDECAR: u16 = 13300;
const ADMIN: u16 = 8080;
/// For what should come within milliseconds, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(20);
/// A process that handles SIGTERM ends well within this; Docker kills one that doesn't after 10 s.
const AT_ONCE: Duration = Duration::from_secs(4);
/// Probes that wait at one time, far beyond what a kubelet sends.
const HELD: usize = 300;
/// Connections one after the other.
const FLOOD: usize = 5_000;
/// Bytes of a request that never ends.
const ENDLESS: usize = 1 << 20;

/// Tests the images that `engine` has under the names that `name` gives; `say` gets a line for each
/// step.
pub(super) async fn run<'a>(
    engine: &Engine,
    name: impl Fn(Product) -> Result<&'a str>,
    mut say: impl FnMut(&str),
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = name(Product::SIDECAR)?;
    let pod = inject(image)?;
    let mut containers = pod.containers.iter();
    let sidecar = containers.find(|container| container.name == "secret-handshake");
    let sidecar = sidecar.context("no container secret-handshake in what was injected")?;
    ensure!(sidecar.image.as_deref() == Some(image), "another image: {:?}", sidecar.image);
    say("the sidecar's image is injected into Legacy's manifest");

    // The webhook stays up all the time, so the network namespace is its own.
    let webhook = webhook(engine, name(Product::WEBHOOK)?, folder.path())?;
    let network = Network::of(&webhook)?;
    network.answers(ADMIN, "/readyz", 200).await?;
    say("the webhook serves");
    let legacy = legacy(engine, name(Product::LEGACY_MOCK)?, &webhook)?;
    network.answers(LEGACY, "/health", 200).await?;
    network.says(LEGACY, "/", (503, "Uninitialized")).await?;
    say("Legacy says 503 Uninitialized");

    let sidecar = run_sidecar(engine, sidecar, &webhook, folder.path())?;
    initialised(&network).await?;
    say("the sidecar does the handshake: 200 It works!");
    confined(&webhook, Product::WEBHOOK)?;
    confined(&sidecar, Product::SIDECAR)?;
    confined(&legacy, Product::LEGACY_MOCK)?;
    say("all run as the users that their images name, with no capability and nothing to gain");

    let end = legacy.stop()?;
    ensure!(end.code == 2, "Legacy ends with {} after SIGTERM", end.code);
    network.answers(SIDECAR, "/readyz", 503).await?;
    say("Legacy is stopped: not ready");
    network.inside(crowd).await?;
    say(&format!("{HELD} probes, {FLOOD} connections and an endless request came to the sidecar"));
    legacy.start()?;
    initialised(&network).await?;
    let handshakes = "secret_handshake_handshakes_total 2";
    let metrics = network.get(SIDECAR, "/metrics").await?.body;
    ensure!(metrics.lines().any(|line| line == handshakes), "no {handshakes:?} in:\n{metrics}");
    let state = sidecar.state()?;
    ensure!(state["OOMKilled"] == false && state["Running"] == true, "the sidecar: {state}");
    let peak = sidecar.peak_memory().map(|bytes| format!(", {} KiB at most", bytes / 1024));
    say(&format!("Legacy is back: initialised again{}", peak.unwrap_or_default()));

    secret_free(&[&sidecar, &webhook])?;
    legacy.stop()?;
    network.answers(SIDECAR, "/readyz", 503).await?;
    let held =
        network.inside(async || hold_a_probe().await?.into_std().map_err(Into::into)).await?;
    ended(&sidecar, "the sidecar, while it holds a probe,", &mut say)?;
    drop(held);
    ended(&webhook, "the webhook", &mut say)
}

/// Legacy's Deployment, a Guaranteed one, with the sidecar.
fn inject(image: &str) -> Result<core::PodSpec> {
    let manifest = fs::read_to_string(workspace().join("deploy/demo/legacy.yaml"))?;
    let mut deployment: Value = manifest
        .split("\n---\n")
        .filter_map(|document| serde_saphyr::from_str::<Value>(document).ok())
        .find(|document| document["kind"] == "Deployment")
        .context("no Deployment in deploy/demo/legacy.yaml")?;
    // Limits on Legacy's own container, so that the sidecar gets its own.
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    let size = json!({"cpu": "1", "memory": "64Mi"});
    container["resources"] = json!({"requests": size, "limits": size});
    let args = InjectArgs { namespace_label: Some("true".to_owned()), ..InjectArgs::default() };
    let policy = Policy { image: image.to_owned(), ..Policy::default() };
    let manifests = cli::inject::inject(&deployment.to_string(), &args, policy)?.manifests;
    let deployment: Deployment = serde_saphyr::from_str(&manifests)?;
    deployment.spec.template.spec.context("a Deployment without a pod")
}

/// The webhook with certificates from files, and with its own Deployment's limits.
fn webhook<'a>(engine: &'a Engine, image: &str, folder: &Path) -> Result<Container<'a>> {
    let tls = folder.join("tls");
    fs::create_dir(&tls)?;
    issue("secret-handshake-webhook.secret-handshake.svc", &tls)?;
    let manifest = fs::read_to_string(workspace().join("deploy/webhook/deployment.yaml"))?;
    let deployment: Deployment = serde_saphyr::from_str(&manifest)?;
    let pod = deployment.spec.template.spec.context("a Deployment without a pod")?;
    let container = pod.containers.first().context("a pod without a container")?;
    let mut flags = hardening(container)?;
    flags.push("--network=none".to_owned());
    flags.push(format!("--volume={}:/tls:ro", tls.display()));
    let arguments = [
        "--no-namespace-settings",
        "--tls-cert=/tls/tls.crt",
        "--tls-key=/tls/tls.key",
        "--namespace=secret-handshake",
        // Nobody sends it anything, so there is nothing to wait for at the end.
        "--drain=0s",
    ];
    Container::run(engine, image, &flags, &arguments.map(str::to_owned))
}

/// The mock, with the operations half, so that it takes no other; confined as a namespace with the
/// `restricted` Pod Security Standard would have it.
fn legacy<'a>(engine: &'a Engine, image: &str, network: &Container<'_>) -> Result<Container<'a>> {
    let flags = [
        network.network(),
        "--read-only".to_owned(),
        "--cap-drop=ALL".to_owned(),
        "--security-opt=no-new-privileges".to_owned(),
        "--memory=64m".to_owned(),
    ];
    Container::run(engine, image, &flags, &[])
}

/// The sidecar as the pod says, with its two volumes from folders of this machine.
fn run_sidecar<'a>(
    engine: &'a Engine,
    container: &core::Container,
    network: &Container<'_>,
    folder: &Path,
) -> Result<Container<'a>> {
    let user = container.security_context.as_ref().and_then(|context| context.run_as_user);
    let image = Product::SIDECAR.user.split(':').next().and_then(|uid| uid.parse().ok());
    ensure!(user.is_none() || user == image, "runAsUser is {user:?}, the image's user {image:?}");
    let mut flags = hardening(container)?;
    ensure!(flags.iter().any(|flag| flag.starts_with("--memory=")), "no memory limit: {flags:?}");
    flags.push(network.network());
    for mount in container.volume_mounts.iter().flatten() {
        let source = folder.join(&mount.name);
        fs::create_dir_all(&source)?;
        if mount.name == "secret-handshake" {
            let half = source.join("half");
            fs::copy(workspace().join("deploy/demo/half"), &half)?;
            fs::set_permissions(&half, fs::Permissions::from_mode(0o444))?;
        }
        flags.push(format!("--volume={}:{}:ro", source.display(), mount.mount_path));
    }
    let arguments = container.args.clone().unwrap_or_default();
    Container::run(engine, container.image.as_deref().unwrap_or_default(), &flags, &arguments)
}

struct Network(PathBuf);

impl Network {
    fn of(container: &Container<'_>) -> Result<Self> {
        Ok(Self(PathBuf::from(format!("/proc/{}/ns/net", container.pid()?))))
    }

    async fn inside<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        network::inside(&self.0, work).await
    }

    async fn get(&self, port: u16, path: &'static str) -> Result<Answer> {
        self.inside(async move || get(localhost(port), path, LIMIT).await).await
    }

    async fn answers(&self, port: u16, path: &'static str, status: u16) -> Result<()> {
        self.inside(async move || answers(localhost(port), path, status, LIMIT).await).await
    }

    async fn says(&self, port: u16, path: &'static str, wanted: (u16, &str)) -> Result<()> {
        let Answer { status, body } = self.get(port, path).await?;
        ensure!((status, body.trim()) == wanted, "{path} says {status} {body:?}");
        Ok(())
    }
}

/// Waits until Legacy serves and the sidecar says that the pod is ready.
async fn initialised(network: &Network) -> Result<()> {
    network.answers(SIDECAR, "/readyz", 200).await?;
    network.says(LEGACY, "/", (200, "It works!")).await
}

/// Checks what the kernel says of a container's process: its user, its group, no capabilities, no way
/// to new privileges.
fn confined(container: &Container<'_>, product: Product) -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
    let (uid, gid) = product.user.split_once(':').context("a user without a group")?;
    for (field, expected) in
        [("Uid", uid), ("Gid", gid), ("CapEff", "0000000000000000"), ("NoNewPrivs", "1")]
    {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
        let found = line.split_whitespace().nth(1);
        ensure!(found == Some(expected), "{}: {line:?}, not {expected}", product.image);
    }
    Ok(())
}

/// Asks as a kubelet does, and leaves the answer unread.
async fn send_a_probe() -> Result<TcpStream> {
    let request = b"GET /readyz HTTP/1.1\r\nHost: pod\r\nUser-Agent: kube-probe/1.34\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(localhost(SIDECAR)).await?;
    stream.write_all(request).await?;
    Ok(stream)
}

/// A connection on which a probe waits for its answer. Those before it are told what is news, and read
/// it to its end: what a client has not read counts as not told.
async fn hold_a_probe() -> Result<TcpStream> {
    for _ in 0..10 {
        let mut probe = send_a_probe().await?;
        let mut answer = Vec::new();
        if timeout(Duration::from_millis(300), probe.read_to_end(&mut answer)).await.is_err() {
            return Ok(probe);
        }
    }
    bail!("no probe is held")
}

/// Everything at once that may come to the sidecar's port, while Legacy is away. What is over the
/// sidecar's limits is turned away, which is fine.
async fn crowd() -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..HELD {
        held.extend(send_a_probe().await);
    }
    for number in 0..FLOOD {
        let Ok(mut stream) = TcpStream::connect(localhost(SIDECAR)).await else {
            continue;
        };
        let request: &[u8] = match number % 3 {
            0 => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            1 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            _ => b"",
        };
        let _ = stream.write_all(request).await;
    }
    let mut endless = TcpStream::connect(localhost(SIDECAR)).await?;
    let piece = [b'a'; 4096];
    for _ in 0..ENDLESS / piece.len() {
        if endless.write_all(&piece).await.is_err() {
            break;
        }
    }
    let _ = timeout(LIMIT, endless.read(&mut [0])).await;
    Ok(())
}

fn secret_free(containers: &[&Container<'_>]) -> Result<()> {
    let secrets =
        ["-acknowledge", "LWFja25vd2xlZGdl", "This is @ $3cr3t", "VGhpcyBpcyBAICQzY3IzdCBrZX"];
    for container in containers {
        let logs = container.logs()?;
        ensure!(!logs.trim().is_empty(), "a container that has said nothing");
        for secret in secrets {
            ensure!(!logs.contains(secret), "a secret in the log:\n{logs}");
        }
    }
    Ok(())
}

fn ended(container: &Container<'_>, who: &str, say: &mut impl FnMut(&str)) -> Result<()> {
    let End { code, took } = container.stop()?;
    ensure!(code == 0, "{who} ends with exit code {code} after SIGTERM");
    ensure!(took < AT_ONCE, "{who} takes {took:?} to end after SIGTERM");
    say(&format!("SIGTERM ends {who} with exit code 0, in {} ms", took.as_millis()));
    Ok(())
}
