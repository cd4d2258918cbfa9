//! The real webhook with a certificate of its own, ready to be called.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::LIMIT;
use super::screen::{self, Who};
use crate::product::Product;
use lab::http::probe;
use lab::process::Process;
use lab::until::until;

/// Starts the webhook on a free port, and returns where it serves.
pub(crate) async fn serve(webhook: &Path, certificates: &Path) -> Result<(Process, SocketAddr)> {
    let [certificate, key] = ["tls.crt", "tls.key"].map(|file| certificates.join(file));
    let mut command = Command::new(webhook);
    command.args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]);
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key);
    command.args(["--namespace=secret-handshake", "--drain=0s", "--no-namespace-settings"]);
    command.arg(format!("--sidecar-image={}", Product::SIDECAR.reference()));
    let watcher = Box::new(|text: &str| screen::line(Who::Webhook, text));
    let webhook = Process::start(Who::Webhook.name(), command, watcher)?;
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

/// The addresses in the webhook's line about them: HTTPS, and the admin port.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, fields) = line.split_once(" serving ")?;
    let field = |name| {
        let mut values = fields.split_whitespace().filter_map(|field| field.strip_prefix(name));
        values.next()?.trim_matches('"').parse().ok()
    };
    Some((field("address=")?, field("admin=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_webhooks_addresses_are_read_from_its_log() {
        let line = "2026-11-23T17:00:00Z  INFO serving address=127.0.0.1:4567 admin=127.0.0.1:89";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(addresses(line), Some((at(4567), at(89))));
        for other in ["INFO observing address=127.0.0.1:1 admin=127.0.0.1:2", "INFO serving", ""] {
            assert_eq!(addresses(other), None, "{other}");
        }
    }
}
