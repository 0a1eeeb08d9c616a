//! Random writes of many sessions at once, on few paths, so that they meet.

use std::collections::VecDeque;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use meerkat_compat_tests::client::{Connection, Received, framed};
use meerkat_compat_tests::server::{SUPER_AUTH, Server};
use meerkat_compat_tests::wire::{
    Acl, Blob, Connect, Cutter, List, Request, SessionNames, Value, open_acl,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::view::{Session, reply};

/// Time-outs of sessions in ms: far enough apart to be told apart, and longer than any test.
const TIMEOUTS_MS: [i32; 3] = [60_000, 120_000, 240_000];
const PARENTS: [&str; 6] = ["/a", "/b", "/a/x", "/b/y", "/quota", "/quota/in"];
/// Znodes of a tree that takes a while to be written.
const BULK: usize = 4000;
/// Requests that a session has under way.
const PIPELINE: usize = 40;
/// No znode's operation fails for want of rights alone.
const DIGEST_ID: &str = "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=";

/// All access control lists. A znode keeps each of them in use: a snapshot that was written while
/// lists came and went is one that ZooKeeper does not start from ("Failed to fetch acls").
fn lists() -> Vec<List<Acl>> {
    let entry = |perms, scheme, id| Acl {
        perms,
        scheme: Blob::text(scheme),
        id: Blob::text(id),
    };
    let two = |perms| {
        vec![
            entry(31, "ip", "127.0.0.1"),
            entry(perms, "world", "anyone"),
        ]
    };
    vec![
        open_acl(),
        List::Items(vec![entry(31, "digest", DIGEST_ID)]),
        List::Items(vec![entry(5, "digest", DIGEST_ID)]),
        List::Items(two(1)),
        List::Items(two(20)),
    ]
}

/// What a release of ZooKeeper understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// 3.4: neither containers nor TTL znodes.
    Old,
    New,
}

struct Live {
    connection: Connection,
    session: Session,
    /// Requests that are under way: whether each closes the session.
    waiting: VecDeque<bool>,
}

pub(crate) struct Fill {
    rng: ChaCha8Rng,
    release: Release,
    live: Vec<Live>,
    /// Closed sessions too; of those that were told to go, the server may not have heard.
    ended: Vec<Session>,
    replies: usize,
    number: usize,
}

/// What became of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Done,
    /// The server is gone.
    CutOff,
}

