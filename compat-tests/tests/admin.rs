//! Four-letter words, line by line beside Apache ZooKeeper's.
//!
//! What must differ from run to run (numbers, times, addresses, session ids, directories) is
//! neutralised. Meerkat differs on purpose in these:
//!
//! * `envi`: only the keys are compared, since a native process has no Java to tell about;
//! * `dump`: upstream keeps emptied expiry buckets for a while, so these are left out;
//! * `stat`, `cons`: upstream lists clients in the order of a hash set, so lines are sorted;
//! * `hash`: upstream has a digest for every 128th transaction only, ours is always the present
//!   one, so its form alone is checked;
//! * `mntr`: the lines that both have carry the same names, ours of its own begin with
//!   `zk_meerkat_`.

use std::collections::BTreeSet;

use meerkat_compat_tests::attempt::{self, Outcome, Session, create};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Server, Settings};
use meerkat_compat_tests::wire::{Connect, Request};

/// Words whose lines must be the same. `stmk` is followed by the mask that it sets, which is the
/// default one.
const WORDS: [&str; 16] = [
    "ruok",
    "isro",
    "gtmk",
    "stmk\0\0\0\0\0\0\u{1}2",
    "srvr",
    "stat",
    "cons",
    "conf",
    "dirs",
    "dump",
    "envi",
    "wchs",
    "wchc",
    "wchp",
    "crst",
    "srst",
];

/// Figures that scripts and exporters read from `mntr`, by the line's name.
const MONITORED: [&str; 16] = [
    "zk_version",
    "zk_server_state",
    "zk_avg_latency",
    "zk_min_latency",
    "zk_max_latency",
    "zk_packets_sent",
    "zk_packets_received",
    "zk_num_alive_connections",
    "zk_outstanding_requests",
    "zk_znode_count",
    "zk_watch_count",
    "zk_ephemerals_count",
    "zk_approximate_data_size",
    "zk_open_file_descriptor_count",
    "zk_max_file_descriptor_count",
    "zk_uptime",
];

/// A line without what is different from run to run: each run of hexadecimal digits that begins
/// with a digit is `#`.
fn neutral(word: &str, line: &str) -> String {
    let keeps_key_only = word == "envi"
        || line.starts_with("Zookeeper version: ")
        || line.starts_with("dataDir=")
        || line.starts_with("dataLogDir=");
    if keeps_key_only {
        let end = line.find(['=', ':']).map_or(line.len(), |at| at + 1);
        return format!("{}…", &line[..end]);
    }
    if let Some((count, _)) = line.split_once(" expire at ") {
        return format!("{count} expire at …");
    }
    let mut text = String::new();
    let mut in_number = false;
    for letter in line.chars() {
        let starts = letter.is_ascii_digit();
        let goes_on = in_number && (letter.is_ascii_hexdigit() || letter == 'x');
        if !in_number && starts {
            text.push('#');
        } else if !goes_on {
            text.push(letter);
        }
        in_number = starts || goes_on;
    }
    text
}

fn lines(server: &Server, word: &str) -> Vec<String> {
    neutral_lines(word, &server.word(word).expect("the word is answered"))
}

fn neutral_lines(word: &str, answer: &str) -> Vec<String> {
    let mut lines: Vec<_> = answer.split('\n').map(|line| neutral(word, line)).collect();
    if word == "dump" {
        // Upstream leaves emptied expiry buckets in the list, and how many depends on the moment.
        lines.retain(|line| line != "0 expire at …");
    }
    if matches!(word, "stat" | "cons") {
        lines.sort();
    }
    lines
}

/// A server with one session that has read a znode.
fn served(kind: Kind) -> (Server, Admin) {
    let server = Server::start(kind, &Settings::default()).expect("the server starts");
    let mut session = Admin::connect(server.addr()).expect("a session");
    let (err, _) = session
        .ask(&Request::named("exists").path("/zookeeper"))
        .expect("a reply");
    assert_eq!(err, 0);
    (server, session)
}

