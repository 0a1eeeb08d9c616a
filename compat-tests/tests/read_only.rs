//! What is left without a quorum, beside Apache ZooKeeper: read-only mode step by step, and what a
//! server says and does that serves nobody.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meerkat_compat_tests::attempt::{self, Answer, Outcome, Session, Ticket, create, multi};
use meerkat_compat_tests::ensemble::{Ensemble, Role};
use meerkat_compat_tests::server::{Kind, Settings};
use meerkat_compat_tests::wire::{Blob, Connect, List, Request, Value};

/// How long something that must happen may take.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// What happened, line by line.
#[derive(Default)]
struct Story(Vec<String>);

impl Story {
    fn tell(&mut self, what: &str, came: impl Display) {
        self.0.push(format!("{what}: {came}"));
    }
}

fn compare(tell: impl Fn(Kind) -> Result<Vec<String>>) {
    let theirs = tell(Kind::ZooKeeper).expect("ZooKeeper's story");
    let ours = tell(Kind::Meerkat).expect("Meerkat's story");
    assert_eq!(theirs, ours, "\nleft: ZooKeeper, right: Meerkat");
}

fn settings(keys: &[&str]) -> Result<Settings> {
    let mut settings = Settings::default();
    for key in ["tickTime=500", "syncLimit=4"].iter().chain(keys) {
        settings.set(key)?;
    }
    Ok(settings)
}

