//! From a decoded frame to the bytes of its reply.
//!
//! * `conn`: what the pipeline knows of a connection: requests in flight, outbox, identities.
//! * `prep`: takes frames from a connection's task; answers reads, queues writes.
//! * `proposals`, `lead`, `follow`: writes become log entries, many at a time, here or at the
//!   leader; `messages` is what servers say to each other for that.
//! * `asks`, `barrier`: what only the leader knows: who owns a session, how far reads must wait.
//! * `audit`: who wrote what, for the audit log.
//! * `elections`: since when this server leads, and what it has proposed.
//! * `namespaces`: how much is read and written below each top-level znode.
//! * `restore`: sends a whole state through the log.
//! * `slow`: says which requests took long, and where.
//! * `finish`: applies committed entries, fires watches, answers.
//!
//! Ordering rules, each visible to clients:
//!
//! 1. **Replies leave in request order.** A read waits behind the same connection's writes and only
//!    behind those. It is then evaluated by whoever applies the last of them, before the next
//!    request is applied, so that it sees exactly the writes in front of it.
//!
//!    ```text
//!    requests   set /a 1      get /a      set /a 2
//!    applied    |------------ | --------- |-------
//!    replies                  ok          1          ok        (never 2 for the get)
//!    ```
//! 2. **Event before new data, and after old data.** Events are pushed into outboxes while the
//!    state is locked for writing; replies of reads while it is locked for reading. A reply that
//!    arms a watch therefore stands in front of the event that fires it, and an event in front of
//!    any reply that could show the change.
//! 3. **Own event before own reply.** Watches fire before the write is answered.
//!
//! Order of locks: state, connections, watch table, one connection, and last the sessions: those
//! that are local or the tracker, one at a time. None is held across `.await`.

mod asks;
mod audit;
mod barrier;
mod conn;
mod elections;
mod finish;
mod follow;
mod lead;
mod measures;
mod messages;
mod namespaces;
mod prep;
mod proposals;
mod reconfig;
mod replica;
mod restore;
mod slow;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use jute::proto::CreateSessionTxn;
use jute::{Encode as _, OpCode, put_str};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::collections::HashMap;
use crate::ensemble::{Ensemble, Leadership};
use crate::op::Flags;
use crate::session::{LocalSessions, Session, Tracker};
use crate::state::entry::Origin;
use crate::state::{LogPosition, State};
use crate::tree::{NodeId, Owner};
use crate::types::{ConnId, ServerId, SessionId, Zxid};
use crate::watch::WatchTable;

/// What a link of another server carries, for fuzzers.
#[cfg(fuzzing)]
pub fn fuzz_message(kind: u8, body: bytes::Bytes) {
    let _ = messages::Message::decode(kind, body);
}

pub use audit::{AUDIT_WAITING_MAX, Audit, Record};
pub use barrier::drive_barriers;
pub use conn::{Close, Conn, ConnStats, Handshake};
pub use lead::{LinkService, drive_proposals};
pub use measures::Measures;
pub use prep::FrameError;
pub use proposals::Proposals;
pub use replica::{Cut, Replica};
pub use restore::RestoreError;

/// Settings of the pipeline, all from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub server: ServerId,
    pub flags: Flags,
    pub tick_ms: i64,
    /// `globalOutstandingLimit`: with more requests than this in flight, connections that have any
    /// are not read from.
    pub outstanding_max: u64,
    /// Bytes that may wait in one connection's outbox before it is closed as too slow.
    pub outbox_bytes_max: usize,
    /// The member lines of the configuration, for the first leader of an ensemble, with a version if
    /// the file has one.
    pub first_members: String,
    /// Whether every read is a barrier, so that it never shows less than what was acknowledged.
    pub linearizable_reads: bool,
    pub local_sessions: LocalSessionsMode,
    /// A request that takes longer is logged; 0 is none.
    pub slow_request_ms: u32,
}

/// What new sessions are (`localSessionsEnabled`, `localSessionsUpgradingEnabled`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalSessionsMode {
    /// Known to all servers at once.
    Off,
    /// Known to their server only, which refuses to create ephemerals for them.
    Refuse,
    /// Known to their server only, until they create an ephemeral.
    Upgrade,
}

/// Whom this server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Nobody,
    /// Clients that are content with a state that may be old.
    ReadOnly,
    Everybody,
}

