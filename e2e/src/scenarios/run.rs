//! Runs scenarios, level by level: each level has a cluster of its own, one after the other.

use std::io::{IsTerminal as _, Write as _};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Handle;
use tokio::sync::RwLock;

use super::scene::{self, Scene, Skip, Stage};
use super::{Scenario, all, wanted};
use crate::args::{Args, Command, Level};
use crate::product::pods;
use crate::product::replicas::Replicas;
use crate::workspace;
use lab::cargo::{Build, Linkage};
use lab::cluster::{Cluster, node};
use lab::progress::say;
use lab::state::State;

/// The longest that a scenario may take. Each wait in it has its own, shorter limit.
const LIMIT: Duration = Duration::from_secs(600);

/// What is said of a skip where it counts as a failure.
const SKIP_FAILS: &str = " (a skip fails, as CI=true)";

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Shown.
    pub passed: u64,
    /// Not so.
    pub failed: u64,
    /// Not looked at.
    pub skipped: u64,
}

/// Whether a scenario can be run on the cluster there is.
enum Ground {
    /// It can.
    Stage(Arc<Stage>),
    /// It can't, and nothing is wrong with that.
    Skip(String),
    /// It should, and can't.
    Broken(String),
}

/// Prints the names of the scenarios that `args` ask for.
pub fn list(args: &Args) {
    for scenario in all().filter(|scenario| asked(scenario, args)) {
        print(&format!("{:<40} {}\n", scenario.name, scenario.shows));
    }
}

/// Runs the scenarios that `args` ask for, prints a line for each, and the tally as the last.
///
/// # Errors
///
/// No scenario is asked for, or the release is none that can be had.
pub fn run(args: &Args, runtime: &Handle) -> Result<Tally> {
    let chosen: Vec<&'static Scenario> = all().filter(|scenario| asked(scenario, args)).collect();
    anyhow::ensure!(
        !chosen.is_empty(),
        "no scenario is called {}: `cargo e2e -- --list` names them all",
        args.patterns.join(" or ")
    );
    let mut tally = Tally::default();
    for level in [Level::ControlPlane, Level::Node] {
        let here: Vec<_> =
            chosen.iter().copied().filter(|scenario| scenario.level == level).collect();
        if here.is_empty() {
            continue;
        }
        let ground = runtime.block_on(prepare(level, args));
        let part = play(&here, &ground, args, runtime);
        if let Ground::Stage(stage) = &ground {
            if part.failed > 0 {
                stage.cluster.keep_logs();
            }
            runtime.block_on(tidy(stage));
        }
        tally.passed += part.passed;
        tally.failed += part.failed;
        tally.skipped += part.skipped;
    }
    let skipped = match tally.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    print(&format!("\n{} passed, {} failed{skipped}\n", tally.passed, tally.failed));
    Ok(tally)
}

fn asked(scenario: &Scenario, args: &Args) -> bool {
    args.level.is_none_or(|level| level == scenario.level) && wanted(scenario.name, &args.patterns)
}

async fn prepare(level: Level, args: &Args) -> Ground {
    let skip = match (level, &args.context) {
        (Level::ControlPlane, Some(_)) => {
            Some("needs a cluster of its own, without --context".to_owned())
        }
        (Level::Node, None) => Some(node::missing())
            .filter(|missing| !missing.is_empty())
            .map(|missing| format!("a node needs {}", missing.join(", "))),
        _ => None,
    };
    if let Some(reason) = skip {
        return Ground::Skip(reason);
    }
    let prepared = match level {
        Level::ControlPlane => control_plane(args).await,
        Level::Node => with_pods(args).await,
    };
    match prepared {
        Ok(stage) => Ground::Stage(Arc::new(stage)),
        // Told once, and not with each scenario that needs the cluster: it may be many lines long.
        Err(error) => {
            say(&format!("error: {error:#}"));
            Ground::Broken("there is no cluster to run it on".to_owned())
        }
    }
}

/// A control plane with the webhook as a process.
///
/// # Errors
///
/// It does not start.
pub async fn control_plane(args: &Args) -> Result<Stage> {
    let build = Build {
        workspace: workspace(),
        packages: &["webhook"],
        programs: &["webhook"],
        profile: "dev",
        linkage: Linkage::Host,
    };
    let mut programs = build.run(say).await?;
    let program = programs.remove("webhook").context("cargo has built no webhook")?;
    let version = args.kubernetes.unwrap_or_default().resolve()?;
    let cluster = Arc::new(Cluster::control_plane(version, state(args)?).await?);
    let started = async {
        let replicas = Replicas::install(Arc::clone(&cluster), program).await?;
        replicas.restore().await?;
        anyhow::Ok(replicas)
    };
    let replicas = started.await.inspect_err(|_| cluster.keep_logs())?;
    Ok(Stage::new(cluster, Some(replicas), true))
}

/// Where the cluster is kept: the one of `up` outlives this process.
fn state(args: &Args) -> Result<State> {
    match args.command {
        Some(Command::Up) => State::of_up(),
        _ => State::temporary(),
    }
}

