//! What the server logs: lines that nobody forges, JSON when asked, and requests that were slow.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::change::{PATIENCE, POLL};
use meerkat_compat_tests::client::{Admin, Connection, framed};
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{FREE_PORT, Kind, Server, Settings};
use meerkat_compat_tests::wire::{Connect, Request};
use serde_json::Value;

/// Above what counts as slow in these tests.
const HELD_UP: Duration = Duration::from_millis(700);
const SLOW: &str = "meerkat.slowRequestMs=300";

fn settings(assignments: &[&str]) -> Result<Settings> {
    let mut settings = Settings::default();
    for assignment in assignments {
        settings.set(assignment)?;
    }
    Ok(settings)
}

/// Values of the fields of a line of text.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.find(&format!(" {name}="))?;
    line[at + name.len() + 2..].split(' ').next()
}

#[test]
fn json_is_one_object_a_line_with_what_the_text_says() -> Result<()> {
    let settings = settings(&["audit.enable=true"])?.with_env("MEERKAT_LOG_FORMAT", "json");
    let mut server = Server::start(Kind::Meerkat, &settings)?;
    let mut admin = Admin::connect(server.addr())?;
    let (path, forged) = ("/a\n{\"level\":\"FORGED\"}", "\"level\":\"FORGED\"");
    admin.ask(&Request::named("create").path(path))?;
    server.terminate()?;
    let log = server.log();
    let lines = log.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines
        .collect::<Result<_, _>>()
        .with_context(|| log.clone())?;
    let has = |name: &str, value: &str| {
        let of_line = |line: &Value| line.get(name).and_then(Value::as_str) == Some(value);
        lines.iter().any(of_line)
    };
    ensure!(has("message", "stopping") && has("level", "INFO"), "{log}");
    ensure!(
        has("target", "org.apache.zookeeper.audit.Slf4jAuditLogger"),
        "{log}"
    );
    ensure!(
        lines.iter().all(|line| line.get("timestamp").is_some()),
        "{log}"
    );
    ensure!(!log.contains(forged) && !has("level", "FORGED"), "{log}");
    Ok(())
}

/// Reads that take a while together: the last of them stands for all.
const READS: i32 = 5000;

/// Figures are numbers in JSON, and a slow read has its path though nothing held it up.
#[test]
fn a_slow_read_says_where_and_its_times_are_numbers() -> Result<()> {
    let settings = settings(&["meerkat.slowRequestMs=1"])?.with_env("MEERKAT_LOG_FORMAT", "json");
    let server = Server::start(Kind::Meerkat, &settings)?;
    let mut admin = Admin::connect(server.addr())?;
    admin.ask(&Request::named("create").path("/dir"))?;
    for number in 0..100 {
        let path = format!("/dir/{number}");
        admin.ask(&Request::named("create").path(&path))?;
    }
    let deadline = Instant::now() + PATIENCE;
    let slow = loop {
        let mut connection = Connection::open(server.addr())?;
        connection.send(&framed(&Connect::default().encode(0, &[0; 16], 0)));
        connection.receive()?;
        let reads = (1..=READS).map(|xid| {
            let request = Request::named("getChildren").path("/dir");
            framed(&request.encode(xid, 0))
        });
        let reads = reads.collect::<Vec<_>>().concat();
        let mut sending = connection.try_clone()?;
        let sender = std::thread::spawn(move || sending.send(&reads));
        for _ in 0..READS {
            connection.receive()?;
        }
        ensure!(sender.join().is_ok(), "the requests were not sent");
        let log = server.log();
        let lines = log.lines().map(serde_json::from_str);
        let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
        let is_it =
            |line: &&Value| line["message"] == "slow request" && line["op"] == "getChildren";
        if let Some(line) = lines.iter().find(is_it) {
            break line.clone();
        }
        ensure!(Instant::now() < deadline, "{log}");
    };
    ensure!(slow["path"] == "/dir", "{slow}");
    ensure!(slow["xid"].is_i64(), "{slow}");
    for name in ["total_ms", "wait_ms", "read_ms", "left_out"] {
        ensure!(slow[name].is_u64(), "{name} in {slow}");
    }
    Ok(())
}

#[test]
fn what_to_log_and_how_is_refused_when_it_is_not_understood() -> Result<()> {
    for (name, value, said) in [
        ("MEERKAT_LOG_FORMAT", "xml", "it can be text or json"),
        (
            "MEERKAT_LOG",
            "info,openraft=loud",
            "MEERKAT_LOG is \"info,openraft=loud\"",
        ),
    ] {
        let settings = settings(&[])?.with_env(name, value);
        let error = Server::start(Kind::Meerkat, &settings).err();
        let error = format!("{:#}", error.context("it started")?);
        ensure!(error.contains(said), "{error}");
        ensure!(error.contains("exit status: 2"), "{error}");
    }
    Ok(())
}

/// The first line of a server's log about a slow request for which this is true.
fn slow_line(ensemble: &Ensemble, id: usize, is_it: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = ensemble.log_tail(id)?;
        let mut slow = log.lines().filter(|line| line.contains("slow request"));
        if let Some(line) = slow.find(|line| is_it(line)) {
            return Ok(line.to_owned());
        }
        ensure!(Instant::now() < deadline, "{log}");
        std::thread::sleep(POLL);
    }
}

