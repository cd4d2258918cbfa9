//! Runs scenarios, level by level: each level has a cluster of its own, one after the other.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anstyle::AnsiColor;
use anyhow::{Result, bail, ensure};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use lab::progress::say;
use tokio::time::timeout;

use super::scenario::{Scenario, Schedule};
use super::scene::{self, Scene};
use super::stage::{self, Skip, Stage};
use super::{all, wanted};
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
pub(crate) async fn run(args: &Args) -> Result<bool> {
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
            ended.append(&mut run_level(level, &here, args).await);
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

async fn run_level(level: Level, scenarios: &[&'static Scenario], args: &Args) -> Vec<Ended> {
    let stage = match prepare(level, args).await {
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
    let ended = run_all(scenarios, &stage).await;
    if ended.iter().any(|ended| matches!(ended, Ended::Failed(_))) {
        stage.cluster.keep_logs();
    }
    clean_up(&stage).await;
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
async fn run_all(scenarios: &[&'static Scenario], stage: &Arc<Stage>) -> Vec<Ended> {
    let (together, alone): (Vec<_>, Vec<_>) =
        scenarios.iter().partition(|scenario| scenario.schedule == Schedule::Together);
    let at_a_time = |scenarios: Vec<&'static Scenario>, count| {
        let running = scenarios.into_iter().map(|scenario| run_one(scenario, Arc::clone(stage)));
        stream::iter(running).buffer_unordered(count).collect::<Vec<_>>()
    };
    [at_a_time(together, 4).await, at_a_time(alone, 1).await].concat()
}

/// Runs one scenario, and reports how long it took and how it ended.
async fn run_one(scenario: &Scenario, stage: Arc<Stage>) -> Ended {
    let started = Instant::now();
    let scene = Scene::new(stage);
    let ended = AssertUnwindSafe(timeout(LIMIT, (scenario.run)(&scene))).catch_unwind().await;
    let ended = match ended {
        Ok(Ok(Ok(()))) => Ended::Passed(scene.notes().await),
        Ok(Ok(Err(error))) => Ended::from(Err(error)),
        Ok(Err(_)) => Ended::Failed(format!("not at its end after {} s", LIMIT.as_secs())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Ended::Failed(format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    let took = started.elapsed();
    scene.clear().await;
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
