//! The admin server's `restore`: a snapshot becomes the state of servers that go on serving.
//!
//! Upstream replaces the tree of the server that is asked, and keeps the sessions that its snapshot
//! knows. Meerkat replaces the state of all servers at once and ends all sessions: what their
//! clients hold and have seen is of another time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::attempt::{self, Outcome, Session, create};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::ensemble::Ensemble;
use meerkat_compat_tests::http::{Answer, ask};
use meerkat_compat_tests::server::{FREE_PORT, Kind, Server, Settings};
use meerkat_compat_tests::snapshot::changed;
use meerkat_compat_tests::wire::{Blob, Connect, Request, Value};
use serde_json::Value as Json;

const AUTH: [&str; 1] = ["Authorization: digest super:meerkat"];
const EPHEMERAL: i32 = 1;
/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Znodes that come in more blocks than travel at the same time.
const MANY: usize = 10_000;

/// Znodes that are together much larger than a request may be.
const LARGE: usize = 8;
const LARGE_BYTES: usize = 1_000_000;

/// Where the first block says how many slots there are for znodes.
const SLOTS_AT: std::ops::Range<usize> = 37..41;

/// How long a restore has been asked for when the leader dies.
const KILLED_AFTER: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(60),
];

fn settings() -> Result<Settings> {
    let mut settings = Settings::default();
    for assignment in [
        "admin.enableServer=true",
        "admin.serverAddress=127.0.0.1",
        "admin.rateLimiterIntervalInMS=0",
        "serializeLastProcessedZxid.enabled=true",
        &format!("admin.serverPort={FREE_PORT}"),
    ] {
        settings.set(assignment)?;
    }
    Ok(settings)
}

fn snapshot(port: u16) -> Result<Answer> {
    let answer = ask(port, "GET", "/commands/snapshot", &AUTH, &[])?;
    ensure!(answer.status == 200, "snapshot: {}", answer.text());
    Ok(answer)
}

/// Status and answer.
fn restore(port: u16, body: &[u8]) -> Result<(u16, Json)> {
    let answer = ask(port, "POST", "/commands/restore", &AUTH, body)?;
    let json = serde_json::from_slice(&answer.body);
    Ok((answer.status, json.with_context(|| answer.text())?))
}

fn connect(addr: SocketAddr) -> Result<Session> {
    attempt::connect(addr, &Connect::default(), None)?.session()
}

fn done(session: &mut Session, request: &Request) -> Result<()> {
    let err = session.ask(request)?.err();
    ensure!(err == Some(0), "{request}: {err:?}");
    Ok(())
}

fn set(path: &str, data: &str) -> Request {
    let data = Value::Blob(Blob::text(data));
    Request::named("setData").path(path).with("data", data)
}

/// Replies to getData and getACL by path.
type Tree = BTreeMap<String, (Vec<u8>, Vec<u8>)>;

/// Every znode with its data, Stat and list, but for what is the server's own.
fn tree(addr: SocketAddr) -> Result<Tree> {
    let mut admin = Admin::connect(addr)?;
    let sync = Request::named("sync").path("/");
    ensure!(admin.ask(&sync)?.0 == 0, "sync");
    let mut found = BTreeMap::new();
    let mut paths = vec!["/".to_owned()];
    while let Some(path) = paths.pop() {
        for child in admin.children(&path)? {
            paths.push(format!("{}/{child}", path.trim_end_matches('/')));
        }
        let mut asked = |name: &str| -> Result<Vec<u8>> {
            let (err, body) = admin.ask(&Request::named(name).path(&path))?;
            ensure!(err == 0, "{name} {path}: {err}");
            Ok(body)
        };
        let is_own = path == "/zookeeper/config";
        let seen = (asked("getData")?, asked("getACL")?);
        if !is_own {
            found.insert(path, seen);
        }
    }
    admin.close()?;
    Ok(found)
}

/// The data of `/round`, and how many children it has.
fn round(addr: SocketAddr) -> Result<(String, usize)> {
    let mut admin = Admin::connect(addr)?;
    let sync = Request::named("sync").path("/");
    ensure!(admin.ask(&sync)?.0 == 0, "sync");
    let (err, body) = admin.ask(&Request::named("getData").path("/round"))?;
    ensure!(err == 0, "getData: {err}");
    let (length, rest) = body.split_first_chunk::<4>().context("a short reply")?;
    let data = rest.get(..u32::from_be_bytes(*length) as usize);
    let data = String::from_utf8_lossy(data.context("a short reply")?).into_owned();
    Ok((data, admin.children("/round")?.len()))
}

/// The one tree that these servers show.
fn agreed(ensemble: &Ensemble, ids: &[usize]) -> Result<Tree> {
    let mut trees = ids.iter().map(|id| tree(ensemble.addr(*id)));
    let first = trees.next().context("no server")??;
    for other in trees {
        ensure!(other? == first, "the servers show different trees");
    }
    Ok(first)
}

fn port_of(ensemble: &Ensemble, id: usize) -> Result<u16> {
    Ok(ensemble.setting(id, "admin.serverPort")?.parse()?)
}

