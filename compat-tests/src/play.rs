//! Performs a script on one server and records all that came back.
//!
//! Nothing sleeps. After each step every session sends a ping and reads up to its answer: whatever
//! the step caused has then arrived, because a server sends the events of a change before it
//! answers anything that could show the change.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::client::{Admin, Connection, Received, framed};
use crate::script::{Script, Step, Wait};
use crate::wire::{Blob, Connect, Cutter, Field, Request, SessionNames, Token, TooShort, code};

/// The err of a reply to an opcode that the server does not have.
const UNIMPLEMENTED: i32 = -6;
/// What is noted when the server is silent for too long.
const NO_ANSWER: &str = "no answer";
/// How long a `gone` step asks.
const GONE_LIMIT: Duration = Duration::from_secs(60);
/// Between two questions of a `gone` step.
const GONE_PAUSE: Duration = Duration::from_millis(50);

/// Changes a frame on its way in; the opcode is that of the request, none for events.
/// Lets a test see that a wrong server is found out.
pub type Tamper = dyn Fn(Option<i32>, &mut Vec<u8>) + Send + Sync;

/// Something that a session received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub step: usize,
    pub session: String,
    pub what: What,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The answer to a connect request.
    Connected,
    Reply {
        op: i32,
        request: String,
    },
    Event,
    /// A frame on a connection without a handshake, or one that answers nothing.
    Frame,
    /// Says what happened instead of a frame.
    Note(&'static str),
}

/// All that one server answered.
#[derive(Clone, Debug)]
pub struct Recording {
    pub items: Vec<Item>,
    /// No znode can be older than this, milliseconds since 1970.
    pub earliest_ms: i64,
    pub latest_ms: i64,
    /// Time from the first to the last step.
    pub took: Duration,
}

impl Recording {
    /// Puts a name in place of a text that differs between servers by nature.
    pub fn name(&mut self, text: &str, name: &str) {
        for field in self.items.iter_mut().flat_map(|item| &mut item.fields) {
            if let Token::Literal(literal) = &mut field.token
                && literal.contains(text)
            {
                *literal = literal.replace(text, name);
            }
        }
    }

    /// A configuration's version is the zxid that has written it, in hexadecimal digits. Puts a
    /// name in their place; the zxid stands beside it in the Stat, and is compared there.
    pub fn name_versions(&mut self) {
        for item in &mut self.items {
            let zxids: Vec<i64> = item
                .fields
                .iter()
                .filter(|field| field.name == "mzxid")
                .filter_map(|field| match field.token {
                    Token::Zxid(zxid) => Some(zxid),
                    _ => None,
                })
                .collect();
            for field in &mut item.fields {
                if let Token::Literal(literal) = &mut field.token {
                    for zxid in &zxids {
                        // The last thing in the text, before the quote.
                        let version = format!("\\x0aversion={zxid:x}\"");
                        *literal = literal.replace(&version, "\\x0aversion=<mzxid>\"");
                    }
                }
            }
        }
    }

    /// The first step whose answer did not come.
    pub fn unanswered(&self) -> Option<usize> {
        let mut items = self.items.iter();
        items
            .find(|item| item.what == What::Note(NO_ANSWER))
            .map(|item| item.step)
    }
}

struct Pending {
    xid: i32,
    /// None: a ping between two steps, which is not recorded.
    request: Option<(i32, String)>,
}

struct Session {
    /// Unique in the recording, even when a script opens the name twice.
    label: String,
    id: i64,
    password: Vec<u8>,
    /// Highest zxid of an ordinary reply.
    seen: i64,
    next_xid: i32,
    connection: Option<Connection>,
    /// False for a bare connection.
    connected: bool,
    closed: bool,
    /// The server has said something after which it closes the connection. A ping could still be
    /// answered if it came quickly enough, so none is sent.
    ending: bool,
    pending: VecDeque<Pending>,
}

impl Session {
    fn new(label: String) -> Self {
        Self {
            label,
            id: 0,
            password: vec![0; 16],
            seen: 0,
            next_xid: 1,
            connection: None,
            connected: false,
            closed: false,
            ending: false,
            pending: VecDeque::new(),
        }
    }

