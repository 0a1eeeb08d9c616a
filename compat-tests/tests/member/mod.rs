//! What the oracle asks of a server that is one of three.

use std::sync::{Mutex, PoisonError};

use meerkat_compat_tests::oracle::{Pair, Seat, Side, judge_scripts};
use meerkat_compat_tests::server::Kind;

/// What one everyday run sends; a request costs three times what it costs a lone server.
const REQUESTS: usize = 6000;

/// Six servers at a time are enough for one machine.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn scripts(seat: Seat) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pair = Pair::seated(Kind::ZooKeeper, Kind::Meerkat, seat);
    let differing = judge_scripts(&mut pair, &["", "ensemble"]).expect("both servers run");
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

/// Beside a lone ZooKeeper, for one of three never answers.
pub(crate) fn unreadable(seat: Seat) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pair = Pair::of([
        Side::new(Kind::ZooKeeper, Seat::Alone),
        Side::new(Kind::Meerkat, seat),
    ]);
    let differing = judge_scripts(&mut pair, &["unreadable"]).expect("both servers run");
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

pub(crate) fn random(seat: Seat) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Pair::seated(Kind::ZooKeeper, Kind::Meerkat, seat).must_answer_alike(REQUESTS);
}
