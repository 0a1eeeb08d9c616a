//! Sessions that one server keeps to itself, beside three servers of Apache ZooKeeper: the same
//! steps are told in the same words.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meerkat_compat_tests::attempt::{self, Answer, Outcome, Session, Ticket, create, multi};
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Settings};
use meerkat_compat_tests::wire::{Connect, Request};

const EPHEMERAL: i32 = 1;
const NO_NODE: i32 = -101;
const NODE_EXISTS: i32 = -110;
/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What happened, line by line.
#[derive(Default)]
struct Story(Vec<String>);

impl Story {
    fn tell(&mut self, what: &str, came: impl Display) {
        self.0.push(format!("{what}: {came}"));
    }
}

fn settings(keys: &[&str]) -> Result<Settings> {
    let mut settings = Settings::default();
    settings.set("tickTime=500")?;
    for key in keys {
        settings.set(key)?;
    }
    Ok(settings)
}

/// Two servers: one of this role, and another one.
fn pick(ensemble: &Ensemble, role: Role) -> Result<(usize, usize)> {
    let here = ensemble
        .ids()
        .find(|id| ensemble.role(*id) == Some(role))
        .context("a server of this role")?;
    let elsewhere = ensemble.ids().find(|id| *id != here);
    Ok((here, elsewhere.context("another server")?))
}

fn connect(ensemble: &Ensemble, id: usize, ticket: Option<&Ticket>) -> Result<Outcome> {
    attempt::connect(ensemble.addr(id), &Connect::default(), ticket)
}

fn new_session(ensemble: &Ensemble, id: usize) -> Result<Session> {
    connect(ensemble, id, None)?.session()
}

/// `name` in `mntr`.
fn figure(ensemble: &Ensemble, id: usize, name: &str) -> Result<u64> {
    let text = ensemble.word(id, "mntr")?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('\t'));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

/// How many sessions a server knows: local ones, and the ensemble's.
fn sessions_of(ensemble: &Ensemble, id: usize) -> Result<(u64, u64)> {
    let local = figure(ensemble, id, "zk_local_sessions")?;
    Ok((local, figure(ensemble, id, "zk_global_sessions")?))
}

fn sessions(ensemble: &Ensemble, id: usize) -> Result<String> {
    let (local, global) = sessions_of(ensemble, id)?;
    Ok(format!("{local} local, {global} global"))
}

/// By how much the server's zxid has risen since `before`, which moves there.
fn zxids_since(session: &mut Session, before: &mut i64) -> Result<i64> {
    let zxid = match session.ask(&Request::named("exists"))? {
        Answer::Reply { zxid, .. } => zxid,
        other => bail!("no zxid: {other}"),
    };
    let risen = zxid - *before;
    *before = zxid;
    Ok(risen)
}

/// The owner of a znode, as `exists` has it.
fn owner(session: &mut Session, path: &str) -> Result<Option<i64>> {
    let answer = session.ask(&Request::named("exists").path(path))?;
    // Behind it: dataLength, numChildren, pzxid.
    Ok(answer.long_from_end(16))
}

fn compare(tell: impl Fn(Kind) -> Result<Vec<String>>) {
    let theirs = tell(Kind::ZooKeeper).expect("ZooKeeper's story");
    let ours = tell(Kind::Meerkat).expect("Meerkat's story");
    assert_eq!(theirs, ours, "\nleft: ZooKeeper, right: Meerkat");
}