/// A write that waits for its quorum, and a read of the same session behind it.
#[test]
fn a_write_without_a_quorum_is_slow_in_its_commit() -> Result<()> {
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings(&[SLOW])?)?;
    let leader = ensemble.wait_for_leader()?;
    let followers: Vec<usize> = ensemble.ids().filter(|id| *id != leader).collect();
    let mut connection = Connection::open(ensemble.addr(leader))?;
    connection.send(&framed(&Connect::default().encode(0, &[0; 16], 0)));
    connection.receive()?;
    let quick = Request::named("create").path("/quick").encode(1, 0);
    connection.send(&framed(&quick));
    connection.receive()?;
    for id in &followers {
        ensemble.pause(*id)?;
    }
    let (write, read) = (
        Request::named("create").path("/slow").encode(2, 0),
        Request::named("exists").path("/slow").encode(3, 0),
    );
    connection.send(&[framed(&write), framed(&read)].concat());
    // They are held up from when they have come, which may be late on a machine with much to do.
    let deadline = Instant::now() + PATIENCE;
    while ensemble.outstanding(leader)? < 2 {
        ensure!(Instant::now() < deadline, "{}", ensemble.log_tail(leader)?);
        std::thread::sleep(POLL);
    }
    std::thread::sleep(HELD_UP);
    for id in &followers {
        ensemble.resume(*id)?;
    }
    connection.receive()?;
    connection.receive()?;
    let of = |path: &'static str, op: &'static str| {
        move |line: &str| {
            field(line, "path") == Some(&format!("{path:?}"))
                && field(line, "op") == Some(&format!("{op:?}"))
        }
    };
    let write = slow_line(&ensemble, leader, of("/slow", "create"))?;
    let ms = |line: &str, name| field(line, name).and_then(|ms| ms.parse::<u64>().ok());
    ensure!(field(&write, "slowest") == Some("\"commit\""), "{write}");
    ensure!(field(&write, "xid") == Some("2"), "{write}");
    let (total, commit) = (ms(&write, "total_ms"), ms(&write, "commit_ms"));
    ensure!(total >= commit && commit > Some(300), "{write}");
    let read = slow_line(&ensemble, leader, of("/slow", "exists"))?;
    ensure!(field(&read, "slowest") == Some("\"wait\""), "{read}");
    let log = ensemble.log_tail(leader)?;
    ensure!(!log.contains("/quick"), "{log}");
    Ok(())
}

/// The path behind `to` in a line that tells of a snapshot.
fn snapshot_in(log: &str) -> Option<(&str, &str)> {
    let (_, line) = log.split_once("Snapshotting: 0x")?;
    line.lines().next()?.split_once(" to ")
}

/// Lines that operators' scripts wait for stand in our log as well.
#[test]
fn what_scripts_look_for_is_logged() -> Result<()> {
    for kind in [Kind::ZooKeeper, Kind::Meerkat] {
        let mut settings = settings(&["snapCount=20"])?.with_logs();
        settings.set("admin.enableServer=true")?;
        settings.set("admin.serverAddress=127.0.0.1")?;
        settings.set(&format!("admin.serverPort={FREE_PORT}"))?;
        let mut ensemble = Ensemble::start(kind, 2, 1, &settings)?;
        let leader = ensemble.wait_for_leader()?;
        let mut admin = Admin::connect(ensemble.addr(leader))?;
        for number in 0..60 {
            let path = format!("/{number}");
            admin.ask(&Request::named("create").path(&path))?;
        }
        for (role, name, state) in [
            (Role::Leader, "LEADING", "leading"),
            (Role::Follower, "FOLLOWING", "following"),
            (Role::Observer, "OBSERVING", "observing"),
        ] {
            let id = ensemble.wait_for_role(role)?;
            let home = ensemble.data_dir(id)?;
            let file = home.parent().context("a directory")?.join("log");
            let port = ensemble.addr(id).port();
            let expected = [
                format!("binding to port /127.0.0.1:{port}\n"),
                "Started AdminServer on address 127.0.0.1, port ".to_owned(),
                "LOOKING\n".to_owned(),
                format!("{name}\n"),
                format!("Peer state changed: {state} - broadcast\n"),
                "Snapshotting: 0x".to_owned(),
                "Snapshot taken in ".to_owned(),
            ];
            let deadline = Instant::now() + PATIENCE;
            loop {
                let log = std::fs::read_to_string(&file)?;
                let missing = expected.iter().find(|line| !log.contains(*line));
                let Some(missing) = missing else {
                    let (zxid, path) = snapshot_in(&log).context("a snapshot")?;
                    ensure!(u64::from_str_radix(zxid, 16).is_ok(), "{kind}: {zxid}");
                    ensure!(path.contains("/snapshot."), "{kind}: {path}");
                    break;
                };
                ensure!(Instant::now() < deadline, "{kind} {role}: {missing}\n{log}");
                std::thread::sleep(POLL);
            }
        }
    }
    Ok(())
}
