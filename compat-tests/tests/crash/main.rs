//! Kills the server again and again in the middle of its work and looks at what is left.
//!
//! Eight sessions keep 64 writes in flight: creates of all kinds, setData, deletes, multis that
//! succeed and multis that fail. Others come, put up ephemerals and close, or are left to expire.
//! The server gets SIGKILL at a random moment, sometimes while it is still recovering from the last
//! one, and starts again on the same directory. Then
//!
//! * each session's part of the tree is what a prefix of its requests leads to, to the last stat
//!   field, and the prefix holds every acknowledged one; a multi is in it whole or not at all;
//! * sessions attach again with id and password, their ephemerals are theirs; of a closed or expired
//!   session nothing is left; an unanswered close took all or none;
//! * no zxid is lower than one seen before.
//!
//! At the end the quiet tree survives a SIGKILL and a clean restart unchanged, which holds the
//! replay of log and snapshots against the tree as it was served.
//!
//! `MEERKAT_BIN` names the server to test (default: what cargo builds), `MEERKAT_CRASH_KILLS` how
//! often it is killed, `MEERKAT_CRASH_SEED` repeats the choices of an earlier run, which prints it.

mod guests;
mod model;
mod plan;
mod request;
mod server;
mod tree;
mod wire;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, bail, ensure};
use jute::proto::{CreateRequest, create_mode};
use jute::{OpCode, text};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::guests::{GUESTS, Guest, leave, visit};
use crate::model::{COUNTER, QUEUE, QUEUE_ITEM};
use crate::server::Server;
use crate::tree::{Tree, acl};
use crate::wire::{Connection, Empty, Handshake, Session};
use crate::writer::{Settled, WINDOW, Writer};

const KILLS_DEFAULT: usize = 50;
const WRITERS: usize = 8;
const ROOT: &str = "/crash";
/// Writers and the checker outlive every outage.
const TIMEOUT_MS: i32 = 60_000;
/// From the start of the load to its first answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// The load runs for a random time in this range before the kill.
const LOAD_MS: std::ops::Range<u64> = 20..800;
/// One restart in so many is killed as well, while it recovers.
const RECOVERY_KILL_ODDS: u32 = 6;
const RECOVERY_MS: std::ops::Range<u64> = 0..150;
/// Requests of each writer in the quiet end phase.
const LAST_REQUESTS: usize = 200;

#[test]
fn acknowledged_writes_survive_sigkill() -> Result<()> {
    let kills = from_env("MEERKAT_CRASH_KILLS")?.unwrap_or(KILLS_DEFAULT);
    let seed = from_env("MEERKAT_CRASH_SEED")?.unwrap_or_else(|| rand::rng().random());
    println!("seed {seed}, {kills} kills");
    let mut trial = Trial::begin(ChaCha8Rng::seed_from_u64(seed))?;
    let outcome = trial.run(kills);
    outcome.with_context(|| {
        format!(
            "seed {seed}, kill {}; the server said:\n{}",
            trial.kills,
            trial.server.log_tail()
        )
    })
}

fn from_env<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let Some(value) = env::var_os(name) else {
        return Ok(None);
    };
    let value = value.to_str().and_then(|value| value.parse().ok());
    Ok(Some(
        value.with_context(|| format!("{name} is not a number"))?,
    ))
}

struct Trial {
    server: Server,
    checker: Connection,
    writers: Vec<Writer>,
    rng: ChaCha8Rng,
    kills: usize,
    /// Highest zxid that anyone has seen.
    last_zxid: i64,
}

impl Trial {
    fn begin(mut rng: ChaCha8Rng) -> Result<Self> {
        let mut server = Server::prepare()?;
        server.start()?;
        let wanted = Session::wanted(TIMEOUT_MS);
        let mut checker = await_attach(&mut server, &wanted, 0)
            .with_context(|| format!("the server said:\n{}", server.log_tail()))?;
        for path in [ROOT, QUEUE, COUNTER, GUESTS] {
            create(&mut checker, path)?;
        }
        let mut writers = Vec::with_capacity(WRITERS);
        for index in 0..WRITERS {
            let root = format!("{ROOT}/writer-{index}");
            create(&mut checker, &root)?;
            let Handshake::Attached(connection) = Connection::attach(server.addr(), &wanted, 0)?
            else {
                bail!("no session for writer {index}")
            };
            writers.push(Writer::new(
                connection,
                root,
                ChaCha8Rng::from_rng(&mut rng),
            ));
        }
        Ok(Self {
            server,
            checker,
            writers,
            rng,
            kills: 0,
            last_zxid: 0,
        })
    }

