//! `upgrade`: newer sidecars in running pods, whose Legacy is left alone.
//!
//! ```text
//! pods ─▶ pod: what is kept ─▶ plan ─▶ text ─▶ renew: one pod at a time ─▶ text
//! webhook: the image ────────────┘               └─▶ back: is it Ready again?
//! ```

mod back;
mod plan;
mod pod;
mod renew;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1 as core;
use kube::api::ListParams;
use tokio::sync::watch;
use tokio::time::Instant;

use self::pod::Pod;
pub use self::pod::Workload;
use self::renew::Renewal;
use self::text::Scope;
use crate::cluster::{Cluster, Connection, Unreadable};
use crate::webhook::Webhook;

/// What to upgrade.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = RIGHTS)]
pub struct UpgradeArgs {
    /// Workloads or pods of the namespace, such as deployment/legacy or pod/legacy-0. Left out, all
    /// pods of the namespace
    #[arg(value_name = "KIND/NAME")]
    pub workloads: Vec<Workload>,

    /// Pods of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "workloads"])]
    pub all_namespaces: bool,

    /// Tell what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Upgrade also a pod that is the only Ready one of its workload. Its Services have no pod for some
    /// seconds, or for as long as a node takes to pull the image
    #[arg(long)]
    pub allow_gap: bool,

    /// The image to give instead of the one that the webhook gives to new pods: the old one, to go back
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    pub to: Option<String>,

    /// How long a pod may take to be Ready again; the first that takes longer ends the upgrade
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub timeout: Duration,

    /// Which cluster
    #[command(flatten)]
    pub connection: Connection,
}

const RIGHTS: &str = "\
The image of the sidecar is changed in the pod as it runs: the kubelet replaces that one container, and a \
sidecar that finds Legacy initialised sends nothing. Pods are upgraded one at a time, each when the one \
before is Ready again. What makes the pods is not changed: their next ones get their sidecar from the \
webhook, as ever. Native sidecars are left alone.

Rights: list, get and patch pods in the namespaces; to find the webhook's image, get \
mutatingwebhookconfigurations, and in the webhook's namespace get services, list deployments and list pods. \
With --to only those about pods.

Exit code: 0 if every pod that was to be upgraded is Ready again, 1 if not.";

/// The API server takes no other either.
fn image(text: &str) -> Result<String, &'static str> {
    let valid = !text.is_empty() && text.chars().all(|char| char.is_ascii_graphic());
    if valid { Ok(text.to_owned()) } else { Err("expected the name of an image") }
}

/// Upgrades what `args` name.
///
/// # Errors
/// If the pods or the webhook's image can't be read.
pub async fn run(args: &UpgradeArgs) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&args.connection).await?;
    let interrupts = watch::Sender::new(0);
    let told = interrupts.subscribe();
    let begins = move || drop(tokio::spawn(count_interrupts(interrupts)));
    upgrade(&cluster, args, told, begins, &mut io::stdout()).await
}

/// `begins` is called before the first pod is changed; until then an interrupt just ends the process.
async fn upgrade(
    cluster: &Cluster,
    args: &UpgradeArgs,
    interrupts: watch::Receiver<u32>,
    begins: impl FnOnce(),
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let image = match &args.to {
        Some(image) => image.clone(),
        None => given_image(cluster).await.context(
            "which sidecar the webhook gives to new pods can't be read; you can name the image: --to IMAGE",
        )?,
    };
    let namespace = (!args.all_namespaces).then_some(&*cluster.namespace);
    let mut pods = Vec::new();
    cluster
        .for_each::<core::Pod>(namespace, &ListParams::default(), |pod| pods.extend(Pod::of(&pod)))
        .await
        .context("the pods can't be read")?;
    for workload in &args.workloads {
        if !pods.iter().any(|pod| workload.names(pod)) {
            bail!("{workload} has no running pod in namespace {}", cluster.namespace);
        }
    }

    let plan = plan::plan(pods, &image, &args.workloads, args.allow_gap);
    let told = args.to.is_some();
    let scope = Scope { image: &image, told, namespace, connection: &args.connection };
    write!(out, "{}", text::plan(&plan, &scope))?;
    let all = plan.count();
    if all == 0 {
        writeln!(out, "Nothing to do.")?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.dry_run {
        writeln!(out, "Nothing was changed: --dry-run.")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out)?;
    begins();
    let began = Instant::now();
    let (timeout, allow_gap) = (args.timeout, args.allow_gap);
    let renewal = Renewal { cluster, image: &image, timeout, allow_gap, interrupts };
    let renewed = renewal.carry_out(&plan, out).await?;
    write!(out, "{}", text::summary(&renewed, all, began.elapsed(), &scope))?;
    let done = renewed.failed.is_none() && !renewed.interrupted;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn given_image(cluster: &Cluster) -> Result<String, Unreadable> {
    Ok(Webhook::read(cluster).await.flags?.policy.image)
}

/// Counts how often the user presses Ctrl-C, and says what that does.
async fn count_interrupts(count: watch::Sender<u32>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        count.send_modify(|count| *count += 1);
        _ = write!(io::stderr(), "\n(ends after this pod; once more ends at once) ");
    }
}
