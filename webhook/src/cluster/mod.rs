//! The API server, as the webhook reaches it.

pub(crate) mod ca_bundle;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// For TCP and TLS together. kube's own limit is 30 s; an API server that takes longer than this is
/// away, and whoever asks tries again.
const CONNECT: Duration = Duration::from_secs(5);

/// A client for the API server: by the kubeconfig named, else as kubectl finds one (`KUBECONFIG`,
/// `~/.kube/config`), else by the pod's service account. It connects when it is first used, tries
/// nothing again by itself, and sets no limit on how long an answer may take.
///
/// # Errors
/// If there is no configuration, or it can't be used.
pub async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).context("can't read the kubeconfig")?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .context("the kubeconfig can't be used")?
        }
        None => Config::infer().await?,
    };
    ensure!(
        !config.accept_invalid_certs,
        "the kubeconfig says insecure-skip-tls-verify: name the API server's CA instead"
    );
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
    Client::try_from(config).context("can't set up a client for the API server")
}
