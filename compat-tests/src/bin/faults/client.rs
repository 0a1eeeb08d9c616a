//! One client: sessions on any server, many requests in flight, everything written down.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use meerkat_compat_tests::history::{
    Answer, Ask, Body, Connection, CreateKind, End, Event, Frame, GUESTS, Moment, NO_NODE, QUEUE,
    Request, Session, Stat, event_kind,
};
use meerkat_compat_tests::wire::{self, Blob, Connect, List, Value, ZxidValue};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

pub(crate) const REGISTERS: usize = 6;
const FLIPS: usize = 4;
/// For the TCP handshake; a paused server still makes one.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// For the answer to a connect request, which needs the leader when the session is new.
const ATTACH_LIMIT: Duration = Duration::from_secs(2);
/// Between attempts to find a server.
const RETRY_PAUSE: Duration = Duration::from_millis(40);
/// How long reading may take before there is something else to do.
const TURN: Duration = Duration::from_millis(10);
/// From one burst of requests to the next, at most.
const PACE_MS_MAX: u64 = 120;
const BURST_MAX: usize = 6;
const IN_FLIGHT_MAX: usize = 24;
const FRAME_BYTES_MAX: usize = 16 << 20;
const CHUNK_BYTES: usize = 64 << 10;
/// Ephemerals of one session at a time.
const GUESTS_MAX: usize = 4;
/// Names of others' ephemerals to look for.
const NAMES_MAX: usize = 64;
/// One burst in so many is the last one on its connection, or of its session.
const MOVE_ODDS: u32 = 60;
const LEAVE_ODDS: u32 = 150;
/// Old connections that stay open though their session has moved on.
const GHOSTS_MAX: usize = 3;
const TIMEOUTS_MS: [i32; 3] = [3000, 6000, 6000];
const SET_WATCHES_XID: i32 = -8;
const PING_XID: i32 = -2;
const EVENT_XID: i32 = -1;

/// What all clients of a round share.
pub(crate) struct Shared {
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) clock: Instant,
    /// No more faults and no more load: every client comes to rest.
    pub(crate) quiet: AtomicBool,
    /// How many have.
    pub(crate) settled: AtomicUsize,
    pub(crate) over: AtomicBool,
    /// Recent ephemerals.
    pub(crate) names: Mutex<VecDeque<String>>,
    /// Sessions that clients have in the end.
    alive: Mutex<HashSet<i64>>,
}

impl Shared {
    pub(crate) fn new(addrs: Vec<SocketAddr>) -> Self {
        Self {
            addrs,
            clock: Instant::now(),
            quiet: AtomicBool::new(false),
            settled: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            names: Mutex::default(),
            alive: Mutex::default(),
        }
    }

    pub(crate) fn alive(&self) -> HashSet<i64> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.clone()
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.elapsed()
    }
}

pub(crate) fn register(index: usize) -> String {
    format!("/faults/register-{index}")
}

pub(crate) struct Client<'a> {
    index: usize,
    shared: &'a Shared,
    rng: ChaCha8Rng,
    next_value: u64,
    sessions: Vec<Session>,
    password: Vec<u8>,
    /// The highest zxid of a reply, as clients send it when they come again.
    seen: i64,
    watches: Watches,
    wire: Option<Wire>,
    ghosts: VecDeque<TcpStream>,
    own_guests: Vec<String>,
    /// Last version seen of each register.
    versions: BTreeMap<String, i32>,
}

/// What the client believes to be armed.
#[derive(Default)]
struct Watches {
    /// Whether the znode was there.
    data: BTreeMap<String, bool>,
    child: BTreeMap<String, ()>,
}

/// An attached connection.
struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    next_xid: i32,
    /// xid and index of what waits for its answer.
    in_flight: VecDeque<(i32, usize)>,
    pings: VecDeque<usize>,
    heard: Instant,
    spoke: Instant,
}

enum Attached {
    Yes,
    Not,
    Expired,
}

