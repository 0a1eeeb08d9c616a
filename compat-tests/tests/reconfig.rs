//! Changing the members of an ensemble while it serves: the same programs against ZooKeeper and
//! Meerkat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use meerkat_compat_tests::change::{
    Change, NO_QUORUM, PATIENCE, POLL, change, config, expect, lines, start, version,
};
use meerkat_compat_tests::client::Admin;
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Settings};
use meerkat_compat_tests::wire::Request;
use tokio::task::JoinHandle;
use zookeeper_client::{Acls, Client, CreateMode, Error, EventType};

const MARSHALLING_ERROR: i32 = -5;
const IN_PROGRESS: i32 = -14;
const DISABLED: i32 = -123;
const BAD_ARGUMENTS: i32 = -8;
const BAD_VERSION: i32 = -103;

/// Makes a change behind which there are these members, as the ensemble knows them by now. Returns
/// the new configuration.
fn changed(
    ensemble: &Ensemble,
    asked: SocketAddr,
    wanted: &Change,
    ids: &[usize],
) -> Result<String> {
    let after = match change(asked, wanted) {
        // ZooKeeper's servers drop their clients when their leader goes or their role changes, now
        // and then before they answer.
        Err(_) if ensemble.kind() == Kind::ZooKeeper => until_members(ensemble, asked, ids)?,
        answered => answered?,
    };
    expect(ensemble, &after, ids)?;
    Ok(after)
}

/// The configuration as soon as it has these members.
fn until_members(ensemble: &Ensemble, addr: SocketAddr, ids: &[usize]) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match config(addr) {
            Ok(config) if expect(ensemble, &config, ids).is_ok() => return Ok(config),
            seen => ensure!(Instant::now() < deadline, "{seen:?}"),
        }
        std::thread::sleep(POLL);
    }
}

// ---- what is refused ----------------------------------------------------------------------------

fn refusals(kind: Kind) -> Result<Vec<(&'static str, i32)>> {
    let ensemble = start(kind, true)?;
    let before = config(ensemble.addr(1))?;
    expect(&ensemble, &before, &[1, 2, 3])?;
    let line =
        |id: usize| Ok::<_, anyhow::Error>(format!("server.{id}={}", ensemble.server_spec(id)?));
    let (one, two) = (line(1)?, line(2)?);
    let without_client = line(3)?
        .replace(';', "\n")
        .lines()
        .next()
        .map(str::to_owned);
    let without_client = without_client.context("a line")?;
    let observer = line(3)?.replace("participant", "observer");
    // Not on loopback, where addresses may be shared.
    let twice = "server.8=192.0.2.1:1:2:participant;192.0.2.1:3,\
                 server.9=192.0.2.2:1:2:participant;192.0.2.1:3";
    // Clients' ports on all addresses, the same one on each machine.
    let absent = "server.7=127.0.0.1:1:2:participant;2181,\
                  server.8=127.0.0.1:4:5:participant;2181,\
                  server.9=127.0.0.1:7:8:participant;2181,\
                  server.10=127.0.0.1:10:11:participant;2181";
    let two_lines = "server.7=127.0.0.1:1:2:observer;2181\nserver.8=127.0.0.1:1:2:observer;2181";
    let other = version(&before)? + 1;
    let changes = [
        ("another version", Change::leaving("3").from(other)),
        ("a version below all", Change::leaving("3").from(-2)),
        (
            "the version before the text",
            Change::joining("nonsense").from(other),
        ),
        ("not a server line", Change::joining("server.4=nonsense")),
        ("no client port", Change::joining(&without_client)),
        (
            "equal ports",
            Change::joining("server.4=127.0.0.1:1:1:observer;3"),
        ),
        ("no role", Change::joining("server.4=127.0.0.1:1:2:king;3")),
        (
            "two client ports",
            Change::joining("server.4=127.0.0.1:1:2:observer;3;4"),
        ),
        (
            "two equals signs",
            Change::joining("server.4=127.0.0.1:1:2:observer;3=4"),
        ),
        ("lines instead of commas", Change::joining(two_lines)),
        (
            "joining no number",
            Change::joining("server.x=127.0.0.1:1:2:observer;3"),
        ),
        ("leaving no number", Change::leaving("x")),
        (
            "leaving before joining",
            Change::leaving("x").and_joining("nonsense"),
        ),
        ("the address of another", Change::joining(twice)),
        ("one voter left", Change::leaving("2,3")),
        ("nobody left", Change::leaving("1,2,3")),
        ("a majority is absent", Change::joining(absent)),
        ("an empty list", Change::members("")),
        (
            "an empty list before others",
            Change::members("").and_leaving("3"),
        ),
        (
            "a list of other keys",
            Change::members(&format!("{one},{two},foo=1")),
        ),
        (
            "a list with no server line",
            Change::members(&format!("{one},server.2=foo")),
        ),
        (
            "a list with no number",
            Change::members(&format!("{one},{two},server.x=a:1:2")),
        ),
        ("a list of one voter", Change::members(&one)),
        (
            "a list of one voter and an observer",
            Change::members(&format!("{one},{observer}")),
        ),
        ("a list of observers", Change::members(&observer)),
        ("a list of absent servers", Change::members(absent)),
    ];
    let mut codes = Vec::new();
    for (name, change) in changes {
        let (err, _) = Admin::connect(ensemble.addr(1))?.ask(&change.request())?;
        let after = config(ensemble.addr(2))?;
        ensure!(after == before, "{kind}, {name}: {err}\n{after}");
        codes.push((name, err));
    }
    Ok(codes)
}

