//! A real ZooKeeper is filled and stopped, kindly or not; ours goes on with its files.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::ensemble::Ensemble;
use meerkat_compat_tests::server::{Kind, Server, Settings};
use serde_json::Value;
use tempfile::TempDir;

use crate::fill::{Fill, Release, Run};
use crate::view::{Session, View, next_names};
use crate::{copy, settings, text, zk_server_json};

/// Sessions that write at the same time.
pub(crate) const SESSIONS: usize = 6;
/// Requests of one life of the server.
pub(crate) const REQUESTS: usize = 6000;

/// Who is a member; in each server's own words.
const CONFIG: &str = "/zookeeper/config";

/// Snapshots are due every some hundred transactions, so that many are written under load.
pub(crate) const OFTEN: &str = "snapCount=700";

fn number(value: &Value, name: &str) -> Result<u64> {
    value[name]
        .as_u64()
        .with_context(|| format!("no {name} in {value}"))
}

/// Imports a copy, and compares with a real server on another copy.
pub(crate) fn compare(data: &Path, zookeeper: &Settings, sessions: &[Session]) -> Result<Value> {
    let dir = TempDir::with_prefix("meerkat-import-")?;
    let (copied, ours) = (dir.path().join("zookeeper"), dir.path().join("meerkat"));
    copy(data, &copied)?;
    let imported = zk_server_json(&["import", text(&copied), "--to", text(&ours)])?;
    compare_running(&copied, zookeeper, &ours, sessions)?;
    Ok(imported)
}

/// Starts both servers on their directories, and compares what they show.
fn compare_running(
    theirs: &Path,
    zookeeper: &Settings,
    ours: &Path,
    sessions: &[Session],
) -> Result<()> {
    let (mut found, next) = {
        let server = Server::start_on(Kind::Meerkat, zookeeper, ours)?;
        let found = View::of(&server, sessions)?;
        (found, next_names(&server, &Fill::parents())?)
    };
    let server = Server::start_on(Kind::ZooKeeper, zookeeper, theirs)?;
    let mut expected = View::of(&server, sessions)?;
    expected.look_for(&server, &found)?;
    if !expected.znodes.contains_key(CONFIG) {
        // 3.4 has none; a server that forms an ensemble adds it, and ours does always.
        for view in [&mut expected, &mut found] {
            view.znodes.remove(CONFIG);
            view.znodes.remove("/zookeeper");
        }
    }
    expected.compare(&found)?;
    let names = next_names(&server, &Fill::parents())?;
    ensure!(names == next, "sequence numbers:\n  {names:?}\n  {next:?}");
    let known = expected.sessions.values().filter(|known| known.is_some());
    ensure!(known.count() > 2, "no session was left to go on with");
    ensure!(
        expected.unlisted.len() < expected.znodes.len() / 100,
        "ZooKeeper has forgotten {:?}",
        expected.unlisted
    );
    Ok(())
}

fn is_fuzzy(imported: &Value) -> bool {
    let snapshot = &imported["read"]["snapshot"];
    snapshot["written_until"] != Value::Null && snapshot["written_until"] != snapshot["zxid"]
}

/// A server's life that ends with SIGTERM; everything is answered.
fn live_and_stop(data: &Path, settings: &Settings, fill: &mut Fill, is_new: bool) -> Result<()> {
    let server = Server::start_on(Kind::ZooKeeper, settings, data)?;
    fill.open(&server, SESSIONS)?;
    if is_new {
        fill.prepare()?;
    }
    ensure!(fill.run(&server, REQUESTS)? == Run::Done, "it is gone");
    fill.settle()?;
    fill.hang_up();
    Ok(())
}

/// A server's life that ends with SIGKILL while requests are under way.
fn live_and_die(data: &Path, settings: &Settings, fill: &mut Fill) -> Result<()> {
    let server = Server::start_on(Kind::ZooKeeper, settings, data)?;
    fill.open(&server, SESSIONS)?;
    ensure!(fill.run(&server, REQUESTS)? == Run::Done, "it is gone");
    server.kill()?;
    fill.hang_up();
    Ok(())
}

/// A kind end and so many unkind ones, on the same directory.
fn lives(compression: &str, seed: u64, kills: usize) -> Result<()> {
    let method = format!("-Dzookeeper.snapshot.compression.method={compression}");
    let settings = settings(&[OFTEN, &method])?;
    let data = TempDir::with_prefix("meerkat-import-")?;
    let mut fill = Fill::new(seed, Release::New);
    live_and_stop(data.path(), &settings, &mut fill, true)?;
    let stopped = compare(data.path(), &settings, &fill.sessions())?;
    let mut fuzzy = usize::from(is_fuzzy(&stopped));
    let mut digests = number(&stopped["read"], "digests_compared")?;
    for _ in 0..kills {
        live_and_die(data.path(), &settings, &mut fill)?;
        let imported = compare(data.path(), &settings, &fill.sessions())?;
        fuzzy += usize::from(is_fuzzy(&imported));
        digests += number(&imported["read"], "digests_compared")?;
    }
    ensure!(fuzzy > 0, "no snapshot was written while the tree changed");
    ensure!(digests > 0, "no digest was compared");
    Ok(())
}

#[test]
fn plain_snapshots() -> Result<()> {
    lives("", 1, 3)
}

