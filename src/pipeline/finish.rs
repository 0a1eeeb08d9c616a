//! Applies committed entries: evaluate, fire watches, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jute::proto::{ReplyHeader, event_type, perms};
use jute::{Encode as _, ErrorCode, OpCode, frame};
use metrics::Histogram;

use super::conn::{Conn, Inner, Slot, put_event, put_header};
use super::measures::{ms_since, record_us};
use super::namespaces::Run;
use super::prep::{Caller, WatchAccess};
use super::slow::{Answered, Stage};
use super::{Close, Connections, Core, wall_clock_ms};
use crate::ensemble::Committed;
use crate::op::reconfig::{BEGIN_CONFIG, END_RECONFIG};
use crate::op::{self, Change, ChangeKind, Flags, Reply};
use crate::state::restoring::{RESTORE_END, is_restore};
use crate::state::{Applied, LogPosition, Request, State, entry};
use crate::tree::{AclEntry, path};
use crate::types::{ConnId, SessionId, Zxid};
use crate::watch::WatchTable;

/// What the application of one entry works on, all of it locked.
struct Finish<'a> {
    core: &'a Core,
    connections: &'a mut Connections,
    watches: &'a mut WatchTable,
    /// Connections with something new in their outbox, each once.
    dirty: &'a mut Vec<Arc<Conn>>,
    now: Instant,
    now_ms: i64,
    /// From the leader's stamp until now.
    age: Duration,
    /// Requests of this server's connections.
    own: u64,
    writes: Run,
}

impl Core {
    /// Applies entries in log order. Total: whatever an entry holds, each of its requests has an
    /// outcome. Returns how many there were.
    pub(super) fn apply(&self, entries: &[Committed]) -> u64 {
        let mut dirty = Vec::new();
        let mut count = 0;
        for committed in entries {
            let mut state = self.state.write();
            state.begin_entry(LogPosition {
                term: committed.term,
                index: committed.index,
            });
            let Some((header, requests)) = entry::open(&committed.payload) else {
                self.note_checkpoint(&state);
                continue;
            };
            state.begin_batch(&header);
            let mut connections = self.connections.lock();
            let mut watches = self.watches.lock();
            let now_ms = wall_clock_ms();
            let age_ms = now_ms.saturating_sub(header.time_ms).max(0);
            let mut finish = Finish {
                core: self,
                connections: &mut connections,
                watches: &mut watches,
                dirty: &mut dirty,
                now: Instant::now(),
                now_ms,
                age: Duration::from_millis(age_ms.unsigned_abs()),
                own: 0,
                writes: Run::default(),
            };
            let began = (finish.now, count);
            for request in requests {
                finish.answer_reads_before(&state, &request);
                let closes = request.op == OpCode::CLOSE_SESSION && self.is_leading();
                let since = closes.then(Instant::now);
                let applied = state.evaluate(&header, &request);
                if let Some(since) = since {
                    self.counters.measures.close_session.record(ms_since(since));
                }
                finish.finish(&state, &request, applied);
                count += 1;
            }
            finish.writes.flush();
            self.note_checkpoint(&state);
            // What is older than this process comes from the log, or from what it missed: how long ago
            // that was says nothing of the way here.
            if header.time_ms >= self.started_ms {
                let own = usize::try_from(finish.own).unwrap_or(usize::MAX);
                self.measure_entry(began.0, age_ms, count - began.1, own);
            }
        }
        for conn in dirty {
            conn.wake.notify_one();
        }
        if let Some(last) = entries.last() {
            self.applied.send_replace(LogPosition {
                term: last.term,
                index: last.index,
            });
        }
        count
    }

    /// Notes what an entry of this process's time has taken: since it began to be applied, and since it
    /// was stamped; `own` of its requests came from here.
    fn measure_entry(&self, began: Instant, age_ms: i64, requests: u64, own: usize) {
        let measures = &self.counters.measures;
        let len = usize::try_from(requests).unwrap_or(usize::MAX);
        let each_ms = ms_since(began) / requests.max(1) as f64;
        measures.apply.record_many(each_ms, len);
        measures.propagation.record_many(age_ms as f64, len);
        if self.settings.is_ensemble() {
            measures.commits_queued.increment(requests);
            let own = own.min(len);
            measures.own_committed.record_many(age_ms as f64, own);
            measures
                .foreign_committed
                .record_many(age_ms as f64, len - own);
        }
        if !self.is_leading() {
            measures.followed.increment(requests);
        }
    }
}

