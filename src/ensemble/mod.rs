//! Replication: openraft, and nothing of openraft beyond this module.
//!
//! The rest of the server sees an ordered, durable log of opaque payloads ([`Ensemble::propose`]),
//! implements [`Machine`], follows [`Leadership`] and reaches the leader by a [`Link`].
//!
//! * `peer`: connections between servers: frames, handshake, Raft's messages as bytes.
//! * `network`, `inbound`, `transfer`: openraft's way out, its way in, and snapshot files.
//! * `elect`: forming the ensemble, and what follows when a leader hangs up.
//! * `at_rest`: a data directory that no server runs on: made from a state, and looked at.
//! * `log_store`, `state_machine`: openraft's view of storage and of the machine.
//!
//! Settings that matter:
//! * `enable_leader_restore` is off. With it a leader that crashed before its own flush resumes
//!   its term and reuses log indexes that followers hold: acknowledged writes are lost.
//! * one leader per term, for zxid epochs come from terms.
//! * snapshots are due by our own rule, see [`Options::snap_count`].

mod at_rest;
mod elect;
#[cfg(simulation)]
mod executor;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inbound;
mod link;
mod log_store;
mod membership;
mod network;
#[cfg(test)]
mod network_tests;
mod peer;
mod peers;
mod snapshot;
mod state_machine;
#[cfg(test)]
mod storage_tests;
mod transfer;
mod types;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::{Config, Raft, ReadPolicy, ServerState, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::storage::rocks_log::RocksLog;
use crate::storage::snapshots::SnapshotDir;
use crate::storage::{StorageError, create_dir};
use crate::types::Zxid;
#[cfg(not(simulation))]
use log_store::LogStore;
use network::Network;
use peers::Peers;
use state_machine::StateMachine;
use types::{Payload, TypeConfig};

pub use at_rest::{
    AtRest, Facts, Founding, Logged, Recovered, found, is_gone, read_snapshot, verify_snapshot,
};
pub use link::{Link, LinkHandler, LinkReader, LinkWriter};
#[cfg(simulation)]
pub(crate) use log_store::LogStore;
pub use membership::ChangeError;
pub use peer::{Dialing, Member, Net, Stream, Tcp};

/// One entry of the log that the quorum has.
#[derive(Debug, Clone)]
pub struct Committed {
    pub term: u64,
    pub index: u64,
    /// Empty for entries of Raft's own.
    pub payload: Bytes,
    /// The new membership, in an entry that changes it.
    pub members: Option<Vec<Member>>,
}

/// What is replicated. All calls come from one task, in log order.
pub trait Machine: Send + Sync + 'static {
    /// Applies entries, in order, and returns how many requests they held. Total: never fails.
    fn apply(&self, entries: &[Committed]) -> u64;

    /// A recent entry and the digest of the state behind it. All servers choose the same entries.
    fn checkpoint(&self) -> Option<(u64, u64)>;

    /// The digest of the state behind an entry, when it is one of the chosen and not long ago.
    fn digest_at(&self, index: u64) -> Option<u64>;

    /// Marks the current state, in a time that does not grow with it. The source copies what it
    /// marked while entries go on being applied.
    fn freeze(&self) -> Box<dyn SnapshotSource>;

    /// Replaces the state by a snapshot's content.
    ///
    /// # Errors
    /// A sentence that says what is not understood; the state is as before then.
    fn restore(&self, source: &mut dyn SnapshotReader) -> Result<(), String>;
}

/// Copies a frozen state.
pub trait SnapshotSource: Send + Sync {
    /// The last zxid in it.
    fn zxid(&self) -> Zxid;

    /// Appends the next block; false when the cut is complete.
    fn next_block(&mut self, out: &mut Vec<u8>) -> bool;
}

/// Gives a snapshot back, block by block.
pub trait SnapshotReader {
    /// # Errors
    /// The snapshot cannot be read or is damaged.
    fn next_block(&mut self) -> Result<Option<Vec<u8>>, StorageError>;
}

