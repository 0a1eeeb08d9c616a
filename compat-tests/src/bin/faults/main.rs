//! `faults [--server zookeeper] [--servers 3,5] [--seconds 100] [--seed N] [--only kill,pause]`
//!
//! Sessions on all servers of an ensemble work while the servers are killed, paused, cut off from
//! each other, slowed down, wiped, restarted, taken out of the ensemble and in again, and their
//! clocks jump. What the sessions saw is then checked ([`meerkat_compat_tests::history`]).
//!
//! Each server is a process in a network namespace of its own ([`network`]), which needs root and
//! TUN devices. The run is made of rounds with a tree and a history of their own on the same
//! servers; hours are many rounds. The seed fixes which faults come when; the processes' own timing
//! stays theirs, so a violation comes back often, not always.

mod client;
mod desk;
mod network;
mod schedule;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use meerkat_compat_tests::ensemble::Ensemble;
use meerkat_compat_tests::history::{
    self, Answer, Ask, Body, Connection, CreateKind, End, Frame, GUESTS, History, QUEUE, Request,
    Rule, Session, Tree, Violation,
};
use meerkat_compat_tests::server::{Kind, Settings};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::client::{Client, REGISTERS, Shared, register};
use crate::desk::{Desk, with_desk};
use crate::schedule::{Fault, Stage};

#[derive(Parser)]
#[command(about = "Disturbs an ensemble and checks what its clients saw")]
struct Arguments {
    /// `meerkat` or `zookeeper`
    #[arg(long, default_value = "meerkat")]
    server: String,
    /// One ensemble of each size, one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [3])]
    servers: Vec<usize>,
    /// How long faults go on in each ensemble, all rounds together
    #[arg(long, default_value_t = 100)]
    seconds: u64,
    /// Which faults come when; by default a new one, which is printed
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 12)]
    clients: usize,
    /// Only these faults
    #[arg(long, value_delimiter = ',')]
    only: Vec<Fault>,
    /// Where the servers' logs and the history go when a round fails
    #[arg(long)]
    logs: Option<PathBuf>,
    /// A line of zoo.cfg, or -Dname=value for a Java system property
    #[arg(long, value_name = "KEY=VALUE", allow_hyphen_values = true)]
    set: Vec<String>,
}

const ROOT: &str = "/faults";
const ROUND: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(500);
/// A server tells the leader of its sessions at every half tick, and expiry is counted in ticks.
const SLACK: Duration = Duration::from_secs(1);
/// How long clients may take to come to rest after the last fault was healed, and ephemerals of dead
/// sessions to go. What takes longer hangs.
const REST_LIMIT: Duration = Duration::from_secs(60);
/// A round begins without faults.
const CALM: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(50);
/// Explanations shown of each rule.
const SHOWN_MAX: usize = 3;

