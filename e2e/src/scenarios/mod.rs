//! What the product promises, tested on a real Kubernetes: one file a topic.
//!
//! ```text
//!   all ─▶ run: by level ─▶ stage: a cluster with the product ─▶ scene: what one scenario gets
//! ```

mod calls;
mod certificates;
mod chart;
mod check;
mod check_node;
mod check_webhook;
mod ends;
mod explain;
mod fits;
mod golden;
mod guard;
mod labels;
mod legacy;
mod modes;
mod network;
pub(crate) mod objects;
mod other;
mod outage;
mod policy;
mod prelude;
mod probe;
mod readiness;
mod refusals;
mod replicas;
mod resources;
mod rights;
pub(crate) mod run;
pub(crate) mod running;
mod scenario;
pub(crate) mod scene;
mod secret;
mod selection;
mod settings;
pub(crate) mod stage;
mod upgrade;
mod varied;

use scenario::Scenario;

fn all() -> impl Iterator<Item = &'static Scenario> {
    let topics: [&'static [Scenario]; 25] = [
        selection::SCENARIOS,
        labels::SCENARIOS,
        calls::SCENARIOS,
        fits::SCENARIOS,
        resources::SCENARIOS,
        refusals::SCENARIOS,
        outage::SCENARIOS,
        replicas::SCENARIOS,
        certificates::SCENARIOS,
        rights::SCENARIOS,
        // Some of these take a right away, which those before them find nowhere.
        settings::SCENARIOS,
        check::SCENARIOS,
        check_webhook::SCENARIOS,
        check_node::SCENARIOS,
        policy::SCENARIOS,
        guard::SCENARIOS,
        legacy::SCENARIOS,
        probe::SCENARIOS,
        secret::SCENARIOS,
        modes::SCENARIOS,
        ends::SCENARIOS,
        network::SCENARIOS,
        upgrade::SCENARIOS,
        explain::SCENARIOS,
        // The product is away between them.
        chart::SCENARIOS,
    ];
    let mut all: Vec<&Scenario> = topics.into_iter().flatten().collect();
    all.sort_by_key(|scenario| (scenario.level, scenario.schedule));
    all.into_iter()
}

/// Whether a name is asked for by one of `patterns`; by none at all, if there are none.
fn wanted(name: &str, patterns: &[String]) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(name, pattern))
}

fn matches(name: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return name.contains(pattern);
    };
    let Some(name) = name.strip_prefix(first) else {
        return false;
    };
    // What follows the star may begin anywhere.
    let mut ends = name.char_indices().map(|(at, _)| &name[at..]).chain([""]);
    if rest.contains('*') { ends.any(|end| matches(end, rest)) } else { name.ends_with(rest) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_of_one_form() {
        let mut seen = BTreeSet::new();
        for scenario in all() {
            assert!(seen.insert(scenario.name), "{} is there twice", scenario.name);
            let (topic, what) = scenario.name.split_once('/').unwrap();
            for part in [topic, what] {
                assert!(
                    !part.is_empty()
                        && part
                            .bytes()
                            .all(|b| b.is_ascii_lowercase() || b"-0123456789".contains(&b)),
                    "{}",
                    scenario.name
                );
            }
        }
    }

    #[test]
    fn a_pattern_is_a_part_of_the_name_or_has_stars() {
        for (name, pattern, expected) in [
            ("certificates/rotation", "rotation", true),
            ("certificates/rotation", "cert*rotation", true),
            ("certificates/rotation", "*ation", true),
            ("certificates/rotation", "cert*", true),
            ("certificates/rotation", "cert*rot", false),
            ("certificates/rotation", "rotation*", false),
            ("certificates/rotation", "*", true),
            ("certificates/rotation", "c*f*r*n", true),
            ("certificates/rotation", "labels", false),
        ] {
            assert_eq!(matches(name, pattern), expected, "{name} {pattern}");
        }
        assert!(wanted("any/thing", &[]));
    }
}
