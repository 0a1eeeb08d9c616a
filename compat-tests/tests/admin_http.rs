//! The admin server's commands beside Apache ZooKeeper's.
//!
//! Bodies are compared line by line with all numbers neutralised. Where Meerkat differs on purpose,
//! `ORACLE.md` says why.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use meerkat_compat_tests::attempt::{self, Outcome, Session, create};
use meerkat_compat_tests::compare::without_numbers;
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::http::{Answer, ask, get};
use meerkat_compat_tests::server::{FREE_PORT, Kind, Server, Settings};
use meerkat_compat_tests::wire::{self, Acl, Blob, Connect, List, Request};
use serde_json::Value;

const KINDS: [Kind; 2] = [Kind::ZooKeeper, Kind::Meerkat];

/// Commands whose bodies must be the same, by the names that people use.
const SAME: [&str; 31] = [
    "conf",
    "config",
    "configuration",
    "cons",
    "connections",
    "crst",
    "dirs",
    "dump",
    "gtmk",
    "get_trace_mask",
    "hash",
    "icfg",
    "isro",
    "is_read_only",
    "lead",
    "leader",
    "orst",
    "obsr",
    "ruok",
    "stmk",
    "stmk?traceMask=abc",
    "set_trace_mask?traceMask=562&traceMask=1",
    "gtmk",
    "srst",
    "voting_view",
    "wchs",
    "wchc",
    "wchp",
    "zabstate",
    "nosuch",
    "ruok/",
];

/// The others, of which less is comparable; by both names.
const ALIKE: [&str; 26] = [
    "connection_stat_reset",
    "env",
    "envi",
    "environment",
    "initial_configuration",
    "last_snapshot",
    "lsnp",
    "mntr",
    "monitor",
    "observer_connection_stat_reset",
    "observers",
    "rest",
    "restore",
    "server_stats",
    "set_trace_mask",
    "snap",
    "snapshot",
    "srvr",
    "stat",
    "stat_reset",
    "stats",
    "sysp",
    "system_properties",
    "watch_summary",
    "watches",
    "watches_by_path",
];

/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

fn settings() -> Settings {
    let mut settings = Settings::default();
    for key in [
        "admin.enableServer=true",
        "admin.serverAddress=127.0.0.1",
        "serializeLastProcessedZxid.enabled=true",
    ] {
        settings.set(key).expect("a key");
    }
    let port = format!("admin.serverPort={FREE_PORT}");
    settings.set(&port).expect("a key");
    settings
}

fn port_of(server: &Server) -> u16 {
    let port = server.setting("admin.serverPort").expect("a port");
    port.parse().expect("a number")
}

fn port_in(ensemble: &Ensemble, id: usize) -> u16 {
    let port = ensemble.setting(id, "admin.serverPort").expect("a port");
    port.parse().expect("a number")
}

/// A line without what is different from run to run.
fn neutral(line: &str) -> String {
    if let Some(at) = line.find("_dir\" : ") {
        return format!("{}...", &line[..at]);
    }
    // How much the secrets and ports of a file differ is not of interest.
    if line.contains("initial_configuration\" : \"") {
        return "initial_configuration".to_owned();
    }
    without_numbers(line).replace("-#", "#")
}

fn body(port: u16, command: &str) -> Vec<String> {
    let path = format!("/commands/{command}");
    let answer = get(port, &path).expect("an answer");
    assert_eq!(answer.status, 200, "{command}");
    let kind = answer.header("content-type").unwrap_or_default();
    assert_eq!(kind, "application/json", "{command}");
    let lines = answer.text();
    let lines = lines.split('\n').map(neutral);
    // Which sessions stand in the same expiry bucket, and emptied ones, depends on the moment.
    lines
        .filter(|line| !line.contains("\"#\" : [ #") && !line.contains("\"#\" : [ ]"))
        .collect()
}

fn differing(theirs: u16, ours: u16, who: &str, except: &[&str]) -> Vec<String> {
    let commands = SAME.iter().filter(|command| !except.contains(command));
    commands
        .filter_map(|command| {
            let (expected, got) = (body(theirs, command), body(ours, command));
            let text = format!("{command} of {who}\n zookeeper {expected:#?}\n meerkat {got:#?}");
            (expected != got).then_some(text)
        })
        .collect()
}