/// Signs of life are reported to the leader this often at least, and at most.
const HEARD_INTERVAL_MS: (i64, i64) = (LEASE_STEP_MS, 500);

impl Settings {
    /// Whether this is one server of several.
    #[must_use]
    pub fn is_ensemble(&self) -> bool {
        self.flags.contains(Flags::ENSEMBLE)
    }

    /// Time between two reports of signs of life to the leader, a fraction of a tick.
    fn heard_interval(&self) -> Duration {
        let (min, max) = HEARD_INTERVAL_MS;
        Duration::from_millis((self.tick_ms / 4).clamp(min, max).unsigned_abs())
    }
}

/// Default of [`Settings::outbox_bytes_max`]. A reply larger than this still leaves: the limit is
/// looked at before something is added.
pub const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// How often the lease clock advances, in ms. Leases are as precise as this.
pub const LEASE_STEP_MS: i64 = 50;

/// Connections in a millisecond of a process's life for which ids are unique among processes.
const CONN_BITS: u32 = 20;

/// Upstream's buffer for answers to four-letter words.
const WORD_PACKET_BYTES: usize = 8192;

/// Requests of one connection that may be in flight; beyond it the connection is not read from.
pub const IN_FLIGHT_MAX: usize = 1000;

/// Who is connected.
#[derive(Default)]
struct Connections {
    by_id: HashMap<ConnId, Arc<Conn>>,
    by_session: HashMap<SessionId, ConnId>,
    /// For the audit log; nobody without one.
    gone: audit::Gone,
}

/// Counters that four-letter words and metrics show.
#[derive(Default)]
pub struct Counters {
    pub packets_received: AtomicU64,
    pub packets_sent: AtomicU64,
    pub latency: LatencyCounter,
    /// What goes to the recorder of metrics.
    pub measures: Measures,
    /// Bytes of the last reply, the smallest and the largest.
    pub client_responses: elections::Sizes,
    pub outstanding: AtomicU64,
    pub sessions_expired: AtomicU64,
    pub connections_rejected: AtomicU64,
    pub outbox_overflows: AtomicU64,
    pub events_sent: AtomicU64,
    /// A four-letter word is none.
    pub connect_requests: AtomicU64,
    pub sessionless_expired: AtomicU64,
    pub bytes_received: AtomicU64,
    pub auth_failed: AtomicU64,
    pub elections: elections::Elections,
}

impl Counters {
    /// What `srst` resets.
    pub fn reset(&self) {
        self.packets_received.store(0, Ordering::Relaxed);
        self.packets_sent.store(0, Ordering::Relaxed);
        self.latency.reset();
        self.client_responses.reset();
    }

    /// What `srst` resets as well when nobody scrapes: everything that is counted for the metrics.
    pub fn reset_metrics(&self) {
        for counter in [
            &self.sessions_expired,
            &self.connections_rejected,
            &self.outbox_overflows,
            &self.events_sent,
            &self.connect_requests,
            &self.sessionless_expired,
            &self.bytes_received,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// Minimum, average and maximum of a latency, in microseconds.
#[derive(Debug)]
pub struct LatencyCounter {
    count: AtomicU64,
    sum_us: AtomicU64,
    min_us: AtomicU64,
    max_us: AtomicU64,
}

impl Default for LatencyCounter {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
            min_us: AtomicU64::new(u64::MAX),
            max_us: AtomicU64::new(0),
        }
    }
}

/// What a [`LatencyCounter`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencySummary {
    pub count: u64,
    pub sum_us: u64,
    pub min_us: u64,
    pub max_us: u64,
}

impl LatencyCounter {
    /// Counts `requests` that each took `latency_us`.
    pub fn record(&self, latency_us: u64, requests: u64) {
        if requests == 0 {
            return;
        }
        self.count.fetch_add(requests, Ordering::Relaxed);
        self.sum_us
            .fetch_add(latency_us.saturating_mul(requests), Ordering::Relaxed);
        self.min_us.fetch_min(latency_us, Ordering::Relaxed);
        self.max_us.fetch_max(latency_us, Ordering::Relaxed);
    }

    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let count = self.count.load(Ordering::Relaxed);
        LatencySummary {
            count,
            sum_us: self.sum_us.load(Ordering::Relaxed),
            min_us: if count == 0 {
                0
            } else {
                self.min_us.load(Ordering::Relaxed)
            },
            max_us: self.max_us.load(Ordering::Relaxed),
        }
    }

    pub fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.sum_us.store(0, Ordering::Relaxed);
        self.min_us.store(u64::MAX, Ordering::Relaxed);
        self.max_us.store(0, Ordering::Relaxed);
    }
}

