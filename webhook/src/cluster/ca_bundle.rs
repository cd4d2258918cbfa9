//! For certificates from files: the caBundle that they need is in a file as well, and this writes it
//! into the webhook configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use certs::api_server::ApiServer;
use certs::certificate::{Fingerprint, MAX_PEM, certificates};
use certs::keeper::Cluster as _;
use tokio::time::sleep;

use crate::admin::Condition;
use crate::file;
use crate::tls::Tls;

/// How often the file and the configuration are compared when nothing seems to happen.
const EVERY: Duration = Duration::from_secs(10);
/// Between two looks, however often somebody else changes the configuration.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the CAs in `file` in the caBundle of every entry of the configuration. `condition` is met once
/// every entry had them and the certificate that `tls` serves was accepted with them for `name`; what
/// fails later is logged, and the webhook goes on serving.
pub(crate) async fn follow(
    mut api_server: ApiServer,
    file: PathBuf,
    tls: Tls,
    name: String,
    condition: Condition,
) {
    let mut was_kept = false;
    loop {
        match keep(&mut api_server, &file, &tls, &name).await {
            Ok(()) => {
                was_kept = true;
                condition.met();
            }
            Err(error) if was_kept => {
                tracing::warn!(error = format!("{error:#}"), "the caBundle can't be kept");
            }
            Err(error) => condition.unmet(format!("{error:#}")),
        }
        sleep(PAUSE).await;
        api_server.rest(EVERY, true).await;
    }
}

/// One comparison, and a patch if it shows a difference.
async fn keep(
    api_server: &mut ApiServer,
    file: &Path,
    tls: &Tls,
    name: &str,
) -> anyhow::Result<()> {
    let shown = file.display();
    let pem = file::read(file, MAX_PEM)
        .await
        .with_context(|| format!("can't read --ca-bundle {shown}"))?;
    let roots = certificates(&pem).with_context(|| shown.to_string())?;
    let pem = std::str::from_utf8(&pem).with_context(|| format!("{shown} is not text"))?;
    let entries = api_server.read_configuration().await?;
    ensure!(!entries.is_empty(), "the MutatingWebhookConfiguration does not exist, or is empty");
    let ids: Vec<_> = roots.iter().map(Fingerprint::of).collect();
    if api_server.publish_pem(&ids, pem).await? {
        tracing::info!("caBundles written");
    }
    let serving = tls.serving().context("there is no certificate to serve with yet")?;
    serving
        .verify(&roots, name, api_server.now())
        .with_context(|| format!("the CAs in {shown} and the certificate don't go together"))
}