/// Settings of the log, its snapshots and elections.
#[derive(Debug, Clone)]
pub struct Options {
    pub server_id: u64,
    /// Holds `snapshots/`.
    pub data_dir: PathBuf,
    /// Holds `log/`.
    pub log_dir: PathBuf,
    /// Whether directories are created when they are missing.
    pub autocreate_dirs: bool,
    /// `forceSync`: off only for those who can afford to lose acknowledged writes.
    pub fsync: bool,
    pub fsync_warn_above: Duration,
    /// A snapshot is due when this many requests were applied since the last one and the log has
    /// grown by as much as that one is long, so that total writing stays proportional to change.
    /// Each server takes a share of this and of the next between a half and the whole, at random.
    pub snap_count: u64,
    /// A snapshot is due at the latest when the log has grown by this many bytes.
    pub snap_bytes_max: u64,
    /// Snapshots to keep, and the log behind the oldest of them.
    pub snap_retain_count: usize,
}

/// The other servers, and how to reach them.
pub struct Peering {
    /// The members that the configuration lists, this server among them. Only the first start of
    /// an ensemble goes by it; then the log says who is a member.
    pub members: Vec<Member>,
    /// Where other servers reach this one.
    pub inbound: Inbound,
    pub net: Arc<dyn Net>,
    /// Known to all servers of the cluster, when the configuration names one.
    pub secret: Option<Bytes>,
    /// Who serves the links that others open to this server.
    pub links: Arc<dyn LinkHandler>,
}

impl Peering {
    /// Whether this is a server without an ensemble.
    fn is_alone(&self) -> bool {
        matches!(self.inbound, Inbound::Alone)
    }
}

/// How other servers reach this one.
pub enum Inbound {
    /// There are none.
    Alone,
    Tcp(TcpListener),
    /// Connections as they come, each with the name of where it is from.
    #[cfg(simulation)]
    Streams(tokio::sync::mpsc::Receiver<(Stream, String)>),
}

/// Who leads, as far as this server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody.
    Unknown,
    /// This server, and it has applied everything that earlier leaders committed.
    Leading { term: u64 },
    /// Another server.
    Following { leader: u64, term: u64 },
}

/// How often the leader's digest is compared.
const DIGEST_INTERVAL: Duration = Duration::from_secs(2);

/// How often the snapshot rule is looked at.
const SNAPSHOT_CHECK: Duration = Duration::from_millis(500);

/// After this time a snapshot is asked for again: the last question may have met one that was under
/// way.
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(1);

const HEARTBEAT_MS: u64 = 100;

/// Silence of the leader after which a server stands for election, up to twice this at random.
const ELECTION_TIMEOUT_MS: u64 = 500;

/// Exit code when the disk has failed while serving.
const EXIT_STORAGE_FAILED: i32 = 3;

/// Why the ensemble could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("replication could not start: {0}")]
    Raft(String),
}

/// Why a proposal was not applied here, or not known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this server does not lead")]
    NotLeader,
    #[error("leadership was lost before the outcome was known")]
    LeaderLost,
    #[error("this server is shutting down")]
    ShuttingDown,
}

/// Where replication stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub is_leader: bool,
    /// Whether this server is one of those that vote.
    pub is_voter: bool,
    pub leader: Option<u64>,
    pub members: Vec<Member>,
    /// As the leader, the other members that have answered, and how long ago that was.
    pub heard: Vec<(u64, Duration)>,
    /// As the leader, the last log index that each member is known to have; nothing is known of one
    /// that has not answered this leader yet.
    pub matched: Vec<(u64, u64)>,
    /// Since when this server is out of touch with the quorum: as the leader with a majority, else
    /// with a leader that was not.
    pub out_of_touch: Duration,
    /// Whether that is so long, or the leader has hung up, that another leader is looked for.
    pub is_lost: bool,
    pub term: u64,
    pub last_index: u64,
    pub applied_index: u64,
    pub snapshot_index: Option<u64>,
    /// Growth of the log since the last snapshot of this process, in bytes.
    pub log_bytes_since_snapshot: u64,
}