/// Everything that connections share on one server.
pub struct Core {
    pub started: Instant,
    /// Wall clock at the start, ms.
    pub started_ms: i64,
    pub settings: Settings,
    pub counters: Counters,
    pub proposals: Proposals,
    asks: asks::Asks,
    restores: restore::Restores,
    barriers: barrier::Barriers,
    links: lead::Links,
    leadership: watch::Sender<Leadership>,
    ensemble: OnceLock<Arc<Ensemble>>,
    audit: OnceLock<Audit>,
    slow: slow::SlowLog,
    /// Digests of the state behind some of the last entries.
    checkpoints: Mutex<VecDeque<(u64, u64)>>,
    /// Digests of the state behind some of the last transactions.
    digest_log: Mutex<VecDeque<(Zxid, u64)>>,
    /// The cuts of the last snapshots, newest last.
    snapshots: Mutex<VecDeque<Cut>>,
    /// How far the log is applied.
    applied: watch::Sender<LogPosition>,
    /// Rung when a change of members begins or ends.
    reconfig_wake: Notify,
    /// What `/zookeeper/config` says; empty before the first one.
    configuration: watch::Sender<Arc<str>>,
    /// No more requests are taken, and those that were are in the log.
    stopping: watch::Sender<bool>,
    drained: watch::Sender<bool>,
    service: watch::Sender<Service>,
    /// Tells this process from the one before it.
    incarnation: u64,
    /// The next attachment that this server gives as the leader.
    attach_next: AtomicU64,
    state: RwLock<State>,
    connections: Mutex<Connections>,
    watches: Mutex<WatchTable>,
    tracker: Mutex<Tracker>,
    locals: Mutex<LocalSessions>,
    /// See [`Core::advance_lease_clock`].
    lease_clock_ms: AtomicI64,
    next_conn: AtomicU64,
    next_session: AtomicI64,
}

impl Core {
    #[must_use]
    pub fn new(settings: Settings, state: State) -> Arc<Self> {
        let first_session = first_session_id(settings.server, wall_clock_ms());
        let tracker = Tracker::new(settings.tick_ms);
        let locals = LocalSessions::new(settings.tick_ms);
        // Requests of an earlier process of this server may still be applied: none of its
        // connections may be taken for one of ours.
        let first_conn = wall_clock_ms().unsigned_abs() << CONN_BITS;
        Arc::new(Self {
            started: Instant::now(),
            started_ms: wall_clock_ms(),
            slow: slow::SlowLog::new(settings.slow_request_ms),
            settings,
            counters: Counters::default(),
            proposals: Proposals::default(),
            asks: asks::Asks::default(),
            restores: restore::Restores::default(),
            barriers: barrier::Barriers::default(),
            links: lead::Links::default(),
            leadership: watch::Sender::new(Leadership::Unknown),
            ensemble: OnceLock::new(),
            audit: OnceLock::new(),
            checkpoints: Mutex::default(),
            digest_log: Mutex::default(),
            snapshots: Mutex::default(),
            applied: watch::Sender::new(state.position()),
            reconfig_wake: Notify::new(),
            configuration: watch::Sender::new("".into()),
            stopping: watch::Sender::new(false),
            drained: watch::Sender::new(false),
            service: watch::Sender::new(Service::Nobody),
            incarnation: first_conn,
            attach_next: AtomicU64::new(1),
            state: RwLock::new(state),
            connections: Mutex::default(),
            watches: Mutex::default(),
            tracker: Mutex::new(tracker),
            locals: Mutex::new(locals),
            lease_clock_ms: AtomicI64::new(0),
            next_conn: AtomicU64::new(first_conn + 1),
            next_session: AtomicI64::new(first_session),
        })
    }

    /// From now on each write is said to `audit`.
    pub fn audit_by(&self, audit: Audit) {
        let _ = self.audit.set(audit);
    }

