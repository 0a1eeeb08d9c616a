//! Takes frames from a connection's task: reads are answered at once, writes are queued.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use jute::proto::{
    AuthPacket, ConnectRequest, GetSaslRequest, ReplyHeader, RequestHeader, SetSaslResponse, xid,
};
use jute::{DecodeError, Encode as _, ErrorCode, OpCode, Reader, frame};
use parking_lot::Mutex;

use super::asks::{Ask, Reattach};
use super::conn::{Conn, Handshake, Inner, Slot, put_event, put_header};
use super::measures::{ms, record_us};
use super::namespaces::Run;
use super::slow::Answered;
use super::{Close, Core, IN_FLIGHT_MAX, LocalSessionsMode, Service, session_txn, wall_clock_ms};
use crate::auth::{Identities, Identity};
use crate::op::{self, Interest, Look, Road, Seen};
use crate::session::PASSWORD_LEN;
use crate::state::State;
use crate::state::entry::Origin;
use crate::types::{ConnId, SessionId};
use crate::watch::{Modes, WatchTable};

/// Bytes of a request header.
const REQUEST_HEADER_LEN: usize = 8;
/// Bytes of a reply header.
const REPLY_HEADER_LEN: usize = 16;

/// A frame that ends the connection without a reply.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("no request: {0}")]
    Malformed(#[from] DecodeError),
    #[error("a SASL token that is null")]
    NullToken,
    #[error("not serving this client now")]
    NotServed,
    #[error("the client has seen zxid 0x{seen:x}, this server is at 0x{own:x}")]
    ClientAhead { seen: i64, own: i64 },
}

/// The watch table, locked already or to be locked when it is needed.
pub(super) enum WatchAccess<'a> {
    Held(&'a mut WatchTable),
    Shared(&'a Mutex<WatchTable>),
}

impl WatchAccess<'_> {
    fn with<T>(&mut self, then: impl FnOnce(&mut WatchTable) -> T) -> T {
        match self {
            Self::Held(table) => then(table),
            Self::Shared(table) => then(&mut table.lock()),
        }
    }

    fn modes(&self, conn: ConnId, path: &str) -> Modes {
        match self {
            Self::Held(table) => table.modes(conn, path),
            Self::Shared(table) => table.lock().modes(conn, path),
        }
    }
}

/// Whose request a read is.
pub(super) struct Caller<'a> {
    pub conn: ConnId,
    pub session: SessionId,
    pub identities: &'a [Identity],
}

impl Caller<'_> {
    /// Evaluates a read and appends its reply, behind the events that it replays. Returns the bytes
    /// of those.
    pub(super) fn read(
        &self,
        state: &State,
        watches: &mut WatchAccess<'_>,
        xid: i32,
        op: OpCode,
        body: &[u8],
        out: &mut BytesMut,
    ) -> usize {
        let mut seen = Seen::default();
        let start = out.len();
        let mark = frame::begin_frame(out);
        // A ping's reply has the ping's own xid whatever was sent.
        let xid = if op == OpCode::PING { xid::PING } else { xid };
        let header = |code: ErrorCode| ReplyHeader {
            xid,
            zxid: state.zxid().0,
            err: code.0,
        };
        let header_at = out.len();
        header(ErrorCode::OK).encode(out);
        let result = {
            let look = Look {
                tree: &state.tree,
                schemes: state.schemes(),
                flags: state.flags(),
                session: self.session,
                identities: self.identities,
                watched: &|path| watches.modes(self.conn, path),
            };
            look.read(op, body, out, &mut seen)
        };
        match result {
            Ok(()) => frame::end_frame(out, mark),
            Err(code) if seen.keeps_body => {
                let body = out.split_off(header_at + REPLY_HEADER_LEN);
                out.truncate(header_at);
                header(code).encode(out);
                out.unsplit(body);
                frame::end_frame(out, mark);
            }
            Err(code) => {
                out.truncate(start);
                put_header(xid, state.zxid().0, code, out);
            }
        }
        let mut event_bytes = 0;
        if !seen.events.is_empty() {
            let reply = out.split_off(start);
            for (kind, path) in &seen.events {
                // Replayed events carry no zxid: nobody knows which change it was.
                put_event(-1, *kind, path, out);
            }
            event_bytes = out.len() - start;
            out.unsplit(reply);
        }
        if !seen.interests.is_empty() {
            watches.with(|table| self.register(table, seen.interests));
        }
        event_bytes
    }

    fn register<'r>(
        &self,
        table: &mut WatchTable,
        interests: impl IntoIterator<Item = Interest<'r>>,
    ) {
        for interest in interests {
            match interest {
                Interest::Add(path, modes) => table.add(self.conn, &path, modes),
                Interest::Remove(path, modes) => {
                    table.remove(self.conn, &path, modes);
                }
            }
        }
    }
}