#[test]
fn words_are_answered_alike() {
    let (zookeeper, _theirs) = served(Kind::ZooKeeper);
    let (meerkat, _ours) = served(Kind::Meerkat);
    let mut differing = Vec::new();
    for word in WORDS {
        let (expected, got) = (lines(&zookeeper, word), lines(&meerkat, word));
        if expected != got {
            differing.push(format!(
                "{word}\n  zookeeper {expected:#?}\n  meerkat {got:#?}"
            ));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(lines(&meerkat, "hash"), ["#: #", ""]);
}

/// An ensemble with a session at each server, which owns an ephemeral.
fn ensemble_served(kind: Kind, keys: &[&str]) -> (Ensemble, Vec<Session>) {
    let mut settings = Settings::default();
    for key in keys {
        settings.set(key).expect("a key");
    }
    let ensemble = Ensemble::start(kind, 3, 1, &settings).expect("the ensemble starts");
    let sessions = ensemble
        .ids()
        .map(|id| {
            let came = attempt::connect(ensemble.addr(id), &Connect::default(), None);
            let mut session = came.and_then(Outcome::session).expect("a session");
            let request = create("create", &format!("/e{id}"), 1);
            let answer = session.ask(&request).expect("an answer");
            assert_eq!(answer.err(), Some(0));
            session
        })
        .collect();
    // All servers know all sessions.
    for id in ensemble.ids() {
        let came = attempt::connect(ensemble.addr(id), &Connect::default(), None);
        let mut session = came.and_then(Outcome::session).expect("a session");
        for name in ["sync", "closeSession"] {
            session.ask(&Request::named(name)).expect("an answer");
        }
    }
    (ensemble, sessions)
}

fn with_role(ensemble: &Ensemble, role: Role) -> usize {
    let mut ids = ensemble.ids();
    ids.find(|id| ensemble.role(*id) == Some(role))
        .expect("a server of this role")
}

/// Compares the answers of servers with the same role.
fn differing(zookeeper: &Ensemble, meerkat: &Ensemble, role: Role, words: &[&str]) -> Vec<String> {
    let [theirs, ours] = [zookeeper, meerkat].map(|ensemble| with_role(ensemble, role));
    let mut differing = Vec::new();
    for word in words {
        let ask = |ensemble: &Ensemble, id| {
            neutral_lines(word, &ensemble.word(id, word).expect("an answer"))
        };
        let (expected, got) = (ask(zookeeper, theirs), ask(meerkat, ours));
        if expected != got {
            differing.push(format!(
                "{word} of a {role}\n  zookeeper {expected:#?}\n  meerkat {got:#?}"
            ));
        }
    }
    differing
}

#[test]
fn words_of_an_ensemble_are_answered_alike() {
    let (zookeeper, _theirs) = ensemble_served(Kind::ZooKeeper, &[]);
    let (meerkat, _ours) = ensemble_served(Kind::Meerkat, &[]);
    let roles = [Role::Leader, Role::Follower, Role::Observer];
    let found: Vec<_> = roles
        .iter()
        .flat_map(|role| differing(&zookeeper, &meerkat, *role, &WORDS))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn monitored_figures_have_the_same_names() {
    let names = |kind| {
        let (server, _session) = served(kind);
        let answer = server.word("mntr").expect("mntr is answered");
        answer
            .lines()
            .map(|line| {
                let (name, value) = line.split_once('\t').expect("a name and a value");
                assert!(!value.is_empty(), "{kind}: {name} has no value");
                name.to_owned()
            })
            .collect::<BTreeSet<_>>()
    };
    let (theirs, ours) = (names(Kind::ZooKeeper), names(Kind::Meerkat));
    for name in MONITORED {
        assert!(theirs.contains(name), "zookeeper has no {name}");
        assert!(ours.contains(name), "meerkat has no {name}");
    }
    // What is not upstream's says so.
    let strangers: Vec<_> = ours
        .difference(&theirs)
        .filter(|name| !name.starts_with("zk_meerkat_"))
        .collect();
    assert!(strangers.is_empty(), "not upstream's: {strangers:?}");
}
