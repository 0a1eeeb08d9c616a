//! The oracle notices a wrong server: what a real one says is changed on the way in, and the
//! difference must be found in random scripts and made small.

use std::sync::Arc;

use meerkat_compat_tests::oracle::{Pair, Plan};
use meerkat_compat_tests::play::Tamper;
use meerkat_compat_tests::server::Kind;

/// Random requests in which each planted error must show itself.
const REQUESTS: usize = 6000;
const LENGTH: usize = 60;
/// Steps that may be left of a script.
const STEPS_MAX: usize = 6;

/// Offset of the err in a reply's header.
const ERR: std::ops::Range<usize> = 12..16;
/// Offset of the zxid.
const ZXID: std::ops::Range<usize> = 4..12;
const BODY: usize = 16;

const CREATE: i32 = 1;
const EXISTS: i32 = 3;
const SET_DATA: i32 = 5;
const CREATE_2: i32 = 15;

fn err(frame: &[u8]) -> i32 {
    frame
        .get(ERR)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

#[track_caller]
fn check(about: &str, tamper: impl Fn(Option<i32>, &mut Vec<u8>) + Send + Sync + 'static) {
    let tamper: Arc<Tamper> = Arc::new(tamper);
    let mut pair = Pair::new(Kind::ZooKeeper, Kind::ZooKeeper).tampered(tamper);
    let plan = Plan {
        seed: 1,
        first: 0,
        requests: REQUESTS,
        length: LENGTH,
        findings_max: 1,
    };
    let findings = pair
        .judge_random(plan, |_, _| {})
        .expect("both servers run");
    let finding = findings.first().expect("the planted error is found");
    assert!(finding.difference.about.contains(about), "{finding}");
    assert!(finding.script.steps.len() <= STEPS_MAX, "{finding}");
    // What is kept as a regression script must be a script, and differ again.
    let kept = finding.script.to_string().parse().expect("it reads back");
    assert!(
        pair.run(&kept).expect("both servers run").is_some(),
        "{finding}"
    );
}

#[test]
fn a_wrong_error_code_is_found() {
    // NodeExists instead of NoNode.
    check("err", |op, frame| {
        if op == Some(CREATE) && err(frame) == -101 {
            frame[ERR].copy_from_slice(&(-110_i32).to_be_bytes());
        }
    });
}

#[test]
fn a_wrong_field_of_a_stat_is_found() {
    check("version", |op, frame| {
        let version = BODY + 4 * 8 + 3;
        if op == Some(SET_DATA) && err(frame) == 0 {
            frame[version] = frame[version].wrapping_add(1);
        }
    });
}

#[test]
fn a_zxid_out_of_order_is_found() {
    check("zxid", |op, frame| {
        if op == Some(EXISTS) && err(frame) == 0 {
            let zxid = i64::from_be_bytes(frame[ZXID].try_into().expect("eight bytes"));
            frame[ZXID].copy_from_slice(&(zxid + 1).to_be_bytes());
        }
    });
}

#[test]
fn an_impossible_time_is_found() {
    check("ctime", |op, frame| {
        if op == Some(CREATE_2) && err(frame) == 0 {
            let ctime = frame.len() - 68 + 16;
            frame[ctime..ctime + 8].copy_from_slice(&1_000_i64.to_be_bytes());
        }
    });
}

#[test]
fn a_wrong_event_is_found() {
    // NodeDataChanged for every NodeChildrenChanged.
    check("type", |op, frame| {
        if op.is_none() && frame.len() > BODY + 4 && frame[BODY + 3] == 4 {
            frame[BODY + 3] = 3;
        }
    });
}

#[test]
fn a_missing_byte_is_found() {
    check("field path is missing", |op, frame| {
        if op == Some(CREATE) && err(frame) == 0 {
            frame.pop();
        }
    });
}