    /// Looks at the state, with writes held up meanwhile: keep it short.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read())
    }

    /// Looks at the watch table.
    pub fn look_at_watches<T>(&self, look: impl FnOnce(&WatchTable) -> T) -> T {
        look(&self.watches.lock())
    }

    /// Looks at who may expire when.
    pub fn look_at_tracker<T>(&self, look: impl FnOnce(&Tracker) -> T) -> T {
        look(&self.tracker.lock())
    }

    /// Looks at the sessions that only this server knows.
    pub fn look_at_locals<T>(&self, look: impl FnOnce(&LocalSessions) -> T) -> T {
        look(&self.locals.lock())
    }

    /// How far the log is applied, as it moves.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<LogPosition> {
        self.applied.subscribe()
    }

    /// The configuration of the ensemble as it was agreed on: member lines and their version. Empty
    /// until this server knows one.
    #[must_use]
    pub fn configuration(&self) -> watch::Receiver<Arc<str>> {
        self.configuration.subscribe()
    }

    #[must_use]
    pub fn service(&self) -> Service {
        *self.service.borrow()
    }

    /// Whom this server serves, as it changes.
    #[must_use]
    pub fn service_changes(&self) -> watch::Receiver<Service> {
        self.service.subscribe()
    }

    /// Whom to serve from now on. Everybody who was served until now is disconnected: writes that
    /// wait may never be applied, reads would grow old, and who came to read only can have more.
    pub fn serve(&self, service: Service) {
        if self.service.send_replace(service) != Service::Nobody {
            self.close_all();
        }
    }

    /// Ends all connections at once.
    pub fn close_all(&self) {
        for conn in self.connections() {
            conn.close(Close::Now);
        }
    }

    /// All open connections.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Conn>> {
        self.connections.lock().by_id.values().cloned().collect()
    }

    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.lock().by_id.len()
    }

    /// Milliseconds of the lease clock, which sessions' time-outs run on.
    #[must_use]
    pub fn lease_now_ms(&self) -> i64 {
        self.lease_clock_ms.load(Ordering::Relaxed)
    }

    /// What a sign of life that arrives now counts as: the clock's next step, for up to a whole
    /// step may have passed since its last, and no lease may be cut short by that.
    #[must_use]
    pub fn heard_now_ms(&self) -> i64 {
        self.lease_now_ms() + LEASE_STEP_MS
    }

    /// Advances the lease clock by the time that passed since the last call, but by no more than
    /// `step_max_ms`: when this process stood still longer than that, it could not hear anybody,
    /// and nobody's session shall suffer for it.
    pub fn advance_lease_clock(&self, elapsed_ms: i64, step_max_ms: i64) {
        self.lease_clock_ms
            .fetch_add(elapsed_ms.clamp(0, step_max_ms), Ordering::Relaxed);
    }

    /// Gives every session in the state a fresh lease: after a start nobody has been heard yet.
    pub fn track_all_sessions(&self) {
        self.track_sessions(&self.state.read());
    }

    fn track_sessions(&self, state: &State) {
        let mut tracker = self.tracker.lock();
        let now_ms = self.lease_now_ms();
        for (id, session) in state.sessions.iter() {
            tracker.track(id, session.timeout_ms, now_ms);
        }
    }

    /// Ends the local sessions whose lease has run out, and proposes to close the others.
    pub fn expire_sessions(&self) {
        let expired = self.locals.lock().expire(self.lease_now_ms());
        for session in expired {
            self.count_expired(session, &self.counters.measures.expired_local);
            let connections = self.connections.lock();
            let id = connections.by_session.get(&session);
            if let Some(conn) = id.and_then(|id| connections.by_id.get(id)) {
                conn.close(Close::Now);
            }
        }
        if !self.is_leading() {
            return;
        }
        let expired = self.tracker.lock().expired(self.lease_now_ms());
        for session in expired {
            let measures = &self.counters.measures;
            let cause = if self.connections.lock().by_session.contains_key(&session) {
                &measures.expired_connected
            } else {
                &measures.expired_elsewhere
            };
            self.count_expired(session, cause);
            self.propose_close(session);
        }
    }

    fn count_expired(&self, session: SessionId, cause: &metrics::Counter) {
        tracing::info!(%session, "session expired");
        cause.increment(1);
        self.counters
            .sessions_expired
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Session ids: unique among the servers by the top byte, among starts by the clock.
    fn new_session_id(&self) -> SessionId {
        loop {
            let id = self.next_session.fetch_add(1, Ordering::Relaxed);
            // Reserved: no session, and the owner of containers.
            if id != 0 && id != i64::MIN {
                return SessionId(id);
            }
        }
    }

    fn new_session(timeout_ms: i32) -> Session {
        let mut password = [0; crate::session::PASSWORD_LEN];
        // Without randomness from the system no password can be trusted; there is no way on.
        getrandom::fill(&mut password).expect("the system's random source works");
        Session {
            timeout_ms,
            password,
            attach: 0,
        }
    }
}

