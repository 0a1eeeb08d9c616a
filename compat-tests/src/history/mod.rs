//! What clients of an ensemble have done and seen, and whether an ensemble may behave so.
//!
//! A [`History`] holds what each session asked and what came back, in the order in which it came,
//! with times of one clock, and the trees of all servers after the last fault was healed. The rules
//! are checked apart from each other:
//!
//! * [`order`]: replies in the order of requests, no session goes back, writes have one order that
//!   time agrees with, `sync` is a barrier;
//! * [`registers`]: what reads show is what the writes up to their zxid have made;
//! * [`queue`]: every create once, a session's creates in their order and without a gap;
//! * [`watches`]: each armed watch fires once, for the first change, before newer data;
//! * [`ephemerals`]: ephemerals live as long as their session, sessions as long as their writes;
//! * [`calm`]: as long as nothing is done to the servers, no connection ends by itself;
//! * [`trees`]: in the end all servers have the same tree.
//!
//! A write's zxid is its place in the one order of all writes, a reply's zxid is a lower bound for
//! the state behind it. So no search is needed: every rule compares numbers, and a violation names
//! two or three requests that cannot be explained together.
//!
//! What remains open is said by no rule: a write without an answer may have been applied or not.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

mod calm;
mod ephemerals;
mod order;
mod queue;
mod registers;
#[cfg(test)]
mod tests;
mod trees;
mod watches;

/// Time since the run began, of the one clock that all clients share.
pub type Moment = Duration;

/// The reply code of a request whose znode is absent.
pub const NO_NODE: i32 = -101;
/// The reply code of a conditional write whose version is another.
pub const BAD_VERSION: i32 = -103;

/// Directory of sequential znodes.
pub const QUEUE: &str = "/faults/queue";
/// Directory of ephemerals.
pub const GUESTS: &str = "/faults/guests";

#[derive(Clone, Debug, Default)]
pub struct History {
    pub sessions: Vec<Session>,
    /// The tree below the test's root as each server had it in the end.
    pub trees: Vec<Tree>,
    /// By how much a session may be shorter than its time-out: a server tells the leader of its
    /// sessions now and then only.
    pub slack: Duration,
    /// Until then nothing was done to the servers.
    pub calm: Moment,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub client: usize,
    pub id: i64,
    pub timeout: Duration,
    pub connections: Vec<Connection>,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In use when the run ended.
    Alive,
    /// The client closed it, or just went away.
    Left,
    /// A server refused to attach it.
    Expired { at: Moment },
}

#[derive(Clone, Debug)]
pub struct Connection {
    pub server: usize,
    /// In the order of sending.
    pub requests: Vec<Request>,
    /// What came, in the order of its coming.
    pub frames: Vec<Frame>,
    /// When it ended and the client had not wished that.
    pub lost: Option<Moment>,
}

#[derive(Clone, Debug)]
pub enum Frame {
    /// The answer to the request with this index.
    Answer(usize),
    Event(Event),
    /// Something that no request has asked for.
    Stray {
        xid: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub at: Moment,
    /// -1 when setWatches made it.
    pub zxid: i64,
    pub kind: i32,
    pub path: String,
}

pub mod event_kind {
    pub const CREATED: i32 = 1;
    pub const DELETED: i32 = 2;
    pub const CHANGED: i32 = 3;
    pub const CHILDREN: i32 = 4;
}

#[derive(Clone, Debug)]
pub struct Request {
    pub sent: Moment,
    pub ask: Ask,
    pub answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKind {
    Plain,
    /// Persistent and sequential.
    Sequential,
    Ephemeral,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `value` occurs in no other request.
    Set {
        path: String,
        value: u64,
        expected: i32,
    },
    Create {
        path: String,
        value: u64,
        kind: CreateKind,
    },
    Delete {
        path: String,
    },
    Get {
        path: String,
        watch: bool,
    },
    Exists {
        path: String,
        watch: bool,
    },
    Children {
        path: String,
        watch: bool,
    },
    Sync,
    SetWatches {
        data: Vec<String>,
        exist: Vec<String>,
        child: Vec<String>,
    },
    Ping,
    Close,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub at: Moment,
    pub zxid: i64,
    pub outcome: Result<Body, i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Nothing,
    Stat(Stat),
    Data(u64, Stat),
    Children(Vec<String>, Stat),
    Created(String, Stat),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub version: i32,
    pub owner: i64,
}

/// A tree as one server had it: value and stat of each path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub server: usize,
    pub znodes: BTreeMap<String, (u64, Stat)>,
}

/// What cannot be, with the requests that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    ReorderedSession,
    WentBack,
    WriteOrder,
    StaleAfterSync,
    WrongData,
    LostWrite,
    WriteTwice,
    LateEvent,
    MissingEvent,
    InventedEvent,
    EphemeralOutlives,
    EphemeralGone,
    SessionLost,
    ConnectionLost,
    ServersDiffer,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReorderedSession => "a session's requests out of order",
            Self::WentBack => "a session went back in time",
            Self::WriteOrder => "writes in an order that time denies",
            Self::StaleAfterSync => "a stale read after sync",
            Self::WrongData => "data that no order of writes explains",
            Self::LostWrite => "an acknowledged write is lost",
            Self::WriteTwice => "a write was applied more than once",
            Self::LateEvent => "a watch event after newer data",
            Self::MissingEvent => "a watch event is missing",
            Self::InventedEvent => "a watch event without a watch or a change",
            Self::EphemeralOutlives => "an ephemeral outlives its session",
            Self::EphemeralGone => "an ephemeral is gone before its session",
            Self::SessionLost => "a session expired that was in use",
            Self::ConnectionLost => "a connection ended though nothing was wrong",
            Self::ServersDiffer => "servers have different trees",
        })
    }
}