impl Core {
    /// Evaluates the reads at the front of the queue: everything in front of them is done, and
    /// nothing behind them has been applied. With `is_met` no barrier holds them.
    pub(super) fn answer_reads(
        &self,
        state: &State,
        conn: &Conn,
        inner: &mut Inner,
        watches: &mut WatchAccess<'_>,
        is_met: bool,
    ) {
        let (now, now_ms) = (Instant::now(), wall_clock_ms());
        let mut outbox = std::mem::take(&mut inner.outbox);
        let (before, mut replies, mut event_bytes) = (outbox.len(), 0, 0);
        while let Some(slot) = inner.in_flight.pop_front() {
            let (xid, op, since) = match slot {
                Slot::Write { .. } => {
                    inner.in_flight.push_front(slot);
                    break;
                }
                Slot::Read { barrier, .. } if !is_met && !self.barriers.is_over(barrier) => {
                    inner.in_flight.push_front(slot);
                    break;
                }
                Slot::Close { xid, since } => {
                    put_header(xid, state.zxid().0, ErrorCode::OK, &mut outbox);
                    inner.close = Some(Close::AfterFlush);
                    (xid, OpCode::CLOSE_SESSION, since)
                }
                Slot::Refused {
                    xid,
                    op,
                    code,
                    since,
                } => {
                    put_header(xid, state.zxid().0, code, &mut outbox);
                    (xid, op, since)
                }
                Slot::Read {
                    xid,
                    op,
                    body,
                    identities,
                    since,
                    barrier: _,
                } => {
                    let caller = Caller {
                        conn: conn.id,
                        session: inner.session,
                        identities: &identities,
                    };
                    let begun = Instant::now();
                    let start = outbox.len();
                    event_bytes += caller.read(state, watches, xid, op, &body, &mut outbox);
                    let namespaces = &self.counters.measures.namespaces;
                    namespaces.read(&mut inner.reads, op, &body, &outbox[start..]);
                    if self.settings.is_ensemble() {
                        let measures = &self.counters.measures;
                        measures.read_apply.record(ms_since(begun));
                    }
                    let waited_us = latency_us(now, since);
                    if self.slow.is_slow(waited_us) {
                        let answered = Answered {
                            session: inner.session,
                            client: conn.peer,
                            xid,
                            op,
                            body: &body,
                        };
                        self.slow.say_read(&answered, waited_us, now.elapsed());
                    }
                    (xid, op, since)
                }
            };
            self.counters.outstanding.fetch_sub(1, Ordering::Relaxed);
            let latency_us = latency_us(now, since);
            record_us(&self.counters.measures.read, latency_us, 1);
            self.counters.latency.record(latency_us, 1);
            self.counters.packets_sent.fetch_add(1, Ordering::Relaxed);
            replies += 1;
            inner.answered(xid, op, state.zxid(), latency_us, now_ms);
        }
        inner.reads.flush();
        let bytes = outbox.len() - before - event_bytes - replies * frame::HEADER_LEN;
        let measures = &self.counters.measures;
        measures.response_bytes.increment(bytes as u64);
        inner.outbox = outbox;
    }
}

