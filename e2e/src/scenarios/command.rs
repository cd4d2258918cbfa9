//! What `cargo e2e` does: runs scenarios, or makes a cluster, ends it, measures on it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::scene::Scene;
use super::{bench, run};
use crate::args::{Args, Bench, Command, Level};
use crate::bench::admission;
use lab::cluster::node;
use lab::progress::say;
use lab::state;

/// Does what `args` say. The exit code is 0 if all went well, and 1 if not; 130 after a signal.
#[must_use]
pub fn main(args: &Args) -> ExitCode {
    match carry_out(args) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(args: &Args) -> Result<ExitCode> {
    if args.list {
        run::list(args);
        return Ok(ExitCode::SUCCESS);
    }
    match &args.command {
        Some(Command::Guard { dir }) => return state::guard(dir).map(|()| ExitCode::SUCCESS),
        Some(Command::Down) => return down(),
        Some(Command::Bench { what: Bench::Admission { webhook, rounds, requests } }) => {
            println(&admission::run(webhook.as_deref(), *rounds, *requests)?);
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.spawn(end_on_signals());
    match &args.command {
        Some(Command::Up) => runtime.block_on(up(args)).map(|()| ExitCode::SUCCESS),
        Some(Command::Bench { what: Bench::Start { starts, slow } }) => {
            let table = runtime.block_on(bench_start(args, *starts, Duration::from_secs(*slow)))?;
            println(&table);
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            let tally = run::run(args, runtime.handle())?;
            Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// Ends all clusters of this process when it is asked to end, and then the process.
async fn end_on_signals() {
    let caught = |kind| signal(kind).context("signals can't be caught here");
    let ended = async {
        let mut interrupt = caught(SignalKind::interrupt())?;
        let mut terminate = caught(SignalKind::terminate())?;
        let mut hangup = caught(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        anyhow::Ok(())
    };
    if let Err(error) = ended.await {
        return say(&format!("{error:#}: the guard will clean up"));
    }
    say("ending: cleaning up");
    let _ = tokio::task::spawn_blocking(state::end_all).await;
    std::process::exit(130);
}

async fn up(args: &Args) -> Result<()> {
    if args.context.is_some() {
        bail!(
            "`up` makes a cluster: on one that you have, `kubectl apply -k deploy/webhook` installs the product"
        );
    }
    let missing = node::missing();
    let level = match args.level {
        Some(level) => level,
        None if missing.is_empty() => Level::Node,
        None => {
            say(&format!("no node, and so no pods that run: it would need {}", missing.join(", ")));
            Level::ControlPlane
        }
    };
    let stage = match level {
        Level::Node => run::with_pods(args).await?,
        Level::ControlPlane => {
            let stage = run::control_plane(args).await?;
            let replicas = stage.replicas.as_ref().context("there is no webhook")?;
            replicas.leave_one().await?;
            stage
        }
    };
    let cluster = stage.into_cluster();
    let cluster = Arc::into_inner(cluster).context("somebody still uses the cluster")?;
    let kubeconfig = cluster.leave_running()?;
    println(&format!("export KUBECONFIG={}", kubeconfig.display()));
    Ok(())
}

async fn bench_start(args: &Args, starts: usize, slow: Duration) -> Result<String> {
    let missing = node::missing();
    ensure!(missing.is_empty(), "this is measured on a node, which needs {}", missing.join(", "));
    let scene = Scene::new(Arc::new(run::with_pods(args).await?));
    let table = bench::start(&scene, starts, slow).await;
    if table.is_err() {
        scene.cluster().keep_logs();
    }
    table
}

fn down() -> Result<ExitCode> {
    let dir = state::up_dir()?;
    if !dir.exists() {
        say("there is no cluster of `up`");
        return Ok(ExitCode::SUCCESS);
    }
    state::end(&dir, false)?;
    Ok(ExitCode::SUCCESS)
}

fn println(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}
