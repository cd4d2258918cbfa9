//! Under the memory limit that the manifest sets, in a real cgroup: the most that strangers can make the
//! webhook hold.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, id};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, get};
use crate::process::{BINARY, Process, ready};
use crate::running::{Files, within};

const HEAD: &str = "POST /mutate/pods HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";

/// The largest body.
const LARGEST: usize = 6 << 20;

/// A memory cgroup of version 1 or 2, removed when dropped.
struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Needs root, and a hierarchy that may be written to.
    fn new(limit: u64) -> io::Result<Self> {
        let name = format!("webhook-test-{}", id());
        let (folder, file, limit) = if fs::exists("/sys/fs/cgroup/memory")? {
            // Version 1 does not count what the kernel holds for sockets, which is half of it.
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", limit / 2)
        } else {
            ("/sys/fs/cgroup", "memory.max", limit)
        };
        let folder = PathBuf::from(folder).join(name);
        fs::create_dir(&folder)?;
        let cgroup = Self { folder };
        fs::write(cgroup.folder.join(file), limit.to_string())?;
        Ok(cgroup)
    }

    /// Runs a program in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0" && exec "$@""#]);
        command.arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// The most that was used, in MiB.
    fn peak(&self) -> u64 {
        ["memory.peak", "memory.max_usage_in_bytes"]
            .iter()
            .find_map(|file| fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok())
            .map_or(0, |bytes: u64| bytes >> 20)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel lets go of a process's last page some time after it has ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What the manifest says, in bytes.
fn manifest_limit() -> u64 {
    let manifest = include_str!("../../../deploy/webhook/deployment.yaml");
    let manifest: Value = serde_saphyr::from_str(manifest).unwrap();
    let container = &manifest["spec"]["template"]["spec"]["containers"][0];
    let memory = container["resources"]["limits"]["memory"].as_str().unwrap();
    memory.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() << 20
}

/// A stranger's connection, from an address of its own.
async fn stranger(client: &Client, number: u16) -> io::Result<TlsStream<TcpStream>> {
    let [high, low] = number.to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)))?;
    client.tls_from(socket).await
}

/// Sends what there is room for, and goes on as long as the webhook takes it.
async fn send(client: &Client, number: u16, body: &[u8], announced: usize) -> io::Result<()> {
    let mut connection = stranger(client, number).await?;
    let head = format!("{HEAD}Content-Length: {announced}\r\n\r\n");
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body).await?;
    // The answer, if there is one, is never read.
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worst_that_strangers_hold_fits_into_the_manifests_limit() {
    let cgroup = match Cgroup::new(manifest_limit()) {
        Ok(cgroup) => cgroup,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "a memory cgroup is needed: {error}");
            return eprintln!("skipped: no memory cgroup: {error}");
        }
    };
    let files = Files::new();
    let mut command = cgroup.command(BINARY);
    let mut process = Process::start(
        command.args(["--log-format=json", "--no-namespace-settings"]).args(files.flags()),
    );
    let (address, admin) = process.addresses();
    ready(admin).await;
    let client = Client::new(address, &files.ca);
    let mut honest = client.connect().await.unwrap();
    let review = include_str!("../reviews/pod-create-legacy-mock.json");

    let many_small = format!("[{}{{}}]", "{},".repeat(LARGEST / 3 - 10));
    let deep = "[".repeat(LARGEST);
    let long_text = format!("{{\"kind\":\"{}\"}}", "\\u0041".repeat(LARGEST / 6 - 10));
    let large_lists = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u",
        "kind":{{"group":"","version":"v1","kind":"Pod"}},"operation":"CREATE","namespace":"n",
        "object":{{"metadata":{{"labels":{{"secret-handshake":"true"}}}},"spec":{{"containers":[{}{{}}]}}}}}}}}"#,
        "{},".repeat(LARGEST / 3 - 400)
    );
    let worst = [&many_small, &deep, &long_text, &large_lists];
    let complete = (0..20).flat_map(|_| worst).map(|body| (body.as_str(), body.len()));
    let nearly = "x".repeat(LARGEST - 1);
    let slow = "x".repeat(200_000);
    // As many as there is room for, so that nobody has to leave, and each holds what it has.
    let incomplete = std::iter::repeat_n(&nearly, 20).chain(std::iter::repeat_n(&slow, 950));
    let incomplete = incomplete.map(|body| (body.as_str(), LARGEST));
    for bodies in [complete.collect::<Vec<_>>(), incomplete.collect()] {
        let mut strangers = JoinSet::new();
        for (number, (body, announced)) in (1..).zip(bodies) {
            let (client, body) = (client.clone(), body.as_bytes().to_vec());
            strangers.spawn(async move { send(&client, number, &body, announced).await });
        }
        // Long enough for each body's time limit to end some and let others take their place.
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        while tokio::time::Instant::now() < end {
            let answer = within(honest.post(review)).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("peak: {} MiB", cgroup.peak());
        strangers.shutdown().await;
    }
    assert_eq!(get(admin, "/livez").await.unwrap().0, 200);
    process.signal("-TERM");
    assert_eq!(process.wait().code(), Some(0));
}