/// Without leave to upgrade: nobody else knows the session, and it owns nothing.
fn kept_to_itself(kind: Kind, role: Role) -> Result<Vec<String>> {
    let ensemble = Ensemble::start(kind, 3, 0, &settings(&["localSessionsEnabled=true"])?)?;
    let (here, elsewhere) = pick(&ensemble, role)?;
    let mut story = Story::default();
    let mut watcher = new_session(&ensemble, here)?;
    let mut zxid = 0;
    // The first write opens the epoch.
    watcher.ask(&create("create", "/first", 0))?;
    zxids_since(&mut watcher, &mut zxid)?;

    let mut session = new_session(&ensemble, here)?;
    story.tell("connecting", zxids_since(&mut watcher, &mut zxid)?);
    story.tell("here", sessions(&ensemble, here)?);
    story.tell("elsewhere", sessions(&ensemble, elsewhere)?);
    let plain = [create("create", "/p", 0), create("create2", "/q", 2)];
    for request in &plain {
        story.tell("persistent", session.ask(request)?);
    }
    story.tell("writing", zxids_since(&mut watcher, &mut zxid)?);
    for op in ["create", "create2"] {
        for flags in [EPHEMERAL, 3] {
            let answer = session.ask(&create(op, "/e", flags))?;
            story.tell("ephemeral", answer);
        }
    }
    story.tell("refused requests", zxids_since(&mut watcher, &mut zxid)?);
    let bad = create("create", "no/slash", EPHEMERAL);
    story.tell("ephemeral with a bad path", session.ask(&bad)?);
    let ops = [create("create", "/m", 0), create("create", "/n", EPHEMERAL)];
    let answer = session.ask(&multi(&ops))?;
    // Upstream's followers say in a multi that the session has expired.
    story.tell("multi, header", answer.err().unwrap_or(-1));
    story.tell("its first znode", owner(&mut session, "/m")?.is_some());
    story.tell(
        "container",
        session.ask(&create("createContainer", "/c", 4))?,
    );
    story.tell("TTL", session.ask(&create("createTTL", "/t", 5))?);
    story.tell("delete", session.ask(&Request::named("delete").path("/p"))?);
    story.tell("sync", session.ask(&Request::named("sync").path("/"))?);
    story.tell("here", sessions(&ensemble, here)?);

    let wrong = Ticket {
        id: session.ticket.id,
        password: vec![9; 16],
    };
    let ticket = session.ticket.clone();
    story.tell(
        "the session elsewhere",
        connect(&ensemble, elsewhere, Some(&ticket))?,
    );
    let again = connect(&ensemble, here, Some(&ticket))?;
    story.tell("the session here again", &again);
    story.tell("its old connection", session.hear()?);
    story.tell(
        "with a wrong password",
        connect(&ensemble, here, Some(&wrong))?,
    );
    let mut session = connect(&ensemble, here, Some(&ticket))?.session()?;
    zxids_since(&mut watcher, &mut zxid)?;
    let last = [
        Request::named("setData").path("/c"),
        Request::named("closeSession"),
    ];
    for answer in session.ask_all(&last)? {
        story.tell("closing", answer);
    }
    story.tell("zxids of that", zxids_since(&mut watcher, &mut zxid)?);
    story.tell(
        "the session after that",
        connect(&ensemble, here, Some(&ticket))?,
    );
    story.tell("here", sessions(&ensemble, here)?);
    Ok(story.0)
}

#[test]
fn a_follower_keeps_sessions_to_itself() {
    compare(|kind| kept_to_itself(kind, Role::Follower));
}

#[test]
fn a_leader_keeps_sessions_to_itself() {
    compare(|kind| kept_to_itself(kind, Role::Leader));
}

/// With leave to upgrade: who creates an ephemeral belongs to the ensemble from then on.
fn upgraded(kind: Kind, role: Role) -> Result<Vec<String>> {
    let keys = [
        "localSessionsEnabled=true",
        "localSessionsUpgradingEnabled=true",
    ];
    let ensemble = Ensemble::start(kind, 3, 0, &settings(&keys)?)?;
    let (here, elsewhere) = pick(&ensemble, role)?;
    let mut story = Story::default();
    let mut watcher = new_session(&ensemble, here)?;
    let mut zxid = 0;
    // The first write opens the epoch.
    watcher.ask(&create("create", "/first", 0))?;
    zxids_since(&mut watcher, &mut zxid)?;

    let several = [
        create("create", "/e", EPHEMERAL),
        create("create2", "/s", 3),
    ];
    let in_multi = [multi(&[
        Request::named("check").path("/"),
        create("create2", "/m", EPHEMERAL),
    ])];
    for (what, requests) in [("create", &several[..]), ("multi", &in_multi[..])] {
        let mut session = new_session(&ensemble, here)?;
        let ticket = session.ticket.clone();
        for request in [
            create("create", "/p", 2),
            create("createContainer", "/c", 4),
            create("createTTL", "/t", 6),
        ] {
            session.ask(&request)?;
        }
        story.tell(what, sessions(&ensemble, here)?);
        zxids_since(&mut watcher, &mut zxid)?;
        for answer in session.ask_all(requests)? {
            story.tell(what, answer);
        }
        story.tell("zxids of that", zxids_since(&mut watcher, &mut zxid)?);
        story.tell("here", sessions(&ensemble, here)?);
        let path = if what == "create" { "/e" } else { "/m" };
        story.tell(
            "it owns the znode",
            owner(&mut session, path)? == Some(ticket.id),
        );
        let mut moved = connect(&ensemble, elsewhere, Some(&ticket))?.session()?;
        // The znode may be younger than what that server has applied.
        moved.ask(&Request::named("sync").path("/"))?;
        story.tell(
            "it owns the znode elsewhere",
            owner(&mut moved, path)? == Some(ticket.id),
        );
        story.tell("closing", moved.ask(&Request::named("closeSession"))?);
        watcher.ask(&Request::named("sync").path("/"))?;
        story.tell("the znode is there", owner(&mut watcher, path)?.is_some());
        story.tell("zxids of that", zxids_since(&mut watcher, &mut zxid)?);
        for id in [here, elsewhere] {
            story.tell("afterwards", sessions(&ensemble, id)?);
        }
    }
    Ok(story.0)
}

#[test]
fn a_followers_session_becomes_the_ensembles() {
    compare(|kind| upgraded(kind, Role::Follower));
}

