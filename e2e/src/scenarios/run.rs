//! Runs scenarios, level by level: each level has a cluster of its own, one after the other.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anstyle::AnsiColor;
use anyhow::{Result, bail, ensure};
use lab::progress::say;
use tokio::runtime::Handle;

use super::scene::{self, Scene};
use super::stage::{self, Skip, Stage};
use super::{Scenario, Schedule, all, wanted};
use crate::args::{Args, Level};
use crate::product::pods;

/// The longest that a scenario may take. Each wait in it has its own, shorter limit.
const LIMIT: Duration = Duration::from_secs(900);

#[derive(Clone)]
enum Ended {
    /// With figures, if there are any.
    Passed(String),
    Skipped(String),
    Failed(String),
}

impl From<Result<String>> for Ended {
    fn from(result: Result<String>) -> Self {
        match result {
            Ok(figures) => Self::Passed(figures),
            Err(error) if !error.is::<Skip>() => Self::Failed(format!("{error:#}")),
            Err(reason) if std::env::var_os("CI").is_some_and(|value| value == "true") => {
                Self::Failed(format!("{reason} (a skip fails, as CI=true)"))
            }
            Err(reason) => Self::Skipped(reason.to_string()),
        }
    }
}

pub(crate) fn list(args: &Args) {
    for scenario in all().filter(|scenario| is_wanted(scenario, args)) {
        print(&format!("{:<40} {}\n", scenario.name, scenario.shows));
    }
}

/// Runs the scenarios that `args` ask for, prints a line for each, and the sums as the last. Says
/// whether none failed.
pub(crate) fn run(args: &Args, runtime: &Handle) -> Result<bool> {
    let chosen: Vec<&'static Scenario> =
        all().filter(|scenario| is_wanted(scenario, args)).collect();
    ensure!(
        !chosen.is_empty(),
        "no scenario is called {}: `cargo e2e -- --list` names them all",
        args.patterns.join(" or ")
    );
    let mut ended = Vec::new();
    for level in [Level::ControlPlane, Level::Node] {
        let mut here = chosen.clone();
        here.retain(|scenario| scenario.level == level);
        if !here.is_empty() {
            ended.append(&mut run_level(level, &here, args, runtime));
        }
    }
    let count = |of: fn(&Ended) -> bool| ended.iter().filter(|ended| of(ended)).count();
    let passed = count(|ended| matches!(ended, Ended::Passed(_)));
    let failed = count(|ended| matches!(ended, Ended::Failed(_)));
    let skipped = match count(|ended| matches!(ended, Ended::Skipped(_))) {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    print(&format!("\n{passed} passed, {failed} failed{skipped}\n"));
    Ok(failed == 0)
}

fn is_wanted(scenario: &Scenario, args: &Args) -> bool {
    let long = args.long || !args.patterns.is_empty() || scenario.schedule != Schedule::Long;
    let level = args.level.is_none_or(|level| level == scenario.level);
    long && level && wanted(scenario.name, &args.patterns)
}

fn run_level(
    level: Level,
    scenarios: &[&'static Scenario],
    args: &Args,
    runtime: &Handle,
) -> Vec<Ended> {
    let stage = match runtime.block_on(prepare(level, args)) {
        Ok(stage) => Arc::new(stage),
        Err(error) => {
            if !error.is::<Skip>() {
                // Told once, and not with each scenario that needs the cluster: it may be long.
                say(&format!("error: {error:#}"));
            }
            let reason = match error.downcast::<Skip>() {
                Ok(skip) => Ended::from(Err(skip.into())),
                Err(_) => Ended::Failed("there is no cluster to run it on".to_owned()),
            };
            for scenario in scenarios {
                report(scenario.name, None, &reason);
            }
            return vec![reason; scenarios.len()];
        }
    };
    let ended = run_all(scenarios, &stage, runtime);
    if ended.iter().any(|ended| matches!(ended, Ended::Failed(_))) {
        stage.cluster.keep_logs();
    }
    runtime.block_on(clean_up(&stage));
    ended
}

async fn prepare(level: Level, args: &Args) -> Result<Stage> {
    match (level, &args.context) {
        (Level::ControlPlane, Some(_)) => {
            bail!(Skip("needs a cluster of its own, without --context".to_owned()))
        }
        (Level::ControlPlane, None) => stage::control_plane(args).await,
        (Level::Node, _) => stage::with_pods(args).await,
    }
}

async fn clean_up(stage: &Stage) {
    if stage.cluster.is_own() {
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

/// Runs those that may share the cluster, four at a time, and then the others one by one.
fn run_all(scenarios: &[&'static Scenario], stage: &Arc<Stage>, runtime: &Handle) -> Vec<Ended> {
    let (together, alone): (Vec<_>, Vec<_>) =
        scenarios.iter().partition(|scenario| scenario.schedule == Schedule::Together);
    let queue = Mutex::new(together.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let ended = Mutex::new(Vec::new());
    let run_one = |scenario| {
        let one = run_one(scenario, Arc::clone(stage), runtime);
        ended.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(scenario) = next() {
                    run_one(scenario);
                }
            });
        }
    });
    alone.into_iter().for_each(run_one);
    ended.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one scenario, and reports how long it took and how it ended.
fn run_one(scenario: &Scenario, stage: Arc<Stage>, runtime: &Handle) -> Ended {
    let started = Instant::now();
    let scene = Scene::new(stage);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            match tokio::time::timeout(LIMIT, (scenario.run)(&scene)).await {
                Ok(Ok(())) => Ended::Passed(scene.notes().await),
                Ok(Err(error)) => Ended::from(Err(error)),
                Err(_) => Ended::Failed(format!("not at its end after {} s", LIMIT.as_secs())),
            }
        })
    }));
    let took = started.elapsed();
    runtime.block_on(scene.clear());
    let ended = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Ended::Failed(format!("panicked: {}", text.unwrap_or_default()))
    });
    report(scenario.name, Some(took), &ended);
    ended
}

fn report(name: &str, took: Option<Duration>, ended: &Ended) {
    let (colour, word, reason) = match ended {
        Ended::Passed(figures) => (AnsiColor::Green, "ok", figures),
        Ended::Skipped(reason) => (AnsiColor::Yellow, "skipped", reason),
        Ended::Failed(reason) => (AnsiColor::Red, "FAILED", reason),
    };
    let style = colour.on_default();
    let took = took.map_or("-".to_owned(), |took| format!("{:.1}s", took.as_secs_f32()));
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    print(&format!("{style}{word:<7}{style:#} {took:>7}  {name}{reason}\n"));
}

fn print(text: &str) {
    // Nobody is left to be told of a standard output that is closed.
    let _ = anstream::stdout().write_all(text.as_bytes());
}
