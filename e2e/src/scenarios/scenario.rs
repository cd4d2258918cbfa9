//! What a scenario is, and how a topic lists its own.

use std::pin::Pin;

use anyhow::Result;

use super::scene::Scene;
use crate::args::Level;

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// One thing that is promised, and the test of it.
pub(super) struct Scenario {
    /// `topic/what`, as it is asked for on the command line.
    pub(super) name: &'static str,
    pub(super) shows: &'static str,
    pub(super) level: Level,
    pub(super) schedule: Schedule,
    pub(super) run: for<'a> fn(&'a Scene) -> Outcome<'a>,
}

/// A topic's table, `SCENARIOS`: a function of the topic, its level and schedule, the scenario's name, and
/// what it shows.
macro_rules! scenarios {
    ($($run:ident: $level:ident, $turn:ident, $name:literal, $shows:literal;)*) => {
        pub(super) const SCENARIOS: &[$crate::scenarios::scenario::Scenario] = &[$($crate::scenarios::scenario::Scenario {
            name: $name,
            shows: $shows,
            level: $crate::args::Level::$level,
            schedule: $crate::scenarios::scenario::Schedule::$turn,
            run: |scene| Box::pin($run(scene)),
        }),*];
    };
}
pub(super) use scenarios;

/// Whether a scenario may run beside others, and whether it runs without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Schedule {
    /// Others may run at the same time.
    Together,
    /// It stops, restarts or measures something: nothing else may run at the same time.
    Alone,
    /// The same, and it takes over a minute: it runs with `--long`, or when it is asked for by name.
    Long,
}