/// The body of a createSession.
fn session_txn(session: &Session) -> BytesMut {
    let mut txn = BytesMut::new();
    CreateSessionTxn {
        timeout_ms: session.timeout_ms,
        password: Some(&session.password),
    }
    .encode(&mut txn);
    txn
}

/// Bits 63..56 the server, 55..16 the clock in ms, 15..0 zero (`SessionTrackerImpl`).
fn first_session_id(server: ServerId, clock_ms: i64) -> i64 {
    let server = i64::from(server.0.to_le_bytes()[0]);
    (server << 56) | ((clock_ms << 24).cast_unsigned() >> 8).cast_signed() & 0x00ff_ffff_ffff_0000
}

/// The clock that znodes' times come from.
#[must_use]
pub fn wall_clock_ms() -> i64 {
    #[cfg(simulation)]
    return crate::simulation::wall_clock_ms();
    #[cfg(not(simulation))]
    real_clock_ms()
}

#[cfg(not(simulation))]
fn real_clock_ms() -> i64 {
    let elapsed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

impl Core {
    /// Paths of containers and TTL znodes without children that may go by now. Containers that
    /// never had a child go when they are older than `never_used_ms`, unless that is 0.
    #[must_use]
    pub fn due_for_deletion(&self, now_ms: i64, never_used_ms: i64) -> Vec<String> {
        let state = self.state.read();
        let tree = &state.tree;
        let is_due = |id: &NodeId| {
            let age_ms = now_ms - tree.stat(*id).mtime;
            match tree.owner(*id) {
                Owner::Container if tree.created_children(*id) > 0 => true,
                Owner::Container => never_used_ms > 0 && age_ms > never_used_ms,
                Owner::Ttl(ttl_ms) => age_ms > ttl_ms,
                Owner::Session(_) | Owner::Persistent => false,
            }
        };
        tree.reapable()
            .filter(is_due)
            .map(|id| tree.path_of(id))
            .collect()
    }

    /// Proposes to delete a container or TTL znode that is due.
    pub fn propose_container_deletion(&self, path: &str) {
        let mut body = BytesMut::new();
        put_str(path, &mut body);
        self.propose_own(OpCode::DELETE_CONTAINER, SessionId(0), &body);
    }

    /// The connection of requests that the server makes itself.
    const NO_CONN: ConnId = ConnId(0);

    /// Queues a write of the server's own, which nobody waits for.
    fn propose_own(&self, op: OpCode, session: SessionId, body: &[u8]) {
        let origin = Origin {
            server: self.settings.server,
            conn: Self::NO_CONN,
            xid: 0,
            attach: Origin::UNATTACHED,
        };
        self.proposals.push(op, session, origin, &[], body);
    }

    /// Makes a local session known to the ensemble, in front of the request that needs it.
    fn propose_upgrade(&self, id: SessionId, session: &Session) {
        tracing::info!(session = %id, "a local session becomes one of the ensemble");
        self.propose_own(OpCode::CREATE_SESSION, id, &session_txn(session));
    }

    fn propose_close(&self, session: SessionId) {
        self.propose_own(OpCode::CLOSE_SESSION, session, &[]);
    }

    /// Whether a connection may hand over another request now.
    #[must_use]
    pub fn has_room(&self, conn: &Conn) -> bool {
        let in_flight = conn.in_flight();
        in_flight < IN_FLIGHT_MAX
            && !conn.is_reconfiguring()
            && (in_flight == 0
                || self.counters.outstanding.load(Ordering::Relaxed)
                    < self.settings.outstanding_max)
    }

    /// A four-letter word counts as a packet that was received.
    pub fn count_word(&self, conn: &Conn) {
        conn.lock().stats.received += 1;
        self.counters
            .packets_received
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Its answer counts as those that were sent, so many bytes each, but not as its connection's.
    pub fn count_answer_to_word(&self, bytes: usize) {
        let packets = bytes.div_ceil(WORD_PACKET_BYTES) as u64;
        self.counters
            .packets_sent
            .fetch_add(packets, Ordering::Relaxed);
    }
}