#[test]
fn what_is_refused_has_zookeepers_codes() -> Result<()> {
    let expected = vec![
        ("another version", BAD_VERSION),
        ("a version below all", BAD_VERSION),
        ("the version before the text", BAD_VERSION),
        ("not a server line", BAD_ARGUMENTS),
        ("no client port", BAD_ARGUMENTS),
        ("equal ports", BAD_ARGUMENTS),
        ("no role", BAD_ARGUMENTS),
        ("two client ports", BAD_ARGUMENTS),
        ("two equals signs", BAD_ARGUMENTS),
        ("lines instead of commas", BAD_ARGUMENTS),
        ("joining no number", MARSHALLING_ERROR),
        ("leaving no number", MARSHALLING_ERROR),
        ("leaving before joining", MARSHALLING_ERROR),
        ("the address of another", BAD_ARGUMENTS),
        ("one voter left", BAD_ARGUMENTS),
        ("nobody left", BAD_ARGUMENTS),
        ("a majority is absent", NO_QUORUM),
        ("an empty list", BAD_ARGUMENTS),
        ("an empty list before others", BAD_ARGUMENTS),
        ("a list of other keys", BAD_ARGUMENTS),
        ("a list with no server line", BAD_ARGUMENTS),
        ("a list with no number", MARSHALLING_ERROR),
        ("a list of one voter", BAD_ARGUMENTS),
        ("a list of one voter and an observer", MARSHALLING_ERROR),
        ("a list of observers", MARSHALLING_ERROR),
        ("a list of absent servers", NO_QUORUM),
    ];
    assert_eq!(refusals(Kind::ZooKeeper)?, expected, "ZooKeeper");
    assert_eq!(refusals(Kind::Meerkat)?, expected, "Meerkat");
    Ok(())
}

// ---- what is understood -------------------------------------------------------------------------

