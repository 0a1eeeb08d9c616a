//! Random requests to our server and to Apache ZooKeeper: no difference. `oracle random` sends more.

use std::env;

use meerkat_compat_tests::oracle::{Pair, Plan};
use meerkat_compat_tests::server::Kind;

/// What one everyday run sends.
const REQUESTS: usize = 20_000;
const LENGTH: usize = 1000;

#[test]
fn random_requests_are_answered_alike() {
    let seed = env::var("ORACLE_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut pair = Pair::new(Kind::ZooKeeper, Kind::Meerkat);
    let plan = Plan {
        seed,
        first: 0,
        requests: REQUESTS,
        length: LENGTH,
        findings_max: 1,
    };
    let findings = pair
        .judge_random(plan, |_, _| {})
        .expect("both servers run");
    if let Some(finding) = findings.first() {
        panic!("seed {seed}; keep this in compat-tests/scripts:\n{finding}");
    }
    // Alike says little when little was said: every opcode must have succeeded and failed.
    let quiet = pair.coverage().unheard();
    assert!(quiet.is_empty(), "never seen: {quiet:?}");
}
