//! Ten years of several replicas, thousands of times, against a cluster that does its worst.
//!
//! The replicas run the real loop ([`certs::keeper::keep`]); only the cluster, the clocks and the keys
//! are made up. `SIMULATION_SEED=N` runs one seed alone and tells its story;
//! `SIMULATION_SEEDS=N` runs that many.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed unwrap is how a simulation fails, and stdout is where it tells its story"
)]

mod world;

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use certs::rotate::Settings;
use certs::secret::Ca;
use world::{Sabotage, Tally, World};

/// Seeds run when nothing else is said.
const SEEDS: u64 = 2_000;

/// Runs one seed to its end; the error is what was violated.
fn run(seed: u64, sabotage: Option<Sabotage>, is_told: bool) -> Result<Tally, String> {
    World::new(seed, sabotage, is_told).run()
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is not a number")))
}

/// Runs seeds on all cores until one fails.
fn search(seeds: u64, sabotage: Option<Sabotage>) -> Result<Tally, (u64, String)> {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Tally::default());
    let failed = Mutex::new(None::<(u64, String)>);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failed.lock().unwrap().is_some() {
                return;
            }
            let result = catch_unwind(|| run(seed, sabotage, false))
                .unwrap_or_else(|_| Err("a replica panicked".to_owned()));
            match result {
                Ok(tally) => total.lock().unwrap().add(&tally),
                Err(why) => {
                    let mut failed = failed.lock().unwrap();
                    if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                        *failed = Some((seed, why));
                    }
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    match failed.into_inner().unwrap() {
        Some(failed) => Err(failed),
        None => Ok(total.into_inner().unwrap()),
    }
}

#[test]
fn every_ready_replica_is_accepted_by_every_api_server_for_ten_years() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let tally = run(seed, None, true).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        println!("{tally}");
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    match search(seeds, None) {
        Ok(tally) => {
            println!("{seeds} seeds: {tally}");
            // After vandalism from outside: never longer than until a CA has settled.
            let settle = Settings::default().settle.as_millis();
            assert!(u128::from(tally.worst_ms()) <= settle, "{tally}");
            tally.check_that_enough_happened(seeds);
        }
        Err((seed, why)) => panic!(
            "seed {seed}: {why}\nits story: SIMULATION_SEED={seed} cargo test -p certs --test \
             simulation -- --nocapture ten_years"
        ),
    }
}

/// Whoever is older than the newest is dropped as soon as the newest is in every caBundle, though its
/// leaves are still in use.
fn drop_early(written: &mut Vec<Ca>) {
    if let Some(newest) = written.last().copied()
        && newest.seen.is_some()
    {
        *written = vec![newest];
    }
}

/// A CA has its record from the start, and not from when it was seen in every caBundle.
fn record_unseen(written: &mut Vec<Ca>) {
    for ca in written {
        ca.seen.get_or_insert(ca.validity.not_before);
    }
}

fn found(sabotage: Sabotage) -> String {
    let (seed, why) = search(50, Some(sabotage)).unwrap_err();
    println!("found by seed {seed}: {why}");
    why
}

#[test]
fn dropping_the_old_ca_early_is_found() {
    let why = found(Sabotage::Writes(drop_early));
    assert!(why.contains("does not accept"), "{why}");
}

#[test]
fn a_record_without_publication_is_found() {
    let why = found(Sabotage::Writes(record_unseen));
    assert!(why.contains("does not accept") || why.contains("is not ready"), "{why}");
}

#[test]
fn signing_before_the_caches_have_caught_up_is_found() {
    let why = found(Sabotage::NoSettling);
    assert!(why.contains("does not accept"), "{why}");
}

#[test]
fn going_by_an_old_secret_is_found() {
    found(Sabotage::StaleSecret);
}