/// Replies in one wake-up before they are sent: bounds what a pipelining client can make us hold.
const REPLY_BYTES_PER_TURN: usize = 1 << 20;

impl Core {
    /// Admits a connection.
    pub fn open(&self, peer: SocketAddr) -> Arc<Conn> {
        let id = ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed));
        let conn = Arc::new(Conn::new(id, peer, wall_clock_ms()));
        self.connections.lock().by_id.insert(id, Arc::clone(&conn));
        conn
    }

    /// Forgets a connection whose socket is gone, with its watches. Its session lives on.
    pub fn forget(&self, conn: &Conn) {
        // The guard keeps an entry from being applied in between, which could arm its watches.
        let _state = self.state.read();
        let mut connections = self.connections.lock();
        connections.by_id.remove(&conn.id);
        if self.audit.get().is_some() {
            let writes = conn.writes_in_flight();
            connections.gone.remember(conn.id, conn.writer(), writes);
        }
        let mut inner = conn.lock();
        let waiting = inner.in_flight.len() as u64;
        inner.in_flight.clear();
        let session = inner.session;
        drop(inner);
        self.counters
            .outstanding
            .fetch_sub(waiting, Ordering::Relaxed);
        if connections.by_session.get(&session) == Some(&conn.id) {
            connections.by_session.remove(&session);
        }
        drop(connections);
        self.watches.lock().remove_connection(conn.id);
    }

    /// Handles a connect request (protocol.md 1.4). A new session is answered when it is
    /// committed, an old one when the leader has found it.
    ///
    /// # Errors
    /// The connection ends without a reply.
    pub fn connect(
        &self,
        conn: &Conn,
        body: &[u8],
        clamp_timeout_ms: impl FnOnce(i32) -> i32,
    ) -> Result<(), FrameError> {
        let request: ConnectRequest<'_> = Reader::new(body).read()?;
        for counter in [
            &self.counters.packets_received,
            &self.counters.connect_requests,
        ] {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let state = self.state.read();
        if request.last_zxid_seen > state.zxid().0 {
            let (seen, own) = (request.last_zxid_seen, state.zxid().0);
            return Err(FrameError::ClientAhead { seen, own });
        }
        let service = self.service();
        let read_only = service == Service::ReadOnly;
        if service == Service::Nobody || read_only && request.read_only != Some(true) {
            return Err(FrameError::NotServed);
        }
        let handshake = Handshake {
            has_read_only: request.read_only.is_some(),
            read_only,
            timeout_ms: clamp_timeout_ms(request.timeout_ms),
        };
        if request.session_id == 0 {
            self.connect_new(&state, conn, handshake);
            return Ok(());
        }
        let session = SessionId(request.session_id);
        let is_global = state.sessions.contains(session);
        if read_only && is_global {
            // Its lease runs elsewhere, where this server cannot renew it.
            return Err(FrameError::NotServed);
        }
        let password = request.password.and_then(|given| given.try_into().ok());
        if read_only || self.locals.lock().contains(session) {
            self.reconnect_local(conn, handshake, session, password);
            return Ok(());
        }
        let mut inner = conn.begin(handshake);
        match password {
            Some(password) => self.asks.push(Ask::Attach(Reattach {
                conn: conn.id,
                session,
                timeout_ms: handshake.timeout_ms,
                password,
            })),
            None => inner.refuse(handshake),
        }
        Ok(())
    }

    /// A client without a session.
    fn connect_new(&self, state: &State, conn: &Conn, handshake: Handshake) {
        let session = self.new_session_id();
        let record = Self::new_session(handshake.timeout_ms);
        if self.settings.local_sessions != LocalSessionsMode::Off {
            let mut connections = self.connections.lock();
            connections.by_session.insert(session, conn.id);
            let mut inner = conn.begin(handshake);
            let lease = self
                .locals
                .lock()
                .create(session, record, self.heard_now_ms());
            inner.begin_local(session, lease, &record.password);
            return;
        }
        let mut inner = conn.begin(handshake);
        if handshake.read_only {
            // Not what the client expects; it gives up, as with upstream.
            let code = ErrorCode::NOT_READ_ONLY;
            put_header(0, state.zxid().0, code, &mut inner.outbox);
            inner.close = Some(Close::AfterFlush);
            return;
        }
        let (op, since) = (OpCode::CREATE_SESSION, Instant::now());
        inner.in_flight.push_back(Slot::Write { xid: 0, op, since });
        self.counters.outstanding.fetch_add(1, Ordering::Relaxed);
        let origin = Origin {
            server: self.settings.server,
            conn: conn.id,
            xid: 0,
            attach: inner.attach,
        };
        self.proposals
            .push(op, session, origin, &[], &session_txn(&record));
    }

    /// A client with a session that nobody but this server can know.
    fn reconnect_local(
        &self,
        conn: &Conn,
        handshake: Handshake,
        session: SessionId,
        password: Option<[u8; PASSWORD_LEN]>,
    ) {
        let mut connections = self.connections.lock();
        let lease = password.and_then(|password| {
            let now_ms = self.heard_now_ms();
            let mut locals = self.locals.lock();
            locals.reattach(session, handshake.timeout_ms, &password, now_ms)
        });
        if lease.is_some() {
            let old = connections.by_session.insert(session, conn.id);
            if let Some(old) = old.and_then(|old| connections.by_id.get(&old)) {
                old.close(Close::Now);
            }
        }
        let mut inner = conn.begin(handshake);
        match (lease, password) {
            (Some(lease), Some(password)) => inner.begin_local(session, lease, &password),
            _ => inner.refuse(handshake),
        }
    }

    /// Handles the whole frames of one wake-up, in order, under one guard. Replies of reads are
    /// appended to `out`, behind what waited in the outbox.
    ///
    /// Returns when `frames` is empty, a limit is reached or the connection shall close; what is
    /// left in `frames` is for the next turn.
    ///
    /// # Errors
    /// The connection ends without a reply.
    pub fn handle_frames(
        &self,
        conn: &Conn,
        frames: &mut std::collections::VecDeque<Bytes>,
        out: &mut BytesMut,
    ) -> Result<Option<Close>, FrameError> {
        let since = Instant::now();
        let state = self.state.read();
        let mut turn = Turn::begin(self, conn, out, since);
        while let Some(frame) = frames.front() {
            if turn.is_full() {
                turn.count_limit();
                break;
            }
            let header: RequestHeader = Reader::new(frame).read()?;
            let mut body = frame.clone();
            body.advance(REQUEST_HEADER_LEN);
            frames.pop_front();
            turn.received += 1;
            turn.handle(&state, header.xid, OpCode(header.op), body)?;
            if turn.close.is_some() {
                break;
            }
        }
        Ok(turn.end(state.zxid().0))
    }
}