/// What can be compared of a command in any state: how it is answered, and the names of its fields
/// but for those that are one side's own.
fn outline(port: u16, command: &str) -> BTreeSet<String> {
    let is_restore = ["rest", "restore"].contains(&command);
    let method = if is_restore { "POST" } else { "GET" };
    let path = format!("/commands/{command}");
    let answer = ask(port, method, &path, &[], &[]).expect("an answer");
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut outline = shape(&value);
    outline.insert(format!("status {}", answer.status));
    outline
        .into_iter()
        .filter(|line| match command {
            // Java's are not ours; values are places and names of a machine.
            "env" | "envi" | "environment" => {
                line.starts_with(".command") || line.starts_with("status")
            }
            "sysp" | "system_properties" => {
                !line.starts_with('.') || line.starts_with(".zookeeper.server.")
            }
            // See `metrics`, which compares their names.
            "mntr" | "monitor" => [
                ".command",
                ".error",
                ".server_state",
                ".peer_state",
                "status",
            ]
            .iter()
            .any(|name| line.starts_with(name)),
            "lsnp" | "last_snapshot" => !line.starts_with(".zxid"),
            "icfg" | "initial_configuration" => !line.starts_with(".initial_configuration \""),
            _ => true,
        })
        .map(|line| neutral(&line))
        .collect()
}

/// Commands whose outlines differ.
fn outlined_otherwise(theirs: u16, ours: u16, who: &str, except: &[&str]) -> Vec<String> {
    let commands = ALIKE.iter().filter(|command| !except.contains(command));
    commands
        .filter_map(|command| {
            let (expected, got) = (outline(theirs, command), outline(ours, command));
            let missing: Vec<_> = expected.difference(&got).collect();
            let more: Vec<_> = got.difference(&expected).collect();
            let text = format!("{command} of {who}: missing {missing:#?}, more {more:#?}");
            (expected != got).then_some(text)
        })
        .collect()
}

/// A session with an ephemeral and a watch on it.
fn session_at(addr: std::net::SocketAddr, path: &str) -> Session {
    let came = attempt::connect(addr, &Connect::default(), None);
    let mut session = came.and_then(Outcome::session).expect("a session");
    let answer = session.ask(&create("create", path, 1)).expect("an answer");
    assert_eq!(answer.err(), Some(0));
    let watch = Request::named("exists")
        .path(path)
        .with("watch", wire::Value::Byte(1));
    assert_eq!(session.ask(&watch).expect("an answer").err(), Some(0));
    session
}

