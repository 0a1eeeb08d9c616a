//! What the pipeline knows of one connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jute::proto::{ConnectResponse, ReplyHeader, WatcherEvent};
use jute::{Encode as _, ErrorCode, OpCode, frame, text};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::audit::Writer;
use super::barrier::Round;
use super::namespaces::Run;
use crate::auth::{Identities, Identity, textual};
use crate::session::Lease;
use crate::types::{ConnId, SessionId, Zxid};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// Once its outbox has been sent.
    AfterFlush,
    /// At once, what waits is lost: the client must not take it for an answer.
    Now,
}

/// What a connect response needs beyond the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Whether the client sent the readOnly byte; only then it gets one.
    pub has_read_only: bool,
    /// Whether this server can serve nothing but reads to it.
    pub read_only: bool,
    pub timeout_ms: i32,
}

impl Handshake {
    /// Appends the connect response for a session.
    pub(super) fn answer(self, session: SessionId, password: &[u8], out: &mut BytesMut) {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: self.timeout_ms,
            session_id: session.0,
            password: Some(password),
            read_only: self.has_read_only.then_some(self.read_only),
        };
        frame::put_frame(out, &[&response]);
    }

    /// Appends the answer to a client whose session is gone or not its own: all zero.
    pub(super) fn refuse(self, out: &mut BytesMut) {
        let nothing = Self {
            timeout_ms: 0,
            ..self
        };
        nothing.answer(SessionId(0), &[0; crate::session::PASSWORD_LEN], out);
    }
}

/// A request that has its place in the order of replies but no reply yet.
pub(super) enum Slot {
    /// In the log, or on its way there.
    Write {
        xid: i32,
        op: OpCode,
        since: Instant,
    },
    /// A read behind a write or a barrier, with the identities that it was received under.
    Read {
        xid: i32,
        op: OpCode,
        body: Bytes,
        identities: Identities,
        since: Instant,
        /// What has to be over before it is evaluated.
        barrier: Round,
    },
    /// The end of a session that only this server knows.
    Close { xid: i32, since: Instant },
    /// A request that is answered with an error in its turn.
    Refused {
        xid: i32,
        op: OpCode,
        code: ErrorCode,
        since: Instant,
    },
}

/// Statistics for `cons`, and for the latencies.
#[derive(Debug, Clone)]
pub struct ConnStats {
    pub received: u64,
    pub sent: u64,
    pub last_op: Option<OpCode>,
    /// Of the last request that has one of its own, which a ping has not; -1 before.
    pub last_xid: i32,
    /// -1 before anything was answered.
    pub last_zxid: i64,
    pub last_latency_us: u64,
    pub min_latency_us: u64,
    pub max_latency_us: u64,
    pub sum_latency_us: u64,
    pub answered: u64,
    /// Wall clock, ms.
    pub last_response_ms: i64,
}

impl Default for ConnStats {
    fn default() -> Self {
        Self {
            received: 0,
            sent: 0,
            last_op: None,
            last_xid: -1,
            last_zxid: -1,
            last_latency_us: 0,
            min_latency_us: 0,
            max_latency_us: 0,
            sum_latency_us: 0,
            answered: 0,
            last_response_ms: 0,
        }
    }
}

/// The part that the connection's task shares with whoever applies.
pub(super) struct Inner {
    pub in_flight: VecDeque<Slot>,
    pub outbox: BytesMut,
    pub identities: Identities,
    pub session: SessionId,
    /// The session was local when this connection got it; whether it still is, the local sessions
    /// say.
    pub began_local: bool,
    /// See [`crate::state::entry::Origin`].
    pub attach: u64,
    pub handshake: Option<Handshake>,
    pub lease: Option<Arc<Lease>>,
    pub close: Option<Close>,
    pub stats: ConnStats,
    /// Whether somebody waits to be woken for this connection already.
    pub dirty: bool,
    /// Where it reads.
    pub reads: Run,
}

/// One client connection.
pub struct Conn {
    pub id: ConnId,
    pub peer: SocketAddr,
    /// Wall clock when it was accepted, ms.
    pub established_ms: i64,
    /// Rung when the outbox has something, or the connection shall close.
    pub wake: Notify,
    /// When the first event that is not sent yet was pushed, in us since the connection began and
    /// one more; 0 when all are sent.
    event_waits_us: AtomicU64,
    began: Instant,
    inner: Mutex<Inner>,
}

impl Conn {
    pub(super) fn new(id: ConnId, peer: SocketAddr, established_ms: i64) -> Self {
        let identities = [Identity::new("ip", &textual(peer.ip()))];
        Self {
            id,
            peer,
            established_ms,
            wake: Notify::new(),
            event_waits_us: AtomicU64::new(0),
            began: Instant::now(),
            inner: Mutex::new(Inner {
                in_flight: VecDeque::new(),
                outbox: BytesMut::new(),
                identities: Arc::new(identities),
                session: SessionId(0),
                began_local: false,
                attach: 0,
                handshake: None,
                lease: None,
                close: None,
                stats: ConnStats::default(),
                dirty: false,
                reads: Run::default(),
            }),
        }
    }

    /// An event stands in the outbox, pushed at that time.
    pub(super) fn event_waits(&self, now: Instant) {
        let us = now.saturating_duration_since(self.began).as_micros();
        let us = u64::try_from(us).unwrap_or(u64::MAX).saturating_add(1);
        let relaxed = Ordering::Relaxed;
        let _ = self
            .event_waits_us
            .compare_exchange(0, us, relaxed, relaxed);
    }