pub struct Ensemble {
    raft: Raft<TypeConfig, StateMachine>,
    log: LogStore,
    state_machine: StateMachine,
    progress: Arc<SnapshotProgress>,
    io_thread: Mutex<Option<JoinHandle<()>>>,
    /// They hold the log open: one takes snapshots when they are due, others follow the leader.
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Accepts other servers, until it is taken.
    listening: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Where the others look for this server while it does not hear them.
    place: watch::Sender<String>,
    peers: Arc<Peers>,
    leadership: watch::Receiver<Leadership>,
    stop: watch::Sender<bool>,
    begun: tokio::time::Instant,
}

/// Where log and state stood when the last snapshot was asked for.
#[derive(Default)]
struct SnapshotProgress {
    log_bytes: std::sync::atomic::AtomicU64,
    requests: std::sync::atomic::AtomicU64,
}

impl Ensemble {
    /// Recovers snapshot and log. Alone it becomes leader and returns when everything that was
    /// committed is applied; as one of several it returns at once, and [`Self::leadership`] says
    /// what comes of it.
    ///
    /// # Errors
    /// The storage is in use, damaged or cannot be written, or replication does not start.
    pub async fn start(
        options: Options,
        machine: Arc<dyn Machine>,
        peering: Peering,
    ) -> Result<Self, StartError> {
        let begun = std::time::Instant::now();
        refuse_foreign(&options)?;
        for dir in [&options.data_dir, &options.log_dir] {
            create_dir(dir, options.autocreate_dirs)?;
        }
        let log_path = options.log_dir.join("log");
        let (log, opened) = RocksLog::open(&log_path, options.fsync, options.fsync_warn_above)?;
        let (log, io_thread) = LogStore::open(Arc::new(log), opened, Box::new(stop_on_failure))?;
        match Self::start_on(&options, machine, peering, &log).await {
            Ok(mut started) => {
                let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
                metrics::histogram!("dbinittime").record(took_ms);
                started.io_thread = Mutex::new(Some(io_thread));
                Ok(started)
            }
            Err(error) => {
                // The database must be closed before the process ends.
                log.close();
                let _ = tokio::task::spawn_blocking(move || io_thread.join()).await;
                Err(error)
            }
        }
    }

    pub(crate) async fn start_on(
        options: &Options,
        machine: Arc<dyn Machine>,
        peering: Peering,
        log: &LogStore,
    ) -> Result<Self, StartError> {
        let is_alone = peering.is_alone();
        let dir = SnapshotDir::open(&options.data_dir.join("snapshots"), true)?;
        let cluster = Arc::<std::sync::atomic::AtomicU64>::default();
        let state_machine = StateMachine::open(
            machine,
            dir.clone(),
            options.snap_retain_count,
            log.purged(),
            Arc::clone(&cluster),
        )?;
        log.count_behind(state_machine.shared.snapshot_index())?;
        let marker = elect::Marker::new(&options.log_dir);
        let identity = peer::Identity {
            me: options.server_id,
            secret: peering.secret,
            cluster,
            members: RwLock::default(),
            net: peering.net,
            complaints: peer::Complaints::default(),
        };
        let may_vote = !marker.exists() && (is_alone || !log.is_empty());
        let configured = peering.members.clone();
        let peers = Peers::new(identity, dir, peering.links, may_vote, configured);
        let peers = Arc::new(peers);
        peers.set_members(peering.members.clone());
        let since = std::time::Instant::now();
        let raft = Raft::new(
            options.server_id,
            Arc::new(raft_config(peers.may_vote())?),
            Network(Arc::clone(&peers)),
            log.clone(),
            state_machine.clone(),
        )
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;
        let _ = peers.raft.set(raft.clone());
        if !is_alone {
            // What was known to be committed is applied by now; the rest is when a leader says so.
            note_loaded(&state_machine, since);
        }
        let (stop, stopped) = watch::channel(false);
        let (announce, leadership) = watch::channel(Leadership::Unknown);
        let mut tasks = vec![tokio::spawn(elect::announce(
            Arc::clone(&peers),
            state_machine.shared.applied_term.subscribe(),
            announce,
        ))];
        let begun = if is_alone {
            elect::lead_alone(&raft, options.server_id, log.is_empty()).await
        } else {
            elect::refuse_alone(&raft).await
        };
        if let Err(error) = begun {
            let _ = raft.shutdown().await;
            return Err(error);
        }
        let mut listening = None;
        let place = watch::Sender::new(String::new());
        if !is_alone {
            let (peers, members) = (Arc::clone(&peers), peering.members);
            tasks.push(tokio::spawn(elect::form(
                Arc::clone(&peers),
                members,
                marker,
                log.is_empty(),
            )));
            tasks.push(tokio::spawn(compare_digests(
                raft.clone(),
                state_machine.clone(),
                leadership.clone(),
            )));
            tasks.push(tokio::spawn(elect::replace_lost_leader(Arc::clone(&peers))));
            tasks.push(tokio::spawn(elect::find_place(
                Arc::clone(&peers),
                place.clone(),
            )));
            match peering.inbound {
                Inbound::Alone => {}
                Inbound::Tcp(listener) => {
                    listening = Some(tokio::spawn(inbound::listen(listener, peers, stopped)));
                }
                #[cfg(simulation)]
                Inbound::Streams(mut streams) => tasks.push(tokio::spawn(async move {
                    while let Some((stream, address)) = streams.recv().await {
                        inbound::accept(&peers, stream, address, stopped.clone());
                    }
                })),
            }
        } else {
            let mut leadership = leadership.clone();
            let leads = |seen: &Leadership| matches!(seen, Leadership::Leading { .. });
            let _ = leadership.wait_for(leads).await;
            note_loaded(&state_machine, since);
        }
        let progress = Arc::new(SnapshotProgress::default());
        tasks.push(spawn_snapshot_rule(
            options,
            &raft,
            log,
            &state_machine,
            &progress,
        ));
        Ok(Self {
            raft,
            log: log.clone(),
            state_machine,
            progress,
            io_thread: Mutex::new(None),
            tasks,
            listening: Mutex::new(listening),
            place,
            peers,
            leadership,
            stop,
            begun: tokio::time::Instant::now(),
        })
    }

