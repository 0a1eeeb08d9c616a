//! A blocking client connection: handshake, pipelined requests, replies in order.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use jute::frame::{next_frame, put_frame};
use jute::proto::{ConnectRequest, ConnectResponse, PASSWORD_LEN, ReplyHeader, RequestHeader};
use jute::{Decode, Encode, ErrorCode, OpCode, Reader};

/// A server that says nothing for this long has failed the test.
const SILENCE: Duration = Duration::from_secs(20);
const FRAME_BYTES_MAX: usize = 16 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// The body of a request that has none.
pub(crate) struct Empty;

impl Encode for Empty {
    fn encode(&self, _: &mut BytesMut) {}
}

/// What a client keeps to find its session again.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: i64,
    pub(crate) password: Vec<u8>,
    pub(crate) timeout_ms: i32,
}

impl Session {
    /// Asks for a session that does not exist yet.
    pub(crate) fn wanted(timeout_ms: i32) -> Self {
        Self {
            id: 0,
            password: vec![0; PASSWORD_LEN],
            timeout_ms,
        }
    }
}

/// How a handshake ended.
#[derive(Debug)]
pub(crate) enum Handshake {
    Attached(Connection),
    /// The server does not know the session (any more).
    Expired,
    /// No listener, or closed without an answer.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) xid: i32,
    pub(crate) zxid: i64,
    pub(crate) err: ErrorCode,
    body: Bytes,
}

impl Reply {
    pub(crate) fn body<'a, T: Decode<'a>>(&'a self) -> Result<T> {
        Ok(Reader::new(&self.body).read()?)
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) session: Session,
    stream: TcpStream,
    received: BytesMut,
    unsent: BytesMut,
    next_xid: i32,
}

impl Connection {
    /// One attempt to attach to the session, or to open a new one when its id is 0.
    pub(crate) fn attach(
        addr: SocketAddr,
        session: &Session,
        last_zxid_seen: i64,
    ) -> Result<Handshake> {
        let Ok(stream) = TcpStream::connect(addr) else {
            return Ok(Handshake::Closed);
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let mut connection = Self {
            session: session.clone(),
            stream,
            received: BytesMut::new(),
            unsent: BytesMut::new(),
            next_xid: 1,
        };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen,
            timeout_ms: session.timeout_ms,
            session_id: session.id,
            password: Some(&session.password),
            read_only: Some(false),
        };
        put_frame(&mut connection.unsent, &[&request]);
        connection.flush();
        let Some(frame) = connection.frame().context("in the handshake")? else {
            return Ok(Handshake::Closed);
        };
        let response: ConnectResponse<'_> = Reader::new(&frame).read()?;
        if response.timeout_ms <= 0 {
            return Ok(Handshake::Expired);
        }
        ensure!(
            session.id == 0 || session.id == response.session_id,
            "asked for session {:#x}, got {:#x}",
            session.id,
            response.session_id
        );
        connection.session.id = response.session_id;
        connection.session.password = response.password.context("no password")?.to_vec();
        Ok(Handshake::Attached(connection))
    }

    /// Queues a request and returns its xid; nothing leaves before [`Self::flush`].
    pub(crate) fn queue(&mut self, op: OpCode, body: &dyn Encode) -> i32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        put_frame(&mut self.unsent, &[&RequestHeader { xid, op: op.0 }, body]);
        xid
    }

    /// Writes what is queued. A connection that broke shows itself at the next receive, behind the
    /// replies that arrived before it broke.
    pub(crate) fn flush(&mut self) {
        let _ = self.stream.write_all(&self.unsent);
        self.unsent.clear();
    }

    /// The next reply; `None` once the connection has ended.
    pub(crate) fn receive(&mut self) -> Result<Option<Reply>> {
        let Some(frame) = self.frame()? else {
            return Ok(None);
        };
        let mut reader = Reader::new(&frame);
        let header: ReplyHeader = reader.read()?;
        let body = frame.slice(reader.offset()..);
        let err = ErrorCode(header.err);
        Ok(Some(Reply {
            xid: header.xid,
            zxid: header.zxid,
            err,
            body,
        }))
    }

    /// One request and its successful reply, with nothing else in flight.
    pub(crate) fn call(&mut self, op: OpCode, body: &dyn Encode) -> Result<Reply> {
        let xid = self.queue(op, body);
        self.flush();
        let reply = self
            .receive()?
            .with_context(|| format!("closed instead of answering {op:?}"))?;
        ensure!(
            reply.xid == xid,
            "reply to xid {} where {xid} was due",
            reply.xid
        );
        ensure!(reply.err == ErrorCode::OK, "{op:?}: {}", reply.err);
        Ok(reply)
    }

    fn frame(&mut self) -> Result<Option<Bytes>> {
        let deadline = Instant::now() + SILENCE;
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            if let Some(frame) = next_frame(&mut self.received, FRAME_BYTES_MAX)? {
                return Ok(Some(frame));
            }
            ensure!(Instant::now() < deadline, "the server is silent");
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(len) => self.received.extend_from_slice(&chunk[..len]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => bail!("the server is silent"),
                    _ => return Ok(None),
                },
            }
        }
    }
}
