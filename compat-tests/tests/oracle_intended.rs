//! Where our server differs from Apache ZooKeeper on purpose: the list in `ORACLE.md`.

use meerkat_compat_tests::compare::show;
use meerkat_compat_tests::oracle::{Seat, Side, record};
use meerkat_compat_tests::play::Item;
use meerkat_compat_tests::script::Script;
use meerkat_compat_tests::server::Kind;

/// Plays a script on our server; the answers of its last steps must begin with these words.
#[track_caller]
fn check(script: &str, expected: &[&str]) {
    let script: Script = script.parse().expect("the script is well-formed");
    let side = Side::new(Kind::Meerkat, Seat::Alone);
    let recording = record(side, &script).expect("the server runs and goes on");
    let said: Vec<String> = recording.items.iter().map(line).collect();
    let last = &said[said.len().saturating_sub(expected.len())..];
    assert_eq!(last.len(), expected.len(), "{said:#?}");
    for (line, expected) in last.iter().zip(expected) {
        assert!(
            line.contains(expected),
            "{expected} is not in {line}\n{said:#?}"
        );
    }
}

fn line(item: &Item) -> String {
    format!("{}: {}", item.session, show(item))
}

#[test]
fn clients_cannot_reap_containers() {
    check(
        "open a\n a create /x\n a opcode code=20 body=\"\\x00\\x00\\x00\\x02/x\"\n attach a\n a exists /x",
        &[
            "err=-6",
            "closed by the server",
            "connect response",
            "err=0",
        ],
    );
}

#[test]
fn clients_cannot_create_sessions_within_sessions() {
    check(
        "open a\n a opcode code=-10 body=\"\\x00\\x00\\x27\\x10\"\n attach a\n a exists /",
        &[
            "err=-6",
            "closed by the server",
            "connect response",
            "err=0",
        ],
    );
}

#[test]
fn a_negative_ttl_is_refused_whatever_the_flag() {
    check(
        "open a\n a createTTL /x flags=0 ttl=-1\n a createTTL /x flags=1 ttl=-5\n a exists /x",
        &["err=-8", "err=-8", "err=-101"],
    );
}

#[test]
fn broken_quota_statistics_stop_nothing() {
    check(
        "open a\n a create /q\n a create /zookeeper/quota/q\n\
         a create /zookeeper/quota/q/zookeeper_limits data=\"count=9,bytes=9\"\n\
         a create /zookeeper/quota/q/zookeeper_stats\n\
         a setData /zookeeper/quota/q/zookeeper_stats data=\"count=x,,=;\\xff\"\n\
         a create /q/x data=1\n a setData /q data=1\n a delete /q/x",
        &["err=0", "err=0", "err=0"],
    );
}

#[test]
fn a_wrong_password_disturbs_nobody() {
    // The player takes the new connection for the session's, so the old one is looked at by its note.
    check(
        "open a\n a create /e flags=1\n attach a password=wrong",
        &[
            "connect response: protocolVersion=0 timeOut=0",
            "closed by the server",
            "the old connection stays open",
        ],
    );
}
