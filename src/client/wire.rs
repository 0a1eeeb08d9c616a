//! One connection, driven by one task: two buffers and a socket.
//!
//! Requests are appended to the outbox and leave together at the next [`Wire::exchange`]; whatever
//! has arrived is then taken from the inbox message by message. Nothing is allocated for a request.

use bytes::{Bytes, BytesMut};
use jute::frame::{begin_frame, end_frame, next_frame, put_frame};
use jute::proto::{
    ConnectRequest, ConnectResponse, PASSWORD_LEN, ReplyHeader, RequestHeader, WatcherEvent, xid,
};
use jute::{Decode, Encode, ErrorCode, OpCode, Reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time;

use super::{ClientError, ConnectOptions, Event, Session};

/// Room made in the inbox before each read, in bytes.
const READ_CHUNK: usize = 16 * 1024;

/// What the server sent behind the handshake.
#[derive(Debug, Clone)]
pub struct Message {
    pub xid: i32,
    pub zxid: i64,
    pub err: ErrorCode,
    /// Empty unless `err` is 0.
    pub body: Bytes,
}

impl Message {
    fn decode(frame: Bytes) -> Result<Self, ClientError> {
        let mut reader = Reader::new(&frame);
        let header: ReplyHeader = reader.read()?;
        let body = frame.slice(reader.offset()..);
        Ok(Self {
            xid: header.xid,
            zxid: header.zxid,
            err: ErrorCode(header.err),
            body,
        })
    }

    /// The body of a successful reply.
    ///
    /// # Errors
    /// The error code when there is one, or a body that is no `T`.
    pub fn read<'a, T: Decode<'a>>(&'a self) -> Result<T, ClientError> {
        match self.err {
            ErrorCode::OK => Ok(Reader::new(&self.body).read()?),
            code => Err(ClientError::Refused(code)),
        }
    }

    /// Whether this is an event rather than a reply.
    #[must_use]
    pub fn is_event(&self) -> bool {
        self.xid == xid::NOTIFICATION
    }

    /// The event that this message holds.
    ///
    /// # Errors
    /// A malformed body.
    pub fn event(&self) -> Result<Event, ClientError> {
        let event: WatcherEvent<'_> = self.read()?;
        Ok(Event {
            kind: event.kind,
            path: event.path.unwrap_or_default().into_owned(),
            zxid: self.zxid,
        })
    }
}

/// A connection with a session.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    session: Session,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Of the next request; from 1 up, wrapping before the reserved negative ones.
    next_xid: i32,
    max_frame_bytes: usize,
}

impl Wire {
    /// Connects and agrees on a session.
    ///
    /// # Errors
    /// No connection in time, or no session: the one to resume is gone.
    pub async fn connect(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
    ) -> Result<Self, ClientError> {
        match time::timeout(options.connect_timeout, Self::handshake(address, options)).await {
            Ok(connected) => connected,
            Err(_) => Err(ClientError::ConnectTimeout(options.connect_timeout)),
        }
    }

    async fn handshake(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
    ) -> Result<Self, ClientError> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (session_id, password) = match &options.resume {
            Some(session) => (session.id, session.password),
            None => (0, [0; PASSWORD_LEN]),
        };
        let mut outbox = BytesMut::with_capacity(READ_CHUNK);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: options.last_zxid_seen,
            timeout_ms: i32::try_from(options.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id,
            password: Some(&password),
            read_only: Some(options.read_only),
        };
        put_frame(&mut outbox, &[&request]);
        stream.write_all_buf(&mut outbox).await?;

        let mut inbox = BytesMut::with_capacity(READ_CHUNK);
        let frame = loop {
            if let Some(frame) = next_frame(&mut inbox, options.max_frame_bytes)? {
                break frame;
            }
            if stream.read_buf(&mut inbox).await? == 0 {
                return Err(ClientError::Closed);
            }
        };
        let session = accepted(&Reader::new(&frame).read()?)?;
        Ok(Self {
            stream,
            session,
            inbox,
            outbox,
            next_xid: 1,
            max_frame_bytes: options.max_frame_bytes,
        })
    }

    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Appends a request to the outbox and returns its xid.
    pub fn push(&mut self, op: OpCode, body: &impl Encode) -> i32 {
        let xid = self.next_xid;
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        self.push_as(xid, op, body);
        xid
    }

    /// Appends a request with an xid of the caller's choice, such as a reserved one.
    pub fn push_as(&mut self, xid: i32, op: OpCode, body: &impl Encode) {
        let mark = begin_frame(&mut self.outbox);
        RequestHeader { xid, op: op.0 }.encode(&mut self.outbox);
        body.encode(&mut self.outbox);
        end_frame(&mut self.outbox, mark);
    }

    /// Sends the outbox and waits until something has arrived. Cancel-safe: what was not sent
    /// stays in the outbox.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn exchange(&mut self) -> Result<(), ClientError> {
        self.inbox.reserve(READ_CHUNK);
        let (mut incoming, mut outgoing) = self.stream.split();
        while !self.outbox.is_empty() {
            // Reading goes on while writing cannot: a server that is stopped by our full receive
            // buffer would not take our requests either.
            tokio::select! {
                biased;
                written = outgoing.write_buf(&mut self.outbox) => { written?; }
                read = incoming.read_buf(&mut self.inbox) => {
                    return if read? == 0 { Err(ClientError::Closed) } else { Ok(()) };
                }
            }
        }
        if incoming.read_buf(&mut self.inbox).await? == 0 {
            return Err(ClientError::Closed);
        }
        Ok(())
    }

    /// The next message that has arrived in full.
    ///
    /// # Errors
    /// Bytes that are no message.
    pub fn next_message(&mut self) -> Result<Option<Message>, ClientError> {
        match next_frame(&mut self.inbox, self.max_frame_bytes)? {
            Some(frame) => Message::decode(frame).map(Some),
            None => Ok(None),
        }
    }
}

fn accepted(response: &ConnectResponse<'_>) -> Result<Session, ClientError> {
    let timeout_ms = match u64::try_from(response.timeout_ms) {
        Ok(timeout_ms) if timeout_ms > 0 => timeout_ms,
        _ => return Err(ClientError::SessionExpired),
    };
    let password = response.password.unwrap_or_default();
    Ok(Session {
        id: response.session_id,
        password: password
            .try_into()
            .map_err(|_| ClientError::PasswordLength(password.len()))?,
        timeout: time::Duration::from_millis(timeout_ms),
        read_only: response.read_only.unwrap_or(false),
    })
}

/// A request without a body: ping, closeSession, whoAmI.
#[derive(Debug, Clone, Copy)]
pub struct Empty;

impl Encode for Empty {
    fn encode(&self, _: &mut BytesMut) {}
}

/// A body that was encoded before.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a>(pub &'a [u8]);

impl Encode for Encoded<'_> {
    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.0);
    }
}