    fn run(&mut self, kills: usize) -> Result<()> {
        let mut total = Settled::default();
        while self.kills < kills {
            let guests = self.load_and_kill().context("under load")?;
            self.restart(kills).context("at the restart")?;
            let settled = self.check(&guests).context("after the restart")?;
            total.acknowledged += settled.acknowledged;
            total.applied_unanswered += settled.applied_unanswered;
            total.lost_unanswered += settled.lost_unanswered;
        }
        println!(
            "{} kills: {} acknowledged requests kept; of those without an answer {} applied, {} not",
            self.kills, total.acknowledged, total.applied_unanswered, total.lost_unanswered
        );
        self.check_replay().context("with the quiet tree")?;
        self.close()
    }

    /// Runs the load until the kill has ended every connection.
    fn load_and_kill(&mut self) -> Result<Guests> {
        let addr = self.server.addr();
        let round = self.kills;
        let load = Duration::from_millis(self.rng.random_range(LOAD_MS));
        let leaver = leave(addr, round)?;
        let answered = AtomicU64::new(0);
        let (server, writers) = (&mut self.server, &mut self.writers);
        let (visitor, closed) = thread::scope(|scope| {
            let visits = scope.spawn(|| visit(addr, round));
            let writes: Vec<_> = writers
                .iter_mut()
                .map(|writer| scope.spawn(|| writer.write(usize::MAX, &answered)))
                .collect();
            let killed = await_load(&answered).and_then(|()| {
                thread::sleep(load);
                server.check_alive()
            });
            // Killed in any case: the threads end with their connections.
            server.kill()?;
            for write in writes {
                write.join().expect("a writer does not panic")?;
            }
            let visited = visits.join().expect("a visitor does not panic")?;
            killed.map(|()| visited)
        })?;
        self.kills += 1;
        for writer in &self.writers {
            self.last_zxid = self.last_zxid.max(writer.last_zxid());
        }
        Ok(Guests {
            leaver,
            visitor,
            closed,
        })
    }

    /// Starts the server, now and then to kill it again at once, and attaches everyone.
    fn restart(&mut self, kills: usize) -> Result<()> {
        while self.kills < kills && self.rng.random_ratio(1, RECOVERY_KILL_ODDS) {
            self.server.start()?;
            thread::sleep(Duration::from_millis(self.rng.random_range(RECOVERY_MS)));
            self.server.kill()?;
            self.kills += 1;
        }
        self.server.start()?;
        self.attach_all()
    }

    fn attach_all(&mut self) -> Result<()> {
        let session = self.checker.session.clone();
        self.checker = await_attach(&mut self.server, &session, self.last_zxid)?;
        for writer in &mut self.writers {
            writer.attach(self.server.addr())?;
        }
        Ok(())
    }

    /// Everything that must hold after a restart.
    fn check(&mut self, guests: &Guests) -> Result<Settled> {
        let tree = Tree::read(&mut self.checker, ROOT)?;
        let mut total = Settled::default();
        for writer in &mut self.writers {
            let settled = writer.settle(&tree)?;
            total.acknowledged += settled.acknowledged;
            total.applied_unanswered += settled.applied_unanswered;
            total.lost_unanswered += settled.lost_unanswered;
        }
        self.check_shared(&tree)?;
        for name in &guests.closed {
            let left = tree.below(name).next();
            ensure!(
                left.is_none(),
                "{left:?} outlives a session whose close was acknowledged"
            );
        }
        for guest in guests.visitor.iter().chain([&guests.leaver]) {
            guest.check(&tree)?;
        }
        for guest in guests.visitor.iter().chain([&guests.leaver]) {
            guest.see_off(self.server.addr(), &tree, &mut self.checker)?;
        }
        // What was applied without an answer counts as seen from now on.
        self.last_zxid = self.last_zxid.max(tree.last_zxid());
        for writer in &mut self.writers {
            writer.see_zxid(self.last_zxid);
        }
        Ok(total)
    }

    /// The places that all writers share.
    fn check_shared(&self, tree: &Tree) -> Result<()> {
        let models = || self.writers.iter().map(Writer::model);
        let expected: usize = models().map(model::Model::queue_len).sum();
        let found = tree.below(QUEUE_ITEM).count();
        ensure!(
            found == expected,
            "{found} items in the queue, not {expected}"
        );
        // Paths are in order of their numbers, which are as old as the zxids.
        let created: Vec<i64> = tree
            .below(QUEUE_ITEM)
            .map(|(_, item)| item.stat.czxid)
            .collect();
        ensure!(
            created.is_sorted_by(|a, b| a < b),
            "queue items out of order: {created:x?}"
        );

        let counter = tree.get(COUNTER).context("no counter")?;
        let counted: i32 = models().map(|model| model.counted).sum();
        ensure!(
            counter.stat.version == counted,
            "counter at {:?}, not {counted}",
            counter.stat
        );
        let lasts = || models().filter_map(|model| model.last_count.as_ref());
        if counted > 0 {
            let data = counter.data.as_ref().context("the counter lost its data")?;
            let last = lasts().find(|(tag, _)| tag == data);
            ensure!(
                last.is_some(),
                "nobody's last set made the counter {data:?}"
            );
            let newest = lasts().filter_map(|(_, zxid)| *zxid).max();
            ensure!(
                newest == Some(counter.stat.mzxid),
                "{newest:x?} set the counter {counter:?} last"
            );
        }
        Ok(())
    }