impl<'a> Client<'a> {
    pub(crate) fn new(index: usize, shared: &'a Shared, rng: ChaCha8Rng) -> Self {
        Self {
            index,
            shared,
            rng,
            next_value: 0,
            sessions: Vec::new(),
            password: Vec::new(),
            seen: 0,
            watches: Watches::default(),
            wire: None,
            ghosts: VecDeque::new(),
            own_guests: Vec::new(),
            versions: BTreeMap::new(),
        }
    }

    /// Works until the round is over, and tells what it has seen.
    ///
    /// # Errors
    /// When a server sends what no server may.
    pub(crate) fn run(mut self) -> Result<Vec<Session>> {
        let mut next_burst = Instant::now();
        while !self.quiet() {
            if self.wire.is_none() {
                self.attach()?;
                continue;
            }
            if Instant::now() >= next_burst && self.in_flight() < IN_FLIGHT_MAX {
                self.burst();
                let pace = self.rng.random_range(1..PACE_MS_MAX);
                next_burst = Instant::now() + Duration::from_millis(pace);
            }
            self.turn()?;
        }
        self.settle()?;
        Ok(self.sessions)
    }

    fn quiet(&self) -> bool {
        self.shared.quiet.load(Ordering::Relaxed)
    }

    fn over(&self) -> bool {
        self.shared.over.load(Ordering::Relaxed)
    }

    /// Comes to rest: one last look behind a sync and one last write, then heartbeats only.
    fn settle(&mut self) -> Result<()> {
        let mut asked_on = None;
        let mut settled = false;
        while !self.over() {
            if !self.is_alive() {
                // Expired, or between two sessions: nothing is left to say.
                self.note_settled(&mut settled);
                thread::sleep(TURN);
                continue;
            }
            if self.wire.is_none() {
                asked_on = None;
                self.attach()?;
                continue;
            }
            let connections = self.session().connections.len();
            if asked_on.is_none() {
                self.ask(Ask::Sync);
                for index in 0..REGISTERS {
                    self.ask(Ask::Get {
                        path: register(index),
                        watch: false,
                    });
                }
                self.enqueue();
                asked_on = Some(connections);
            }
            self.turn()?;
            if self.wire.is_some() && self.in_flight() == 0 {
                let id = self.session().id;
                let mut alive = self
                    .shared
                    .alive
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                alive.insert(id);
                drop(alive);
                self.note_settled(&mut settled);
            }
        }
        Ok(())
    }