/// All that is wrong with a history, in no particular order.
pub fn check(history: &History) -> Vec<Violation> {
    let facts = Facts::of(history);
    let mut found = Vec::new();
    calm::check(history, &mut found);
    order::check(history, &mut found);
    registers::check(history, &facts, &mut found);
    queue::check(history, &mut found);
    watches::check(history, &facts, &mut found);
    ephemerals::check(history, &mut found);
    trees::check(history, &mut found);
    found
}

impl Ask {
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Set { .. } | Self::Create { .. } | Self::Delete { .. } | Self::Close
        )
    }

    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Set { path, .. }
            | Self::Create { path, .. }
            | Self::Delete { path }
            | Self::Get { path, .. }
            | Self::Exists { path, .. }
            | Self::Children { path, .. } => Some(path),
            Self::Sync | Self::SetWatches { .. } | Self::Ping | Self::Close => None,
        }
    }

    fn watches(&self) -> bool {
        match self {
            Self::Get { watch, .. } | Self::Exists { watch, .. } | Self::Children { watch, .. } => {
                *watch
            }
            _ => false,
        }
    }
}

impl Request {
    /// The zxid and body of a success.
    fn success(&self) -> Option<(&Answer, &Body)> {
        let answer = self.answer.as_ref()?;
        answer.outcome.as_ref().ok().map(|body| (answer, body))
    }

    fn is_write(&self) -> bool {
        self.ask.is_write()
    }
}