    /// Returns when the state was found to differ from the leader's. It must not be served.
    pub async fn diverged(&self) {
        let mut diverged = self.state_machine.shared.diverged.subscribe();
        if diverged.wait_for(|diverged| *diverged).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Who leads; changes as this server learns of it.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Accepts other servers here too, until the server stops.
    pub fn listen(&self, listener: TcpListener) -> tokio::task::JoinHandle<()> {
        let (peers, stopped) = (Arc::clone(&self.peers), self.stop.subscribe());
        tokio::spawn(inbound::listen(listener, peers, stopped))
    }

    /// The task that accepts other servers, for whoever may have to end it. Gone after the first
    /// call.
    pub fn take_listening(&self) -> Option<tokio::task::JoinHandle<()>> {
        self.listening.lock().take()
    }

    /// This server's line where the others look for it, as far as it has had to ask; empty until then.
    #[must_use]
    pub fn place(&self) -> watch::Receiver<String> {
        self.place.subscribe()
    }

    /// Opens a link to the leader.
    ///
    /// # Errors
    /// It cannot be reached or refuses.
    pub async fn open_link(&self, leader: u64) -> std::io::Result<Link> {
        let class = peer::Class::Link;
        Ok(Link::new(self.peers.identity.connect(leader, class).await?))
    }

    /// Hands a payload to the log. Payloads of consecutive calls stand there in this order. The
    /// future that comes back resolves when the payload was applied here.
    ///
    /// # Errors
    /// Nothing was handed over.
    pub async fn propose(
        &self,
        payload: Bytes,
    ) -> Result<impl Future<Output = Result<(), ProposeError>> + Send + 'static, ProposeError> {
        let (responder, applied) = ProgressResponder::complete_only();
        self.raft
            .client_write_ff(Payload(payload), Some(responder))
            .await
            .map_err(|_| ProposeError::ShuttingDown)?;
        Ok(async move {
            match applied.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeError::NotLeader),
                Ok(Err(_)) => Err(ProposeError::LeaderLost),
                Err(_) => Err(ProposeError::ShuttingDown),
            }
        })
    }

    /// The last entry that was committed anywhere before the call: whoever has applied it sees all
    /// acknowledged writes. Confirmed by a majority.
    ///
    /// # Errors
    /// This server does not lead, or is about to stop.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        match self.raft.get_read_log_id(ReadPolicy::ReadIndex).await {
            Ok((read, _)) => Ok(read.log_id().index),
            Err(RaftError::Fatal(_)) => Err(ProposeError::ShuttingDown),
            Err(RaftError::APIError(_)) => Err(ProposeError::NotLeader),
        }
    }

    /// Makes these the voters and observers of the ensemble, as the leader; who else is a member stays
    /// until [`Self::settle_members`]. May be called again for a change that another leader has begun.
    ///
    /// # Errors
    /// Why the members are as they were.
    pub async fn change_members(&self, members: &[Member]) -> Result<(), ChangeError> {
        membership::change(&self.peers, &self.raft, members).await
    }

    /// Takes back what was begun for other members than these, and removes who is not among them and
    /// not there any more. Returns whether somebody is there who has left. This server leads since
    /// `since`.
    ///
    /// # Errors
    /// This server does not lead any more, or Raft refuses.
    pub async fn settle_members(
        &self,
        members: &[Member],
        since: tokio::time::Instant,
    ) -> Result<bool, ChangeError> {
        membership::settle(&self.raft, members, since).await
    }

    /// Hands leadership to the voter that has most of the log, if this server leads, and returns
    /// when another leads or nobody wants to. Nothing may be proposed any more.
    pub async fn hand_over(&self) {
        elect::hand_over(&self.peers, &self.raft, |_| true).await;
    }

    /// Writes a snapshot of what is applied by now, or of something newer, and returns its file when
    /// it is durable.
    ///
    /// # Errors
    /// This server is about to stop, or the snapshot could not be written.
    pub async fn snapshot_now(&self) -> Result<PathBuf, ProposeError> {
        let applied = self.status().applied_index;
        loop {
            // One that was begun before may end behind the call and be too old.
            if self.status().snapshot_index >= Some(applied) {
                break;
            }
            self.progress.reset(&self.log, &self.state_machine);
            let begun = self.raft.trigger().snapshot().await;
            begun.map_err(|_| ProposeError::ShuttingDown)?;
            let is_new = |metrics: &openraft::RaftMetrics<TypeConfig>| {
                metrics.snapshot.map(|id| id.index) >= Some(applied)
            };
            let wait = self.raft.wait(Some(SNAPSHOT_AGAIN));
            match wait.metrics(is_new, "a snapshot that is new enough").await {
                Ok(_) => break,
                Err(openraft::metrics::WaitError::Timeout(..)) => {}
                Err(_) => return Err(ProposeError::ShuttingDown),
            }
        }
        let file = self.state_machine.shared.snapshot_file();
        file.map(|file| file.path).ok_or(ProposeError::ShuttingDown)
    }

    /// Where a file may be gathered that comes from elsewhere. Whatever is left there goes.
    #[must_use]
    pub fn receiving(&self, name: &str) -> PathBuf {
        self.state_machine.shared.receiving(name)
    }

    /// Like [`Self::hand_over`], to one of these.
    pub async fn hand_over_to(&self, members: &[Member]) {
        let may_lead = |id| {
            members
                .iter()
                .any(|member| member.is_voter && member.id == id)
        };
        elect::hand_over(&self.peers, &self.raft, may_lead).await;
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (silence, is_lost) = if metrics.state == ServerState::Leader {
            let silence = self.peers.silence_of_majority(&metrics);
            (Some(silence), silence > elect::SILENCE_MAX)
        } else {
            let contact = *self.peers.contact.lock();
            let heard = contact.and_then(|contact| contact.with_majority);
            let silence = heard.map(|heard| heard.elapsed());
            (silence, contact.is_none_or(|contact| contact.is_lost))
        };
        let members = types::members_of(metrics.membership_config.membership());
        let me = self.peers.identity.me;
        let is_leader = metrics.state == ServerState::Leader;
        let answered = self.peers.answered.lock();
        let heard = members
            .iter()
            .filter(|member| is_leader && member.id != me)
            .filter_map(|member| Some((member.id, answered.get(&member.id)?.elapsed())))
            .collect();
        drop(answered);
        let replication = metrics.replication.iter().flatten();
        let matched = replication
            .filter_map(|(id, matched)| Some((*id, matched.as_ref()?.index)))
            .collect();
        Status {
            is_leader,
            is_voter: members.iter().any(|m| m.id == me && m.is_voter),
            leader: metrics.current_leader,
            out_of_touch: silence.unwrap_or_else(|| self.begun.elapsed()),
            is_lost,
            members,
            heard,
            matched,
            term: metrics.current_term,
            last_index: metrics.last_log_index.unwrap_or(0),
            applied_index: metrics.last_applied.map_or(0, |id| id.index),
            snapshot_index: self.state_machine.shared.snapshot_index(),
            log_bytes_since_snapshot: self
                .log
                .appended_bytes()
                .saturating_sub(self.progress.log_bytes.load(Ordering::Relaxed)),
        }
    }

    /// Stops replication and closes the log. Proposals under way may or may not have been applied.
    pub async fn shutdown(&self) {
        let _ = self.stop.send(true);
        for task in &self.tasks {
            task.abort();
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "replication did not stop cleanly");
        }
        self.log.close();
        let thread = self.io_thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Measures how much of the log was applied at the start, and how long that took.