/// Each change and what the members are after it, all of them followed by one that goes back.
fn forms(kind: Kind) -> Result<()> {
    let ensemble = start(kind, true)?;
    let own =
        |id: usize| Ok::<_, anyhow::Error>(format!("server.{id}={}", ensemble.server_spec(id)?));
    let (one, two, three) = (own(1)?, own(2)?, own(3)?);
    let all = format!("{one}\n{two}\n{three}");
    let three_without_client = three.split(';').next().context("a line")?;
    let absent_observer = "server.9=127.0.0.1:1:2:observer;0.0.0.0:3";
    let absent_voter = "server.9=127.0.0.1:1:2:participant;0.0.0.0:3";
    let changes = [
        ("nothing", Change::default(), all.clone()),
        (
            "empty texts",
            Change::joining("").and_leaving(""),
            all.clone(),
        ),
        (
            "blanks",
            Change::leaving(" 7 , ,8").and_joining(&format!(" , {three} ")),
            all.clone(),
        ),
        ("somebody else leaves", Change::leaving("7,-1"), all.clone()),
        (
            "an observer that is absent",
            Change::joining("server.9=127.0.0.1:1:2:observer;3"),
            format!("{all}\n{absent_observer}"),
        ),
        (
            "without the word server",
            Change::joining("9=127.0.0.1:1:2:observer;3"),
            format!("{all}\n{absent_observer}"),
        ),
        (
            "a voter that is absent and not needed",
            Change::joining("server.9=127.0.0.1:1:2;3"),
            format!("{all}\n{absent_voter}"),
        ),
        (
            "out and in",
            Change::leaving("3").and_joining(&three),
            all.clone(),
        ),
        (
            "a list",
            Change::members(&format!(
                "{one},{two},{three},{absent_observer}\nversion=77"
            )),
            format!("{all}\n{absent_observer}"),
        ),
        (
            "a list in another style",
            Change::members(&all.replace('=', " : ")),
            all.clone(),
        ),
        (
            "a list before others",
            Change::members(&all.replace('\n', ","))
                .and_leaving("x")
                .and_joining("y"),
            all.clone(),
        ),
        (
            "a list without a client port",
            Change::members(&format!("{one},{two},{three_without_client}")),
            format!("{one}\n{two}\n{three_without_client}"),
        ),
    ];
    let mut before = config(ensemble.addr(1))?;
    for (name, asked, expected) in changes {
        let after = change(ensemble.addr(1), &asked).with_context(|| format!("{kind}, {name}"))?;
        let expected = format!("{expected}\nversion={:x}", version(&after)?);
        ensure!(
            after == expected,
            "{kind}, {name}: {after}\ninstead of\n{expected}"
        );
        ensure!(
            version(&after)? > version(&before)?,
            "{kind}, {name}: {before}\n{after}"
        );
        before = change(ensemble.addr(1), &Change::members(&all))?;
        ensure!(
            version(&before)? > version(&after)?,
            "{kind}, {name}: {after}\n{before}"
        );
    }
    Ok(())
}

#[test]
fn zookeeper_understands_what_it_is_told_in_many_forms() -> Result<()> {
    forms(Kind::ZooKeeper)
}

#[test]
fn meerkat_understands_what_zookeeper_does() -> Result<()> {
    forms(Kind::Meerkat)
}

/// Whoever is not the super user may only read the znode.
async fn plain_user(kind: Kind) -> Result<()> {
    let ensemble = start(kind, true)?;
    let client = client(&ensemble.addr(1).to_string()).await?;
    let leaving = zookeeper_client::EnsembleUpdate::Incremental {
        joinings: None.into_iter(),
        leavings: Some("3").into_iter(),
    };
    let changed = client.update_ensemble(leaving, None).await;
    ensure!(matches!(changed, Err(Error::NoAuth)), "{kind}: {changed:?}");
    expect(&ensemble, &config(ensemble.addr(1))?, &[1, 2, 3])
}

#[tokio::test]
async fn only_the_super_user_may_change_members() -> Result<()> {
    plain_user(Kind::ZooKeeper).await?;
    plain_user(Kind::Meerkat).await
}

#[test]
fn reconfig_is_off_unless_configured() -> Result<()> {
    for kind in [Kind::ZooKeeper, Kind::Meerkat] {
        let ensemble = start(kind, false)?;
        let request = Change::leaving("3").request();
        let (err, _) = Admin::connect(ensemble.addr(1))?.ask(&request)?;
        assert_eq!(err, DISABLED, "{kind}");
    }
    Ok(())
}

// ---- under load ---------------------------------------------------------------------------------

async fn client(addrs: &str) -> Result<Client> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(addrs).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() > deadline => bail!("no session at {addrs}: {error}"),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Creates znodes without pause until told to stop; returns how many were acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<usize>>,
}

impl Load {
    fn start(addrs: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(addrs, Arc::clone(&stop)));
        Self { stop, task }
    }

    async fn finish(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn write(addrs: String, stop: Arc<AtomicBool>) -> Result<usize> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let client = client(&addrs).await?;
    let mut done = 0;
    let mut since = Instant::now();
    loop {
        // The last write begins behind the last change and is acknowledged.
        let is_last = stop.load(Ordering::Relaxed);
        match client.create(&format!("/n-{done}"), b"", &options).await {
            // An attempt whose answer was lost may have created it.
            Ok(_) | Err(Error::NodeExists) => {
                done += 1;
                since = Instant::now();
                if is_last {
                    return Ok(done);
                }
            }
            Err(Error::ConnectionLoss) if since.elapsed() < PATIENCE => {
                tokio::time::sleep(POLL).await;
            }
            Err(error) => bail!("after {done} writes: {error}"),
        }
    }
}