    /// Brings the tree to rest, then restarts by force and cleanly: nothing may change.
    fn check_replay(&mut self) -> Result<()> {
        let answered = AtomicU64::new(0);
        for writer in &mut self.writers {
            writer.write(LAST_REQUESTS, &answered)?;
            self.last_zxid = self.last_zxid.max(writer.last_zxid());
        }
        let served = Tree::read(&mut self.checker, ROOT)?;
        for writer in &mut self.writers {
            let settled = writer.settle(&served)?;
            ensure!(settled.acknowledged == LAST_REQUESTS && settled.lost_unanswered == 0);
        }
        let digest = self.server.digest()?;
        self.server.kill()?;
        self.server.start()?;
        self.attach_all()?;
        let replayed = Tree::read(&mut self.checker, ROOT)?;
        check_equal(&served, &replayed).context("after SIGKILL")?;
        ensure!(
            self.server.digest()? == digest,
            "the digest differs after SIGKILL"
        );

        let status = self.server.stop()?;
        // The JVM reports its signal; a native server ends as if by itself.
        ensure!(
            status.success() || status.code() == Some(143),
            "SIGTERM ended in {status}"
        );
        self.server.start()?;
        self.attach_all()?;
        let replayed = Tree::read(&mut self.checker, ROOT)?;
        check_equal(&served, &replayed).context("after a clean stop")?;
        ensure!(
            self.server.digest()? == digest,
            "the digest differs after a clean stop"
        );
        Ok(())
    }

    /// Ends all sessions: their ephemerals go, everything else stays.
    fn close(&mut self) -> Result<()> {
        for writer in &mut self.writers {
            writer.connection()?.call(OpCode::CLOSE_SESSION, &Empty)?;
        }
        let tree = Tree::read(&mut self.checker, ROOT)?;
        for writer in &self.writers {
            let root = format!("{}/", writer.model().root());
            let persistent: Vec<&str> = writer
                .model()
                .own_nodes()
                .filter(|node| !node.ephemeral)
                .map(|node| node.path)
                .collect();
            let left: Vec<&str> = tree.below(&root).map(|(path, _)| path).collect();
            ensure!(
                left == persistent,
                "left of a closed session: {left:?}, not {persistent:?}"
            );
        }
        Ok(())
    }
}

struct Guests {
    leaver: Guest,
    visitor: Option<Guest>,
    /// Paths of visitors whose close was acknowledged.
    closed: Vec<String>,
}

/// Attaches to a server that is starting.
fn await_attach(server: &mut Server, session: &Session, last_zxid: i64) -> Result<Connection> {
    server.await_serving()?;
    match Connection::attach(server.addr(), session, last_zxid)? {
        Handshake::Attached(connection) => Ok(connection),
        Handshake::Expired => bail!("session {:#x} is lost", session.id),
        Handshake::Closed => bail!("refused a client that has seen zxid {last_zxid:#x}"),
    }
}

/// Waits until every writer's window has been answered on average.
fn await_load(answered: &AtomicU64) -> Result<()> {
    let deadline = Instant::now() + ANSWER_LIMIT;
    while answered.load(Ordering::Relaxed) < (WINDOW * WRITERS) as u64 {
        ensure!(Instant::now() < deadline, "the server answers nobody");
        thread::sleep(POLL);
    }
    Ok(())
}

fn create(connection: &mut Connection, path: &str) -> Result<()> {
    let request = CreateRequest {
        path: text(path),
        data: None,
        acl: Some(acl(0)),
        flags: create_mode::PERSISTENT,
    };
    connection.call(OpCode::CREATE, &request).map(drop)
}

fn check_equal(served: &Tree, replayed: &Tree) -> Result<()> {
    for (path, znode) in &served.znodes {
        let found = replayed.get(path);
        ensure!(
            found == Some(znode),
            "{path} was {znode:?} and is {found:?}"
        );
    }
    ensure!(served == replayed, "there is more than there was");
    Ok(())
}