    fn frames(&mut self, requests: &[Request]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for request in requests {
            let xid = request.xid_or(self.next_xid);
            self.next_xid += 1;
            bytes.extend(framed(&request.encode(xid, self.seen)));
            let expected = if request.code == code::PING { -2 } else { xid };
            let request = Some((request.code, request.to_string()));
            self.pending.push_back(Pending {
                xid: expected,
                request,
            });
        }
        bytes
    }
}

struct Player<'a> {
    addr: SocketAddr,
    tamper: Option<&'a Tamper>,
    sessions: BTreeMap<String, Session>,
    /// Sessions whose name was opened anew.
    retired: Vec<Session>,
    names: SessionNames,
    items: Vec<Item>,
    step: usize,
}

/// Plays a script, then closes all its sessions. `tamper` sees each frame before it is read.
///
/// # Errors
/// When the server cannot be reached or announces absurd frames; all else is recorded.
pub fn play(
    addr: SocketAddr,
    started: SystemTime,
    script: &Script,
    tamper: Option<&Tamper>,
) -> Result<Recording> {
    let begin = Instant::now();
    let mut player = Player {
        addr,
        tamper,
        sessions: BTreeMap::new(),
        retired: Vec::new(),
        names: SessionNames::new(),
        items: Vec::new(),
        step: 0,
    };
    for (index, step) in script.steps.iter().enumerate() {
        player.step = index;
        player.perform(step)?;
        player.settle()?;
    }
    let took = begin.elapsed();
    let items = std::mem::take(&mut player.items);
    player.close_all();
    Ok(Recording {
        items,
        earliest_ms: unix_ms(started) - 1,
        latest_ms: unix_ms(SystemTime::now()) + 1,
        took,
    })
}

fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