    fn note_settled(&self, settled: &mut bool) {
        if !*settled {
            *settled = true;
            self.shared.settled.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_alive(&self) -> bool {
        let last = self.sessions.last();
        last.is_some_and(|session| session.end == End::Alive)
    }

    fn in_flight(&self) -> usize {
        self.wire.as_ref().map_or(0, |wire| wire.in_flight.len())
    }

    fn session(&mut self) -> &mut Session {
        self.sessions.last_mut().expect("attached before it asks")
    }

    fn connection(&mut self) -> &mut Connection {
        let connections = &mut self.session().connections;
        connections.last_mut().expect("attached before it asks")
    }

    // ---- connections --------------------------------------------------------------------------

    fn attach(&mut self) -> Result<()> {
        let servers = self.shared.addrs.len();
        let server = self.rng.random_range(0..servers);
        match self.try_attach(server)? {
            Attached::Yes => {}
            Attached::Not => thread::sleep(RETRY_PAUSE),
            Attached::Expired => {
                let at = self.shared.now();
                self.end(End::Expired { at });
            }
        }
        Ok(())
    }

    fn try_attach(&mut self, server: usize) -> Result<Attached> {
        let resumed = self.sessions.last().filter(|s| s.end == End::Alive);
        let known = resumed.map(|session| session.id);
        let timeout_ms = match resumed {
            Some(session) => i32::try_from(session.timeout.as_millis())?,
            None => *TIMEOUTS_MS.choose(&mut self.rng).context("no time-outs")?,
        };
        let addr = self.shared.addrs[server];
        let Ok(stream) = TcpStream::connect_timeout(&addr, CONNECT_LIMIT) else {
            return Ok(Attached::Not);
        };
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ATTACH_LIMIT))?;
        let now = Instant::now();
        let mut wire = Wire {
            stream,
            received: Vec::new(),
            next_xid: 1,
            in_flight: VecDeque::new(),
            pings: VecDeque::new(),
            heard: now,
            spoke: now,
        };
        let connect = Connect {
            zxid: ZxidValue::At(self.seen),
            timeout_ms,
            ..Connect::default()
        };
        let none = [0; 16];
        let password = match known {
            Some(_) => &self.password[..],
            None => &none,
        };
        wire.send(&connect.encode(known.unwrap_or(0), password, 0));
        let deadline = Instant::now() + ATTACH_LIMIT;
        let reply = loop {
            if let Some(frame) = wire.frame()? {
                break frame;
            }
            if Instant::now() > deadline || !wire.fill(TURN) {
                return Ok(Attached::Not);
            }
        };
        let mut body = Reader(&reply);
        let _version = body.int()?;
        let (granted, id) = (body.int()?, body.long()?);
        if granted <= 0 || id == 0 {
            ensure!(known.is_some(), "a server refused a new session");
            return Ok(Attached::Expired);
        }
        ensure!(
            known.is_none_or(|known| known == id),
            "session {known:x?} came back as {id:#x}"
        );
        if known.is_none() {
            self.password = body.bytes()?.to_vec();
            self.sessions.push(Session {
                client: self.index,
                id,
                timeout: Duration::from_millis(u64::try_from(granted)?),
                connections: Vec::new(),
                end: End::Alive,
            });
        }
        self.session().connections.push(Connection {
            server: server + 1,
            requests: Vec::new(),
            frames: Vec::new(),
            lost: None,
        });
        self.wire = Some(wire);
        self.set_watches();
        Ok(Attached::Yes)
    }

    fn set_watches(&mut self) {
        let Watches { data, child } = &self.watches;
        if data.is_empty() && child.is_empty() {
            return;
        }
        let there = |wanted: bool| -> Vec<String> {
            let paths = data.iter().filter(|(_, there)| **there == wanted);
            paths.map(|(path, _)| path.clone()).collect()
        };
        let ask = Ask::SetWatches {
            data: there(true),
            exist: there(false),
            child: child.keys().cloned().collect(),
        };
        self.ask(ask);
    }

    /// The session is over; the next one knows nothing of it.
    fn end(&mut self, end: End) {
        self.session().end = end;
        self.wire = None;
        self.watches = Watches::default();
        self.own_guests.clear();
    }

    // ---- sending ------------------------------------------------------------------------------

    fn burst(&mut self) {
        for _ in 0..self.rng.random_range(1..=BURST_MAX) {
            self.something();
        }
        if self.rng.random_ratio(1, LEAVE_ODDS) {
            self.leave();
        } else if self.rng.random_ratio(1, MOVE_ODDS) {
            // Its requests may still be on their way when the session speaks elsewhere.
            if let Some(wire) = self.wire.take()
                && self.rng.random()
            {
                self.ghosts.push_back(wire.stream);
                if self.ghosts.len() > GHOSTS_MAX {
                    self.ghosts.pop_front();
                }
            }
        }
    }

    /// Closes the session in form, or is just never heard of again.
    fn leave(&mut self) {
        if self.rng.random() {
            self.ask(Ask::Close);
            let deadline = Instant::now() + ATTACH_LIMIT;
            while self.in_flight() > 0 && Instant::now() < deadline {
                // What is not understood counts as no answer.
                if self.turn().is_err() {
                    self.wire = None;
                }
            }
        }
        self.end(End::Left);
    }

    fn something(&mut self) {
        match self.rng.random_range(0..100) {
            0..22 => self.set(),
            22..36 => self.get(),
            36..46 => {
                self.ask(Ask::Sync);
                self.get();
            }
            46..62 => self.enqueue(),
            62..82 => self.guests(),
            _ => self.flip(),
        }
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        // Of no other client.
        (u64::try_from(self.index).unwrap_or(0) + 1) << 40 | self.next_value
    }