/// Rules that ZooKeeper breaks: a leader that was paused or cut off answers sync, expires sessions and
/// refuses to attach them before it knows that another one leads.
const EXCUSED: [Rule; 3] = [
    Rule::StaleAfterSync,
    Rule::EphemeralOutlives,
    Rule::SessionLost,
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| rand::rng().random());
    let kind = Kind::from_word(&arguments.server)?;
    let (mut passed, mut failed) = (0, 0);
    for servers in &arguments.servers {
        println!(
            "{servers} servers of {kind}, {} clients, seed {seed}",
            arguments.clients
        );
        if let Err(error) = run(&arguments, kind, *servers, seed, &mut passed) {
            println!("FAIL {servers} servers, seed {seed}: {error:#}");
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Rounds until the time is up or one fails.
fn run(
    arguments: &Arguments,
    kind: Kind,
    servers: usize,
    seed: u64,
    passed: &mut usize,
) -> Result<()> {
    let mut settings = Settings::default();
    let tick = format!("tickTime={}", TICK.as_millis());
    for assignment in [
        tick.as_str(),
        "initLimit=20",
        "syncLimit=4",
        "minSessionTimeout=1000",
        "maxSessionTimeout=20000",
        "reconfigEnabled=true",
        // Snapshots come and logs go while all this happens.
        "snapCount=1000",
    ] {
        settings.set(assignment)?;
    }
    for assignment in &arguments.set {
        settings.set(assignment)?;
    }
    let mut stage = Stage::set(kind, servers, &settings, seed, &arguments.only)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
    let mut left = Duration::from_secs(arguments.seconds);
    let mut round = 1;
    while !left.is_zero() {
        let duration = ROUND.min(left);
        left -= duration;
        println!("round {round}, {duration:?}");
        let mut history = History::default();
        let outcome = play(
            &mut stage,
            arguments.clients,
            duration,
            &mut rng,
            &mut history,
        );
        let outcome = outcome.and_then(|()| judge(kind, &history));
        if let (Err(_), Some(dir)) = (&outcome, &arguments.logs) {
            keep(dir, &stage.ensemble, &history)?;
        }
        outcome.with_context(|| {
            let logs = stage.ensemble.logs();
            format!("round {round}; the servers said:\n{logs}")
        })?;
        *passed += 1;
        round += 1;
    }
    Ok(())
}

/// One round: a new tree, clients at work under faults, rest, and the trees of all servers.
fn play(
    stage: &mut Stage,
    clients: usize,
    duration: Duration,
    rng: &mut ChaCha8Rng,
    history: &mut History,
) -> Result<()> {
    let addrs = stage.ensemble.ids().map(|id| stage.ensemble.addr(id));
    let shared = Shared::new(addrs.collect());
    let prepared = with_desk(stage.ensemble.addr(1), |desk| prepare(desk, &shared));
    let prepared = prepared.context("preparing the tree")?;
    let seeds: Vec<ChaCha8Rng> = (0..clients).map(|_| ChaCha8Rng::from_rng(rng)).collect();
    history.slack = SLACK;
    history.calm = CALM;
    history.sessions.push(prepared);
    thread::scope(|scope| {
        let workers: Vec<_> = (1..)
            .zip(seeds)
            .map(|(index, rng)| {
                let client = Client::new(index, &shared, rng);
                scope.spawn(move || client.run())
            })
            .collect();
        thread::sleep(CALM.saturating_sub(shared.now()));
        stage.begin(shared.clock);
        let trees = stage.disturb(CALM + duration).and_then(|()| {
            shared.quiet.store(true, Ordering::Relaxed);
            rest(&stage.ensemble, &shared, clients)
        });
        // In any case: the clients must end.
        shared.quiet.store(true, Ordering::Relaxed);
        shared.over.store(true, Ordering::Relaxed);
        for worker in workers {
            let worked = worker.join().expect("a client does not panic");
            history.sessions.extend(worked?);
        }
        history.trees = trees?;
        Ok(())
    })
}

/// Writes down what a failure is found out from.
fn keep(dir: &Path, ensemble: &Ensemble, history: &History) -> Result<()> {
    fs::create_dir_all(dir)?;
    for id in ensemble.ids() {
        let log = ensemble.dir().join(format!("server-{id}/log"));
        fs::copy(log, dir.join(format!("server-{id}.log")))?;
    }
    let mut file = io::BufWriter::new(fs::File::create(dir.join("history"))?);
    for session in &history.sessions {
        let (client, id, end) = (session.client, session.id, session.end);
        writeln!(file, "client {client}, session {id:#x}, {end:?}")?;
        for connection in &session.connections {
            writeln!(file, " server {}", connection.server)?;
            for frame in &connection.frames {
                match frame {
                    Frame::Answer(index) => writeln!(file, "  {}", connection.requests[*index])?,
                    other => writeln!(file, "  {other:x?}")?,
                }
            }
            let open = connection.requests.iter().filter(|r| r.answer.is_none());
            for request in open {
                writeln!(file, "  {request}")?;
            }
        }
    }
    println!("logs and history are in {}", dir.display());
    Ok(())
}

/// A new tree, and the session that made it as part of the history.
fn prepare(desk: &mut Desk, shared: &Shared) -> Result<Session> {
    desk.sync()?;
    desk.delete_all(ROOT)?;
    let mut connection = Connection {
        server: 1,
        requests: Vec::new(),
        frames: Vec::new(),
        lost: None,
    };
    let directories = [ROOT, QUEUE, GUESTS].map(str::to_owned);
    let paths = directories.into_iter().chain((0..REGISTERS).map(register));
    for (value, path) in (1..).zip(paths) {
        let sent = shared.now();
        let stat = desk.create(&path, value)?;
        let outcome = Ok(Body::Created(path.clone(), stat));
        let answer = Answer {
            at: shared.now(),
            zxid: stat.czxid,
            outcome,
        };
        connection
            .frames
            .push(Frame::Answer(connection.requests.len()));
        connection.requests.push(Request {
            sent,
            ask: Ask::Create {
                path,
                value,
                kind: CreateKind::Plain,
            },
            answer: Some(answer),
        });
    }
    Ok(Session {
        client: 0,
        id: 0,
        timeout: Duration::MAX,
        connections: vec![connection],
        end: End::Left,
    })
}

/// Waits until all clients have come to rest and dead sessions have taken their ephemerals along;
/// then reads every server's tree.
fn rest(ensemble: &Ensemble, shared: &Shared, clients: usize) -> Result<Vec<Tree>> {
    let deadline = Instant::now() + REST_LIMIT;
    loop {
        let settled = shared.settled.load(Ordering::Relaxed);
        if settled == clients {
            break;
        }
        ensure!(
            Instant::now() < deadline,
            "{REST_LIMIT:?} after the last fault only {settled} of {clients} clients got through"
        );
        thread::sleep(POLL);
    }
    loop {
        let tree = with_desk(ensemble.addr(1), |desk| {
            desk.sync()?;
            desk.tree(GUESTS, 1)
        })?;
        let alive = shared.alive();
        let owners: HashSet<i64> = tree.znodes.values().map(|(_, stat)| stat.owner).collect();
        // Those that never go are the checker's to report.
        if owners
            .iter()
            .all(|owner| *owner == 0 || alive.contains(owner))
            || Instant::now() > deadline
        {
            break;
        }
        thread::sleep(POLL);
    }
    let trees = ensemble.ids().map(|id| {
        with_desk(ensemble.addr(id), |desk| {
            desk.sync()?;
            desk.tree(ROOT, id)
        })
    });
    trees.collect()
}

/// # Errors
/// When the history breaks a rule that this kind of server is held to.
fn judge(kind: Kind, history: &History) -> Result<()> {
    tell(history);
    let mut by_rule: BTreeMap<Rule, Vec<Violation>> = BTreeMap::new();
    for violation in history::check(history) {
        by_rule.entry(violation.rule).or_default().push(violation);
    }
    let mut broken = Vec::new();
    for (rule, mut violations) in by_rule {
        let excused = kind == Kind::ZooKeeper && EXCUSED.contains(&rule);
        violations.sort_by_key(|violation| violation.text.len());
        let (count, verdict) = (violations.len(), if excused { "known" } else { "FAIL" });
        println!("{verdict}: {rule}, {count} times");
        for violation in violations.iter().take(SHOWN_MAX) {
            println!("{violation}");
        }
        if !excused {
            broken.push(rule.to_string());
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("; "));
    Ok(())
}

/// How much there was to check.
fn tell(history: &History) {
    let requests = || {
        let sessions = history.sessions.iter();
        sessions.flat_map(|s| s.connections.iter().flat_map(|c| &c.requests))
    };
    let answered = requests().filter(|request| request.answer.is_some());
    let connections = || history.sessions.iter().flat_map(|s| &s.connections);
    let events = connections()
        .flat_map(|connection| &connection.frames)
        .filter(|frame| matches!(frame, Frame::Event(_)));
    let expired = history
        .sessions
        .iter()
        .filter(|session| matches!(session.end, End::Expired { .. }));
    println!(
        "{} requests, {} answered, {} events; {} sessions ({} expired), {} connections, {} znodes",
        requests().count(),
        answered.count(),
        events.count(),
        history.sessions.len(),
        expired.count(),
        connections().count(),
        history.trees.first().map_or(0, |tree| tree.znodes.len()),
    );
}
