//! The scripts in `compat-tests/scripts`: written by hand, or left by random differences.

use meerkat_compat_tests::oracle::{Pair, Seat, judge_scripts};
use meerkat_compat_tests::server::Kind;

#[test]
fn scripts_are_answered_alike() {
    let mut pair = Pair::seated(Kind::ZooKeeper, Kind::Meerkat, Seat::Alone);
    let folders = ["", "alone", "unreadable"];
    let differing = judge_scripts(&mut pair, &folders).expect("both servers run");
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}