    fn any_register(&mut self) -> String {
        register(self.rng.random_range(0..REGISTERS))
    }

    fn set(&mut self) {
        let path = self.any_register();
        let known = self.versions.get(&path).copied();
        let expected = match known {
            Some(version) if self.rng.random_ratio(1, 4) => version,
            _ => -1,
        };
        let value = self.value();
        self.ask(Ask::Set {
            path,
            value,
            expected,
        });
    }

    fn get(&mut self) {
        let path = self.any_register();
        let watch = self.rng.random_ratio(2, 5);
        self.ask(Ask::Get { path, watch });
    }

    fn enqueue(&mut self) {
        let value = self.value();
        self.ask(Ask::Create {
            path: format!("{QUEUE}/item-"),
            value,
            kind: CreateKind::Sequential,
        });
    }

    fn guests(&mut self) {
        match self.rng.random_range(0..4) {
            0 if self.own_guests.len() < GUESTS_MAX => {
                let value = self.value();
                let path = format!("{GUESTS}/guest-{}-{}", self.index, self.next_value);
                self.own_guests.push(path.clone());
                let mut names = self
                    .shared
                    .names
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                names.push_back(path.clone());
                if names.len() > NAMES_MAX {
                    names.pop_front();
                }
                drop(names);
                self.ask(Ask::Create {
                    path,
                    value,
                    kind: CreateKind::Ephemeral,
                });
            }
            1 if self.own_guests.len() > 1 => {
                let index = self.rng.random_range(0..self.own_guests.len());
                let path = self.own_guests.swap_remove(index);
                self.ask(Ask::Delete { path });
            }
            2 => {
                let names = self
                    .shared
                    .names
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let (front, back) = names.as_slices();
                let all = [front, back].concat();
                drop(names);
                if let Some(path) = all.choose(&mut self.rng).cloned() {
                    let watch = false;
                    self.sync_sometimes();
                    self.ask(Ask::Exists { path, watch });
                }
            }
            _ => {
                let watch = self.rng.random();
                self.sync_sometimes();
                self.ask(Ask::Children {
                    path: GUESTS.to_owned(),
                    watch,
                });
            }
        }
    }

    fn sync_sometimes(&mut self) {
        if self.rng.random() {
            self.ask(Ask::Sync);
        }
    }

    fn flip(&mut self) {
        let path = format!("/faults/flip-{}", self.rng.random_range(0..FLIPS));
        let watch = self.rng.random();
        let ask = match self.rng.random_range(0..5) {
            0 | 1 => Ask::Exists { path, watch },
            2 => Ask::Get { path, watch },
            3 => Ask::Delete { path },
            _ => Ask::Create {
                path,
                value: self.value(),
                kind: CreateKind::Plain,
            },
        };
        self.ask(ask);
    }

    fn ask(&mut self, ask: Ask) {
        let sent = self.shared.now();
        let seen = self.seen;
        let Some(wire) = &mut self.wire else {
            return;
        };
        let request = on_the_wire(&ask);
        let xid = request.xid_or(wire.next_xid);
        if xid > 0 {
            wire.next_xid += 1;
        }
        let message = request.encode(xid, seen);
        let connection = self
            .sessions
            .last_mut()
            .and_then(|s| s.connections.last_mut());
        let Some(connection) = connection else {
            return;
        };
        // Written down first: an answer must find its request.
        connection.requests.push(Request {
            sent,
            ask,
            answer: None,
        });
        let index = connection.requests.len() - 1;
        match xid {
            PING_XID => wire.pings.push_back(index),
            _ => wire.in_flight.push_back((xid, index)),
        }
        wire.send(&message);
    }

    // ---- receiving ----------------------------------------------------------------------------

