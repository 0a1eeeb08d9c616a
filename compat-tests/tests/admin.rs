//! Four-letter words, line by line beside Apache ZooKeeper's.
//!
//! What must differ from run to run (numbers, times, addresses, session ids, directories) is
//! neutralised. Where Meerkat differs on purpose, `ORACLE.md` says why.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use meerkat_compat_tests::attempt::{self, Outcome, Session, create};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::compare::without_numbers;
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Server, Settings};
use meerkat_compat_tests::wire::{self, Connect, Request};

/// Words whose lines must be the same. `stmk` is followed by the mask that it sets, 562.
const WORDS: [&str; 18] = [
    "ruok",
    "isro",
    "gtmk",
    "stmk\0\0\0\0\0\0\u{2}2",
    "gtmk",
    "hash",
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

/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A line without what is different from run to run.
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
    without_numbers(line)
}

fn lines(server: &Server, word: &str) -> Vec<String> {
    neutral_lines(word, &server.word(word).expect("the word is answered"))
}

fn neutral_lines(word: &str, answer: &str) -> Vec<String> {
    let mut lines: Vec<_> = answer.split('\n').map(|line| neutral(word, line)).collect();
    if word == "dump" {
        // Upstream leaves emptied expiry buckets in the list, and how many depends on the moment.
        // So does which of them stand in the same bucket.
        lines.retain(|line| !line.ends_with(" expire at …"));
    }
    // Upstream's order is that of hash tables.
    if matches!(word, "stat" | "cons" | "dump" | "wchc" | "wchp") {
        lines.sort();
    }
    lines
}

/// A read that leaves a watch.
fn watched(path: &str) -> Request {
    let exists = Request::named("exists").path(path);
    exists.with("watch", wire::Value::Byte(1))
}

/// A server with one session that has read a znode, owns an ephemeral and watches two paths.
fn served(kind: Kind) -> (Server, Admin) {
    let server = Server::start(kind, &Settings::default()).expect("the server starts");
    let mut session = Admin::connect(server.addr()).expect("a session");
    let (err, _) = session
        .ask(&Request::named("exists").path("/zookeeper"))
        .expect("a reply");
    assert_eq!(err, 0);
    for request in [create("create", "/e", 1), watched("/e"), watched("/none")] {
        session.ask(&request).expect("a reply");
    }
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
    let mask = |server: &Server| server.word("gtmk").expect("an answer");
    assert_eq!([&zookeeper, &meerkat].map(mask), ["562", "562"]);
}

/// Of these fields of a client's line the values are compared.
const COUNTED: [&str; 8] = [
    "[", "queued=", "recved=", "sent=", "lop=", "to=", "lcxid=", "lzxid=",
];

/// What a line says that was counted.
fn counted(line: &str) -> Option<String> {
    if line.starts_with("Received: ") || line.starts_with("Sent: ") {
        return Some(line.to_owned());
    }
    let (_, rest) = line.strip_prefix(" /")?.split_once('[')?;
    let line = format!("[{}", rest.replacen('(', ",", 1).trim_end_matches(')'));
    let fields: Vec<_> = line
        .split(',')
        .filter(|field| COUNTED.iter().any(|name| field.starts_with(name)))
        .collect();
    let line = fields.join(" ");
    // A word that is answered already and whose connection is not forgotten yet.
    (line != "[1] queued=0 recved=1 sent=0").then_some(line)
}

/// Packets and connect requests are counted as upstream counts them, words and their answers among
/// them; what has not happened since `crst` is not there.
#[test]
fn the_same_is_counted() {
    let story = |kind| {
        let (server, mut session) = served(kind);
        let mut story = Vec::new();
        let mut tell = |words: &[&str]| {
            for word in words {
                let answer = server.word(word).expect("an answer");
                let mut lines: Vec<_> = answer.lines().filter_map(counted).collect();
                lines.sort();
                story.push(format!("{word}: {lines:#?}"));
            }
        };
        let connect_requests = || {
            let answer = server.word("mntr").expect("an answer");
            let count = names(&answer).remove("zk_connection_request_count");
            count.expect("a figure").parse::<u64>().expect("a number")
        };
        // The harness has asked words before.
        tell(&["cons", "srst", "stat", "srvr"]);
        tell(&["ruok"; 10]);
        tell(&["srvr", "gtmk", "stat", "crst", "cons", "stat"]);
        session.ask(&Request::named("ping")).expect("an answer");
        tell(&["cons"]);
        session.ask(&Request::named("exists")).expect("an answer");
        session.ask(&Request::named("ping")).expect("an answer");
        tell(&["cons", "srst"]);
        Admin::connect_as(server.addr(), &[])
            .and_then(Admin::close)
            .expect("a session");
        tell(&["srvr", "srvr"]);
        let before = connect_requests();
        Admin::connect_as(server.addr(), &[]).expect("a session");
        assert_eq!(connect_requests() - before, 1, "{kind}");
        story
    };
    let [theirs, ours] = [Kind::ZooKeeper, Kind::Meerkat].map(story);
    assert!(
        theirs[0].contains("[0] queued=0 recved=1 sent=0"),
        "{theirs:#?}"
    );
    assert_eq!(theirs, ours, "left: ZooKeeper, right: Meerkat");
}