impl Fill {
    pub(crate) fn new(seed: u64, release: Release) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            release,
            live: Vec::new(),
            ended: Vec::new(),
            replies: 0,
            number: 0,
        }
    }

    /// All sessions there ever were.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        let live = self.live.iter().map(|live| live.session.clone());
        live.chain(self.ended.iter().cloned()).collect()
    }

    /// Lets go of all connections and of what is under way; the sessions stay.
    pub(crate) fn hang_up(&mut self) {
        let live = self.live.drain(..).map(|live| live.session);
        self.ended.extend(live);
    }

    pub(crate) fn open(&mut self, server: &Server, count: usize) -> Result<()> {
        self.open_at(server.addr(), count)
    }

    pub(crate) fn open_at(&mut self, addr: SocketAddr, count: usize) -> Result<()> {
        for _ in 0..count {
            let timeout_ms = TIMEOUTS_MS[self.number % TIMEOUTS_MS.len()];
            self.number += 1;
            let mut connection = Connection::open(addr)?;
            let connect = Connect {
                timeout_ms,
                ..Connect::default()
            };
            connection.send(&framed(&connect.encode(0, &[0; 16], 0)));
            let Received::Frame(frame) = connection.receive()? else {
                anyhow::bail!("no session")
            };
            let names = SessionNames::new();
            let response = Cutter::new(&frame, &names).connect_response();
            let (id, password) = response.map_err(|_| anyhow::anyhow!("a bad answer"))?;
            let auth = Value::Blob(Blob::Bytes(SUPER_AUTH.to_vec()));
            let request = Request::named("auth").with("auth", auth);
            connection.send(&framed(&request.encode(-4, 0)));
            reply(&mut connection)?.context("no answer to auth")?;
            self.live.push(Live {
                connection,
                session: Session {
                    id,
                    password,
                    seen: 0,
                },
                waiting: VecDeque::new(),
            });
        }
        Ok(())
    }

    /// What everything else is done to.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let mut requests: Vec<Request> = ["/bulk", "/a", "/b", "/quota"]
            .iter()
            .chain(&PARENTS)
            .map(|path| Request::named("create").path(path))
            .collect();
        for quota in ["/quota", "/a/x"] {
            let mut path = "/zookeeper/quota".to_owned();
            for part in quota.split('/').skip(1) {
                path = format!("{path}/{part}");
                requests.push(Request::named("create").path(&path));
            }
            for (name, text) in [
                (
                    "zookeeper_limits",
                    "count=100000,bytes=-1=;byteHardLimit=1000000000",
                ),
                ("zookeeper_stats", "count=0,bytes=0"),
            ] {
                let create = Request::named("create").path(&format!("{path}/{name}"));
                requests.push(create.with("data", Value::Blob(Blob::text(text))));
            }
        }
        requests.push(Request::named("create").path("/lists"));
        for (number, list) in lists().into_iter().enumerate() {
            let create = Request::named("create").path(&format!("/lists/{number}"));
            requests.push(create.with("acl", Value::Acls(list)));
        }
        for number in 0..BULK {
            let create = Request::named("create").path(&format!("/bulk/{number}"));
            requests.push(create.with("data", Value::Blob(Blob::Bytes(vec![7; 100]))));
        }
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            for request in requests.by_ref().take(PIPELINE) {
                self.send(0, &request);
            }
            ensure!(self.drain(0, 0)? == Run::Done, "the server is gone");
        }
        Ok(())
    }

    fn send(&mut self, at: usize, request: &Request) {
        let live = &mut self.live[at];
        live.connection.send(&framed(&request.encode(1, 0)));
        live.waiting.push_back(request.code == -11);
    }

    /// Takes replies until no more than `left` are under way.
    fn drain(&mut self, at: usize, left: usize) -> Result<Run> {
        while self.live[at].waiting.len() > left {
            let live = &mut self.live[at];
            let Some((zxid, _, _)) = reply(&mut live.connection)? else {
                return Ok(Run::CutOff);
            };
            live.waiting.pop_front();
            live.session.seen = live.session.seen.max(zxid);
            self.replies += 1;
        }
        Ok(Run::Done)
    }

    /// Sends so many requests; what was sent at the end is still under way.
    pub(crate) fn run(&mut self, server: &Server, requests: usize) -> Result<Run> {
        self.run_at(server.addr(), requests)
    }

    pub(crate) fn run_at(&mut self, addr: SocketAddr, requests: usize) -> Result<Run> {
        let mut sent = 0;
        while sent < requests {
            for at in 0..self.live.len() {
                for _ in 0..PIPELINE / 2 {
                    let request = self.request();
                    self.send(at, &request);
                    sent += 1;
                }
                if self.drain(at, PIPELINE)? == Run::CutOff {
                    return Ok(Run::CutOff);
                }
            }
            if self.rng.random_ratio(1, 6) && self.live.len() > 3 {
                let at = self.rng.random_range(0..self.live.len());
                self.send(at, &Request::named("closeSession"));
                if self.drain(at, 0)? == Run::CutOff {
                    return Ok(Run::CutOff);
                }
                self.ended.push(self.live.swap_remove(at).session);
                self.open_at(addr, 1)?;
            }
        }
        Ok(Run::Done)
    }

    /// Takes what is under way.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for at in 0..self.live.len() {
            ensure!(self.drain(at, 0)? == Run::Done, "the server is gone");
        }
        Ok(())
    }

    fn path(&mut self) -> String {
        let parent = PARENTS[self.rng.random_range(0..PARENTS.len())];
        format!("{parent}/n{}", self.rng.random_range(0..25))
    }

    fn data(&mut self) -> Value {
        let len = self.rng.random_range(0..60);
        Value::Blob(match self.rng.random_range(0..12) {
            0 => Blob::Null,
            _ => Blob::Bytes(vec![self.rng.random(); len]),
        })
    }

    fn acl(&mut self) -> Value {
        let lists = lists();
        Value::Acls(lists[self.rng.random_range(0..lists.len())].clone())
    }

    fn single(&mut self) -> Request {
        let path = self.path();
        match self.rng.random_range(0..20) {
            0..=4 => {
                let name = ["create", "create2"][match self.release {
                    Release::Old => 0,
                    Release::New => self.rng.random_range(0..2),
                }];
                let flags = self.rng.random_range(0..4);
                let (data, acl) = (self.data(), self.acl());
                Request::named(name)
                    .path(&path)
                    .with("data", data)
                    .with("acl", acl)
                    .with("flags", Value::Int(flags))
            }
            5 if self.release == Release::New => {
                let (data, acl) = (self.data(), self.acl());
                let create = Request::named("createContainer").path(&path);
                create.with("data", data).with("acl", acl)
            }
            6 if self.release == Release::New => {
                let data = self.data();
                let flags = self.rng.random_range(5..7);
                let create = Request::named("createTTL").path(&path).with("data", data);
                create.with("flags", Value::Int(flags))
            }
            5..=10 => Request::named("delete").path(&path),
            11 | 12 => {
                let acl = self.acl();
                Request::named("setACL").path(&path).with("acl", acl)
            }
            13 => {
                let child = format!("{path}/child");
                Request::named("create").path(&child)
            }
            14 => Request::named("delete").path(&format!("{path}/child")),
            15 => {
                let number = self.rng.random_range(0..BULK);
                let data = self.data();
                let bulk = format!("/bulk/{number}");
                Request::named("setData").path(&bulk).with("data", data)
            }
            _ => {
                let data = self.data();
                Request::named("setData").path(&path).with("data", data)
            }
        }
    }

    fn request(&mut self) -> Request {
        if !self.rng.random_ratio(1, 8) {
            return self.single();
        }
        let mut ops = Vec::new();
        for _ in 0..self.rng.random_range(1..5) {
            let op = self.single();
            // setACL cannot be part of a multi.
            if op.code != 7 {
                ops.push(op);
            }
        }
        Request::named("multi").with("ops", Value::Requests(ops))
    }

    /// Paths whose counters must go on.
    pub(crate) fn parents() -> Vec<&'static str> {
        [&PARENTS[..], &["/bulk", ""]].concat()
    }
}