#[test]
fn all_servers_go_on_with_it() -> Result<()> {
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings()?)?;
    let leader = ensemble.wait_for_leader()?;
    let followers: Vec<usize> = ensemble.ids().filter(|id| *id != leader).collect();
    let [asked, absent] = followers[..] else {
        anyhow::bail!("two followers, not {followers:?}")
    };
    let mut writer = connect(ensemble.addr(leader))?;
    done(&mut writer, &create("create", "/kept", 0))?;
    done(&mut writer, &create("create", "/many", 0))?;
    let names = (0..MANY).map(|n| create("create", &format!("/many/{n:06}"), 0));
    for requests in names.collect::<Vec<_>>().chunks(500) {
        let answers = writer.ask_all(requests)?;
        ensure!(answers.iter().all(|answer| answer.err() == Some(0)), "many");
    }
    for number in 0..LARGE {
        let path = format!("/large-{number}");
        done(&mut writer, &create("create", &path, 0))?;
        done(&mut writer, &set(&path, &"x".repeat(LARGE_BYTES)))?;
    }
    let before = agreed(&ensemble, &[leader, asked, absent])?;
    let mut holder = connect(ensemble.addr(asked))?;
    done(&mut holder, &create("create", "/member", EPHEMERAL))?;
    let backup = snapshot(port_of(&ensemble, leader)?)?;

    done(&mut writer, &set("/kept", "changed"))?;
    done(&mut writer, &create("create", "/added", 0))?;
    ensemble.kill(absent)?;
    let (status, answer) = restore(port_of(&ensemble, asked)?, &backup.body)?;
    ensure!(status == 200, "{answer}");
    let zxid = answer["last_zxid"].as_i64().context("no zxid")?;
    ensure!(answer["error"].is_null(), "{answer}");

    // All sessions have ended, wherever and whatever they held.
    for (session, id) in [(&writer, leader), (&holder, asked)] {
        let again = attempt::connect(
            ensemble.addr(id),
            &Connect::default(),
            Some(&session.ticket),
        )?;
        ensure!(
            matches!(again, Outcome::Refused { .. }),
            "the session goes on: {again}"
        );
    }
    let mut restored = agreed(&ensemble, &[leader, asked])?;
    // The ephemeral that was in the snapshot has left its trace in the root's Stat.
    let mut expected = before;
    for tree in [&mut restored, &mut expected] {
        tree.remove("/").context("no root")?;
    }
    ensure!(restored == expected, "it is not what was saved");

    // Written to behind it, and read by a server that comes back later.
    let mut writer = connect(ensemble.addr(leader))?;
    done(&mut writer, &create("create", "/behind", 0))?;
    let srvr = ensemble.word(leader, "srvr")?;
    let now = srvr.lines().find_map(|line| line.strip_prefix("Zxid: 0x"));
    let now = i64::from_str_radix(now.context("no zxid")?, 16)?;
    ensure!(now > zxid, "{now:x} is not behind {zxid:x}");
    ensemble.start_one(absent)?;
    let all = agreed(&ensemble, &[leader, asked, absent])?;
    ensure!(all.contains_key("/behind"), "a write is lost");

    // The log and the snapshots of each have it.
    for id in ensemble.ids() {
        ensemble.kill(id)?;
    }
    ensemble.start_all()?;
    ensure!(
        agreed(&ensemble, &[1, 2, 3])? == all,
        "not the same behind a restart"
    );
    Ok(())
}

/// A leader that dies in the midst leaves all of it or nothing, as the answer says.
#[test]
fn a_lost_leader_leaves_all_of_it_or_nothing() -> Result<()> {
    let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings()?)?;
    let leader = ensemble.wait_for_leader()?;
    let mut writer = connect(ensemble.addr(leader))?;
    done(&mut writer, &create("create", "/round", 0))?;
    let names = (0..MANY).map(|n| create("create", &format!("/round/{n:06}"), 0));
    for requests in names.collect::<Vec<_>>().chunks(500) {
        let answers = writer.ask_all(requests)?;
        ensure!(answers.iter().all(|answer| answer.err() == Some(0)), "many");
    }
    let backup = snapshot(port_of(&ensemble, leader)?)?.body;
    for moment in KILLED_AFTER {
        let leader = ensemble.wait_for_leader()?;
        done(
            &mut connect(ensemble.addr(leader))?,
            &set("/round", "changed"),
        )?;
        let asked = ensemble.ids().find(|id| *id != leader);
        let port = port_of(&ensemble, asked.context("no follower")?)?;
        let answer = thread::scope(|scope| {
            let asking = scope.spawn(|| restore(port, &backup));
            thread::sleep(moment);
            ensemble.kill(leader)?;
            asking.join().map_err(|_| anyhow::anyhow!("it panicked"))?
        });
        let (status, answer) = answer?;
        ensemble.wait_for_leader()?;
        ensemble.start_one(leader)?;
        let mut found = ensemble.ids().map(|id| round(ensemble.addr(id)));
        let (data, count) = found.next().context("no server")??;
        for other in found {
            ensure!(other? == (data.clone(), count), "the servers differ");
        }
        let is_unchanged = data == "changed";
        ensure!(is_unchanged || data == "data", "{data:?}");
        ensure!(count == MANY, "znodes are missing");
        let error = answer["error"].as_str().unwrap_or_default();
        match status {
            200 => ensure!(!is_unchanged, "it was said to be done"),
            _ if error.contains("nothing has changed") => {
                ensure!(is_unchanged, "something has changed: {error}");
            }
            _ => ensure!(error.contains("look whether"), "{status} {answer}"),
        }
    }
    Ok(())
}

