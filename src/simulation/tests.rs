//! Runs.

use super::cluster::Planted;
use super::plan::{Outcome, run};

/// Runs that an everyday test makes.
const SEEDS: u64 = 200;

/// Runs after which a planted bug must have been found.
const SEEDS_PLANTED: u64 = 200;

/// One seed, in a process of its own when it is asked for, else all of them.
#[test]
fn no_seed_shows_what_must_not_be() {
    let one = std::env::var("MEERKAT_SIM_SEED").ok();
    let one: Option<u64> = one.and_then(|seed| seed.parse().ok());
    let (first, count) = one.map_or((0, SEEDS), |seed| (seed, 1));
    let mut bad = Vec::new();
    let mut answered = 0;
    for seed in first..first + count {
        let outcome = run(seed, None);
        answered += outcome.answered;
        if one.is_some() || !outcome.violations.is_empty() {
            tell(seed, &outcome);
        }
        if !outcome.violations.is_empty() {
            bad.push(seed);
        }
    }
    println!("{answered} operations were answered in {count} runs");
    assert!(answered as u64 > 200 * count, "hardly anything happened");
    assert!(
        bad.is_empty(),
        "seeds {bad:?}; MEERKAT_SIM_SEED runs one again"
    );
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 1000..1004 {
        let (first, second) = (run(seed, None), run(seed, None));
        assert_eq!(first.faults, second.faults, "seed {seed}");
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
    }
    assert_ne!(run(1000, None).fingerprint, run(1002, None).fingerprint);
}

#[test]
fn acknowledging_before_the_flush_is_found() {
    is_found(Planted::EarlyAcknowledgement);
}

/// Why `enable_leader_restore` must stay off.
#[test]
fn a_leader_that_resumes_its_term_is_found() {
    is_found(Planted::LeaderRestore);
}

fn is_found(bug: Planted) {
    let found = (0..SEEDS_PLANTED).find_map(|seed| {
        let outcome = run(seed, Some(bug));
        outcome
            .violations
            .first()
            .map(|first| (seed, first.clone()))
    });
    let (seed, first) = found.expect("no run shows it");
    println!("{bug:?}: seed {seed}: {first}");
}

fn tell(seed: u64, outcome: &Outcome) {
    println!("seed {seed}: {} operations", outcome.answered);
    for fault in &outcome.faults {
        println!("  {fault}");
    }
    for violation in outcome.violations.iter().take(10) {
        println!("  VIOLATION {violation}");
    }
}