#[test]
fn a_leaders_session_becomes_the_ensembles() {
    compare(|kind| upgraded(kind, Role::Leader));
}

/// The leader dies under a session that is about to become the ensemble's: its client has its
/// ephemeral, or a closed connection and a session that it can go on with.
#[test]
fn an_upgrade_survives_its_leader() {
    let keys = [
        "localSessionsEnabled=true",
        "localSessionsUpgradingEnabled=true",
    ];
    let run = || -> Result<()> {
        let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings(&keys)?)?;
        for round in 0..5 {
            let leader = ensemble.wait_for_leader()?;
            let here = leader % 3 + 1;
            let mut sessions: Vec<Session> = (0..10)
                .map(|_| new_session(&ensemble, here))
                .collect::<Result<_>>()?;
            // In flight when the leader goes, or waiting for the next one.
            for (at, session) in sessions.iter_mut().enumerate() {
                if at == 5 {
                    ensemble.kill(leader)?;
                }
                session.send(&create("create", &format!("/e{round}-{at}"), EPHEMERAL));
            }
            for (at, session) in sessions.iter_mut().enumerate() {
                let answer = session.hear()?;
                let path = format!("/e{round}-{at}");
                if answer != Answer::Closed {
                    ensure!(answer.err() == Some(0), "round {round}, {at}: {answer}");
                } else {
                    let again = connect(&ensemble, here, Some(&session.ticket))?;
                    *session = again.session().with_context(|| format!("{at}: again"))?;
                    let answer = session.ask(&create("create", &path, EPHEMERAL))?;
                    let fine = [Some(0), Some(NODE_EXISTS)].contains(&answer.err());
                    ensure!(fine, "round {round}, {at}, again: {answer}");
                }
                let owner = owner(session, &path)?;
                ensure!(owner == Some(session.ticket.id), "{path} of {owner:?}");
                let answer = session.ask(&Request::named("closeSession"))?;
                ensure!(answer.err() == Some(0), "closing {at}: {answer}");
                let mut witness = new_session(&ensemble, here)?;
                let answer = witness.ask(&Request::named("exists").path(&path))?;
                ensure!(answer.err() == Some(NO_NODE), "{path} outlives: {answer}");
                witness.ask(&Request::named("closeSession"))?;
            }
            ensure!(sessions_of(&ensemble, here)? == (0, 0), "sessions are left");
            ensemble.start_one(leader)?;
        }
        Ok(())
    };
    run().expect("upgrades survive");
}

/// Its server ends the session when nobody is heard of, and tells nobody.
fn expired(kind: Kind) -> Result<Vec<String>> {
    let ensemble = Ensemble::start(kind, 3, 0, &settings(&["localSessionsEnabled=true"])?)?;
    let (here, _) = pick(&ensemble, Role::Follower)?;
    let mut story = Story::default();
    let mut watcher = new_session(&ensemble, here)?;
    let mut zxid = 0;
    // The first write opens the epoch.
    watcher.ask(&create("create", "/first", 0))?;
    zxids_since(&mut watcher, &mut zxid)?;
    let offer = Connect {
        timeout_ms: 1000,
        ..Connect::default()
    };
    let mut session = attempt::connect(ensemble.addr(here), &offer, None)?.session()?;
    story.tell("here", sessions(&ensemble, here)?);
    let since = Instant::now();
    while figure(&ensemble, here, "zk_local_sessions")? > 1 {
        ensure!(since.elapsed() < LIMIT, "the session does not expire");
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(
        since.elapsed() >= Duration::from_millis(800),
        "expired before its time"
    );
    story.tell("its connection", session.hear()?);
    story.tell(
        "the session again",
        connect(&ensemble, here, Some(&session.ticket))?,
    );
    story.tell("zxids of that", zxids_since(&mut watcher, &mut zxid)?);
    Ok(story.0)
}

#[test]
fn a_local_session_expires_at_its_server() {
    compare(expired);
}

/// The keys mean nothing to a server without an ensemble.
fn alone(kind: Kind) -> Result<Vec<String>> {
    let keys = ["localSessionsEnabled=true"];
    let server = meerkat_compat_tests::server::Server::start(kind, &settings(&keys)?)?;
    let mut story = Story::default();
    let mut session = attempt::connect(server.addr(), &Connect::default(), None)?.session()?;
    story.tell(
        "ephemeral",
        session.ask(&create("create", "/e", EPHEMERAL))?,
    );
    let is_owner = owner(&mut session, "/e")? == Some(session.ticket.id);
    story.tell("it owns the znode", is_owner);
    let text = server.word("mntr")?;
    for line in text.lines().filter(|line| line.contains("_sessions\t")) {
        story.tell("mntr", line);
    }
    Ok(story.0)
}

#[test]
fn a_server_alone_has_no_local_sessions() {
    compare(|kind| {
        let mut lines = alone(kind)?;
        lines.sort();
        Ok(lines)
    });
}
