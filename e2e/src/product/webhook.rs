//! The webhook as one process with a certificate from files, without a cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::http::probe;
use lab::process::{Process, Watcher};
use lab::until::until;
use tokio::process::Command;

/// How long it may take on a slow machine. It takes less than a second on an idle one.
const LIMIT: Duration = Duration::from_secs(30);

/// Starts the webhook on free ports with `tls.crt` and `tls.key` of a folder, and returns where it serves.
pub(crate) async fn serve(
    program: &Path,
    certificates: &Path,
    flags: &[&str],
    watcher: Watcher,
) -> Result<(Process, SocketAddr)> {
    let [certificate, key] = ["tls.crt", "tls.key"].map(|file| certificates.join(file));
    let mut command = Command::new(program);
    command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]);
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    command.args(["--namespace=secret-handshake", "--no-namespace-settings"]).args(flags);
    let webhook = Process::start("webhook", command, watcher)?;
    let said = webhook.line("serving", LIMIT, |line| addresses(line).is_some()).await?;
    let (serving, admin) = addresses(&said).context("it serves nowhere")?;
    // As a Service does, which sends nobody to a pod that is not ready.
    until("the webhook", LIMIT, async || {
        let answer = probe(admin, "/readyz", LIMIT).await?;
        ensure!(answer.status == 200, "not ready: {}", answer.body);
        Ok(())
    })
    .await?;
    Ok((webhook, serving))
}

/// The addresses in the webhook's line about them, text or JSON: HTTPS, and the admin port.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let field = |name| {
        let value = line.split_once(name)?.1.trim_start_matches(['"', ':', '=']);
        value.split([' ', '"', ',']).next()?.parse().ok()
    };
    let message = line.contains(" serving ") || line.contains("\"serving\"");
    message.then_some((field("address")?, field("admin")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhooks_addresses_are_read_from_its_log() {
        let line = "2026-11-23T17:00:00Z  INFO serving address=127.0.0.1:4567 admin=127.0.0.1:89";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(addresses(line), Some((at(4567), at(89))));
        let line = r#"{"message":"serving","address":"127.0.0.1:4567","admin":"127.0.0.1:89"}"#;
        assert_eq!(addresses(line), Some((at(4567), at(89))));
        for other in ["INFO observing address=127.0.0.1:1 admin=127.0.0.1:2", "INFO serving", ""] {
            assert_eq!(addresses(other), None, "{other}");
        }
    }
}