async fn grow_and_lose_the_leader(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let load = Load::start(ensemble.connect_string());
    let watching = client(&ensemble.addr(1).to_string()).await?;
    let mut before = config(ensemble.addr(1))?;
    for id in [4, 5] {
        let (_, _, watcher) = watching.get_and_watch_config().await?;
        ensure!(ensemble.add(false)? == id, "the next id");
        ensemble.launch(id)?;
        let joining = Change::joining(&format!("server.{id}={}", ensemble.server_spec(id)?));
        let after = change(ensemble.addr(1), &joining).with_context(|| ensemble.logs())?;
        expect(&ensemble, &after, &(1..=id).collect::<Vec<_>>())?;
        ensure!(version(&after)? > version(&before)?, "{before}\n{after}");
        let event = tokio::time::timeout(PATIENCE, watcher.changed()).await?;
        ensure!(event.event_type == EventType::NodeDataChanged, "{event:?}");
        ensemble.wait_serving(id)?;
        before = after;
    }
    for id in 1..=5 {
        ensure!(
            config(ensemble.addr(id))? == before,
            "server {id} has another one"
        );
    }
    let leader = ensemble.wait_for_leader()?;
    let stays: Vec<usize> = ensemble.ids().filter(|id| *id != leader).collect();
    let other = ensemble.addr(stays[0]);
    let after = changed(
        &ensemble,
        other,
        &Change::leaving(&leader.to_string()),
        &stays,
    )?;
    // Without the one that left the others carry on, so what was acknowledged is theirs.
    ensemble.kill(leader)?;
    ensemble.wait_for_leader()?;
    for id in &stays {
        ensemble.wait_serving(*id)?;
        ensure!(
            config(ensemble.addr(*id))? == after,
            "server {id} has another one"
        );
    }
    let done = load.finish().await?;
    ensure!(done > 1, "nothing was written meanwhile");
    for id in stays {
        let reader = client(&ensemble.addr(id).to_string()).await?;
        reader.sync("/").await?;
        for number in 0..done {
            let path = format!("/n-{number}");
            ensure!(
                reader.check_stat(&path).await?.is_some(),
                "server {id} lacks {path}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_grows_under_load_and_its_leader_leaves() -> Result<()> {
    grow_and_lose_the_leader(Kind::ZooKeeper).await
}

#[tokio::test(flavor = "multi_thread")]
async fn meerkat_grows_under_load_and_its_leader_leaves() -> Result<()> {
    grow_and_lose_the_leader(Kind::Meerkat).await
}

// ---- roles --------------------------------------------------------------------------------------

/// Waits until a server has one of these roles.
fn until_role(ensemble: &Ensemble, id: usize, roles: &[Role]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let role = ensemble.role(id);
        if role.is_some_and(|role| roles.contains(&role)) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "server {id}: {role:?}\n{}",
            ensemble.logs()
        );
        std::thread::sleep(POLL);
    }
}

/// A server gets another role; somebody else is asked for it.
fn turn(ensemble: &mut Ensemble, id: usize, observer: bool, ids: &[usize]) -> Result<()> {
    ensemble.moved(id, ensemble.place(id)?, observer)?;
    let line = Change::joining(&lines(ensemble, &[id])?);
    let asked = ids
        .iter()
        .find(|other| **other != id && ensemble.is_running(**other));
    let asked = ensemble.addr(*asked.context("another server")?);
    changed(ensemble, asked, &line, ids)?;
    let voting = [Role::Leader, Role::Follower];
    let roles = if observer {
        &[Role::Observer][..]
    } else {
        &voting
    };
    until_role(ensemble, id, roles)
}

fn create(ensemble: &Ensemble, id: usize, path: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = Admin::connect(ensemble.addr(id))
            .and_then(|mut admin| admin.ask(&Request::named("create").path(path)));
        match asked {
            Ok((0, _)) => return Ok(()),
            other => ensure!(Instant::now() < deadline, "create {path}: {other:?}"),
        }
        std::thread::sleep(POLL);
    }
}