/// A cluster that runs pods, with the product in them: one of our own, or the one of `--context`.
///
/// # Errors
///
/// It does not start, or can't be reached.
pub async fn with_pods(args: &Args) -> Result<Stage> {
    let cluster = if let Some(context) = &args.context {
        Cluster::existing(context).await?
    } else {
        let version = args.kubernetes.unwrap_or_default().resolve()?;
        let cluster = Cluster::with_node(version, state(args)?).await?;
        pods::load_images(&cluster).inspect_err(|_| cluster.keep_logs())?;
        cluster
    };
    let installed = pods::install(&cluster).await.inspect_err(|_| cluster.keep_logs())?;
    Ok(Stage::new(Arc::new(cluster), None, installed))
}

/// Leaves a cluster that stays as it was found.
async fn tidy(stage: &Stage) {
    if stage.cluster.state().is_ok() {
        return;
    }
    if let Err(error) = scene::gone(&stage.cluster).await {
        say(&format!("{error:#}"));
    }
    if stage.installed
        && let Err(error) = pods::uninstall(&stage.cluster).await
    {
        say(&format!("the product could not be removed: {error:#}"));
    }
}

fn play(scenarios: &[&'static Scenario], ground: &Ground, args: &Args, runtime: &Handle) -> Tally {
    let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    let gate = Arc::new(RwLock::new(()));
    let trials = scenarios
        .iter()
        .map(|&scenario| match ground {
            Ground::Stage(stage) => {
                let (stage, gate, runtime) =
                    (Arc::clone(stage), Arc::clone(&gate), runtime.clone());
                Trial::ignorable_test(scenario.name, move || {
                    let (took, ended) = perform(scenario, stage, &gate, &runtime);
                    let ended = match ended {
                        Ended::Skipped(reason) if ci => {
                            Ended::Failed(format!("{reason}{SKIP_FAILS}"))
                        }
                        ended => ended,
                    };
                    report(scenario.name, Some(took), &ended);
                    match ended {
                        Ended::Shown(_) => Ok(Completion::Completed),
                        Ended::Skipped(reason) => Ok(Completion::ignored_with(reason)),
                        Ended::Failed(reason) => Err(Failed::from(reason)),
                    }
                })
            }
            Ground::Skip(reason) if !ci => {
                let reason = reason.clone();
                Trial::ignorable_test(scenario.name, move || {
                    report(scenario.name, None, &Ended::Skipped(reason.clone()));
                    Ok(Completion::ignored_with(reason))
                })
            }
            Ground::Skip(reason) | Ground::Broken(reason) => {
                let skipped = matches!(ground, Ground::Skip(_));
                let reason = format!("{reason}{}", if skipped { SKIP_FAILS } else { "" });
                Trial::test(scenario.name, move || {
                    report(scenario.name, None, &Ended::Failed(reason.clone()));
                    Err(reason.into())
                })
            }
        })
        .collect();
    // Its own lines have no times and put the reasons elsewhere; what counts is how it runs them.
    let arguments = Arguments {
        test_threads: Some(args.threads.max(1)),
        logfile: Some("/dev/null".to_owned()),
        ..Arguments::default()
    };
    let conclusion = libtest_mimic::run(&arguments, trials);
    Tally {
        passed: conclusion.num_passed,
        failed: conclusion.num_failed,
        skipped: conclusion.num_ignored,
    }
}

/// Plays one scenario, and says how long it took and why it failed.
fn perform(
    scenario: &Scenario,
    stage: Arc<Stage>,
    gate: &RwLock<()>,
    runtime: &Handle,
) -> (Duration, Ended) {
    let guard = if scenario.alone {
        (Some(runtime.block_on(gate.write())), None)
    } else {
        (None, Some(runtime.block_on(gate.read())))
    };
    let started = Instant::now();
    let scene = Scene::new(stage);
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            match tokio::time::timeout(LIMIT, (scenario.play)(&scene)).await {
                Ok(Ok(())) => Ended::Shown(scene.notes().await),
                Ok(Err(error)) if error.is::<Skip>() => Ended::Skipped(error.to_string()),
                Ok(Err(error)) => Ended::Failed(format!("{error:#}")),
                Err(_) => Ended::Failed(format!("not at its end after {} s", LIMIT.as_secs())),
            }
        })
    }));
    let took = started.elapsed();
    runtime.block_on(scene.clear());
    drop(guard);
    let ended = played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Ended::Failed(format!("panicked: {}", text.unwrap_or_default()))
    });
    (took, ended)
}

/// How a scenario ended.
enum Ended {
    /// It was shown; with figures, if there are any.
    Shown(String),
    /// It can't be shown here.
    Skipped(String),
    /// It could not be shown.
    Failed(String),
}

fn report(name: &str, took: Option<Duration>, ended: &Ended) {
    let (colour, word, told) = match ended {
        Ended::Shown(figures) => ("32", "ok", figures),
        Ended::Skipped(reason) => ("33", "skipped", reason),
        Ended::Failed(reason) => ("31", "FAILED", reason),
    };
    line(colour, word, name, took, told);
}

fn line(colour: &str, word: &str, name: &str, took: Option<Duration>, reason: &str) {
    let (on, off) = if std::io::stdout().is_terminal() {
        (format!("\x1b[{colour}m"), "\x1b[0m")
    } else {
        (String::new(), "")
    };
    let took =
        took.map_or_else(|| "      -".to_owned(), |took| format!("{:6.1}s", took.as_secs_f32()));
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    print(&format!("{on}{word:<7}{off} {took}  {name}{reason}\n"));
}

fn print(text: &str) {
    // Nobody is left to be told of a standard output that is closed.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