/// One wake-up of a connection, under the state's read guard.
///
/// While the guard is held nothing is applied, so nobody else changes the connection's queue, and
/// nothing is pushed into its outbox: both are looked at once, at the beginning.
struct Turn<'a> {
    core: &'a Core,
    conn: &'a Conn,
    out: &'a mut BytesMut,
    since: Instant,
    identities: Identities,
    session: SessionId,
    began_local: bool,
    attach: u64,
    /// This connection gets nothing but reads.
    read_only: bool,
    in_flight: usize,
    /// Nothing is taken behind a change of the members.
    reconfiguring: bool,
    /// The session has expired or is being closed: requests get no answer any more.
    deaf: bool,
    close: Option<Close>,
    received: u64,
    answered: u64,
    last: Option<(i32, OpCode, Bytes)>,
    /// Where the last reply to a read begins in `out`.
    last_reply: usize,
    /// Where the turn's replies begin in `out`, and what is between them that is none.
    first_reply: usize,
    event_bytes: usize,
    reads: Run,
}

impl<'a> Turn<'a> {
    fn begin(core: &'a Core, conn: &'a Conn, out: &'a mut BytesMut, since: Instant) -> Self {
        let close = conn.take_outbox(out);
        let mut inner = conn.lock();
        Self {
            reads: std::mem::take(&mut inner.reads),
            identities: Arc::clone(&inner.identities),
            session: inner.session,
            began_local: inner.began_local,
            attach: inner.attach,
            read_only: inner.handshake.is_some_and(|handshake| handshake.read_only),
            in_flight: inner.in_flight.len(),
            reconfiguring: inner.is_reconfiguring(),
            deaf: inner.lease.as_ref().is_some_and(|lease| lease.is_closing()),
            close,
            core,
            conn,
            first_reply: out.len(),
            event_bytes: 0,
            out,
            since,
            received: 0,
            answered: 0,
            last: None,
            last_reply: usize::MAX,
        }
    }

