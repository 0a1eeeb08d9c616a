//! A client that offers a server what it likes and says in words what came of it, so that two
//! servers can be compared by text.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use crate::client::{Connection, Received, framed};
use crate::wire::{Blob, Connect, Request, Value};

/// A session id with its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub id: i64,
    pub password: Vec<u8>,
}

/// What a server made of a connect request.
#[derive(Debug)]
pub enum Outcome {
    Session(Session),
    /// The session is gone: all zero, with the readOnly byte when there was one.
    Refused {
        read_only: Option<u8>,
    },
    /// A reply header where the connect response belongs.
    Header {
        xid: i32,
        err: i32,
    },
    Closed,
}

impl Outcome {
    /// # Errors
    /// When there is no session.
    pub fn session(self) -> Result<Session> {
        match self {
            Self::Session(session) => Ok(session),
            other => bail!("no session: {other}"),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session(session) => write!(
                f,
                "session, {} ms, readOnly {:?}",
                session.timeout_ms, session.read_only
            ),
            Self::Refused { read_only } => write!(f, "refused, readOnly {read_only:?}"),
            Self::Header { xid, err } => write!(f, "header xid {xid} err {err}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// What a server answered to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Reply {
        xid: i32,
        zxid: i64,
        err: i32,
        body: Vec<u8>,
    },
    Closed,
    Silent,
}

impl Answer {
    /// The error code; none when there was no reply.
    pub fn err(&self) -> Option<i32> {
        match self {
            Self::Reply { err, .. } => Some(*err),
            Self::Closed | Self::Silent => None,
        }
    }

    /// Whose reply it is.
    pub fn xid(&self) -> Option<i32> {
        match self {
            Self::Reply { xid, .. } => Some(*xid),
            Self::Closed | Self::Silent => None,
        }
    }

    /// The last eight bytes but `back` of the body, as a number.
    pub fn long_from_end(&self, back: usize) -> Option<i64> {
        let Self::Reply { body, .. } = self else {
            return None;
        };
        let end = body.len().checked_sub(back)?;
        body[..end].last_chunk().map(|b| i64::from_be_bytes(*b))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reply { err, body, .. } => write!(f, "err {err}, {} bytes", body.len()),
            Self::Closed => f.write_str("closed"),
            Self::Silent => f.write_str("silent"),
        }
    }
}

/// A connection with a session.
#[derive(Debug)]
pub struct Session {
    pub ticket: Ticket,
    pub timeout_ms: i32,
    pub read_only: Option<u8>,
    /// Watch events that have come so far.
    pub events: usize,
    connection: Connection,
    next_xid: i32,
}

/// What watch events have where replies have their xid.
const NOTIFICATION: i32 = -1;

/// Offers a session, or asks for a new one.
///
/// # Errors
/// When nobody listens there, or what comes back is no answer to that.
pub fn connect(addr: SocketAddr, connect: &Connect, ticket: Option<&Ticket>) -> Result<Outcome> {
    let (id, password) = ticket.map_or((0, &[0; 16][..]), |t| (t.id, &t.password[..]));
    let mut connection = Connection::open(addr)?;
    connection.send(&framed(&connect.encode(id, password, 0)));
    let frame = match connection.receive()? {
        Received::Frame(frame) => frame,
        Received::Closed(_) => return Ok(Outcome::Closed),
        Received::Silent => bail!("no answer to a connect request"),
    };
    let int = |at: usize| -> Result<i32> {
        let bytes = frame.get(at..at + 4).context("a short answer")?;
        Ok(i32::from_be_bytes(bytes.try_into()?))
    };
    if frame.len() == 16 {
        let (xid, err) = (int(0)?, int(12)?);
        return Ok(Outcome::Header { xid, err });
    }
    let id = frame.get(8..16).context("a short answer")?;
    let id = i64::from_be_bytes(id.try_into()?);
    let password = frame.get(20..36).context("a short answer")?.to_vec();
    let read_only = frame.get(36).copied();
    if id == 0 {
        return Ok(Outcome::Refused { read_only });
    }
    Ok(Outcome::Session(Session {
        ticket: Ticket { id, password },
        timeout_ms: int(4)?,
        read_only,
        events: 0,
        connection,
        next_xid: 1,
    }))
}

impl Session {
    /// Sends a request and does not wait for its answer.
    pub fn send(&mut self, request: &Request) {
        let xid = request.xid_or(self.next_xid);
        self.next_xid += 1;
        self.connection.send(&framed(&request.encode(xid, 0)));
    }

    /// # Errors
    /// When what comes back is no reply.
    pub fn ask(&mut self, request: &Request) -> Result<Answer> {
        self.send(request);
        self.hear()
    }

    /// Sends requests in one piece and hears the answers.
    ///
    /// # Errors
    /// When what comes back is no reply.
    pub fn ask_all(&mut self, requests: &[Request]) -> Result<Vec<Answer>> {
        let mut bytes = Vec::new();
        for request in requests {
            let xid = request.xid_or(self.next_xid);
            self.next_xid += 1;
            bytes.extend(framed(&request.encode(xid, 0)));
        }
        self.connection.send(&bytes);
        requests.iter().map(|_| self.hear()).collect()
    }

    /// The next reply, whoever asked; events in front of it are counted.
    ///
    /// # Errors
    /// When what comes is no reply.
    pub fn hear(&mut self) -> Result<Answer> {
        loop {
            let frame = match self.connection.receive()? {
                Received::Frame(frame) => frame,
                Received::Closed(_) => return Ok(Answer::Closed),
                Received::Silent => return Ok(Answer::Silent),
            };
            let (header, body) = frame.split_first_chunk::<16>().context("a short reply")?;
            let xid = i32::from_be_bytes(*header.first_chunk().context("cut")?);
            if xid == NOTIFICATION {
                self.events += 1;
                continue;
            }
            return Ok(Answer::Reply {
                xid,
                zxid: i64::from_be_bytes(header[4..12].try_into()?),
                err: i32::from_be_bytes(header[12..].try_into()?),
                body: body.to_vec(),
            });
        }
    }
}

/// A create of any kind with flags.
pub fn create(op: &str, path: &str, flags: i32) -> Request {
    Request::named(op)
        .path(path)
        .with("data", Value::Blob(Blob::text("data")))
        .with("flags", Value::Int(flags))
}

/// A multi of these.
pub fn multi(requests: &[Request]) -> Request {
    Request::named("multi").with("ops", Value::Requests(requests.to_vec()))
}