/// A digest for every 128th transaction, behind the same transactions.
#[test]
fn digests_are_told_behind_the_same_transactions() {
    let zxids = |kind| {
        let (server, mut session) = served(kind);
        assert_eq!(server.word("hash").expect("an answer"), "", "{kind}");
        for _ in 0..300 {
            // Refused, and a transaction all the same.
            let answer = session.ask(&Request::named("create").path("/zookeeper"));
            let (err, _) = answer.expect("an answer");
            assert_eq!(err, -110, "{kind}");
        }
        let answer = server.word("hash").expect("an answer");
        let parsed = answer.lines().map(|line| {
            let (zxid, digest) = line.split_once(": ").expect("a zxid and a digest");
            // The tree did not change, so neither did its digest; each has its own way to make one.
            assert!(digest.parse::<u64>().is_ok(), "{digest}");
            (zxid.to_owned(), digest.to_owned())
        });
        let (zxids, digests): (Vec<_>, BTreeSet<_>) = parsed.unzip();
        assert_eq!(digests.len(), 1, "{kind}: {digests:?}");
        zxids
    };
    let [theirs, ours] = [Kind::ZooKeeper, Kind::Meerkat].map(zxids);
    assert_eq!(theirs, ["80", "100"]);
    assert_eq!(theirs, ours);
}