    fn is_full(&self) -> bool {
        self.close.is_some()
            || self.reconfiguring
            || self.in_flight >= IN_FLIGHT_MAX
            || self.out.len() >= REPLY_BYTES_PER_TURN
            || (self.in_flight > 0
                && self.core.counters.outstanding.load(Ordering::Relaxed)
                    >= self.core.settings.outstanding_max)
    }

    /// Counts the limit that has stopped this connection.
    fn count_limit(&self) {
        let measures = &self.core.counters.measures;
        if self.close.is_some() || self.reconfiguring {
            return;
        }
        if self.in_flight >= IN_FLIGHT_MAX {
            measures.in_flight_limit.increment(1);
        } else if self.out.len() >= REPLY_BYTES_PER_TURN {
            measures.reply_limit.increment(1);
        } else {
            measures.outstanding_limit.increment(1);
        }
    }

    fn handle(
        &mut self,
        state: &State,
        xid: i32,
        op: OpCode,
        body: Bytes,
    ) -> Result<(), FrameError> {
        if self.deaf {
            return Ok(());
        }
        let since = self.since;
        let road = op::road(op);
        match road {
            Road::Write if op == OpCode::CLOSE_SESSION && self.close_local() => {
                self.deaf = true;
                if self.in_flight == 0 {
                    put_header(xid, state.zxid().0, ErrorCode::OK, self.out);
                    self.answer(xid, op, body);
                    self.close = Some(Close::AfterFlush);
                } else {
                    self.enqueue(Slot::Close { xid, since });
                }
            }
            Road::Write | Road::Read
                if self.read_only && (road == Road::Write || op == OpCode::SYNC) =>
            {
                self.refuse(state, xid, op, body, ErrorCode::NOT_READ_ONLY);
            }
            Road::Write if !op::is_decodable(op, &body) => {
                self.refuse(state, xid, op, body, ErrorCode::MARSHALLING_ERROR);
            }
            Road::Write => {
                let attach = self.attach_for(op, &body);
                self.reconfiguring = op == OpCode::RECONFIG;
                self.enqueue(Slot::Write { xid, op, since });
                let origin = Origin {
                    server: self.core.settings.server,
                    conn: self.conn.id,
                    xid,
                    attach,
                };
                self.core
                    .proposals
                    .push(op, self.session, origin, &self.identities, &body);
                if op == OpCode::CLOSE_SESSION {
                    self.deaf = true;
                    if let Some(lease) = self.conn.lease() {
                        lease.close();
                    }
                }
            }
            Road::Read if self.in_flight == 0 && !self.is_barrier(op) => {
                let caller = Caller {
                    conn: self.conn.id,
                    session: self.session,
                    identities: &self.identities,
                };
                let mut watches = WatchAccess::Shared(&self.core.watches);
                self.last_reply = self.out.len();
                let events = caller.read(state, &mut watches, xid, op, &body, self.out);
                self.event_bytes += events;
                let reply = &self.out[self.last_reply..];
                let namespaces = &self.core.counters.measures.namespaces;
                namespaces.read(&mut self.reads, op, &body, reply);
                self.answer(xid, op, body);
            }
            Road::Read => {
                let identities = Arc::clone(&self.identities);
                let barrier = if self.is_barrier(op) {
                    self.core.barriers.join(self.conn.id)
                } else {
                    0
                };
                self.enqueue(Slot::Read {
                    xid,
                    op,
                    body,
                    identities,
                    since,
                    barrier,
                });
            }
            Road::Connection => self.authenticate(state, xid, op, &body)?,
            Road::Unknown => {
                put_header(xid, -1, ErrorCode::UNIMPLEMENTED, self.out);
                self.close = Some(Close::AfterFlush);
            }
        }
        Ok(())
    }

