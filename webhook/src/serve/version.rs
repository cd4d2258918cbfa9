//! The API server's version, which decides between native and classic sidecars.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::admin::Condition;
use crate::decision::{KubernetesVersion, Policy};

/// An answered question is asked again after this time: clusters are upgraded under us.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How long one question may take, name lookup and TLS included.
const LIMIT: Duration = Duration::from_secs(5);
/// After a failure: how long to wait at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A client for the API server: by the kubeconfig named, else by the one that `KUBECONFIG` names, else
/// by the pod's service account. `~/.kube/config` is not looked at: a webhook that is started by hand
/// should not find a cluster that nobody named.
///
/// # Errors
/// If there is none of them, or it is not usable.
pub async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    // kube asks the process for its provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = KubeConfigOptions::default();
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).context("can't read the kubeconfig")?;
            Config::from_custom_kubeconfig(read, &options)
                .await
                .context("unusable kubeconfig")?
        }
        None if std::env::var_os("KUBECONFIG").is_some() => Config::from_kubeconfig(&options)
            .await
            .context("the kubeconfig that KUBECONFIG names is unusable")?,
        None => Config::incluster().context("this is no pod with a service account")?,
    };
    config.connect_timeout = Some(LIMIT);
    config.write_timeout = Some(LIMIT);
    Client::try_from(config).context("can't set up a client for the API server")
}

/// Asks for the version now and every hour, and puts it into the policy. `first` is met when the first
/// question was answered or has failed: the mode `auto` does without an answer, it then takes the
/// classic sidecar, which every version understands.
pub(super) async fn follow(client: Client, policy: Arc<ArcSwap<Policy>>, first: Condition) {
    let mut pause = PAUSE.0;
    loop {
        let wait = match ask(&client).await {
            Ok(version) => {
                learn(&policy, version);
                pause = PAUSE.0;
                EVERY
            }
            Err(error) => {
                let known = policy
                    .load()
                    .kubernetes_version
                    .map(|version| version.to_string());
                tracing::warn!(
                    error = format!("{error:#}"),
                    known,
                    "can't ask the API server for its version"
                );
                let wait = pause;
                pause = (pause * 2).min(PAUSE.1);
                wait
            }
        };
        first.met();
        tokio::time::sleep(wait).await;
    }
}

async fn ask(client: &Client) -> anyhow::Result<KubernetesVersion> {
    let info = tokio::time::timeout(LIMIT, client.apiserver_version())
        .await
        .with_context(|| format!("no answer within {} s", LIMIT.as_secs()))??;
    format!("{}.{}", info.major, info.minor)
        .parse()
        .or_else(|_| info.git_version.parse())
        .context("the API server reports a version that is none")
}

fn learn(policy: &ArcSwap<Policy>, version: KubernetesVersion) {
    if policy.load().kubernetes_version != Some(version) {
        tracing::info!(%version, "API server's version");
        policy.rcu(|policy| Policy {
            kubernetes_version: Some(version),
            ..Policy::clone(policy)
        });
    }
}
