//! Random requests to our server and to Apache ZooKeeper: no difference. `oracle random` sends more.

use meerkat_compat_tests::oracle::Pair;
use meerkat_compat_tests::server::Kind;

/// What one everyday run sends.
const REQUESTS: usize = 20_000;

#[test]
fn random_requests_are_answered_alike() {
    Pair::new(Kind::ZooKeeper, Kind::Meerkat).must_answer_alike(REQUESTS);
}