fn roles_change(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let leader = ensemble.wait_for_leader()?;
    // An observer may be added before it is there.
    let observer = ensemble.add(true)?;
    let line = Change::joining(&lines(&ensemble, &[observer])?);
    changed(&ensemble, ensemble.addr(leader), &line, &[1, 2, 3, 4])?;
    ensemble.launch(observer)?;
    until_role(&ensemble, observer, &[Role::Observer])?;
    turn(&mut ensemble, observer, false, &[1, 2, 3, 4])?;

    // Its vote counts: without it there would be one of three.
    let leader = ensemble.wait_for_leader()?;
    let leaves = (1..=3).find(|id| *id != leader).context("a follower")?;
    let left: Vec<usize> = (1..=4).filter(|id| *id != leaves).collect();
    let leaving = Change::leaving(&leaves.to_string());
    changed(&ensemble, ensemble.addr(leader), &leaving, &left)?;
    ensemble.kill(leaves)?;
    let fails = left
        .iter()
        .copied()
        .find(|id| *id != leader && *id != observer);
    let fails = fails.context("another follower")?;
    ensemble.kill(fails)?;
    create(&ensemble, observer, "/with-its-vote")?;
    ensemble.start_one(fails)?;

    turn(&mut ensemble, observer, true, &left)?;
    // Its vote counts no more: the others are both of two.
    ensemble.kill(observer)?;
    create(&ensemble, fails, "/without-it")?;
    ensemble.start_one(observer)?;
    until_role(&ensemble, observer, &[Role::Observer])?;

    // A leader that is to observe lets another one lead.
    turn(&mut ensemble, observer, false, &left)?;
    let leader = ensemble.wait_for_leader()?;
    turn(&mut ensemble, leader, true, &left)?;
    let next = ensemble.wait_for_leader()?;
    ensure!(next != leader, "it leads still");
    create(&ensemble, leader, "/through-an-observer")?;
    turn(&mut ensemble, leader, false, &left)
}

#[test]
fn servers_of_zookeeper_change_their_role_and_back() -> Result<()> {
    roles_change(Kind::ZooKeeper)
}

#[test]
fn servers_of_meerkat_change_their_role_and_back() -> Result<()> {
    roles_change(Kind::Meerkat)
}

// ---- servers that have left ---------------------------------------------------------------------

/// A server that has left goes on following and serving until it is stopped, and may come back.
fn leave_and_come_back(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let leader = ensemble.wait_for_leader()?;
    let id = ensemble.ids().find(|id| *id != leader);
    let id = id.context("a follower")?;
    let stays: Vec<usize> = ensemble.ids().filter(|other| *other != id).collect();
    let mut connected = Admin::connect(ensemble.addr(id))?;
    let left = change(ensemble.addr(leader), &Change::leaving(&id.to_string()))?;
    expect(&ensemble, &left, &stays)?;
    // It sees what is written since.
    for number in 0..30 {
        create(&ensemble, leader, &format!("/n-{number}"))?;
        let (err, _) = connected.ask(&Request::named("sync").path("/"))?;
        ensure!(err == 0, "{kind}, sync: {err}");
        let exists = Request::named("exists").path(&format!("/n-{number}"));
        let (err, _) = connected.ask(&exists)?;
        ensure!(err == 0, "{kind}, exists: {err}");
        std::thread::sleep(POLL);
    }
    ensure!(
        ensemble.role(id) == Some(Role::Follower),
        "{kind}: {:?}",
        ensemble.role(id)
    );
    create(&ensemble, id, "/through-it")?;

    ensemble.kill(id)?;
    if kind == Kind::Meerkat {
        let deadline = Instant::now() + PATIENCE;
        while !ensemble
            .log_tail(leader)?
            .contains("servers that have left are gone")
        {
            ensure!(Instant::now() < deadline, "{}", ensemble.log_tail(leader)?);
            std::thread::sleep(POLL);
        }
    }
    // Its own files do not have it any more.
    let home = ensemble.home(id)?;
    std::fs::copy(home.join("zoo.cfg.bak"), home.join("zoo.cfg"))?;
    ensemble.launch(id)?;
    let line = Change::joining(&lines(&ensemble, &[id])?);
    changed(&ensemble, ensemble.addr(leader), &line, &[1, 2, 3])?;
    create(&ensemble, id, "/back")
}