    /// Reads what there is, pings when it is time, and gives up a server that is silent.
    fn turn(&mut self) -> Result<()> {
        let timeout = self.session().timeout;
        let Some(wire) = &mut self.wire else {
            return Ok(());
        };
        let open = wire.fill(TURN);
        while let Some(wire) = &mut self.wire {
            let Some(frame) = wire.frame()? else {
                break;
            };
            self.frame(&frame)?;
        }
        let Some(wire) = &self.wire else {
            return Ok(());
        };
        // As clients do: a third of the time-out to the next ping, two thirds without a word.
        if !open || wire.heard.elapsed() > timeout * 2 / 3 {
            self.wire = None;
            let at = self.shared.now();
            self.connection().lost = Some(at);
        } else if wire.spoke.elapsed() > timeout / 3 {
            self.ask(Ask::Ping);
        }
        Ok(())
    }

    fn frame(&mut self, frame: &[u8]) -> Result<()> {
        let at = self.shared.now();
        let mut reader = Reader(frame);
        let (xid, zxid, err) = (reader.int()?, reader.long()?, reader.int()?);
        if xid == EVENT_XID {
            return self.event(at, zxid, &mut reader);
        }
        let Some(wire) = &mut self.wire else {
            return Ok(());
        };
        let index = match xid {
            PING_XID => wire.pings.pop_front(),
            // Whatever comes is noted; the checker tells whether it was its turn.
            _ => {
                let place = wire.in_flight.iter().position(|(due, _)| *due == xid);
                place
                    .and_then(|place| wire.in_flight.remove(place))
                    .map(|(_, index)| index)
            }
        };
        let Some(index) = index else {
            self.connection().frames.push(Frame::Stray { xid });
            return Ok(());
        };
        let ask = self.connection().requests[index].ask.clone();
        let outcome = match err {
            0 => Ok(body(&ask, &mut reader)
                .with_context(|| format!("the answer to {ask:?}: {}", wire::hex(frame)))?),
            code => Err(code),
        };
        // As clients do, who do not count pings.
        if zxid > 0 && xid != PING_XID {
            self.seen = self.seen.max(zxid);
        }
        self.note(&ask, &outcome);
        let connection = self.connection();
        connection.requests[index].answer = Some(Answer { at, zxid, outcome });
        connection.frames.push(Frame::Answer(index));
        Ok(())
    }

    fn event(&mut self, at: Moment, zxid: i64, reader: &mut Reader<'_>) -> Result<()> {
        let (kind, _state, path) = (reader.int()?, reader.int()?, reader.text()?);
        match kind {
            event_kind::CHILDREN => drop(self.watches.child.remove(&path)),
            _ => drop(self.watches.data.remove(&path)),
        }
        let event = Event {
            at,
            zxid,
            kind,
            path,
        };
        self.connection().frames.push(Frame::Event(event));
        Ok(())
    }

    /// What the client itself remembers of an answer.
    fn note(&mut self, ask: &Ask, outcome: &Result<Body, i32>) {
        match (ask, outcome) {
            (Ask::Get { path, watch: true }, Ok(_))
            | (Ask::Exists { path, watch: true }, Ok(_)) => {
                self.watches.data.insert(path.clone(), true);
            }
            (Ask::Exists { path, watch: true }, Err(NO_NODE)) => {
                self.watches.data.insert(path.clone(), false);
            }
            (Ask::Children { path, watch: true }, Ok(_)) => {
                self.watches.child.insert(path.clone(), ());
            }
            _ => {}
        }
        if let (
            Ask::Get { path, .. } | Ask::Set { path, .. },
            Ok(Body::Data(_, stat) | Body::Stat(stat)),
        ) = (ask, outcome)
        {
            self.versions.insert(path.clone(), stat.version);
        }
    }
}

impl Wire {
    /// A connection that broke meanwhile shows itself at the next read.
    fn send(&mut self, message: &[u8]) {
        let mut frame = u32::try_from(message.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes()
            .to_vec();
        frame.extend(message);
        let _ = self.stream.write_all(&frame);
        self.spoke = Instant::now();
    }

    /// Waits so long for bytes. False when the connection has ended.
    fn fill(&mut self, limit: Duration) -> bool {
        if self.stream.set_read_timeout(Some(limit)).is_err() {
            return false;
        }
        let mut chunk = [0; CHUNK_BYTES];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.received.extend(&chunk[..count]);
                self.heard = Instant::now();
                true
            }
            Err(error) => matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ),
        }
    }

    fn frame(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(prefix) = self.received.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        ensure!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        if self.received.len() < 4 + length {
            return Ok(None);
        }
        let frame = self.received[4..4 + length].to_vec();
        self.received.drain(..4 + length);
        Ok(Some(frame))
    }
}