fn note_loaded(state_machine: &StateMachine, since: std::time::Instant) {
    let shared = &state_machine.shared;
    let loaded = shared.applied_requests.load(Ordering::Relaxed);
    let took_ms = since.elapsed().as_secs_f64() * 1000.0;
    metrics::histogram!("startup_txns_loaded").record(loaded as f64);
    metrics::histogram!("startup_txns_load_time").record(took_ms);
}

/// While this server leads, puts the digest of its state into the log now and then.
async fn compare_digests(
    raft: Raft<TypeConfig, StateMachine>,
    machine: StateMachine,
    leadership: watch::Receiver<Leadership>,
) {
    let mut last = None;
    loop {
        tokio::time::sleep(DIGEST_INTERVAL).await;
        let leads = matches!(*leadership.borrow(), Leadership::Leading { .. });
        let checkpoint = machine.shared.machine.checkpoint();
        if let Some(checkpoint) = checkpoint.filter(|_| leads)
            && last != Some(checkpoint)
        {
            last = Some(checkpoint);
            let entry = types::encode_checkpoint(checkpoint);
            if raft.client_write_ff(entry, None).await.is_err() {
                return;
            }
        }
    }
}

/// Sets the data of a server that has diverged aside, in place of what was set aside before. The
/// next start finds nothing, and fetches the state from the leader.
///
/// # Errors
/// The directories cannot be changed.
pub fn set_aside(options: &Options) -> Result<(), StorageError> {
    elect::Marker::new(&options.log_dir).set()?;
    for (dir, name) in [(&options.log_dir, "log"), (&options.data_dir, "snapshots")] {
        let (from, to) = (dir.join(name), dir.join(format!("{name}.diverged")));
        let failed = |source| StorageError::io(&from, source);
        if to.exists() {
            std::fs::remove_dir_all(&to).map_err(failed)?;
        }
        if from.exists() {
            std::fs::rename(&from, &to).map_err(failed)?;
        }
    }
    Ok(())
}