fn latency_us(now: Instant, since: Instant) -> u64 {
    let latency = now.saturating_duration_since(since);
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

/// Measures how many watches a change has fired; upstream leaves out those that nobody watches.
fn note_fired(histogram: &Histogram, watches: usize) {
    if watches > 0 {
        histogram.record(watches as f64);
    }
}

impl Finish<'_> {
    /// Answers the reads that a barrier still holds in front of this write, before it changes what
    /// they see: that it is committed is all that the barrier waits for.
    fn answer_reads_before(&mut self, state: &State, request: &Request<'_>) {
        if request.origin.server != self.core.settings.server || !self.core.barriers.is_any_open() {
            return;
        }
        let conn = self.connections.by_id.get(&request.origin.conn);
        let Some(conn) = conn.map(Arc::clone) else {
            return;
        };
        let mut inner = conn.lock();
        let mut watches = WatchAccess::Held(self.watches);
        self.core
            .answer_reads(state, &conn, &mut inner, &mut watches, true);
        self.mark(&conn, &mut inner);
    }

    fn finish(&mut self, state: &State, request: &Request<'_>, applied: Applied) {
        self.core.log_digest(state);
        for change in &applied.changes {
            self.fire(state, applied.zxid, change);
        }
        match (&applied.result, request.op) {
            (Ok(Reply::Session { id, timeout_ms, .. }), _) => {
                let now_ms = self.core.heard_now_ms();
                let lease = self.core.locals.lock().upgraded(*id);
                let mut tracker = self.core.tracker.lock();
                if let Some(lease) = lease {
                    tracker.adopt(*id, &lease);
                } else {
                    tracker.track(*id, *timeout_ms, now_ms);
                }
            }
            (_, OpCode::CLOSE_SESSION) => {
                self.core.tracker.lock().forget(request.session);
                self.session_closed(request.session, request.origin.conn);
                if let Some(audit) = self.core.audit.get() {
                    audit.session_closed(self.core, request.session, &applied.changes);
                }
            }
            _ => {}
        }
        if let Some(path) = op::over_quota(request.op, request.body, &applied.result)
            && self.core.is_leading()
        {
            self.core.counters.measures.namespaces.quota_exceeded(&path);
        }
        if matches!(request.op, OpCode::RECONFIG | END_RECONFIG) {
            self.core.reconfig_wake.notify_one();
        }
        if matches!(request.op, BEGIN_CONFIG | END_RECONFIG) {
            self.core.announce_configuration(state);
        }
        if is_restore(request.op) {
            if request.op == RESTORE_END && applied.result.is_ok() {
                self.core.state_was_restored(state, self.connections);
            }
            self.core.restore_applied(request.origin, &applied);
            return;
        }
        if matches!(applied.result, Ok(Reply::Reconfigure(_))) {
            return;
        }
        let origin = applied.answers.unwrap_or(request.origin);
        if origin.server != self.core.settings.server {
            return;
        }
        let audit = self.core.audit.get();
        match self.connections.by_id.get(&origin.conn).map(Arc::clone) {
            Some(conn) => {
                if let Some(audit) = audit {
                    audit.written(state, &conn.writer(), request, &applied);
                }
                self.answer(state, &conn, origin.xid, request, &applied);
            }
            None => self.connections.gone.applied(origin.conn, |writer| {
                if let Some(audit) = audit {
                    audit.written(state, writer, request, &applied);
                }
            }),
        }
    }

    /// The connection of a session that was closed from elsewhere ends without a word.
    fn session_closed(&mut self, session: SessionId, asked_by: ConnId) {
        if let Some(id) = self.connections.by_session.remove(&session)
            && id != asked_by
            && let Some(conn) = self.connections.by_id.get(&id)
        {
            conn.close(Close::Now);
        }
    }

    /// Answers a write, and the reads that waited behind it.
    fn answer(
        &mut self,
        state: &State,
        conn: &Arc<Conn>,
        expected: i32,
        request: &Request<'_>,
        applied: &Applied,
    ) {
        let mut inner = conn.lock();
        let front = inner.in_flight.pop_front();
        let Some(Slot::Write { xid, op, since }) =
            front.filter(|slot| matches!(slot, Slot::Write { xid, .. } if *xid == expected))
        else {
            // Replies would no longer match requests. One that is about to close has thrown away
            // what it still waited for.
            if inner.close.is_none() {
                tracing::error!(
                    conn = conn.id.0,
                    "a write was applied that its connection never sent"
                );
                inner.close = Some(Close::Now);
                self.mark(conn, &mut inner);
            }
            return;
        };
        self.core
            .counters
            .outstanding
            .fetch_sub(1, Ordering::Relaxed);
        let before = inner.outbox.len();
        match &applied.result {
            Ok(Reply::Session { id, password, .. }) => {
                self.answer_handshake(&mut inner, *id, password);
                self.connections.by_session.insert(*id, conn.id);
            }
            Ok(reply) => {
                let mark = frame::begin_frame(&mut inner.outbox);
                ReplyHeader {
                    xid,
                    zxid: applied.zxid.0,
                    err: 0,
                }
                .encode(&mut inner.outbox);
                reply.encode(&mut inner.outbox);
                frame::end_frame(&mut inner.outbox, mark);
            }
            // Never told: the session speaks by another connection (`FinalRequestProcessor`).
            Err(ErrorCode::SESSION_MOVED) => inner.close = Some(Close::Now),
            Err(code) => put_header(xid, applied.zxid.0, *code, &mut inner.outbox),
        }
        let bytes = (inner.outbox.len() - before).checked_sub(frame::HEADER_LEN);
        if let Some(bytes) = bytes.filter(|_| op != OpCode::CREATE_SESSION) {
            let counters = &self.core.counters;
            counters.client_responses.record(bytes);
            counters.measures.response_bytes.increment(bytes as u64);
        }
        let latency_us = latency_us(self.now, since);
        record_us(&self.core.counters.measures.write, latency_us, 1);
        self.own += 1;
        if self.core.settings.is_ensemble() {
            record_us(&self.core.counters.measures.own_write, latency_us, 1);
        }
        // Upstream's log has an error in the place of a write that failed, and `cons` tells of that.
        let told = match applied.result {
            Ok(_) => op,
            Err(_) => OpCode(-1),
        };
        self.count_answer(&mut inner, xid, told, applied.zxid, latency_us);
        if op == OpCode::CLOSE_SESSION {
            inner.close = Some(Close::AfterFlush);
            inner.in_flight.clear();
        } else {
            let mut watches = WatchAccess::Held(self.watches);
            self.core
                .answer_reads(state, conn, &mut inner, &mut watches, false);
        }
        self.mark(conn, &mut inner);
        if self.core.slow.is_slow(latency_us) {
            let total = Duration::from_micros(latency_us);
            let commit = self.age.min(total);
            let answered = Answered {
                session: inner.session,
                client: conn.peer,
                xid,
                op,
                body: request.body,
            };
            let stages = [
                (Stage::Queue, total - commit),
                (Stage::Commit, commit),
                (Stage::Apply, self.now.elapsed()),
            ];
            self.core.slow.say(&answered, &stages);
        }
    }

    fn answer_handshake(&self, inner: &mut Inner, session: SessionId, password: &[u8]) {
        inner.session = session;
        inner.lease = self.core.tracker.lock().lease(session).map(Arc::clone);
        if let Some(handshake) = inner.handshake {
            handshake.answer(session, password, &mut inner.outbox);
        }
    }

    fn count_answer(&self, inner: &mut Inner, xid: i32, op: OpCode, zxid: Zxid, latency_us: u64) {
        self.core.counters.latency.record(latency_us, 1);
        self.core
            .counters
            .packets_sent
            .fetch_add(1, Ordering::Relaxed);
        inner.answered(xid, op, zxid, latency_us, self.now_ms);
    }

    /// Wakes the connection once the entry is done.
    fn mark(&mut self, conn: &Arc<Conn>, inner: &mut Inner) {
        if !std::mem::replace(&mut inner.dirty, true) {
            self.dirty.push(Arc::clone(conn));
        }
    }

    /// Tells those who watch what changed: the znode itself first, then its parent.
    fn fire(&mut self, state: &State, zxid: Zxid, change: &Change) {
        let (kind, heard) = match change.kind {
            ChangeKind::Created => (
                event_type::NODE_CREATED,
                self.watches.data_changed(&change.path),
            ),
            ChangeKind::DataChanged => (
                event_type::NODE_DATA_CHANGED,
                self.watches.data_changed(&change.path),
            ),
            ChangeKind::Deleted => (event_type::NODE_DELETED, self.watches.deleted(&change.path)),
        };
        let measures = &self.core.counters.measures;
        let data = match change.kind {
            ChangeKind::Deleted => None,
            ChangeKind::Created | ChangeKind::DataChanged => state.tree.find(&change.path),
        };
        let data = data.and_then(|id| state.tree.data(id));
        let namespaces = &measures.namespaces;
        namespaces.written(&mut self.writes, &change.path, data.map_or(0, <[u8]>::len));
        let fired = match change.kind {
            ChangeKind::Created => &measures.created_watches,
            ChangeKind::DataChanged => &measures.changed_watches,
            ChangeKind::Deleted => &measures.deleted_watches,
        };
        note_fired(fired, heard.len());
        self.tell(state, &heard, zxid, kind, &change.path, &change.acl);
        if change.kind != ChangeKind::DataChanged {
            let parent = path::parent_for_clients(&change.path);
            let heard = self.watches.children_changed(parent);
            let kind = event_type::NODE_CHILDREN_CHANGED;
            note_fired(&self.core.counters.measures.children_watches, heard.len());
            self.tell(state, &heard, zxid, kind, parent, &change.parent_acl);
        }
    }

    /// Pushes an event to those who may read the znode. A watch that is filtered out here has been
    /// used up all the same.
    fn tell(
        &mut self,
        state: &State,
        heard: &[ConnId],
        zxid: Zxid,
        kind: i32,
        path: &str,
        acl: &[AclEntry],
    ) {
        let skip_acl = state.flags().contains(Flags::SKIP_ACL);
        for id in heard {
            let Some(conn) = self.connections.by_id.get(id).map(Arc::clone) else {
                continue;
            };
            let mut inner = conn.lock();
            if !skip_acl && !state.schemes().grants(acl, perms::READ, &inner.identities) {
                continue;
            }
            if inner.outbox.len() > self.core.settings.outbox_bytes_max {
                self.core
                    .counters
                    .outbox_overflows
                    .fetch_add(1, Ordering::Relaxed);
                self.core.counters.measures.outbox_limit.increment(1);
                inner.close = Some(Close::Now);
            } else {
                let before = inner.outbox.len();
                put_event(zxid.0, kind, path, &mut inner.outbox);
                let bytes = inner.outbox.len() - before - frame::HEADER_LEN;
                let sent = &self.core.counters.measures.watch_bytes;
                sent.increment(bytes as u64);
                conn.event_waits(self.now);
                inner.stats.sent += 1;
                self.core
                    .counters
                    .packets_sent
                    .fetch_add(1, Ordering::Relaxed);
                self.core
                    .counters
                    .events_sent
                    .fetch_add(1, Ordering::Relaxed);
            }
            self.mark(&conn, &mut inner);
        }
    }
}