#[test]
fn servers_leave_zookeeper_and_come_back() -> Result<()> {
    leave_and_come_back(Kind::ZooKeeper)
}

#[test]
fn servers_leave_meerkat_and_come_back() -> Result<()> {
    leave_and_come_back(Kind::Meerkat)
}

// ---- standaloneEnabled=false --------------------------------------------------------------------

/// An ensemble of one grows and shrinks again.
fn one_is_enough(kind: Kind) -> Result<()> {
    let mut settings = Settings::default();
    settings.set("reconfigEnabled=true")?;
    settings.set("standaloneEnabled=false")?;
    let mut ensemble = Ensemble::start(kind, 1, 0, &settings)?;
    ensure!(
        ensemble.role(1) == Some(Role::Leader),
        "{:?}",
        ensemble.role(1)
    );
    let (err, _) = Admin::connect(ensemble.addr(1))?.ask(&Change::leaving("1").request())?;
    ensure!(err == BAD_ARGUMENTS, "{kind}: {err}");
    let (err, _) = Admin::connect(ensemble.addr(1))?.ask(&Change::members("").request())?;
    ensure!(err == MARSHALLING_ERROR, "{kind}: {err}");
    ensure!(ensemble.add(false)? == 2, "the next id");
    ensemble.launch(2)?;
    let joining = Change::joining(&lines(&ensemble, &[2])?);
    changed(&ensemble, ensemble.addr(1), &joining, &[1, 2])?;
    until_role(&ensemble, 2, &[Role::Follower, Role::Leader])?;
    create(&ensemble, 2, "/two")?;
    let leader = ensemble.wait_for_leader()?;
    let leaves = 3 - leader;
    let leaving = Change::leaving(&leaves.to_string());
    changed(&ensemble, ensemble.addr(leader), &leaving, &[leader])?;
    ensemble.kill(leaves)?;
    create(&ensemble, leader, "/one")?;
    ensemble.kill(leader)?;
    ensemble.start_one(leader)?;
    create(&ensemble, leader, "/again")
}

#[test]
fn one_voter_is_enough_for_zookeeper_when_told() -> Result<()> {
    one_is_enough(Kind::ZooKeeper)
}

#[test]
fn one_voter_is_enough_for_meerkat_when_told() -> Result<()> {
    one_is_enough(Kind::Meerkat)
}

// ---- with servers that are away -----------------------------------------------------------------

/// Of three voters one is gone: no other may leave, for the one that is left could decide nothing.
fn quorum_stays(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let leader = ensemble.wait_for_leader()?;
    let others: Vec<usize> = (1..=3).filter(|id| *id != leader).collect();
    let before = config(ensemble.addr(leader))?;
    ensemble.kill(others[0])?;
    let leaving = Change::leaving(&others[1].to_string());
    let (err, _) = Admin::connect(ensemble.addr(leader))?.ask(&leaving.request())?;
    ensure!(err == NO_QUORUM, "{kind}: {err}");
    create(&ensemble, others[1], "/as-before")?;
    ensure!(
        config(ensemble.addr(leader))? == before,
        "{kind}: the members have changed"
    );
    // The one that is gone may leave.
    let leaving = Change::leaving(&others[0].to_string());
    let mut stays = vec![leader, others[1]];
    stays.sort_unstable();
    changed(&ensemble, ensemble.addr(leader), &leaving, &stays)?;
    create(&ensemble, others[1], "/without-it")
}

#[test]
fn zookeeper_keeps_a_quorum() -> Result<()> {
    quorum_stays(Kind::ZooKeeper)
}

#[test]
fn meerkat_keeps_a_quorum() -> Result<()> {
    quorum_stays(Kind::Meerkat)
}

/// Asks in a thread of its own, for the answer may take its time.
fn ask(addr: SocketAddr, asked: &Change) -> Result<std::thread::JoinHandle<Result<i32>>> {
    let mut admin = Admin::connect(addr)?;
    let request = asked.request();
    Ok(std::thread::spawn(move || Ok(admin.ask(&request)?.0)))
}

fn join(asking: std::thread::JoinHandle<Result<i32>>) -> Result<i32> {
    match asking.join() {
        Ok(answered) => answered,
        Err(_) => bail!("a thread has panicked"),
    }
}