/// What the servers answer, and what is there then, beside upstream.
#[test]
fn a_server_alone_takes_it_like_zookeeper() -> Result<()> {
    for kind in [Kind::ZooKeeper, Kind::Meerkat] {
        let server = Server::start(kind, &settings()?)?;
        let port = server.setting("admin.serverPort")?.parse()?;
        let mut session = connect(server.addr())?;
        done(&mut session, &create("create", "/kept", 0))?;
        let before = tree(server.addr())?;
        let backup = snapshot(port)?;
        done(&mut session, &set("/kept", "changed"))?;
        done(&mut session, &create("create", "/added", 0))?;
        let (status, answer) = restore(port, &backup.body)?;
        ensure!(status == 200, "{kind}: {answer}");
        let object = answer.as_object().context("no object")?;
        let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
        names.sort_unstable();
        ensure!(
            names == ["command", "error", "last_zxid"],
            "{kind}: {answer}"
        );
        ensure!(answer["command"] == "restore" && answer["error"].is_null());
        ensure!(answer["last_zxid"].is_i64(), "{kind}: {answer}");
        ensure!(tree(server.addr())? == before, "{kind}: not what was saved");
    }
    Ok(())
}

#[test]
fn snapshots_of_zookeeper_are_taken() -> Result<()> {
    let theirs = Server::start(Kind::ZooKeeper, &settings()?)?;
    let mut session = connect(theirs.addr())?;
    for path in ["/a", "/a/b", "/a/b/c", "/d"] {
        done(&mut session, &create("create", path, 0))?;
    }
    done(&mut session, &set("/a/b", "changed"))?;
    let port: u16 = theirs.setting("admin.serverPort")?.parse()?;
    let body = snapshot(port)?.body;
    let expected = tree(theirs.addr())?;

    let ours = Server::start(Kind::Meerkat, &settings()?)?;
    let mut old = connect(ours.addr())?;
    done(&mut old, &create("create", "/mine", 0))?;
    let (status, answer) = restore(ours.setting("admin.serverPort")?.parse()?, &body)?;
    ensure!(status == 200, "{answer}");
    ensure!(tree(ours.addr())? == expected, "another tree than theirs");
    done(&mut connect(ours.addr())?, &create("create", "/mine", 0))
}

/// Each with a sentence, and what is there stays as it is.
#[test]
fn what_is_no_snapshot_changes_nothing() -> Result<()> {
    let server = Server::start(Kind::Meerkat, &settings()?)?;
    let port = server.setting("admin.serverPort")?.parse()?;
    let mut session = connect(server.addr())?;
    done(&mut session, &create("create", "/a", 0))?;
    let sound = snapshot(port)?.body;
    done(&mut session, &create("create", "/b", 0))?;
    let before = tree(server.addr())?;
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    // Neither a file's claims nor what it could be decompressed to take memory.
    let many_slots = changed(&sound, |block| {
        if block.first() == Some(&b'H') {
            block[SLOTS_AT].fill(0xff);
        }
    })?;
    let mut long = b"ZKSN\0\0\0\x02".to_vec();
    long.extend((-1_i64).to_be_bytes());
    for number in [0, 0, 0, 1 << 30] {
        // No session, no list, the root's path and the length of its data.
        long.extend(i32::to_be_bytes(number));
    }
    let wrong: [(&[u8], &str); 6] = [
        (&many_slots, "slots for znodes"),
        (&long, "its content is longer than"),
        (b"", "neither a snapshot of Meerkat"),
        (b"anything", "neither a snapshot of Meerkat"),
        (&sound[..sound.len() - 1], "snapshot"),
        (&damaged, "snapshot"),
    ];
    for (body, expected) in wrong {
        let (status, answer) = restore(port, body)?;
        let error = answer["error"].as_str().context("no error")?;
        ensure!(
            status == 500 && error.contains(expected),
            "{status} {answer}"
        );
        ensure!(tree(server.addr())? == before, "something has changed");
    }
    // The session that was there all the time is still there, until it works.
    done(&mut session, &set("/b", "still here"))?;
    let (status, answer) = restore(port, &sound)?;
    ensure!(status == 200, "{answer}");
    let since = Instant::now();
    while session.ask(&set("/a", "too late"))?.err().is_some() {
        ensure!(since.elapsed() < LIMIT, "its connection stays open");
        thread::sleep(POLL);
    }
    let left = tree(server.addr())?;
    ensure!(
        left.contains_key("/a") && !left.contains_key("/b"),
        "{left:?}"
    );
    Ok(())
}