#[test]
fn gzipped_snapshots() -> Result<()> {
    lives("gz", 2, 1)
}

#[test]
fn snappy_snapshots() -> Result<()> {
    lives("snappy", 3, 1)
}

fn of_release(version: &'static str, release: Release) -> Result<()> {
    let old = settings(&[OFTEN])?.of_version(version);
    let data = TempDir::with_prefix("meerkat-import-")?;
    let mut fill = Fill::new(4, release);
    live_and_stop(data.path(), &old, &mut fill, true)?;
    live_and_die(data.path(), &old, &mut fill)?;
    // Of the new release, since the old one cannot answer all that is asked.
    let imported = compare(data.path(), &settings(&[])?, &fill.sessions())?;
    ensure!(number(&imported["read"], "txns")? > 0, "{imported}");
    Ok(())
}

#[test]
fn data_of_3_4() -> Result<()> {
    of_release("3.4.14", Release::Old)
}

#[test]
fn data_of_3_5() -> Result<()> {
    of_release("3.5.10", Release::New)
}

#[test]
fn data_of_3_6() -> Result<()> {
    of_release("3.6.4", Release::New)
}

#[test]
fn data_of_3_8() -> Result<()> {
    of_release("3.8.6", Release::New)
}

/// Epochs end with a leader that is killed while it writes; the data is that of the last one.
#[test]
fn an_ensemble_that_has_lost_its_leaders() -> Result<()> {
    let zookeeper = settings(&[OFTEN])?;
    let mut ensemble = Ensemble::start(Kind::ZooKeeper, 3, 0, &zookeeper)?;
    let mut fill = Fill::new(9, Release::New);
    let mut last = 0;
    for life in 0..3 {
        last = ensemble.wait_for_leader()?;
        fill.open_at(ensemble.addr(last), SESSIONS)?;
        if life == 0 {
            fill.prepare()?;
        }
        let run = fill.run_at(ensemble.addr(last), REQUESTS / 2)?;
        ensure!(run == Run::Done, "it is gone");
        ensemble.kill(last)?;
        fill.hang_up();
        if life < 2 {
            ensemble.start_one(last)?;
        }
    }
    let data = ensemble.data_dir(last)?;
    let checked = zk_server_json(&["check", text(&data)])?;
    ensure!(checked["epoch"].as_i64() >= Some(3), "{checked}");
    let imported = compare(&data, &zookeeper, &fill.sessions())?;
    ensure!(
        number(&imported["read"], "digests_compared")? > 0,
        "{imported}"
    );
    Ok(())
}

/// A log directory of its own, and no word from the configuration but the one of the new server.
#[test]
fn a_directory_for_the_log() -> Result<()> {
    let data = TempDir::with_prefix("meerkat-import-")?;
    let (snap_dir, log_dir) = (data.path().join("snap"), data.path().join("log"));
    let zookeeper = settings(&[OFTEN, &format!("dataLogDir={}", text(&log_dir))])?;
    let mut fill = Fill::new(5, Release::New);
    live_and_stop(&snap_dir, &zookeeper, &mut fill, true)?;
    let config = data.path().join("zoo.cfg");
    // In place: the files of both lie side by side.
    std::fs::write(
        &config,
        format!(
            "dataDir={}\ndataLogDir={}\nclientPort=2181\nextendedTypesEnabled=true\n",
            text(&snap_dir),
            text(&log_dir)
        ),
    )?;
    let (snap, log) = (text(&snap_dir), text(&log_dir));
    zk_server_json(&["import", snap, "--from-log", log, "--config", text(&config)])?;
    compare_running(&snap_dir, &zookeeper, &snap_dir, &fill.sessions())
}

/// Each server of an ensemble is given the same directory; one that has none joins.
#[test]
fn three_servers() -> Result<()> {
    let zookeeper = settings(&[OFTEN])?;
    let data = TempDir::with_prefix("meerkat-import-")?;
    let mut fill = Fill::new(6, Release::New);
    live_and_stop(data.path(), &zookeeper, &mut fill, true)?;
    let sessions = fill.sessions();

    let mut ensemble = Ensemble::new(Kind::Meerkat, 3, 0, &settings(&[])?)?;
    let first = ensemble.data_dir(1)?;
    let config = first.parent().context("a home")?.join("zoo.cfg");
    let imported = zk_server_json(&["import", text(data.path()), "--config", text(&config)])?;
    ensure!(
        imported["members"] == serde_json::json!([1, 2, 3]),
        "{imported}"
    );
    for name in ["snapshots", "log"] {
        copy(&first.join(name), &ensemble.data_dir(2)?.join(name))?;
    }
    ensemble.start_all()?;

    let server = Server::start_on(Kind::ZooKeeper, &zookeeper, data.path())?;
    let mut expected = View::of(&server, &sessions)?;
    let first = View::of_address(ensemble.addr(1), &sessions)?;
    expected.look_for(&server, &first)?;
    drop(server);
    // Only the leader knows the order; and the members write their own configuration.
    expected.expiry.clear();
    expected.znodes.remove(CONFIG);
    for id in ensemble.ids() {
        let mut found = View::of_address(ensemble.addr(id), &sessions)?;
        let config = found.znodes.remove(CONFIG);
        ensure!(config.is_some(), "server {id} has no configuration");
        expected
            .compare(&found)
            .with_context(|| format!("server {id}"))?;
    }
    Ok(())
}
