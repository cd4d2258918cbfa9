//! A cluster with the product on it, on which scenarios run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use lab::cluster::{Cluster, Setup, node};
use lab::progress::say;
use lab::state::State;

use crate::args::{Args, Command};
use crate::folders::{self, cache};
use crate::product;
use crate::product::pods;
use crate::product::replicas::Replicas;

/// The reason for which a scenario can't be shown on the cluster that there is: an error that counts as
/// skipped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Skip(pub(crate) String);

pub(crate) struct Stage {
    pub(crate) cluster: Arc<Cluster>,
    /// The webhook, where it runs as processes of this machine.
    pub(crate) replicas: Option<Replicas>,
    /// Whether the product was installed for this run, and is to be removed with it.
    pub(crate) installed: bool,
    numbers: AtomicU32,
}

impl Stage {
    fn new(cluster: Arc<Cluster>, replicas: Option<Replicas>, installed: bool) -> Self {
        Self { cluster, replicas, installed, numbers: AtomicU32::new(0) }
    }

    pub(crate) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// A control plane with the webhook as a process.
pub(crate) async fn control_plane(args: &Args) -> Result<Stage> {
    let mut programs = product::programs().run(say).await?;
    let program = programs.remove("webhook").context("cargo has built no webhook")?;
    control_plane_of(args, program).await
}

pub(crate) async fn control_plane_of(args: &Args, program: PathBuf) -> Result<Stage> {
    let cluster = Arc::new(cluster(args, false).await?);
    let started = async {
        let replicas = Replicas::install(Arc::clone(&cluster), program).await?;
        replicas.restore().await?;
        anyhow::Ok(replicas)
    };
    let replicas = started.await.inspect_err(|_| cluster.keep_logs())?;
    Ok(Stage::new(cluster, Some(replicas), true))
}

/// A cluster that runs pods, with the product in them: one of our own, or the one of `--context`.
///
/// # Errors
///
/// [`Skip`] where this machine can't have a node.
pub(crate) async fn with_pods(args: &Args) -> Result<Stage> {
    if let Some(context) = &args.context {
        let cluster = Cluster::existing(context).await?;
        let installed = pods::install(&cluster).await?;
        return Ok(Stage::new(Arc::new(cluster), None, installed));
    }
    let missing = node::missing();
    if !missing.is_empty() {
        bail!(Skip(format!("a node needs {}", missing.join(", "))));
    }
    let cluster = cluster(args, true).await?;
    let installed = async {
        pods::load_images(&cluster).await?;
        pods::install(&cluster).await
    };
    let installed = installed.await.inspect_err(|_| cluster.keep_logs())?;
    Ok(Stage::new(Arc::new(cluster), None, installed))
}

async fn cluster(args: &Args, node: bool) -> Result<Cluster> {
    let version = args.kubernetes.unwrap_or_default();
    let state = match args.command {
        Some(Command::Up) => {
            State::at(&folders::up()?).context("end it with `cargo e2e -- down`")?
        }
        _ => State::temporary("secret-handshake-e2e-")?,
    };
    Cluster::start(&Setup { version, node, cache: &cache()? }, state).await
}
