//! What `cargo e2e` does: runs scenarios, or makes a cluster, ends it, measures on it.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use lab::cluster::node::missing;
use lab::progress::say;
use lab::state;

use crate::args::{Args, Bench, Command, Level};
use crate::bench::{admission, node, policy, scale, start};
use crate::command_line::asked_to_end;
use crate::folders::{self, workspace};
use crate::product::Product;
use crate::scenarios::scene::Scene;
use crate::scenarios::{run, stage};

/// Does what `args` say. The exit code is 0 if all went well, and 1 if not; 130 after a signal.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    match carry_out(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(args: &Args) -> Result<bool> {
    match &args.command {
        Some(Command::Guard { dir }) => return state::guard(dir).map(|()| true),
        Some(Command::Down) => return down().map(|()| true),
        None if args.list => {
            run::list(args);
            return Ok(true);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.spawn(end_on_signals());
    let printed = match &args.command {
        Some(Command::Up) => runtime.block_on(up(args))?,
        Some(Command::Bench { what }) => runtime.block_on(bench(args, what))?,
        _ => return runtime.block_on(run::run(args)),
    };
    // Nobody is left to be told of a standard output that is closed.
    let _ = writeln!(std::io::stdout(), "{printed}");
    Ok(true)
}

/// Ends all clusters of this process when it is asked to end, and then the process.
async fn end_on_signals() {
    if let Err(error) = asked_to_end().await {
        return say(&format!("{error:#}: the guard will clean up"));
    }
    say("ending: cleaning up");
    let _ = tokio::task::spawn_blocking(state::end_all).await;
    std::process::exit(130);
}

/// Makes a cluster and leaves it running. Gives what to do with it next.
async fn up(args: &Args) -> Result<String> {
    ensure!(
        args.context.is_none(),
        "`up` makes a cluster: on one that you have, `kubectl apply -k deploy/webhook` installs the product"
    );
    let missing = missing();
    let level = args.level.unwrap_or(if missing.is_empty() {
        Level::Node
    } else {
        say(&format!("no node, and so no pods that run: it would need {}", missing.join(", ")));
        Level::ControlPlane
    });
    let stage = match level {
        Level::Node => stage::with_pods(args).await?,
        Level::ControlPlane => {
            let stage = stage::control_plane(args).await?;
            stage.replicas.as_ref().context("there is no webhook")?.leave_one().await?;
            stage
        }
    };
    let cluster = stage.cluster;
    drop(stage.replicas);
    let cluster = Arc::into_inner(cluster).context("somebody still uses the cluster")?;
    let kubectl = cluster.kubectl.program.clone();
    let folder = kubectl.parent().context("kubectl is in no folder")?;
    let kubeconfig = cluster.leave_running()?;
    let half = workspace().join("deploy/demo/half");
    let legacy = Product::LEGACY_MOCK.reference();
    let (verb, log) = match level {
        Level::Node => ("", "kubectl logs deployment/legacy-mock -c secret-handshake -f"),
        // Without a node there is no log: the pod that was injected is all that there is to see.
        Level::ControlPlane => (" (no pod of it will run)", "kubectl get pods -o yaml"),
    };
    Ok(format!(
        "The cluster runs until `cargo e2e -- down`. For this shell, with kubectl of its version:

  export KUBECONFIG={}
  export PATH={}:$PATH

Try it{verb}:

  kubectl label namespace default secret-handshake=true
  kubectl create secret generic secret-handshake --from-file=half={}
  kubectl create deployment legacy-mock --image={legacy}
  {log}

The README's quick start works here too, without its first line: the images are on the node.",
        kubeconfig.display(),
        folder.display(),
        half.display(),
    ))
}

async fn bench(args: &Args, what: &Bench) -> Result<String> {
    match what {
        Bench::Start { starts } => {
            on_a_node(args, async |scene| start::start(scene, *starts).await).await
        }
        Bench::Node { pods, rounds } => {
            on_a_node(args, async |scene| node::node(scene, *pods, *rounds).await).await
        }
        Bench::Admission { webhook, rounds } => admission::run(webhook.as_deref(), *rounds).await,
        Bench::Scale { pods } => scale::run(args, *pods).await,
        Bench::Policy { rounds } => policy::run(args, *rounds).await,
    }
}

async fn on_a_node(
    args: &Args,
    measure: impl AsyncFnOnce(&Scene) -> Result<String>,
) -> Result<String> {
    let scene = Scene::new(Arc::new(stage::with_pods(args).await?));
    let table = measure(&scene).await;
    if table.is_err() {
        scene.cluster().keep_logs();
    }
    table
}

fn down() -> Result<()> {
    let dir = folders::up()?;
    if !dir.exists() {
        say("there is no cluster of `up`");
    }
    state::end(&dir)
}