    /// Whether a read waits until it cannot show less than what was acknowledged before it. A
    /// server alone has applied all that it has acknowledged.
    fn is_barrier(&self, op: OpCode) -> bool {
        let settings = &self.core.settings;
        settings.is_ensemble()
            && !self.read_only
            && (op == OpCode::SYNC || (settings.linearizable_reads && op != OpCode::PING))
    }

    /// Ends the session if it is this server's own.
    fn close_local(&self) -> bool {
        self.began_local && self.core.locals.lock().close(self.session)
    }

    /// What a write says about its session. One that needs a session of the ensemble makes a local
    /// one upgrade, if that is allowed; else it is refused when it is applied.
    fn attach_for(&self, op: OpCode, body: &[u8]) -> u64 {
        if !self.began_local {
            return self.attach;
        }
        let mut locals = self.core.locals.lock();
        if !locals.is_local(self.session) {
            return self.attach;
        }
        if self.core.settings.local_sessions == LocalSessionsMode::Upgrade
            && op::creates_ephemeral(op, body)
            && let Some(session) = locals.upgrade(self.session)
        {
            self.core.propose_upgrade(self.session, &session);
            return self.attach;
        }
        Origin::LOCAL
    }

    /// Answers with an error, in its turn.
    fn refuse(&mut self, state: &State, xid: i32, op: OpCode, body: Bytes, code: ErrorCode) {
        if self.in_flight == 0 {
            put_header(xid, state.zxid().0, code, self.out);
            self.answer(xid, op, body);
        } else {
            self.enqueue(Slot::Refused {
                xid,
                op,
                code,
                since: self.since,
            });
        }
    }

    fn enqueue(&mut self, slot: Slot) {
        self.conn.lock().in_flight.push_back(slot);
        self.in_flight += 1;
        self.core
            .counters
            .outstanding
            .fetch_add(1, Ordering::Relaxed);
    }

    fn answer(&mut self, xid: i32, op: OpCode, body: Bytes) {
        self.answered += 1;
        self.last = Some((xid, op, body));
    }

