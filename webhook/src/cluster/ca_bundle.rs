//! Certificates come from files, and the caBundle that they need is in a file as well: it is kept in
//! the webhook configuration from here.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use certs::cluster::Cluster;
use certs::inspect::{self, Fingerprint, MAX_PEM};
use certs::issue::Names;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::admin::Condition;
use crate::file;
use crate::tls::Tls;

/// How often the file and the configuration are compared, changes that the watch sees apart.
const EVERY: Duration = Duration::from_secs(10);
/// Between two looks, however often somebody else changes the configuration.
const PAUSE: Duration = Duration::from_secs(1);
/// After a watch has ended, or failed.
const WATCH_PAUSE: Duration = Duration::from_secs(5);

/// Keeps the CAs in `file` in the caBundle of every entry of the configuration, for ever. `condition` is
/// met once each entry had them and the certificate that `tls` shows verified against them for `names`;
/// what fails later is logged, and the webhook goes on with what is there.
pub async fn follow(cluster: Cluster, file: PathBuf, tls: Tls, names: Names, condition: Condition) {
    let changed = Notify::new();
    let watch = async {
        loop {
            if let Err(error) = cluster.watch_configuration(|| changed.notify_one()).await {
                tracing::warn!(%error, "the webhook configuration is not watched");
            }
            sleep(WATCH_PAUSE).await;
        }
    };
    let keep = async {
        let bundle = CaBundle { cluster: &cluster, file, tls, names };
        let mut was_kept = false;
        loop {
            let begun = Instant::now();
            match bundle.keep().await {
                Ok(()) => {
                    was_kept = true;
                    condition.met();
                }
                Err(error) if was_kept => {
                    tracing::warn!(error = format!("{error:#}"), "the caBundle can't be kept");
                }
                Err(error) => condition.unmet(format!("{error:#}")),
            }
            sleep_until(begun + PAUSE).await;
            tokio::select! {
                () = changed.notified() => {}
                () = sleep_until(begun + EVERY) => {}
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = keep => {}
    }
}

struct CaBundle<'a> {
    cluster: &'a Cluster,
    file: PathBuf,
    tls: Tls,
    names: Names,
}

impl CaBundle<'_> {
    /// One comparison, and a patch if it shows a difference.
    async fn keep(&self) -> anyhow::Result<()> {
        let shown = self.file.display();
        let pem = file::read(&self.file, MAX_PEM)
            .await
            .with_context(|| format!("can't read --ca-bundle {shown}"))?;
        let roots = inspect::certificates(&pem).with_context(|| shown.to_string())?;
        let pem = std::str::from_utf8(&pem).with_context(|| format!("{shown} is not text"))?;

        let name = &self.cluster.names().configuration;
        let Some(configuration) = self.cluster.configuration().await? else {
            bail!("there is no MutatingWebhookConfiguration {name}");
        };
        let live = configuration.live();
        ensure!(!live.entries.is_empty(), "the MutatingWebhookConfiguration {name} is empty");
        let wanted: Vec<_> = roots.iter().map(Fingerprint::of).collect();
        let differing: Vec<_> = live.differing(wanted.iter().copied()).collect();
        if !differing.is_empty() {
            let patch = configuration.patch(differing.iter().copied(), pem);
            self.cluster.patch_configuration(&patch).await?;
            for entry in differing {
                let writer = entry.foreign_writer.as_deref();
                tracing::info!(entry = entry.name, writer, "caBundle written");
            }
        }
        let serving = self.tls.serving().context("there is no certificate to serve with yet")?;
        serving
            .verify(&roots, &self.names, Timestamp::now())
            .with_context(|| format!("the CAs in {shown} and the certificate don't go together"))
    }
}