impl Player<'_> {
    fn perform(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Open {
                session: name,
                connect,
                requests,
            } => {
                let label = match self
                    .names
                    .values()
                    .filter(|label| is_label_of(label, name))
                    .count()
                {
                    0 => name.clone(),
                    opened => format!("{name}#{}", opened + 1),
                };
                let fresh = Session::new(label);
                if let Some(old) = self.sessions.insert(name.clone(), fresh) {
                    self.retired.push(old);
                }
                self.connect(name, connect, requests)
            }
            Step::Attach {
                session: name,
                connect,
                requests,
            } => {
                if !self.sessions.contains_key(name) {
                    self.note(name, "there is no such session");
                    return Ok(());
                }
                self.connect(name, connect, requests)
            }
            Step::Drop { session: name } => {
                if let Some(session) = self.sessions.get_mut(name) {
                    session.connection = None;
                    session.ending = false;
                    session.pending.clear();
                }
                Ok(())
            }
            Step::Send {
                session: name,
                requests,
            } => {
                let Some(session) = self.sessions.get_mut(name) else {
                    self.note(name, "there is no such session");
                    return Ok(());
                };
                if session.connection.is_none() {
                    self.note(name, "not connected");
                    return Ok(());
                }
                let bytes = session.frames(requests);
                if let Some(connection) = &mut session.connection {
                    connection.send(&bytes);
                }
                self.read_replies(name)
            }
            Step::Bytes {
                session: name,
                bytes,
                wait,
            } => self.bytes(name, bytes, *wait),
            Step::Gone {
                session: name,
                path,
            } => self.gone(name, path),
        }
    }

    fn note(&mut self, session: &str, note: &'static str) {
        let (session, what) = (session.to_owned(), What::Note(note));
        self.items.push(Item {
            step: self.step,
            session,
            what,
            fields: Vec::new(),
        });
    }

    fn connect(&mut self, name: &str, connect: &Connect, requests: &[Request]) -> Result<()> {
        let Some(session) = self.sessions.get_mut(name) else {
            return Ok(());
        };
        let mut old = session.connection.take();
        session.ending = false;
        session.pending.clear();
        let mut connection = Connection::open(self.addr)?;
        let mut bytes = framed(&connect.encode(session.id, &session.password, session.seen));
        bytes.extend(session.frames(requests));
        connection.send(&bytes);
        session.connection = Some(connection);
        session.connected = false;
        self.read_connect_response(name)?;
        // A connection that the session had before must end now.
        while let Some(connection) = &mut old {
            match connection.receive()? {
                Received::Frame(frame) => self.push_frame(name, &frame),
                Received::Closed(_) => {
                    self.note(name, "the old connection was closed");
                    old = None;
                }
                Received::Silent => {
                    self.note(name, "the old connection stays open");
                    old = None;
                }
            }
        }
        self.read_replies(name)
    }

    fn read_connect_response(&mut self, name: &str) -> Result<()> {
        let Some(frame) = self.receive(name)? else {
            return Ok(());
        };
        let Some(session) = self.sessions.get_mut(name) else {
            return Ok(());
        };
        let mut cutter = Cutter::new(&frame, &self.names);
        let answer = cutter.connect_response();
        let fields = cutter.finish();
        let what = What::Connected;
        self.items.push(Item {
            step: self.step,
            session: name.to_owned(),
            what,
            fields,
        });
        match answer {
            Ok((id, password)) if id != 0 => {
                (session.id, session.password, session.connected) = (id, password, true);
                self.names.insert(id, session.label.clone());
            }
            _ => {
                // Refused: what follows can only be the end.
                session.pending.clear();
                session.connected = false;
                self.read_to_end(name)?;
            }
        }
        Ok(())
    }

    /// One frame, or a note on why there is none; then the connection is given up.
    fn receive(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(session) = self.sessions.get_mut(name) else {
            return Ok(None);
        };
        let Some(connection) = &mut session.connection else {
            return Ok(None);
        };
        let note = match connection.receive()? {
            Received::Frame(frame) => return Ok(Some(frame)),
            Received::Closed(0) => "closed by the server",
            Received::Closed(_) => "closed by the server within a frame",
            Received::Silent => NO_ANSWER,
        };
        session.connection = None;
        session.ending = false;
        session.pending.clear();
        self.note(name, note);
        Ok(None)
    }

    fn read_to_end(&mut self, name: &str) -> Result<()> {
        while let Some(frame) = self.receive(name)? {
            self.push_frame(name, &frame);
        }
        Ok(())
    }

    fn push_frame(&mut self, name: &str, frame: &[u8]) {
        let fields = Cutter::new(frame, &self.names).finish();
        let (session, what) = (name.to_owned(), What::Frame);
        self.items.push(Item {
            step: self.step,
            session,
            what,
            fields,
        });
    }

    /// Reads until nothing is pending on this session, or to its end if that has been announced.
    fn read_replies(&mut self, name: &str) -> Result<()> {
        loop {
            let done = self
                .sessions
                .get(name)
                .is_none_or(|session| session.pending.is_empty() && !session.ending);
            if done {
                return Ok(());
            }
            let Some(frame) = self.receive(name)? else {
                return Ok(());
            };
            self.read_reply(name, frame);
        }
    }

    fn read_reply(&mut self, name: &str, mut frame: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(name) else {
            return;
        };
        let xid = frame
            .first_chunk::<4>()
            .map_or(0, |bytes| i32::from_be_bytes(*bytes));
        let position = session
            .pending
            .iter()
            .position(|pending| pending.xid == xid);
        let request = match position.and_then(|position| session.pending.remove(position)) {
            Some(Pending { request: None, .. }) => return,
            Some(Pending { request, .. }) => request,
            None => None,
        };
        let op = request.as_ref().map(|(op, _)| *op);
        if let Some(tamper) = self.tamper {
            tamper(op, &mut frame);
        }
        let mut cutter = Cutter::new(&frame, &self.names);
        let cut = cutter.reply_header().and_then(|(_, zxid, err)| {
            if let Some(op) = op {
                session.closed |= op == code::CLOSE_SESSION && err == 0;
                session.ending |= session.closed
                    || (err == UNIMPLEMENTED && zxid == -1)
                    || (matches!(op, code::AUTH | code::SASL) && err != 0);
                session.seen = session.seen.max(zxid);
                // An error has no body, but multiRead can have one all the same.
                let has_body = err == 0 || op == code::MULTI_READ && frame.len() > 16;
                return if has_body { cutter.body(op) } else { Ok(()) };
            }
            if xid == -1 { cutter.event() } else { Ok(()) }
        });
        let mut fields = cutter.finish();
        if let Err(TooShort) = cut {
            let token = Token::Literal(crate::wire::hex(&frame));
            fields.push(Field {
                name: "too short".to_owned(),
                bytes: Vec::new(),
                token,
            });
        }
        let what = match request {
            Some((op, request)) => What::Reply { op, request },
            None if xid == -1 => What::Event,
            None => What::Frame,
        };
        let in_order = position.is_none_or(|position| position == 0);
        self.items.push(Item {
            step: self.step,
            session: name.to_owned(),
            what,
            fields,
        });
        if !in_order {
            self.note(name, "answered out of order");
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8], wait: Wait) -> Result<()> {
        let session = self
            .sessions
            .entry(name.to_owned())
            .or_insert_with(|| Session::new(name.to_owned()));
        let connection = match &mut session.connection {
            Some(connection) => connection,
            None => session.connection.insert(Connection::open(self.addr)?),
        };
        connection.send(bytes);
        let bare = !session.connected;
        match wait {
            Wait::Closed => self.read_to_end(name),
            Wait::Frames(count) if bare && count > 0 => {
                // The first frame on a bare connection answers a connect request.
                self.read_connect_response(name)?;
                self.read_frames(name, count - 1)
            }
            Wait::Frames(count) => self.read_frames(name, count),
        }
    }

    fn read_frames(&mut self, name: &str, count: usize) -> Result<()> {
        for _ in 0..count {
            let Some(frame) = self.receive(name)? else {
                break;
            };
            self.read_reply(name, frame);
        }
        Ok(())
    }

    fn gone(&mut self, name: &str, path: &str) -> Result<()> {
        let deadline = Instant::now() + GONE_LIMIT;
        let mut admin = Admin::connect(self.addr)?;
        let note = loop {
            match admin.ask(&Request::named("exists").path(path))? {
                (-101, _) => break "gone",
                _ if Instant::now() > deadline => break "still there",
                _ => std::thread::sleep(GONE_PAUSE),
            }
        };
        admin.close()?;
        self.note(name, note);
        Ok(())
    }

    /// Lets everything arrive that the step has caused on any session.
    fn settle(&mut self) -> Result<()> {
        let ping = framed(&Request::new(code::PING).encode(-2, 0));
        for session in self
            .sessions
            .values_mut()
            .filter(|session| session.connected)
        {
            if let Some(connection) = &mut session.connection {
                connection.send(&ping);
                session.pending.push_back(Pending {
                    xid: -2,
                    request: None,
                });
            }
        }
        let names: Vec<String> = self.sessions.keys().cloned().collect();
        names.iter().try_for_each(|name| self.read_replies(name))
    }

    /// Leaves no session behind that would expire, with its ephemerals, under a later script.
    fn close_all(mut self) {
        let sessions = std::mem::take(&mut self.sessions);
        for mut session in sessions.into_values().chain(self.retired) {
            if session.id == 0 || session.closed {
                continue;
            }
            session.connection = None;
            let Ok(mut connection) = Connection::open(self.addr) else {
                return;
            };
            let connect = Connect {
                password: Some(Blob::Bytes(session.password)),
                ..Connect::default()
            };
            connection.send(&framed(&connect.encode(session.id, &[], 0)));
            connection.send(&framed(&Request::new(code::CLOSE_SESSION).encode(1, 0)));
            // Reads up to the close; a server that never closes costs one silence.
            while let Ok(Received::Frame(_)) = connection.receive() {}
        }
    }
}

fn is_label_of(label: &str, name: &str) -> bool {
    label
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}
