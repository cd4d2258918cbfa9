//! The webhook as one process with a certificate from files, without a cluster.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::cluster::pki::Authority;
use lab::http::answers;
use lab::process::{Process, Watcher};
use tokio::process::Command;

/// How long it may take on a slow machine. It takes less than a second on an idle one.
const LIMIT: Duration = Duration::from_secs(30);

/// Issues a certificate for `host` from a new CA and writes `ca.crt`, `tls.crt` and `tls.key` into a
/// folder, readable for everybody who can reach it: the webhook's user may be another one.
pub(crate) fn issue(host: &str, folder: &Path) -> Result<()> {
    Authority::new(folder, "ca")?.issue("tls", "webhook", &[], &[host])?;
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o444))?;
    }
    Ok(())
}

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
    answers(admin, "/readyz", 200, LIMIT).await?;
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
