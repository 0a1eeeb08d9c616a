//! `leaderServes=no`: the same program against ZooKeeper and Meerkat.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::change::{PATIENCE, POLL};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Settings};
use meerkat_compat_tests::wire::Request;

/// The one of these servers that serves nobody while all others follow.
fn until_one_is_silent(ensemble: &Ensemble, ids: &[usize]) -> Result<usize> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let roles: Vec<_> = ids.iter().map(|id| ensemble.role(*id)).collect();
        let followers = roles.iter().filter(|role| **role == Some(Role::Follower));
        if followers.count() + 1 == ids.len()
            && let Some(silent) = roles.iter().position(Option::is_none)
            && ids
                .iter()
                .all(|id| Admin::connect(ensemble.addr(*id)).is_ok() == (*id != ids[silent]))
        {
            return Ok(ids[silent]);
        }
        ensure!(Instant::now() < deadline, "{roles:?}\n{}", ensemble.logs());
        std::thread::sleep(POLL);
    }
}

fn create(ensemble: &Ensemble, id: usize, path: &str) -> Result<()> {
    let mut admin = Admin::connect(ensemble.addr(id))?;
    let (err, _) = admin.ask(&Request::named("create").path(path))?;
    ensure!(err == 0, "create {path}: {err}");
    admin.close()
}

fn leaders_serve_nobody(kind: Kind) -> Result<()> {
    let mut settings = Settings::default();
    settings.set("leaderServes=no")?;
    let mut ensemble = Ensemble::new(kind, 3, 0, &settings)?;
    for id in 1..=3 {
        ensemble.launch(id)?;
    }
    let leader = until_one_is_silent(&ensemble, &[1, 2, 3])?;
    let followers: Vec<usize> = (1..=3).filter(|id| *id != leader).collect();
    create(&ensemble, followers[0], "/before")?;
    // One of those who serve leads next, and its clients have to go.
    ensemble.kill(leader)?;
    let next = until_one_is_silent(&ensemble, &followers)?;
    let stays = followers.iter().find(|id| **id != next);
    create(&ensemble, *stays.context("a follower")?, "/after")?;
    // One that comes back follows and serves.
    ensemble.start_one(leader)?;
    create(&ensemble, leader, "/back")?;
    ensure!(
        until_one_is_silent(&ensemble, &[1, 2, 3])? == next,
        "another leads"
    );
    Ok(())
}

#[test]
fn a_leader_of_zookeeper_serves_nobody_when_told() -> Result<()> {
    leaders_serve_nobody(Kind::ZooKeeper)
}

#[test]
fn a_leader_of_meerkat_serves_nobody_when_told() -> Result<()> {
    leaders_serve_nobody(Kind::Meerkat)
}