fn blob(value: u64) -> Value {
    Value::Blob(Blob::Bytes(value.to_be_bytes().to_vec()))
}

fn texts(paths: &[String]) -> Value {
    Value::Blobs(List::Items(
        paths.iter().map(|path| Blob::text(path)).collect(),
    ))
}

fn on_the_wire(ask: &Ask) -> wire::Request {
    let named = wire::Request::named;
    let reading = |name: &str, path: &str, watch: bool| {
        let watch = Value::Byte(u8::from(watch));
        named(name).path(path).with("watch", watch)
    };
    match ask {
        Ask::Set {
            path,
            value,
            expected,
        } => named("setData")
            .path(path)
            .with("data", blob(*value))
            .with("version", Value::Int(*expected)),
        Ask::Create { path, value, kind } => {
            let flags = match kind {
                CreateKind::Plain => 0,
                CreateKind::Ephemeral => 1,
                CreateKind::Sequential => 2,
            };
            named("create2")
                .path(path)
                .with("data", blob(*value))
                .with("flags", Value::Int(flags))
        }
        Ask::Delete { path } => named("delete").path(path),
        Ask::Get { path, watch } => reading("getData", path, *watch),
        Ask::Exists { path, watch } => reading("exists", path, *watch),
        Ask::Children { path, watch } => reading("getChildren2", path, *watch),
        Ask::Sync => named("sync").path("/faults"),
        Ask::SetWatches { data, exist, child } => {
            let mut request = named("setWatches")
                .with("data", texts(data))
                .with("exist", texts(exist))
                .with("child", texts(child));
            request.xid = Some(SET_WATCHES_XID);
            request
        }
        Ask::Ping => named("ping"),
        Ask::Close => named("closeSession"),
    }
}

fn body(ask: &Ask, reader: &mut Reader<'_>) -> Result<Body> {
    Ok(match ask {
        Ask::Set { .. } | Ask::Exists { .. } => Body::Stat(reader.stat()?),
        Ask::Create { .. } => Body::Created(reader.text()?, reader.stat()?),
        Ask::Get { .. } => Body::Data(reader.value()?, reader.stat()?),
        Ask::Children { .. } => Body::Children(reader.names()?, reader.stat()?),
        Ask::Delete { .. } | Ask::Sync | Ask::SetWatches { .. } | Ask::Ping | Ask::Close => {
            Body::Nothing
        }
    })
}

/// Takes records apart from their front.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("too short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub(crate) fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.int()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            // Null.
            Err(_) if length == -1 => Ok(&[]),
            Err(_) => bail!("a length of {length}"),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        Ok(std::str::from_utf8(self.bytes()?)?.to_owned())
    }

    pub(crate) fn names(&mut self) -> Result<Vec<String>> {
        let count = self.int()?;
        (0..count).map(|_| self.text()).collect()
    }

    /// Data is a number, or nothing, which is 0.
    pub(crate) fn value(&mut self) -> Result<u64> {
        let bytes = self.bytes()?;
        if bytes.is_empty() {
            return Ok(0);
        }
        let number = bytes.try_into().context("data that no client writes")?;
        Ok(u64::from_be_bytes(number))
    }

    pub(crate) fn stat(&mut self) -> Result<Stat> {
        let (czxid, mzxid) = (self.long()?, self.long()?);
        let _times = (self.long()?, self.long()?);
        let version = self.int()?;
        let _others = (self.int()?, self.int()?);
        let owner = self.long()?;
        let _counts = (self.int()?, self.int()?);
        Ok(Stat {
            czxid,
            mzxid,
            pzxid: self.long()?,
            version,
            owner,
        })
    }
}