/// While the followers stand still nothing is decided, and a second change comes too early.
fn one_at_a_time(kind: Kind) -> Result<()> {
    let mut ensemble = start(kind, true)?;
    let leader = ensemble.wait_for_leader()?;
    let followers: Vec<usize> = (1..=3).filter(|id| *id != leader).collect();
    let observer = Change::joining("server.9=127.0.0.1:1:2:observer;3");
    let (first, second) = (
        Admin::connect(ensemble.addr(leader))?,
        Admin::connect(ensemble.addr(leader))?,
    );
    for id in &followers {
        ensemble.pause(*id)?;
    }
    let mut answers = Vec::new();
    for (count, mut admin) in (1..).zip([first, second]) {
        let request = observer.request();
        answers.push(std::thread::spawn(move || Ok(admin.ask(&request)?.0)));
        // They have arrived in this order.
        let deadline = Instant::now() + PATIENCE;
        while ensemble.outstanding(leader)? < count {
            ensure!(Instant::now() < deadline, "{kind}: it does not arrive");
            std::thread::sleep(POLL);
        }
    }
    for id in &followers {
        ensemble.resume(*id)?;
    }
    let codes = answers.into_iter().map(join).collect::<Result<Vec<_>>>()?;
    ensure!(codes == [0, IN_PROGRESS], "{kind}: {codes:?}");
    Ok(())
}

#[test]
fn zookeeper_makes_one_change_at_a_time() -> Result<()> {
    one_at_a_time(Kind::ZooKeeper)
}

#[test]
fn meerkat_makes_one_change_at_a_time() -> Result<()> {
    one_at_a_time(Kind::Meerkat)
}

// ---- a leader that dies in the middle -----------------------------------------------------------

/// Voters that nobody runs: the leader waits for them a while before it goes on without them.
const ABSENT_VOTER: &str = "server.9=127.0.0.1:1:2:participant;127.0.0.1:3";

/// The leader is killed while a change is under way; a client of another server waits for its end.
/// Returns what it is told.
fn leader_dies_in_between(ensemble: &mut Ensemble, asked: &Change) -> Result<i32> {
    let leader = ensemble.wait_for_leader()?;
    let other = ensemble.ids().find(|id| *id != leader);
    let other = ensemble.addr(other.context("another server")?);
    let waiting = ask(other, asked)?;
    let deadline = Instant::now() + PATIENCE;
    // Not even a request that makes no sense is looked at meanwhile.
    while Admin::connect(other)?
        .ask(&Change::leaving("x").request())?
        .0
        != IN_PROGRESS
    {
        ensure!(Instant::now() < deadline, "it was over too soon");
    }
    ensemble.kill(leader)?;
    let answer = join(waiting)?;
    // Another one may be made at once.
    let (err, _) = Admin::connect(other)?.ask(&Change::default().request())?;
    ensure!(err == 0, "a change behind it: {err}");
    ensemble.start_one(leader)?;
    Ok(answer)
}

#[test]
fn the_next_leader_ends_a_change() -> Result<()> {
    let mut settings = Settings::default();
    settings.set("reconfigEnabled=true")?;
    let mut ensemble = Ensemble::start(Kind::Meerkat, 5, 0, &settings)?;
    let asked = Change::joining(ABSENT_VOTER);
    // Four of six remain.
    assert_eq!(leader_dies_in_between(&mut ensemble, &asked)?, 0);
    let after = config(ensemble.addr(1))?;
    let expected = format!("{}\n{ABSENT_VOTER}\n", lines(&ensemble, &[1, 2, 3, 4, 5])?);
    assert!(after.starts_with(&expected), "{after}");
    Ok(())
}

#[test]
fn the_next_leader_takes_back_what_cannot_be_done() -> Result<()> {
    let mut ensemble = start(Kind::Meerkat, true)?;
    let asked = Change::joining(ABSENT_VOTER);
    // Two of four are no quorum.
    assert_eq!(leader_dies_in_between(&mut ensemble, &asked)?, NO_QUORUM);
    expect(&ensemble, &config(ensemble.addr(1))?, &[1, 2, 3])?;
    // Nothing is left of it: two of three go on.
    let leader = ensemble.wait_for_leader()?;
    ensemble.kill(leader)?;
    let stays = (1..=3).find(|id| *id != leader).context("another server")?;
    create(&ensemble, stays, "/as-before")
}