    /// auth and sasl are answered on arrival, past everything in flight, and with zxid 0.
    fn authenticate(
        &mut self,
        state: &State,
        xid: i32,
        op: OpCode,
        body: &[u8],
    ) -> Result<(), FrameError> {
        self.answered += 1;
        if op == OpCode::SASL {
            let request: GetSaslRequest<'_> = Reader::new(body).read()?;
            if request.token.is_none() {
                return Err(FrameError::NullToken);
            }
            // As a server without SASL: the client goes on unauthenticated.
            let header = ReplyHeader {
                xid,
                zxid: 0,
                err: 0,
            };
            frame::put_frame(self.out, &[&header, &SetSaslResponse { token: None }]);
            return Ok(());
        }
        let packet: AuthPacket<'_> = Reader::new(body).read()?;
        let scheme = packet
            .scheme
            .as_deref()
            .and_then(|scheme| state.schemes().get(scheme));
        let proven = scheme.map(|scheme| scheme.authenticate(packet.auth, self.conn.peer.ip()));
        match proven {
            Some(Ok(identities)) => {
                self.conn.add_identities(identities);
                self.identities = Arc::clone(&self.conn.lock().identities);
                put_header(xid, 0, ErrorCode::OK, self.out);
            }
            Some(Err(_)) | None => {
                self.core
                    .counters
                    .auth_failed
                    .fetch_add(1, Ordering::Relaxed);
                put_header(xid, 0, ErrorCode::AUTH_FAILED, self.out);
                self.close = Some(Close::AfterFlush);
            }
        }
        Ok(())
    }

    /// Counts, and leaves the connection's fate where its task finds it.
    fn end(mut self, zxid: i64) -> Option<Close> {
        let counters = &self.core.counters;
        let latency = self.since.elapsed();
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        counters
            .packets_received
            .fetch_add(self.received, Ordering::Relaxed);
        counters
            .packets_sent
            .fetch_add(self.answered, Ordering::Relaxed);
        counters.latency.record(latency_us, self.answered);
        record_us(&counters.measures.read, latency_us, self.answered);
        let bytes = self.out.len() - self.first_reply - self.event_bytes;
        if let Ok(answered) = usize::try_from(self.answered) {
            let bytes = bytes.saturating_sub(answered * frame::HEADER_LEN);
            counters.measures.response_bytes.increment(bytes as u64);
        }
        if self.answered > 0 && self.core.settings.is_ensemble() {
            let len = usize::try_from(self.answered).unwrap_or(usize::MAX);
            let each_ms = ms(latency) / len as f64;
            counters.measures.read_apply.record_many(each_ms, len);
        }
        if let Some((xid, op, body)) = &self.last
            && self.core.slow.is_slow(latency_us)
        {
            let answered = Answered {
                session: self.session,
                client: self.conn.peer,
                xid: *xid,
                op: *op,
                body,
            };
            self.core.slow.say_read(&answered, 0, latency);
        }
        self.reads.flush();
        let mut inner: parking_lot::MutexGuard<'_, Inner> = self.conn.lock();
        inner.reads = self.reads;
        inner.stats.received += self.received;
        if let Some((xid, op, _)) = self.last {
            // The last one stands for those of its turn.
            let bytes = self.out.len().checked_sub(self.last_reply);
            if let Some(bytes) = bytes.and_then(|bytes| bytes.checked_sub(frame::HEADER_LEN)) {
                counters.client_responses.record(bytes);
            }
            inner.answered(
                xid,
                op,
                crate::types::Zxid(zxid),
                latency_us,
                wall_clock_ms(),
            );
            inner.stats.sent -= 1;
        }
        inner.stats.sent += self.answered;
        if let Some(close) = self.close
            && inner.close.is_none()
        {
            inner.close = Some(close);
        }
        self.close
    }
}