    /// How long the oldest event has waited, now that everything that was in the outbox is sent.
    /// One that is pushed meanwhile is taken for sent as well: it is a measure, not a promise.
    #[must_use]
    pub fn events_sent(&self) -> Option<Duration> {
        if self.event_waits_us.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let us = self.event_waits_us.swap(0, Ordering::Relaxed);
        let waited = self.began.elapsed();
        Some(waited.saturating_sub(Duration::from_micros(us.saturating_sub(1))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Begins the handshake.
    pub(super) fn begin(&self, handshake: Handshake) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock();
        inner.handshake = Some(handshake);
        inner.stats.received += 1;
        inner
    }

    /// Moves what waits in the outbox to the end of `out`.
    pub fn take_outbox(&self, out: &mut BytesMut) -> Option<Close> {
        let mut inner = self.inner.lock();
        inner.dirty = false;
        if out.is_empty() {
            std::mem::swap(out, &mut inner.outbox);
        } else if !inner.outbox.is_empty() {
            let waiting = inner.outbox.split();
            out.extend_from_slice(&waiting);
        }
        inner.close
    }

    /// Ends the connection from outside of its task.
    pub fn close(&self, close: Close) {
        let mut inner = self.inner.lock();
        if inner.close != Some(Close::Now) {
            inner.close = Some(close);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Adds proven identities; they hold for every later frame.
    pub fn add_identities(&self, proven: Vec<Identity>) {
        let mut inner = self.inner.lock();
        let new: Vec<Identity> = proven
            .into_iter()
            .filter(|identity| !inner.identities.contains(identity))
            .collect();
        if !new.is_empty() {
            inner.identities = inner.identities.iter().cloned().chain(new).collect();
        }
    }

    /// Whose writes come by it.
    pub(super) fn writer(&self) -> Writer {
        let inner = self.inner.lock();
        Writer {
            session: inner.session,
            identities: Arc::clone(&inner.identities),
            ip: self.peer.ip(),
        }
    }

    #[must_use]
    pub fn session(&self) -> SessionId {
        self.inner.lock().session
    }

    #[must_use]
    pub fn lease(&self) -> Option<Arc<Lease>> {
        self.inner.lock().lease.clone()
    }

    #[must_use]
    pub fn stats(&self) -> ConnStats {
        self.inner.lock().stats.clone()
    }

    pub fn reset_stats(&self) {
        self.inner.lock().stats = ConnStats::default();
    }

    /// Requests without a reply.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.lock().in_flight.len()
    }

    pub(super) fn is_reconfiguring(&self) -> bool {
        self.inner.lock().is_reconfiguring()
    }

    /// Writes without a reply.
    pub(super) fn writes_in_flight(&self) -> usize {
        let inner = self.inner.lock();
        let writes = inner.in_flight.iter();
        writes
            .filter(|slot| matches!(slot, Slot::Write { .. }))
            .count()
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn outbox_len(&self) -> usize {
        self.inner.lock().outbox.len()
    }

    /// What the pipeline must do with the connection, if it shall end.
    #[must_use]
    pub fn closing(&self) -> Option<Close> {
        self.inner.lock().close
    }
}

impl Inner {
    /// Whether a change of the members waits for its end. It is answered long after it was applied:
    /// nothing may be handed over behind it, for that would be answered first.
    pub(super) fn is_reconfiguring(&self) -> bool {
        let last = self.in_flight.back();
        matches!(
            last,
            Some(Slot::Write {
                op: OpCode::RECONFIG,
                ..
            })
        )
    }

    /// Sends the client away: its session is gone or not its own.
    pub(super) fn refuse(&mut self, handshake: Handshake) {
        self.close = Some(Close::AfterFlush);
        handshake.refuse(&mut self.outbox);
    }

    /// Takes a session that only this server knows, and tells the client.
    pub(super) fn begin_local(&mut self, session: SessionId, lease: Arc<Lease>, password: &[u8]) {
        self.session = session;
        self.began_local = true;
        self.lease = Some(lease);
        if let Some(handshake) = self.handshake {
            handshake.answer(session, password, &mut self.outbox);
        }
    }

    /// Counts a request that was answered.
    pub(super) fn answered(
        &mut self,
        xid: i32,
        op: OpCode,
        zxid: Zxid,
        latency_us: u64,
        now_ms: i64,
    ) {
        let stats = &mut self.stats;
        stats.sent += 1;
        stats.last_op = Some(op);
        if xid >= 0 {
            stats.last_xid = xid;
        }
        stats.last_zxid = zxid.0;
        stats.last_latency_us = latency_us;
        stats.min_latency_us = match stats.answered {
            0 => latency_us,
            _ => stats.min_latency_us.min(latency_us),
        };
        stats.max_latency_us = stats.max_latency_us.max(latency_us);
        stats.sum_latency_us = stats.sum_latency_us.saturating_add(latency_us);
        stats.answered += 1;
        stats.last_response_ms = now_ms;
    }
}

/// Appends a reply that is a header alone.
pub(super) fn put_header(xid: i32, zxid: i64, code: ErrorCode, out: &mut BytesMut) {
    frame::put_frame(
        out,
        &[&ReplyHeader {
            xid,
            zxid,
            err: code.0,
        }],
    );
}

/// Appends a watch event.
pub(super) fn put_event(zxid: i64, kind: i32, path: &str, out: &mut BytesMut) {
    let header = ReplyHeader {
        xid: jute::proto::xid::NOTIFICATION,
        zxid,
        err: 0,
    };
    let event = WatcherEvent {
        kind,
        state: jute::proto::STATE_SYNC_CONNECTED,
        path: text(path),
    };
    let mark = frame::begin_frame(out);
    header.encode(out);
    event.encode(out);
    frame::end_frame(out, mark);
}