fn reader() -> Connect {
    Connect {
        read_only: Some(1),
        ..Connect::default()
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let since = Instant::now();
    while !is_so()? {
        ensure!(since.elapsed() < LIMIT, "not so: {what}");
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Three servers with a znode `/a` and a watch-worthy child; all but one are killed then. Returns the
/// one that is left, the zxid it has seen and a session that all of them knew.
fn bereft(kind: Kind, role: Role, keys: &[&str]) -> Result<(Ensemble, usize, i64, Ticket)> {
    let observers = usize::from(role == Role::Observer);
    let mut ensemble = Ensemble::start(kind, 3, observers, &settings(keys)?)?;
    ensemble.wait_for_leader()?;
    let left = ensemble.ids().find(|id| ensemble.role(*id) == Some(role));
    let left = left.with_context(|| format!("no {role}"))?;
    let mut session =
        attempt::connect(ensemble.addr(left), &Connect::default(), None)?.session()?;
    for path in ["/a", "/a/b"] {
        let answer = session.ask(&create("create", path, 0))?;
        ensure!(answer.err() == Some(0), "create {path}: {answer}");
    }
    let Answer::Reply { zxid, .. } = session.ask(&Request::named("exists").path("/a"))? else {
        bail!("no reply");
    };
    // The leader last: the others shall not begin another epoch meanwhile.
    let leader = ensemble.wait_for_leader()?;
    let mut others: Vec<_> = ensemble.ids().filter(|id| *id != left).collect();
    others.sort_by_key(|id| *id == leader);
    for id in others {
        ensemble.kill(id)?;
    }
    Ok((ensemble, left, zxid, session.ticket))
}

fn wait_for_read_only(ensemble: &Ensemble, id: usize) -> Result<()> {
    wait_for(
        "read-only",
        || Ok(ensemble.role(id) == Some(Role::ReadOnly)),
    )
}

/// Everything that a reader may ask, and everything that it may not.
fn requests() -> Vec<(&'static str, Request)> {
    let one = |text: &str| Value::Blobs(List::Items(vec![Blob::text(text)]));
    let path = |name: &str| Request::named(name).path("/a");
    let set_watches = Request::named("setWatches").with("data", one("/a"));
    vec![
        ("create", create("create", "/x", 0)),
        ("create2", create("create2", "/x", 0)),
        ("ephemeral", create("create", "/x", 1)),
        ("container", create("createContainer", "/x", 4)),
        ("ttl", create("createTTL", "/x", 5)),
        ("setData", path("setData")),
        ("setACL", path("setACL")),
        ("delete", Request::named("delete").path("/a/b")),
        ("multi", multi(&[path("check")])),
        ("reconfig", Request::named("reconfig")),
        ("sync", path("sync")),
        ("exists", path("exists")),
        ("getData", path("getData").with("watch", Value::Byte(1))),
        ("getACL", path("getACL")),
        ("getChildren", path("getChildren")),
        ("getChildren2", path("getChildren2")),
        ("getAllChildrenNumber", path("getAllChildrenNumber")),
        ("getEphemerals", Request::named("getEphemerals")),
        (
            "multiRead",
            Request::named("multiRead").with("ops", Value::Requests(vec![path("getData")])),
        ),
        ("ping", Request::named("ping")),
        ("addWatch", path("addWatch")),
        ("setWatches", set_watches),
        ("removeWatches", path("removeWatches")),
        ("whoAmI", Request::named("whoAmI")),
        ("nothing there", Request::named("exists").path("/x")),
    ]
}

fn cut(mut request: Request) -> Request {
    request.cut = 9;
    request
}

/// The reader's whole visit: who is let in, what is answered, and how it ends.
fn read_only(kind: Kind, role: Role) -> Result<Vec<String>> {
    let keys = ["-Dreadonlymode.enabled=true", "localSessionsEnabled=true"];
    let (mut ensemble, left, zxid, _) = bereft(kind, role, &keys)?;
    wait_for_read_only(&ensemble, left)?;
    let addr = ensemble.addr(left);
    let mut story = Story::default();

    for read_only in [Some(0), None, Some(1), Some(2)] {
        let offer = Connect {
            read_only,
            ..Connect::default()
        };
        let came = attempt::connect(addr, &offer, None)?;
        story.tell(&format!("readOnly {read_only:?}"), came);
    }
    let unknown = Ticket {
        id: 77,
        password: vec![0; 16],
    };
    story.tell(
        "an unknown session",
        attempt::connect(addr, &reader(), Some(&unknown))?,
    );
    let ahead = Connect {
        zxid: meerkat_compat_tests::wire::ZxidValue::At(zxid + 1),
        ..reader()
    };
    story.tell("a client ahead", attempt::connect(addr, &ahead, None)?);

    let mut session = attempt::connect(addr, &reader(), None)?.session()?;
    for (name, request) in requests() {
        let answer = session.ask(&request)?;
        let Answer::Reply { zxid: at, .. } = &answer else {
            bail!("{name}: {answer}");
        };
        let events = session.events;
        story.tell(
            name,
            format!("{answer}, zxid {:+}, {events} events", at - zxid),
        );
    }
    let bad = cut(create("create", "/x", 0));
    story.tell("a create that is cut", session.ask(&bad)?);
    let many = [
        Request::named("exists").path("/a"),
        create("create", "/x", 0),
        Request::named("getData").path("/a"),
    ];
    let mut answers = session.ask_all(&many)?;
    // Upstream refuses in another thread than it reads: refusals may overtake.
    if kind == Kind::ZooKeeper {
        answers.sort_by_key(Answer::xid);
    }
    for answer in answers {
        story.tell("many at once", answer);
    }
    let ticket = session.ticket.clone();
    let again = attempt::connect(addr, &reader(), Some(&ticket))?;
    story.tell("the session again", &again);
    story.tell("its old connection", session.hear()?);
    story.tell(
        "the session, to write",
        attempt::connect(addr, &Connect::default(), Some(&ticket))?,
    );
    let mut session = again.session()?;
    story.tell("closing", session.ask(&Request::named("closeSession"))?);
    story.tell("after that", session.hear()?);
    story.tell(
        "the closed session",
        attempt::connect(addr, &reader(), Some(&ticket))?,
    );

    // A quorum again: whoever reads is sent away, and may write next time.
    let mut session = attempt::connect(addr, &reader(), None)?.session()?;
    for id in ensemble.ids().filter(|id| *id != left) {
        ensemble.launch(id)?;
    }
    // It keeps its session alive, so that nothing but the quorum ends the connection.
    wait_for("the reader is sent away", || {
        Ok(session.ask(&Request::named("ping"))? == Answer::Closed)
    })?;
    ensemble.wait_serving(left)?;
    wait_for("a role", || {
        Ok(matches!(
            ensemble.role(left),
            Some(Role::Leader | Role::Follower | Role::Observer)
        ))
    })?;
    let came = attempt::connect(addr, &reader(), None)?;
    story.tell("a reader", &came);
    let answer = came.session()?.ask(&create("create", "/x", 0))?;
    story.tell("its write", answer);
    Ok(story.0)
}

#[test]
fn a_follower_serves_readers_without_a_quorum() {
    compare(|kind| read_only(kind, Role::Follower));
}

#[test]
fn a_leader_serves_readers_without_a_quorum() {
    compare(|kind| read_only(kind, Role::Leader));
}

#[test]
fn an_observer_serves_readers_without_a_quorum() {
    compare(|kind| read_only(kind, Role::Observer));
}

/// Sessions of the ensemble have no place at a server that is cut off from it.
fn without_local_sessions(kind: Kind) -> Result<Vec<String>> {
    let (ensemble, left, _, ticket) =
        bereft(kind, Role::Follower, &["-Dreadonlymode.enabled=true"])?;
    wait_for_read_only(&ensemble, left)?;
    let addr = ensemble.addr(left);
    let mut story = Story::default();
    let came = attempt::connect(addr, &reader(), None)?;
    ensure!(!matches!(came, Outcome::Session(_)), "a new session");
    story.tell("a new session", came);
    story.tell(
        "a session of the ensemble",
        attempt::connect(addr, &reader(), Some(&ticket))?,
    );
    Ok(story.0)
}

#[test]
fn sessions_of_the_ensemble_are_not_served_without_it() {
    compare(without_local_sessions);
}

/// Words of a server in this state, without what differs from run to run.
fn words(ensemble: &Ensemble, id: usize) -> Result<Vec<String>> {
    let mut told = Vec::new();
    for word in [
        "ruok", "isro", "gtmk", "srvr", "stat", "cons", "conf", "dirs", "dump", "mntr", "wchs",
        "wchc", "wchp", "crst", "srst", "hash",
    ] {
        let answer = ensemble.word(id, word)?;
        let first = answer.lines().next().unwrap_or_default();
        told.push(format!("{word}: {first}"));
    }
    Ok(told)
}

/// Without read-only mode nobody is served, and words say so.
fn not_serving(kind: Kind) -> Result<Vec<String>> {
    let (ensemble, left, ..) = bereft(kind, Role::Follower, &[])?;
    wait_for("no quorum", || {
        Ok(ensemble.word(left, "srvr")?.contains("not currently"))
    })?;
    let mut story = Story::default();
    for read_only in [0, 1] {
        let offer = Connect {
            read_only: Some(read_only),
            ..Connect::default()
        };
        let came = attempt::connect(ensemble.addr(left), &offer, None)?;
        story.tell("connecting", came);
    }
    story.0.extend(words(&ensemble, left)?);
    Ok(story.0)
}

#[test]
fn nobody_is_served_without_a_quorum() {
    compare(not_serving);
}

/// A session that is there already reads on for a while after the quorum is lost, and is not
/// answered for a write; then its connection ends. Upstream's ends at once.
#[test]
fn a_session_reads_on_until_the_limit() {
    let run = || -> Result<()> {
        let settings = settings(&["syncLimit=8"])?;
        let mut ensemble = Ensemble::start(Kind::Meerkat, 3, 0, &settings)?;
        let left = ensemble.wait_for_leader()? % 3 + 1;
        let addr = ensemble.addr(left);
        let mut sessions: Vec<Session> = (0..2)
            .map(|_| attempt::connect(addr, &Connect::default(), None)?.session())
            .collect::<Result<_>>()?;
        for id in ensemble.ids().filter(|id| *id != left) {
            ensemble.kill(id)?;
        }
        let [reading, writing] = &mut sessions[..] else {
            bail!("two sessions");
        };
        let answer = reading.ask(&Request::named("exists"))?;
        ensure!(answer.err() == Some(0), "the first read: {answer}");
        let answer = writing.ask(&create("create", "/x", 0))?;
        ensure!(answer == Answer::Closed, "a write: {answer}");
        let ended = reading.hear().context("the reader's end")?;
        ensure!(ended == Answer::Closed, "the reader's end: {ended}");
        let came = attempt::connect(addr, &Connect::default(), None)?;
        ensure!(matches!(came, Outcome::Closed), "a new session: {came}");
        Ok(())
    };
    run().expect("reads for a while");
}