/// Without `4lw.commands.whitelist` all words but `srvr` are refused by name; what is no word is
/// no reason to say anything.
#[test]
fn words_that_are_not_allowed_are_refused_alike() {
    let answers = |kind| {
        let mut settings = Settings::default();
        settings
            .set("4lw.commands.whitelist=ruok, srvr ,isro")
            .expect("a key");
        let server = Server::start(kind, &settings).expect("the server starts");
        let words = WORDS.iter().chain(&["mntr", "RUOK", "abcd", "lead"]);
        words
            .filter(|word| **word != "srvr")
            .map(|word| (*word, server.word(word).unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    let [theirs, ours] = [Kind::ZooKeeper, Kind::Meerkat].map(answers);
    assert_eq!(theirs, ours);
    let refused = theirs
        .iter()
        .filter(|(_, answer)| answer.contains("not executed"));
    assert_eq!(refused.count(), WORDS.len() - 3 + 1, "{theirs:?}");
}

/// One server of three, and no read-only mode.
#[test]
fn words_of_a_server_that_does_not_serve_are_answered_alike() {
    let answers = |kind| {
        let mut ensemble = Ensemble::new(kind, 3, 0, &Settings::default()).expect("an ensemble");
        ensemble.launch(1).expect("it starts");
        let since = Instant::now();
        while ensemble.word(1, "ruok").ok().as_deref() != Some("imok") {
            assert!(since.elapsed() < LIMIT, "{}", ensemble.logs());
            thread::sleep(POLL);
        }
        let words = WORDS.iter().chain(&["mntr"]);
        words
            .map(|word| {
                let answer = ensemble.word(1, word).expect("an answer");
                match *word {
                    "envi" => neutral_lines(word, &answer).join("\n"),
                    _ => answer,
                }
            })
            .collect::<Vec<_>>()
    };
    let [theirs, ours] = [Kind::ZooKeeper, Kind::Meerkat].map(answers);
    assert_eq!(theirs, ours);
}

/// Transactions between two digests.
const DIGEST_EVERY: usize = 128;

/// An ensemble with a session at each server, which owns an ephemeral and has watches.
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
            for path in ["/zookeeper", &format!("/e{id}"), "/none"] {
                session.ask(&watched(path)).expect("an answer");
            }
            // Refused, and transactions all the same: of some there is a digest.
            for _ in 0..DIGEST_EVERY / 3 {
                session
                    .ask(&create("create", "/zookeeper", 0))
                    .expect("an answer");
            }
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
    ensemble.wait_for_role(role).expect("a server of this role")
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

/// Where one server is left and serves readers; with local sessions, so that one can be there.
#[test]
fn words_of_a_server_without_a_quorum_are_answered_alike() {
    let keys = [
        "-Dreadonlymode.enabled=true",
        "localSessionsEnabled=true",
        // Never in the same expiry bucket as a connection without a session.
        "maxSessionTimeout=40000",
    ];
    let ensembles = [Kind::ZooKeeper, Kind::Meerkat].map(|kind| {
        let mut settings = Settings::default();
        // Upstream waits for as many ticks before it takes a lost leader for lost.
        for key in ["tickTime=500", "syncLimit=4"].iter().chain(&keys) {
            settings.set(key).expect("a key");
        }
        let mut ensemble = Ensemble::start(kind, 3, 0, &settings).expect("the ensemble starts");
        for id in 1..=2 {
            ensemble.kill(id).expect("it ran");
        }
        let read_only = ensemble.wait_for_role(Role::ReadOnly);
        assert_eq!(read_only.expect("it offers to read"), 3, "{kind}");
        let offer = Connect {
            read_only: Some(1),
            ..Connect::default()
        };
        let came = attempt::connect(ensemble.addr(3), &offer, None);
        let mut session = came.and_then(Outcome::session).expect("a session");
        let answer = session.ask(&Request::named("exists")).expect("an answer");
        assert_eq!(answer.err(), Some(0));
        (ensemble, session)
    });
    let [(zookeeper, _theirs), (meerkat, _ours)] = &ensembles;
    let found = differing(zookeeper, meerkat, Role::ReadOnly, &WORDS);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let absent = ["zk_peer_state", "zk_quorum_size", "zk_learners"];
    let names = names(&meerkat.word(3, "mntr").expect("an answer"));
    for name in absent {
        assert!(!names.contains_key(name), "{name} of a read-only server");
    }
}

/// `mntr` by name.
fn names(answer: &str) -> BTreeMap<String, String> {
    answer
        .lines()
        .map(|line| {
            let (name, value) = line.split_once('\t').expect("a name and a value");
            assert!(!value.is_empty(), "{name} has no value");
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// What differs between runs has the same sign and form at least.
fn form(value: &str) -> &'static str {
    match value.parse::<i64>() {
        Ok(number) if number < 0 => "negative",
        Ok(_) => "a number",
        Err(_) => "something else",
    }
}

/// Figures of the ensemble whose values must be the same, and those that only must be there.
const PEER_FIGURES: [&str; 10] = [
    "zk_server_state",
    "zk_peer_state",
    "zk_observer_master_id",
    "zk_quorum_size",
    "zk_learners",
    "zk_synced_followers",
    "zk_synced_observers",
    "zk_synced_non_voting_followers",
    "zk_pending_syncs",
    "zk_global_sessions",
];
const PEER_MEASURES: [&str; 9] = [
    "zk_leader_uptime",
    "zk_last_proposal_size",
    "zk_min_proposal_size",
    "zk_max_proposal_size",
    "zk_cnt_election_time",
    "zk_min_election_time",
    "zk_max_election_time",
    "zk_sum_election_time",
    "zk_local_sessions",
];

#[test]
fn figures_of_an_ensemble_are_the_same() {
    let (zookeeper, _theirs) = ensemble_served(Kind::ZooKeeper, &[]);
    let (meerkat, _ours) = ensemble_served(Kind::Meerkat, &[]);
    for role in [Role::Leader, Role::Follower, Role::Observer] {
        let [theirs, ours] = [&zookeeper, &meerkat].map(|ensemble| {
            let answer = ensemble.word(with_role(ensemble, role), "mntr");
            let mut figures = names(&answer.expect("an answer"));
            if let Some(master) = figures.get_mut("zk_observer_master_id") {
                let leader = ensemble.leader().expect("a leader");
                assert_eq!(*master, leader.to_string(), "{}", ensemble.kind());
                "the leader".clone_into(master);
            }
            figures
        });
        for name in PEER_FIGURES {
            assert_eq!(theirs.get(name), ours.get(name), "{name} of a {role}");
        }
        for name in PEER_MEASURES {
            let [theirs, ours] = [&theirs, &ours].map(|f| f.get(name).map(|v| form(v)));
            assert_eq!(theirs, ours, "{name} of a {role}");
        }
    }
    // A server that is gone is not counted for long.
    for mut ensemble in [zookeeper, meerkat] {
        ensemble
            .kill(with_role(&ensemble, Role::Observer))
            .expect("it ran");
        ensemble
            .kill(with_role(&ensemble, Role::Follower))
            .expect("it ran");
        let since = Instant::now();
        let left = || {
            let leader = with_role(&ensemble, Role::Leader);
            let figures = names(&ensemble.word(leader, "mntr").expect("an answer"));
            let of = |name: &str| figures.get(name).cloned().unwrap_or_default();
            [
                of("zk_learners"),
                of("zk_synced_followers"),
                of("zk_synced_observers"),
            ]
        };
        while left() != ["1", "1", "0"] {
            assert!(since.elapsed() < LIMIT, "{}: {:?}", ensemble.kind(), left());
            thread::sleep(POLL);
        }
    }
}

/// `bin/zkServer.sh status` finds the client port wherever it stands, and says what the server is.
#[test]
fn the_script_tells_each_servers_role() {
    let (meerkat, _sessions) = ensemble_served(Kind::Meerkat, &[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bin/zkServer.sh");
    let status = |config: &Path| {
        let output = Command::new(&script)
            .arg("status")
            .arg(config)
            .output()
            .expect("the script runs");
        String::from_utf8(output.stdout).expect("text")
    };
    for id in meerkat.ids() {
        let role = meerkat.role(id).expect("it serves");
        let addr = meerkat.addr(id);
        let said = format!(
            "Client port found: {}. Client address: {}. Client SSL: false.\nMode: {role}\n",
            addr.port(),
            addr.ip()
        );
        let home = meerkat.data_dir(id).expect("a server");
        let home = home.parent().expect("a directory");
        let config = home.join("zoo.cfg");
        assert_eq!(status(&config), said, "in the server's line");
        // The same with the members in a file of their own.
        let text = fs::read_to_string(&config).expect("zoo.cfg");
        let (members, others): (Vec<_>, Vec<_>) =
            text.lines().partition(|line| line.starts_with("server."));
        let dynamic = home.join("zoo.cfg.dynamic");
        fs::write(&dynamic, members.join("\n")).expect("written");
        let config = home.join("static.cfg");
        let text = format!(
            "{}\ndynamicConfigFile={}\n",
            others.join("\n"),
            dynamic.display()
        );
        fs::write(&config, text).expect("written");
        let expected = format!(
            "Client port not found in static config file. Looking in dynamic config file.\n{said}"
        );
        assert_eq!(status(&config), expected, "in the dynamic file");
    }
}

#[test]
fn monitored_figures_have_the_same_names() {
    let of = |kind| {
        let (server, _session) = served(kind);
        let answer = server.word("mntr").expect("mntr is answered");
        names(&answer).into_keys().collect::<BTreeSet<_>>()
    };
    let (theirs, ours) = (of(Kind::ZooKeeper), of(Kind::Meerkat));
    for name in MONITORED {
        assert!(theirs.contains(name), "zookeeper has no {name}");
        assert!(ours.contains(name), "meerkat has no {name}");
    }
    // What is not upstream's says so.
    let strangers: Vec<_> = ours
        .difference(&theirs)
        .filter(|name| !name.contains("meerkat_"))
        .collect();
    assert!(strangers.is_empty(), "not upstream's: {strangers:?}");
}

/// Readers of long answers that do not read have their turns; who asks about clients has another,
/// and an answer that is read slowly is sent to its end.
#[test]
fn who_does_not_read_keeps_nobody_from_asking_about_clients() {
    let mut settings = Settings::default();
    // Not so soon that turns come back by themselves meanwhile.
    settings
        .set("nio.sessionlessCnxnTimeout=600000")
        .expect("a key");
    let server = Server::start(Kind::Meerkat, &settings).expect("the server starts");
    let mut session = Admin::connect(server.addr()).expect("a session");
    // 8 MB of watches, more than sockets take.
    let long = "x".repeat(4000);
    for number in 0..2000 {
        let watch = Request::named("exists")
            .path(&format!("/{long}{number}"))
            .with("watch", wire::Value::Byte(1));
        session.ask(&watch).expect("an answer");
    }
    let ask = || {
        let mut stream = TcpStream::connect(server.addr()).expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket");
        stream.write_all(b"wchp").expect("written");
        stream
    };
    let mut held: Vec<_> = (0..4).map(|_| ask()).collect();
    for stream in &mut held {
        stream.read_exact(&mut [0; 1]).expect("an answer has begun");
    }
    // They wait for a turn.
    held.extend([ask(), ask()]);
    for word in ["stat", "cons", "srvr", "mntr", "wchs"] {
        let answer = server.word(word).expect("an answer");
        assert!(!answer.is_empty(), "{word}");
    }
    drop(held);
    let answer = server.word("wchp").expect("an answer");
    assert_eq!(
        answer.lines().filter(|line| line.starts_with('/')).count(),
        2000
    );
}