impl Session {
    fn requests(&self) -> impl Iterator<Item = &Request> {
        self.connections.iter().flat_map(|conn| &conn.requests)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.sent.as_secs_f64();
        match &self.ask {
            Ask::Set {
                path,
                value,
                expected,
            } => write!(f, "setData {path} = {value} (expecting {expected})")?,
            Ask::Create { path, value, kind } => write!(f, "create {kind:?} {path} = {value}")?,
            Ask::Delete { path } => write!(f, "delete {path}")?,
            Ask::Get { path, watch } => write!(f, "getData {path} watch={watch}")?,
            Ask::Exists { path, watch } => write!(f, "exists {path} watch={watch}")?,
            Ask::Children { path, watch } => write!(f, "getChildren {path} watch={watch}")?,
            other => write!(f, "{other:?}")?,
        }
        write!(f, ", sent {sent:.4} s")?;
        match &self.answer {
            None => f.write_str(", no answer"),
            Some(answer) => {
                let (at, zxid) = (answer.at.as_secs_f64(), answer.zxid);
                write!(f, ", answered {at:.4} s, zxid {zxid:#x}: ")?;
                match &answer.outcome {
                    Ok(Body::Children(names, stat)) if names.len() > 8 => {
                        write!(f, "{} children, {stat:?}", names.len())
                    }
                    Ok(body) => write!(f, "{body:?}"),
                    Err(code) => write!(f, "error {code}"),
                }
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:\n  {}", self.rule, self.text.replace('\n', "\n  "))
    }
}

/// "client 3, session 0x1..., server 2: request"
fn told(session: &Session, connection: &Connection, request: &dyn fmt::Display) -> String {
    format!(
        "client {}, session {:#x}, server {}: {request}",
        session.client, session.id, connection.server
    )
}

fn report(found: &mut Vec<Violation>, rule: Rule, text: String) {
    found.push(Violation { rule, text });
}

/// Every request of the history with whose it was.
fn all(history: &History) -> impl Iterator<Item = (&Session, &Connection, &Request)> {
    history.sessions.iter().flat_map(|session| {
        session.connections.iter().flat_map(move |connection| {
            let requests = connection.requests.iter();
            requests.map(move |request| (session, connection, request))
        })
    })
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Created,
    Set,
    Deleted,
}

/// What is known for sure about changes, from whomever, and what may have happened beside it.
#[derive(Debug, Default)]
struct Facts {
    /// By path and zxid.
    changes: HashMap<String, BTreeMap<i64, Change>>,
    /// zxids at which the list of a znode's children changed.
    child_changes: HashMap<String, BTreeMap<i64, ()>>,
    /// When the earliest write of unknown outcome to this path was sent.
    open: HashMap<String, Moment>,
    /// The same for its deletion, by request.
    open_deletes: HashMap<String, Moment>,
    /// The same for its children, the ends of sessions included.
    open_children: HashMap<String, Moment>,
}

impl Facts {
    fn of(history: &History) -> Self {
        let mut facts = Self::default();
        for (session, _, request) in all(history) {
            match request.success() {
                Some((answer, body)) => facts.learn(session, request, answer, body),
                None if request.answer.is_none() => facts.doubt(session, request),
                // A refused write has changed nothing.
                None => {}
            }
        }
        for session in &history.sessions {
            // The ephemerals of a session that ended in silence go at a zxid that nobody is told.
            let closed = session
                .requests()
                .any(|request| request.ask == Ask::Close && request.success().is_some());
            if session.end != End::Alive && !closed {
                for path in ephemerals_of(session) {
                    facts.doubt_path(path, Moment::ZERO);
                }
            }
        }
        for tree in &history.trees {
            for (path, (_, stat)) in &tree.znodes {
                facts.learn_stat(path, stat);
            }
        }
        facts
    }

    fn learn(&mut self, session: &Session, request: &Request, answer: &Answer, body: &Body) {
        let zxid = answer.zxid;
        match (&request.ask, body) {
            (Ask::Set { path, .. }, _) => self.change(path, zxid, Change::Set),
            (Ask::Create { .. }, Body::Created(path, _)) => {
                self.change(path, zxid, Change::Created);
            }
            (Ask::Delete { path }, _) => self.change(path, zxid, Change::Deleted),
            (Ask::Close, _) => {
                for path in ephemerals_of(session) {
                    let last = self.last_change(path, i64::MAX);
                    let sure = !self.open_deletes.contains_key(path);
                    match last {
                        Some((_, Change::Deleted)) => {}
                        Some(_) if sure => self.change(path, zxid, Change::Deleted),
                        _ => self.doubt_path(path, request.sent),
                    }
                }
            }
            (
                Ask::Get { path, .. } | Ask::Exists { path, .. },
                Body::Data(_, stat) | Body::Stat(stat),
            ) => self.learn_stat(path, stat),
            (Ask::Children { path, .. }, Body::Children(_, stat)) => self.learn_stat(path, stat),
            _ => {}
        }
    }

    fn learn_stat(&mut self, path: &str, stat: &Stat) {
        self.change(path, stat.czxid, Change::Created);
        if stat.mzxid > stat.czxid {
            self.change(path, stat.mzxid, Change::Set);
        }
        if stat.pzxid > stat.czxid {
            let changes = self.child_changes.entry(path.to_owned()).or_default();
            changes.insert(stat.pzxid, ());
        }
    }

    fn change(&mut self, path: &str, zxid: i64, change: Change) {
        let changes = self.changes.entry(path.to_owned()).or_default();
        changes.insert(zxid, change);
        if change != Change::Set {
            let siblings = self.child_changes.entry(parent(path).to_owned());
            siblings.or_default().insert(zxid, ());
        }
    }

    fn doubt(&mut self, session: &Session, request: &Request) {
        match &request.ask {
            Ask::Set { path, .. } => earliest(&mut self.open, path, request.sent),
            Ask::Create { path, .. } => {
                earliest(&mut self.open, path, request.sent);
                earliest(&mut self.open_children, parent(path), request.sent);
            }
            Ask::Delete { path } => self.doubt_path(path, request.sent),
            Ask::Close => {
                for path in ephemerals_of(session) {
                    self.doubt_path(path, request.sent);
                }
            }
            _ => {}
        }
    }

    /// From this moment on the path may be deleted.
    fn doubt_path(&mut self, path: &str, at: Moment) {
        earliest(&mut self.open, path, at);
        earliest(&mut self.open_deletes, path, at);
        earliest(&mut self.open_children, parent(path), at);
    }

    /// The first known change of a path behind a zxid.
    fn next_change(&self, path: &str, after: i64) -> Option<(i64, Change)> {
        let changes = self.changes.get(path)?;
        let mut later = changes.range(after.saturating_add(1)..);
        later.next().map(|(zxid, change)| (*zxid, *change))
    }

    fn next_child_change(&self, path: &str, after: i64) -> Option<i64> {
        let changes = self.child_changes.get(path)?;
        let mut later = changes.range(after.saturating_add(1)..);
        later.next().map(|(zxid, ())| *zxid)
    }

    /// The last known change of a path up to a zxid.
    fn last_change(&self, path: &str, upto: i64) -> Option<(i64, Change)> {
        let changes = self.changes.get(path)?;
        let mut earlier = changes.range(..=upto);
        earlier.next_back().map(|(zxid, change)| (*zxid, *change))
    }
}

fn earliest(moments: &mut HashMap<String, Moment>, path: &str, at: Moment) {
    let first = moments.entry(path.to_owned()).or_insert(at);
    *first = at.min(*first);
}

/// The ephemerals that a session has asked for, created or not.
fn ephemerals_of(session: &Session) -> impl Iterator<Item = &str> {
    session.requests().filter_map(|request| match &request.ask {
        Ask::Create {
            path,
            kind: CreateKind::Ephemeral,
            ..
        } => Some(path.as_str()),
        _ => None,
    })
}