/// Names and kinds of values, in no order.
fn shape(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    walk(value, &format!("{at}.{name}"), found);
                }
            }
            Value::Array(values) => {
                for value in values {
                    walk(value, &format!("{at}[]"), found);
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {
                found.insert(format!("{at} {value}"));
            }
            Value::Number(_) => {
                found.insert(format!("{at} number"));
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    // Said by each of itself, in the same words but for the number.
    let version = |line: &String| line.starts_with(".version ") || line.contains("remote_socket");
    found.into_iter().filter(|line| !version(line)).collect()
}

fn parsed(port: u16, command: &str) -> Value {
    let answer = get(port, &format!("/commands/{command}")).expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn commands_are_answered_alike() {
    let [(zookeeper, _theirs), (meerkat, _ours)] = KINDS.map(|kind| {
        let server = Server::start(kind, &settings()).expect("the server starts");
        let session = session_at(server.addr(), "/e");
        (server, session)
    });
    let (theirs, ours) = (port_of(&zookeeper), port_of(&meerkat));
    let mut found = differing(theirs, ours, "a server alone", &[]);
    found.extend(outlined_otherwise(theirs, ours, "a server alone", &[]));
    for command in ["srvr", "stat", "lsnp"] {
        let [expected, got] = [theirs, ours].map(|port| shape(&parsed(port, command)));
        let mut expected = expected;
        // A server that has made no snapshot yet says so.
        expected.remove(".zxid \"0\"");
        if !expected.is_subset(&got) || got.len() > expected.len() + 1 {
            found.push(format!("{command}: {expected:#?}\n{got:#?}"));
        }
    }
    let [expected, got] = [theirs, ours].map(|port| {
        let lines = get(port, "/commands/envi").expect("an answer").text();
        let names = lines.lines().filter_map(|line| line.split_once(" : "));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(expected, got);
    let properties = parsed(ours, "sysp");
    assert_eq!(properties["zookeeper.admin.enableServer"], "true");
    // A secret of the configuration is not told.
    for command in ["icfg", "sysp"] {
        let text = get(ours, &format!("/commands/{command}"))
            .expect("an answer")
            .text();
        assert!(text.contains("superDigest"), "{text}");
        assert!(
            text.contains("<hidden>") && !text.contains("super:"),
            "{text}"
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn commands_of_an_ensemble_are_answered_alike() {
    let [(zookeeper, _theirs), (meerkat, _ours)] = KINDS.map(|kind| {
        let ensemble = Ensemble::start(kind, 3, 1, &settings()).expect("the ensemble starts");
        let ids = ensemble.ids();
        let sessions: Vec<_> = ids
            .map(|id| session_at(ensemble.addr(id), &format!("/e{id}")))
            .collect();
        for id in ensemble.ids() {
            let came = attempt::connect(ensemble.addr(id), &Connect::default(), None);
            let mut session = came.and_then(Outcome::session).expect("a session");
            for name in ["sync", "closeSession"] {
                session.ask(&Request::named(name)).expect("an answer");
            }
        }
        (ensemble, sessions)
    });
    let mut found = Vec::new();
    for role in [Role::Leader, Role::Follower, Role::Observer] {
        let [theirs, ours] = [&zookeeper, &meerkat].map(|ensemble| {
            let id = ensemble.wait_for_role(role).expect("a server");
            port_in(ensemble, id)
        });
        let who = role.to_string();
        found.extend(differing(theirs, ours, &who, &[]));
        found.extend(outlined_otherwise(theirs, ours, &who, &[]));
        let [expected, got] = [theirs, ours].map(|port| shape(&parsed(port, "srvr")));
        if expected != got {
            found.push(format!("srvr of a {role}: {expected:#?}\n{got:#?}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let leader = meerkat.leader().expect("a leader");
    let observers = parsed(port_in(&meerkat, leader), "obsr");
    assert_eq!(observers["synced_observers"], 1, "{observers}");
    assert_eq!(observers["observers"][0]["sid"], 4, "{observers}");
}

/// One server of three.
#[test]
fn commands_of_a_server_that_does_not_serve_are_answered_alike() {
    let ensembles = KINDS.map(|kind| {
        let mut ensemble = Ensemble::new(kind, 3, 0, &settings()).expect("an ensemble");
        ensemble.launch(1).expect("it starts");
        let since = Instant::now();
        while get(port_in(&ensemble, 1), "/commands/gtmk").is_err() {
            assert!(since.elapsed() < LIMIT, "{}", ensemble.logs());
            thread::sleep(POLL);
        }
        ensemble
    });
    let [theirs, ours] = [&ensembles[0], &ensembles[1]].map(|ensemble| port_in(ensemble, 1));
    let who = "a server without a quorum";
    let mut found = differing(theirs, ours, who, &[]);
    // Upstream shows a stack trace.
    found.extend(outlined_otherwise(theirs, ours, who, &["mntr", "monitor"]));
    for command in ["mntr", "monitor"] {
        let path = format!("/commands/{command}");
        let asked = [theirs, ours].map(|port| get(port, &path).expect("an answer").status);
        assert_eq!(asked, [500, 200], "{command}");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// One server of three that serves readers.
#[test]
fn commands_of_a_read_only_server_are_answered_alike() {
    let ensembles = KINDS.map(|kind| {
        let mut settings = settings();
        for key in ["tickTime=500", "syncLimit=4", "-Dreadonlymode.enabled=true"] {
            settings.set(key).expect("a key");
        }
        let mut ensemble = Ensemble::start(kind, 3, 0, &settings).expect("the ensemble starts");
        drop(session_at(ensemble.addr(3), "/e"));
        for id in 1..=2 {
            ensemble.kill(id).expect("it ran");
        }
        let read_only = ensemble.wait_for_role(Role::ReadOnly);
        assert_eq!(read_only.expect("it offers to read"), 3, "{kind}");
        ensemble
    });
    let [theirs, ours] = [&ensembles[0], &ensembles[1]].map(|ensemble| port_in(ensemble, 3));
    let who = "a read-only server";
    let mut found = differing(theirs, ours, who, &[]);
    found.extend(outlined_otherwise(theirs, ours, who, &[]));
    // Nothing can be restored here, and nobody waits to hear that.
    let auth = ["Authorization: digest super:meerkat"];
    let restore = ask(ours, "POST", "/commands/restore", &auth, b"x").expect("an answer");
    assert_eq!(restore.status, 500);
    assert!(restore.text().contains("no leader"), "{}", restore.text());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn told(answer: &Answer) -> (u16, String) {
    let text = answer.text();
    (
        answer.status,
        text.lines().map(neutral).collect::<Vec<_>>().join("\n"),
    )
}

#[test]
fn methods_and_paths_are_answered_alike() {
    let servers = KINDS.map(|kind| {
        let mut settings = settings();
        settings.set("admin.commandURL=/ask/me").expect("a key");
        Server::start(kind, &settings).expect("the server starts")
    });
    let [theirs, ours] = [&servers[0], &servers[1]].map(port_of);
    for (method, path) in [
        ("GET", "/ask/me"),
        ("GET", "/ask/me/"),
        ("POST", "/ask/me"),
        ("GET", "/ask/me/ruok"),
        ("HEAD", "/ask/me/ruok"),
        ("GET", "/ask/me/RUOK"),
        ("GET", "/ask/me/ruok/"),
        ("TRACE", "/ask/me/ruok"),
        ("OPTIONS", "/ask/me/ruok"),
    ] {
        let [expected, got] = [theirs, ours].map(|port| {
            let answer = ask(port, method, path, &[], &[]).expect("an answer");
            let allow = answer.header("allow").map(str::to_owned);
            (told(&answer), allow.filter(|_| method == "OPTIONS"))
        });
        assert_eq!(expected, got, "{method} {path}");
    }
    // Servlets say 405 to HTTP/1.1 only, and this is HTTP/1.0.
    for method in ["PUT", "DELETE"] {
        let asked = [theirs, ours].map(|port| ask(port, method, "/ask/me/ruok", &[], &[]));
        let found = asked.map(|answer| answer.expect("an answer").status);
        assert_eq!(found, [400, 405], "{method}");
    }
    // At the root there is a page, which upstream does not have.
    let found = [theirs, ours].map(|port| get(port, "/").expect("an answer").status);
    assert_eq!(found, [404, 200]);
    for path in ["/commands/ruok", "/ask"] {
        let found = [theirs, ours].map(|port| get(port, path).expect("an answer").status);
        assert_eq!(found, [404, 404], "{path}");
    }
    for (method, path) in [
        ("POST", "/ask/me/stat"),
        ("POST", "/ask/me/snapshot"),
        ("GET", "/ask/me/restore"),
    ] {
        let asked = [theirs, ours].map(|port| ask(port, method, path, &["Authorization: ip"], &[]));
        let found = asked.map(|answer| answer.expect("an answer").status);
        assert_eq!(found, [500, 405], "{method} {path}");
    }
}

/// Gives these permissions on the root znode to whom the session has proven to be, and to nobody
/// else.
fn set_acl(perms: i32) -> Request {
    let acl = Acl {
        perms,
        scheme: Blob::text("auth"),
        id: Blob::text(""),
    };
    let list = wire::Value::Acls(List::Items(vec![acl]));
    Request::named("setACL").path("/").with("acl", list)
}

/// What is sent to be restored and is refused. More than the system takes for a server that does not
/// read: it is sent as a whole before the answer is looked for.
fn no_snapshot(method: &str) -> Vec<u8> {
    match method {
        "POST" => vec![b'x'; 8 << 20],
        _ => Vec::new(),
    }
}

/// The permissions of the root znode decide; then the rate.
#[test]
fn snapshots_are_for_those_who_may() {
    for kind in KINDS {
        let mut settings = settings();
        // A snapshot every three seconds.
        settings
            .set("admin.rateLimiterIntervalInMS=3000000")
            .expect("a key");
        let server = Server::start(kind, &settings).expect("the server starts");
        let port = port_of(&server);
        let with = |method: &str, path: &str, header: &str| {
            let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
            let body = no_snapshot(method);
            ask(port, method, path, headers, &body).expect("an answer")
        };
        let error = |answer: &Answer| {
            let value: Value = serde_json::from_slice(&answer.body).expect("JSON");
            (
                answer.status,
                value["error"].as_str().unwrap_or_default().to_owned(),
            )
        };
        for (method, path) in [("GET", "/commands/snap"), ("POST", "/commands/restore")] {
            let missing = error(&with(method, path, ""));
            let expected = "Auth info is missing for the command";
            assert_eq!(missing, (401, expected.to_owned()), "{kind} {path}");
            for wrong in ["digest", "bogus x", "world anyone", "a b c"] {
                let refused = error(&with(method, path, &format!("Authorization: {wrong}")));
                let expected = (401, "Not authenticated".to_owned());
                assert_eq!(refused, expected, "{kind} {path} {wrong}");
            }
        }
        let mut session = session_at(server.addr(), "/e");
        let got = with("GET", "/commands/snapshot", "Authorization: ip");
        assert_eq!(got.status, 200, "{kind}");
        assert_eq!(got.header("content-type"), Some("application/octet-stream"));
        assert_eq!(got.header("last_zxid"), Some("0x2"), "{kind}");
        let size = got.header("snapshot_size").map(str::to_owned);
        assert_eq!(size, Some(got.body.len().to_string()), "{kind}");
        let again = with("GET", "/commands/snapshot", "Authorization: ip");
        assert_eq!(error(&again), (429, String::new()), "{kind}");
        // Now only whoever has the password.
        let text = |text: &str| wire::Value::Blob(Blob::text(text));
        let auth = Request::named("auth").with("auth", text("ann:secret"));
        assert_eq!(session.ask(&auth).expect("an answer").err(), Some(0));
        let only = set_acl(31);
        assert_eq!(session.ask(&only).expect("an answer").err(), Some(0));
        let stranger = with(
            "GET",
            "/commands/snapshot",
            "Authorization: digest ann:guess",
        );
        assert_eq!(
            error(&stranger),
            (403, "Not authorized".to_owned()),
            "{kind}"
        );
        let since = Instant::now();
        loop {
            let path = "/commands/snapshot?streaming=false";
            let owner = with("GET", path, "Authorization: digest ann:secret");
            if owner.status == 200 {
                assert_eq!(error(&owner), (200, String::new()), "{kind}");
                assert_eq!(owner.header("last_zxid"), Some("0x3"), "{kind}");
                break;
            }
            assert_eq!(owner.status, 429, "{kind}");
            assert!(since.elapsed() < LIMIT, "{kind}");
            thread::sleep(POLL);
        }
        // Some permissions are not all of them.
        let some = set_acl(1);
        session.ask(&some).expect("an answer");
        let reader = with("GET", "/commands/snap", "Authorization: digest ann:secret");
        let command = "\"command\" : \"snap\"";
        assert!(
            reader.status == 403 && reader.text().contains(command),
            "{kind}"
        );
        if kind == Kind::Meerkat {
            let restore = with(
                "POST",
                "/commands/restore",
                "Authorization: digest super:meerkat",
            );
            let (status, error) = error(&restore);
            assert_eq!(status, 500);
            assert!(error.contains("neither a snapshot"), "{error}");
        }
    }
}

/// A file that says that it is a snapshot and is none.
#[test]
fn a_snapshot_that_is_refused_is_not_called_by_our_path() {
    let mut settings = settings();
    settings
        .set("admin.rateLimiterIntervalInMS=0")
        .expect("a key");
    let server = Server::start(Kind::Meerkat, &settings).expect("the server starts");
    let auth = ["Authorization: digest super:meerkat"];
    for magic in [&b"MKSNAP"[..], b"ZKSN", b"\x1f\x8b", b"\x82SNAPPY"] {
        let broken = [magic, &[1; 100]].concat();
        let port = port_of(&server);
        let answer = ask(port, "POST", "/commands/restore", &auth, &broken).expect("an answer");
        assert_eq!(answer.status, 500, "{}", answer.text());
        let value: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let error = value["error"].as_str().unwrap_or_default();
        assert!(!error.is_empty() && !error.contains('/'), "{error}");
    }
}

#[test]
fn snapshots_can_be_switched_off() {
    for kind in KINDS {
        let mut settings = settings();
        for key in [
            "admin.snapshot.enabled=false",
            "admin.restore.enabled=false",
        ] {
            settings.set(key).expect("a key");
        }
        let server = Server::start(kind, &settings).expect("the server starts");
        for (method, path) in [("GET", "/commands/snapshot"), ("POST", "/commands/restore")] {
            let auth = ["Authorization: ip"];
            let body = no_snapshot(method);
            let answer = ask(port_of(&server), method, path, &auth, &body).expect("an answer");
            assert_eq!(answer.status, 503, "{kind} {path}");
        }
    }
}

/// A backup that was taken while clients wrote is a state that one moment had, and a server starts
/// from it.
#[test]
fn a_backup_is_what_a_new_server_starts_with() {
    let server = Server::start(Kind::Meerkat, &settings()).expect("the server starts");
    let addr = server.addr();
    let writer = thread::spawn(move || {
        let came = attempt::connect(addr, &Connect::default(), None);
        let mut session = came.and_then(Outcome::session).expect("a session");
        for number in 0..3000 {
            let request = create("create", &format!("/n{number:05}"), 0);
            assert_eq!(session.ask(&request).expect("an answer").err(), Some(0));
        }
    });
    let port = port_of(&server);
    let auth = ["Authorization: digest super:meerkat"];
    let since = Instant::now();
    let snapshot = loop {
        let path = "/commands/snapshot";
        let answer = ask(port, "GET", path, &auth, &[]).expect("an answer");
        let zxid = answer
            .header("last_zxid")
            .and_then(|text| text.strip_prefix("0x"));
        let zxid = zxid.map(|hex| u64::from_str_radix(hex, 16).expect("a zxid"));
        if let Some(zxid) = zxid.filter(|zxid| *zxid > 500) {
            break (zxid, answer);
        }
        assert!(since.elapsed() < LIMIT);
        thread::sleep(POLL);
    };
    writer.join().expect("all was written");
    let (zxid, answer) = snapshot;
    let name = answer.header("content-disposition").expect("a name");
    let name = name.split('"').nth(1).expect("a name in quotes");
    let mut copy = Ensemble::new(Kind::Meerkat, 1, 0, &Settings::default()).expect("a place");
    let dir = copy.data_dir(1).expect("a directory").join("snapshots");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join(name), &answer.body).expect("written");
    copy.start_one(1).expect("it starts");
    let srvr = copy.word(1, "srvr").expect("an answer");
    assert!(srvr.contains(&format!("Zxid: 0x{zxid:x}\n")), "{srvr}");
    let came = attempt::connect(copy.addr(1), &Connect::default(), None);
    let mut session = came.and_then(Outcome::session).expect("a session");
    // The first transaction was the session's.
    let count = usize::try_from(zxid).expect("a number") - 1;
    for (number, expected) in [(count - 1, 0), (count, -101)] {
        let request = Request::named("exists").path(&format!("/n{number:05}"));
        let answer = session.ask(&request).expect("an answer");
        assert_eq!(answer.err(), Some(expected), "znode {number} of {count}");
    }
}

#[test]
fn a_taken_port_stops_only_whoever_asked_for_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    for kind in KINDS {
        let mut settings = settings();
        let key = format!("admin.serverPort={port}");
        settings.set(&key).expect("a key");
        let refused = Server::start(kind, &settings).expect_err("the port is taken");
        let why = format!("{refused:#}");
        assert!(why.contains("exit status: 4"), "{kind}: {why}");
        assert!(why.contains("Unable to start AdminServer"), "{kind}: {why}");
    }
    // Whoever has it, it is not free.
    let _default = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080));
    let mut settings = Settings::default();
    settings.set("admin.enableServer=true").expect("a key");
    let refused = Server::start(Kind::ZooKeeper, &settings).expect_err("the port is taken");
    assert!(format!("{refused:#}").contains("exit status: 4"));
    let server = Server::start(Kind::Meerkat, &settings).expect("it starts all the same");
    assert!(server.log().contains("no admin server"), "{}", server.log());
    assert!(server.word("srvr").expect("an answer").contains("Mode: "));
}

#[test]
fn the_page_can_be_left_out_and_the_commands_stay() {
    for (is_there, status) in [("true", 200), ("false", 404)] {
        let mut settings = settings();
        let key = format!("meerkat.adminPage={is_there}");
        settings.set(&key).expect("a key");
        let server = Server::start(Kind::Meerkat, &settings).expect("a server");
        let port = port_of(&server);
        for path in ["/", "/api/overview", "/api/znode?path=/"] {
            let answer = get(port, path).expect("an answer");
            assert_eq!(answer.status, status, "{path} with {is_there}");
        }
        assert_eq!(get(port, "/commands/ruok").expect("an answer").status, 200);
    }
}

/// More connections than there are places.
const MANY: usize = 72;

/// Connections that each send this and then neither send nor read.
fn held_open(port: u16, sent: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        // What a client that does not read has sent may not all be taken.
        stream.set_nonblocking(true).expect("a socket");
        let _ = (&stream).write(sent);
        stream
    };
    (0..MANY).map(open).collect()
}

/// Nobody keeps the others away: not with half a request or half a body, nor by not reading, nor
/// with a connection that is idle. That they would be closed at last does not help here.
#[test]
fn whoever_holds_connections_does_not_keep_others_away() {
    let whole = "GET /commands/mntr HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /commands/restore HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n";
    let (scraped, shut) = (
        whole.replace("commands/mntr", "metrics"),
        "POST /api/x HTTP/1.1\r\n",
    );
    for kind in KINDS {
        let mut settings = settings();
        for key in [
            "admin.idleTimeout=3600000".to_owned(),
            "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider".to_owned(),
            "metricsProvider.httpHost=127.0.0.1".to_owned(),
            format!("metricsProvider.httpPort={FREE_PORT}"),
        ] {
            settings.set(&key).expect("a key");
        }
        let server = Server::start(kind, &settings).expect("the server starts");
        let metrics = server.setting("metricsProvider.httpPort").expect("a port");
        let (admin, metrics) = (port_of(&server), metrics.parse().expect("a number"));
        for (port, path, sent) in [
            (admin, "/commands/ruok", whole.to_owned()),
            (admin, "/commands/ruok", whole.repeat(100)),
            (admin, "/commands/ruok", whole[..20].to_owned()),
            (admin, "/commands/ruok", format!("{post}\r\n")),
            (
                admin,
                "/commands/ruok",
                format!("{post}Authorization: ip\r\n\r\nabc"),
            ),
            (
                admin,
                "/commands/ruok",
                format!("{shut}Content-Length: 9\r\n\r\n"),
            ),
            (metrics, "/metrics", scraped.clone()),
            (metrics, "/metrics", scraped.repeat(100)),
            (metrics, "/metrics", scraped[..20].to_owned()),
        ] {
            let held = held_open(port, sent.as_bytes());
            let answer = get(port, path).unwrap_or_else(|error| {
                panic!(
                    "{kind} {path} beside {:?}, {}: {error:#}",
                    sent.lines().next(),
                    sent.len()
                )
            });
            assert_eq!(answer.status, 200, "{kind}");
            drop(held);
        }
    }
}