/// Takes a snapshot whenever one is due, and purges the log behind the oldest that is kept.
fn spawn_snapshot_rule(
    options: &Options,
    raft: &Raft<TypeConfig, StateMachine>,
    log: &LogStore,
    machine: &StateMachine,
    progress: &Arc<SnapshotProgress>,
) -> tokio::task::JoinHandle<()> {
    let (raft, log) = (raft.clone(), log.clone());
    let (machine, progress) = (machine.clone(), Arc::clone(progress));
    let (snap_count, snap_bytes_max) = (options.snap_count, options.snap_bytes_max);
    tokio::spawn(async move {
        let mut timer = tokio::time::interval(SNAPSHOT_CHECK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut spread = Spread::random();
        loop {
            timer.tick().await;
            let purged = log.purged().map_or(0, |id| id.index);
            if let Some(oldest) = machine
                .shared
                .oldest_kept()
                .filter(|oldest| *oldest > purged)
                && raft.trigger().purge_log(oldest).await.is_err()
            {
                return;
            }
            let requests = machine.shared.applied_requests.load(Ordering::Relaxed)
                - progress.requests.load(Ordering::Relaxed);
            let bytes = log.appended_bytes() - progress.log_bytes.load(Ordering::Relaxed);
            let has_grown = bytes >= spread.of(machine.shared.snapshot_bytes());
            if (requests >= spread.of(snap_count) && has_grown)
                || bytes >= spread.of(snap_bytes_max)
            {
                progress.reset(&log, &machine);
                spread = Spread::random();
                if raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
        }
    })
}

/// A share between a half and the whole of each threshold, so that the servers of an ensemble do not
/// all write their snapshots at once (upstream's `SyncRequestProcessor` does the same).
struct Spread(u8);

impl Spread {
    fn random() -> Self {
        let mut byte = [0];
        let _ = getrandom::fill(&mut byte);
        Self(byte[0])
    }

    fn of(&self, threshold: u64) -> u64 {
        let half = threshold / 2;
        let share = u128::from(threshold - half) * u128::from(self.0) / 255;
        half.saturating_add(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

impl SnapshotProgress {
    fn reset(&self, log: &LogStore, machine: &StateMachine) {
        let requests = machine.shared.applied_requests.load(Ordering::Relaxed);
        self.requests.store(requests, Ordering::Relaxed);
        self.log_bytes
            .store(log.appended_bytes(), Ordering::Relaxed);
    }
}

/// A data directory of Apache ZooKeeper is not ours to begin an empty tree in.
fn refuse_foreign(options: &Options) -> Result<(), StorageError> {
    for dir in [&options.data_dir, &options.log_dir] {
        let path = dir.join("version-2");
        let has_data = std::fs::read_dir(&path).is_ok_and(|mut names| {
            names.any(|name| {
                name.is_ok_and(|name| {
                    let name = name.file_name().to_string_lossy().into_owned();
                    name.starts_with("snapshot.") || name.starts_with("log.")
                })
            })
        });
        if has_data && !options.data_dir.join("snapshots").exists() {
            let mut dirs = options.data_dir.display().to_string();
            if options.log_dir != options.data_dir {
                dirs = format!("{dirs} --from-log {}", options.log_dir.display());
            }
            return Err(StorageError::Foreign { path, dirs });
        }
    }
    Ok(())
}

#[cfg(not(simulation))]
fn restores_leader() -> bool {
    false
}

#[cfg(simulation)]
fn restores_leader() -> bool {
    crate::simulation::is_planted(crate::simulation::Planted::LeaderRestore)
}

fn raft_config(may_elect: bool) -> Result<Config, StartError> {
    Config {
        cluster_name: "meerkat".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_TIMEOUT_MS,
        election_timeout_max: 2 * ELECTION_TIMEOUT_MS,
        enable_pre_vote: Some(true),
        enable_elect: may_elect,
        // A server that has lost its disk and rejoins; it does not vote before it has caught up.
        allow_log_reversion: Some(true),
        // A snapshot may be large and the receiver's disk slow; each chunk has its own limit.
        install_snapshot_timeout: 600_000,
        replication_lag_threshold: 1 << 20,
        // With it, a leader that has lost what it had not flushed uses its indexes again.
        enable_leader_restore: Some(restores_leader()),
        max_payload_entries: 1024,
        api_batch_capacity: 4096,
        // The snapshot rule purges, behind the oldest snapshot that is kept.
        max_in_snapshot_log_to_keep: u64::MAX,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    }
    .validate()
    .map_err(|error| StartError::Raft(error.to_string()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "no destructor may write to a disk that has failed"
)]
/// A failed write or fsync: what is on the disk is unknown, and so is what could be promised.
fn stop_on_failure(error: &StorageError) {
    tracing::error!(%error, "the log cannot be written; stopping");
    eprintln!("the log cannot be written; stopping: {error}");
    std::process::exit(EXIT_STORAGE_FAILED);
}
