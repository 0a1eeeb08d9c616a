//! The configuration files and ports of servers whose members change: the same programs against
//! ZooKeeper and Meerkat.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::change::{
    Change, PATIENCE, POLL, change, config, expect, lines, start, version,
};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::ensemble::{Ensemble, Place};
use meerkat_compat_tests::server::{Kind, Settings};
use meerkat_compat_tests::wire::Request;

const ABSENT: &str = "server.9=127.0.0.1:1:2:observer;127.0.0.1:3";

/// Tries until it is so.
fn until<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(POLL),
            last => return last,
        }
    }
}

fn static_file(ensemble: &Ensemble, id: usize) -> Result<PathBuf> {
    Ok(ensemble.home(id)?.join("zoo.cfg"))
}

fn dynamic_file(ensemble: &Ensemble, id: usize, version: i64) -> Result<PathBuf> {
    Ok(ensemble
        .home(id)?
        .canonicalize()?
        .join(format!("zoo.cfg.dynamic.{version:x}")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The files of this server are those of a configuration: zoo.cfg points at it and has nothing else
/// of it, and all other settings are there.
fn follows(ensemble: &Ensemble, id: usize, config: &str) -> Result<()> {
    let path = dynamic_file(ensemble, id, version(config)?)?;
    let (members, _) = config.rsplit_once("\nversion=").context("no version")?;
    // ZooKeeper sorts them in the file alone.
    let mut members: Vec<_> = members.lines().collect();
    members.sort_unstable();
    let (written, members) = (read(&path)?, members.join("\n"));
    ensure!(written == members, "{written}\ninstead of\n{members}");
    let backup = read(&ensemble.home(id)?.join("zoo.cfg.bak"))?;
    let others = backup.lines().filter(|line| !line.starts_with("server."));
    let pointer = format!("dynamicConfigFile={}", path.display());
    let expected: BTreeSet<&str> = others.chain([pointer.as_str()]).collect();
    let text = read(&static_file(ensemble, id)?)?;
    let found: BTreeSet<&str> = text.lines().collect();
    ensure!(found == expected, "{found:?}\ninstead of\n{expected:?}");
    Ok(())
}

fn all_follow(ensemble: &Ensemble, config: &str) -> Result<()> {
    ensemble
        .ids()
        .try_for_each(|id| until(|| follows(ensemble, id, config)))
}

fn files_follow(kind: Kind) -> Result<()> {
    let mut settings = Settings::default();
    settings.set("reconfigEnabled=true")?;
    let mut ensemble = Ensemble::new(kind, 3, 0, &settings)?;
    let before = read(&static_file(&ensemble, 1)?)?;
    ensemble.start_all()?;
    let first = config(ensemble.addr(1))?;
    all_follow(&ensemble, &first)?;
    let backup = ensemble.home(1)?.join("zoo.cfg.bak");
    ensure!(read(&backup)? == before, "the backup is another file");

    // One that is down learns of a change when it is back.
    let leader = ensemble.wait_for_leader()?;
    let down = ensemble.ids().find(|id| *id != leader);
    let down = down.context("a follower")?;
    ensemble.kill(down)?;
    let left_over = ensemble.home(leader)?.join("zoo.cfg.dynamic.next");
    fs::write(&left_over, &first)?;
    let second = change(ensemble.addr(leader), &Change::joining(ABSENT))?;
    until(|| follows(&ensemble, leader, &second))?;
    until(|| {
        ensure!(!left_over.exists(), "it is still there");
        Ok(())
    })?;
    follows(&ensemble, down, &first)?;
    ensemble.start_one(down)?;
    all_follow(&ensemble, &second)?;
    let older = dynamic_file(&ensemble, leader, version(&first)?)?;
    ensure!(older.exists(), "the older file is gone");

    // They start with the new ones, and all is as it was.
    ensemble.roll()?;
    all_follow(&ensemble, &second)?;
    for id in ensemble.ids() {
        let after = config(ensemble.addr(id))?;
        ensure!(
            version(&after)? == version(&second)?,
            "{after}\ninstead of\n{second}"
        );
    }
    ensure!(read(&backup)? == before, "the backup has changed");
    Ok(())
}

#[test]
fn the_files_of_zookeeper_follow_the_members() -> Result<()> {
    files_follow(Kind::ZooKeeper)
}

#[test]
fn the_files_of_meerkat_follow_the_members() -> Result<()> {
    files_follow(Kind::Meerkat)
}

/// A server that joins can start again, and one that has left cannot.
fn come_and_go(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let leader = ensemble.wait_for_leader()?;
    let id = ensemble.add(false)?;
    ensemble.launch(id)?;
    let joining = Change::joining(&lines(&ensemble, &[id])?);
    let joined = change(ensemble.addr(leader), &joining)?;
    expect(&ensemble, &joined, &[1, 2, 3, 4])?;
    all_follow(&ensemble, &joined)?;
    ensemble.wait_serving(id)?;
    ensemble.kill(id)?;
    ensemble.start_one(id)?;
    follows(&ensemble, id, &joined)?;

    let left = change(ensemble.addr(leader), &Change::leaving("4"))?;
    expect(&ensemble, &left, &[1, 2, 3])?;
    all_follow(&ensemble, &left)?;
    ensemble.kill(id)?;
    ensemble.launch(id)?;
    until(|| {
        let crashed = ensemble.crashed()?;
        ensure!(crashed.iter().any(|(who, _)| *who == id), "it runs");
        Ok(())
    })
}

#[test]
fn servers_come_and_go_with_zookeeper() -> Result<()> {
    come_and_go(Kind::ZooKeeper)
}

#[test]
fn servers_come_and_go_with_meerkat() -> Result<()> {
    come_and_go(Kind::Meerkat)
}

// ---- the version --------------------------------------------------------------------------------

/// An ensemble that begins with a dynamic file has its version.
fn begin_with(kind: Kind, suffix: &str) -> Result<(Ensemble, String)> {
    let mut settings = Settings::default();
    settings.set("reconfigEnabled=true")?;
    let mut ensemble = Ensemble::new(kind, 3, 0, &settings)?;
    let members = lines(&ensemble, &[1, 2, 3])?;
    for id in ensemble.ids() {
        let file = ensemble.home(id)?.join(format!("members{suffix}"));
        fs::write(&file, &members)?;
        let path = static_file(&ensemble, id)?;
        let text = read(&path)?;
        let mut others: Vec<_> = text.lines().filter(|l| !l.starts_with("server.")).collect();
        let pointer = format!("dynamicConfigFile={}", file.display());
        others.push(&pointer);
        fs::write(path, others.join("\n"))?;
    }
    ensemble.start_all()?;
    let config = config(ensemble.addr(1))?;
    expect(&ensemble, &config, &[1, 2, 3])?;
    Ok((ensemble, config))
}

#[test]
fn a_dynamic_file_without_a_version_is_the_first() -> Result<()> {
    for kind in [Kind::ZooKeeper, Kind::Meerkat] {
        let (_ensemble, config) = begin_with(kind, ".cfg")?;
        assert_eq!(version(&config)?, 0x1_0000_0000, "{kind}");
    }
    Ok(())
}

#[test]
fn the_version_of_a_dynamic_file_holds() -> Result<()> {
    for kind in [Kind::ZooKeeper, Kind::Meerkat] {
        let (ensemble, before) = begin_with(kind, ".700000005")?;
        assert_eq!(version(&before)?, 0x7_0000_0005, "{kind}");
        // Zxids begin below it. ZooKeeper takes what comes then for old.
        if kind == Kind::Meerkat {
            let after = change(ensemble.addr(1), &Change::joining(ABSENT))?;
            assert!(version(&after)? > version(&before)?, "{before}\n{after}");
            for id in ensemble.ids() {
                let file = dynamic_file(&ensemble, id, version(&after)?)?;
                until(|| read(&file).map(drop))?;
            }
        }
    }
    Ok(())
}

// ---- files that cannot be written ---------------------------------------------------------------

#[test]
fn a_file_that_cannot_be_written_is_told_and_stops_nobody() -> Result<()> {
    let mut settings = Settings::default();
    settings.set("reconfigEnabled=true")?;
    let mut ensemble = Ensemble::new(Kind::Meerkat, 3, 0, &settings)?;
    // Permissions stop no super user; a directory in the place of a file does.
    let in_the_way = dynamic_file(&ensemble, 1, 0x1_0000_0000)?;
    fs::create_dir(&in_the_way)?;
    let before = read(&static_file(&ensemble, 1)?)?;
    ensemble.start_all()?;
    until(|| {
        let log = ensemble.log_tail(1)?;
        let told = log.contains("cannot be written down") && log.contains("zoo.cfg.dynamic.");
        ensure!(told, "nothing of it in {log}");
        Ok(())
    })?;
    ensure!(
        read(&static_file(&ensemble, 1)?)? == before,
        "zoo.cfg is another"
    );
    // It serves, and the next one is written.
    let after = change(ensemble.addr(1), &Change::joining(ABSENT))?;
    all_follow(&ensemble, &after)
}

// ---- ports --------------------------------------------------------------------------------------

fn listens(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_ok()
}

/// The follower and the leader get another client port.
fn client_ports(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let leader = ensemble.wait_for_leader()?;
    let follower = ensemble.ids().find(|id| *id != leader);
    let follower = follower.context("a follower")?;
    for id in [follower, leader] {
        let before = ensemble.addr(id);
        let mut connected = Admin::connect(before)?;
        let mut place = ensemble.place(id)?;
        place.client_port = Place::loopback()?.client_port;
        ensemble.moved(id, place, false)?;
        let line = Change::joining(&lines(&ensemble, &[id])?);
        let asked = if id == leader { follower } else { leader };
        let after = change(ensemble.addr(asked), &line)?;
        expect(&ensemble, &after, &[1, 2, 3])?;
        let seen = until(|| config(ensemble.addr(id)))?;
        ensure!(seen == after, "{kind}: {seen}\ninstead of\n{after}");
        ensure!(!listens(before), "{kind}: server {id} is where it was");
        // Who is there stays.
        let (err, _) = connected.ask(&Request::named("exists").path("/"))?;
        ensure!(err == 0, "{kind}: {err}");
        all_follow(&ensemble, &after)?;
        ensemble.kill(id)?;
        ensemble.start_one(id)?;
        ensure!(!listens(before), "{kind}: server {id} has gone back");
    }
    Ok(())
}

#[test]
fn zookeeper_listens_to_clients_at_another_port() -> Result<()> {
    client_ports(Kind::ZooKeeper)
}

#[test]
fn meerkat_listens_to_clients_at_another_port() -> Result<()> {
    client_ports(Kind::Meerkat)
}

/// All servers get other ports between them, one after the other, and find each other there.
fn peer_ports(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    for id in 1..=3 {
        let mut place = ensemble.place(id)?;
        let other = Place::loopback()?;
        let before = SocketAddr::new(place.addr, place.peer_port);
        (place.peer_port, place.election_port) = (other.peer_port, other.election_port);
        ensemble.moved(id, place, false)?;
        let asked = id % 3 + 1;
        let line = Change::joining(&lines(&ensemble, &[id])?);
        // A leader of ZooKeeper goes when its port does, now and then before it answers.
        let _ = Admin::connect(ensemble.addr(asked))?.ask(&line.request());
        until(|| expect(&ensemble, &config(ensemble.addr(asked))?, &[1, 2, 3]))?;
        let after = config(ensemble.addr(asked))?;
        all_follow(&ensemble, &after)?;
        until(|| {
            ensure!(!listens(before), "{kind}: server {id} is where it was");
            Ok(())
        })?;
    }
    // Now nobody has an old connection left.
    ensemble.roll()?;
    for id in ensemble.ids() {
        let seen = config(ensemble.addr(id))?;
        expect(&ensemble, &seen, &[1, 2, 3])?;
    }
    Ok(())
}

#[test]
fn servers_of_zookeeper_find_each_other_at_other_ports() -> Result<()> {
    peer_ports(Kind::ZooKeeper)
}

#[test]
fn servers_of_meerkat_find_each_other_at_other_ports() -> Result<()> {
    peer_ports(Kind::Meerkat)
}

/// One that was away while it was given other ports finds its place.
fn moved_while_away(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let leader = ensemble.wait_for_leader()?;
    let away = ensemble.ids().find(|id| *id != leader);
    let away = away.context("a follower")?;
    ensemble.kill(away)?;
    ensemble.moved(away, Place::loopback()?, false)?;
    let line = Change::joining(&lines(&ensemble, &[away])?);
    let after = change(ensemble.addr(leader), &line)?;
    expect(&ensemble, &after, &[1, 2, 3])?;
    ensemble.start_one(away)?;
    let seen = config(ensemble.addr(away))?;
    ensure!(seen == after, "{kind}: {seen}\ninstead of\n{after}");
    all_follow(&ensemble, &after)
}

#[test]
fn a_server_of_zookeeper_that_was_away_finds_its_place() -> Result<()> {
    moved_while_away(Kind::ZooKeeper)
}

#[test]
fn a_server_of_meerkat_that_was_away_finds_its_place() -> Result<()> {
    moved_while_away(Kind::Meerkat)
}
