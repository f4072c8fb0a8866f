//! The simulated world itself: one seed gives one run, and some seeds of every build hold.
//! Many seeds are run by `tests/simulate`.
#![allow(clippy::unwrap_used)]

use mainstay_testkit::scenario::scenario;
use mainstay_testkit::simulation::simulate;

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
    for seed in 0..16 {
        let verdict = simulate(&scenario(seed), false);
        assert!(verdict.broken.is_empty(), "tests/simulate --seed {seed}: {:?}", verdict.broken);
    }
}
