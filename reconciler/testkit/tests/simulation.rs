//! The simulated world itself: one seed gives one run, what is broken is noticed and shortened, and
//! some seeds of every build hold. Many seeds are run by `tests/simulate`.
#![allow(clippy::unwrap_used)]

use mainstay_testkit::coverage::{CLASSES, Coverage};
use mainstay_testkit::faults::{Fate, Fault, Op};
use mainstay_testkit::scenario::scenario;
use mainstay_testkit::simulation::simulate;
use mainstay_testkit::sweep::{scenarios, sweep};

#[test]
fn a_seed_gives_the_same_run_byte_for_byte() {
    for seed in 0..4 {
        let (one, two) = (simulate(&scenario(seed), true), simulate(&scenario(seed), true));
        assert!(one.trace.len() > 50, "seed {seed} is lived through");
        assert_eq!(one.trace, two.trace, "seed {seed}");
        assert_eq!(one.mark, two.mark, "seed {seed}");
        let untraced = simulate(&scenario(seed), false);
        assert_eq!(one.mark, untraced.mark, "seed {seed}: to look on changes nothing");
    }
    let (one, two) = (simulate(&scenario(1), false), simulate(&scenario(2), false));
    assert_ne!(one.mark, two.mark, "two seeds are two runs");
}

#[test]
fn some_seeds_hold() {
    for seed in 0..20 {
        let verdict = simulate(&scenario(seed), false);
        assert!(verdict.broken.is_empty(), "tests/simulate --seed {seed}: {:?}", verdict.broken);
    }
}

#[test]
fn the_scenarios_of_the_sweep_meet_every_kind_of_step() {
    let mut coverage = Coverage::default();
    for (name, scenario) in scenarios() {
        let verdict = simulate(&scenario, false);
        assert!(verdict.broken.is_empty(), "{name}: {:?}", verdict.broken);
        coverage.add(&verdict.coverage);
    }
    for class in CLASSES {
        if class == "pass" || class == "observe" {
            continue;
        }
        assert!(coverage.count(class, "done") > 0, "{class} is never done:\n{}", coverage.table());
    }
}

/// A sweep over the effects of one scenario; all of them are run by `tests/simulate --sweep`.
#[test]
fn effects_that_fail_or_kill_break_nothing() {
    let (name, scenario) = scenarios().swap_remove(0);
    let operations = [Op::EngineRecord, Op::AgentsSwap];
    let (runs, found, coverage) = sweep(name, &scenario, &operations, false);
    assert!(runs > 20, "every call is met: {runs}");
    for word in [Fault::Fails.word(), Fault::KilledAfter(Fate::Kept).word()] {
        assert!(coverage.count("recreate", word) > 0, "{}", coverage.table());
    }
    let first = found.first().map(|found| (&found.scenario.faults, &found.verdict.broken));
    assert!(first.is_none(), "{first:?}");
}
