//! Replication: openraft, and nothing of openraft beyond this module.
//!
//! The rest of the server sees an ordered, durable log of opaque payloads ([`Ensemble::propose`])
//! and implements [`Machine`]. Today the ensemble has one voter, this server; what other voters
//! need (a network) is added beside, not instead.
//!
//! Settings that matter:
//! * `enable_leader_restore` is off. With it a leader that crashed before its own flush resumes
//!   its term and reuses log indexes that followers hold: acknowledged writes are lost.
//! * one leader per term, for zxid epochs come from terms.
//! * snapshots are due by our own rule, see [`Options::snap_count`].

mod log_store;
mod network;
mod state_machine;
#[cfg(test)]
mod storage_tests;
mod types;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::{BasicNode, Config, Raft, ReadPolicy, ServerState, SnapshotPolicy};
use parking_lot::Mutex;

use crate::storage::rocks_log::RocksLog;
use crate::storage::snapshots::SnapshotDir;
use crate::storage::{StorageError, create_dir};
use log_store::LogStore;
use network::NoPeers;
use state_machine::StateMachine;
use types::{Payload, TypeConfig};

/// One entry of the log that the quorum has.
#[derive(Debug, Clone)]
pub struct Committed {
    pub term: u64,
    pub index: u64,
    /// Empty for entries of Raft's own.
    pub payload: Bytes,
}

/// What is replicated. All calls come from one task, in log order.
pub trait Machine: Send + Sync + 'static {
    /// Applies entries, in order, and returns how many requests they held. Total: never fails.
    fn apply(&self, entries: &[Committed]) -> u64;

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
    pub snap_count: u64,
    /// A snapshot is due at the latest when the log has grown by this many bytes.
    pub snap_bytes_max: u64,
    /// Snapshots to keep.
    pub snap_retain_count: usize,
}

/// How often the snapshot rule is looked at.
const SNAPSHOT_CHECK: Duration = Duration::from_millis(500);

/// How long a single voter may take to elect itself: it waits for its disk alone.
const ELECTION_PATIENCE: Duration = Duration::from_secs(60);

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
    /// Takes snapshots when they are due; it holds the log open.
    rule: tokio::task::JoinHandle<()>,
}

/// Where log and state stood when the last snapshot was asked for.
#[derive(Default)]
struct SnapshotProgress {
    log_bytes: std::sync::atomic::AtomicU64,
    requests: std::sync::atomic::AtomicU64,
}

impl Ensemble {
    /// Recovers snapshot and log, becomes leader, and returns when everything that was committed
    /// is applied.
    ///
    /// # Errors
    /// The storage is in use, damaged or cannot be written, or replication does not start.
    pub async fn start(options: Options, machine: Arc<dyn Machine>) -> Result<Self, StartError> {
        refuse_foreign(&options)?;
        for dir in [&options.data_dir, &options.log_dir] {
            create_dir(dir, options.autocreate_dirs)?;
        }
        let log_path = options.log_dir.join("log");
        let (log, opened) = RocksLog::open(&log_path, options.fsync, options.fsync_warn_above)?;
        let (log, io_thread) = LogStore::open(Arc::new(log), opened, Box::new(stop_on_failure))?;
        let started = Self::start_on(&options, machine, &log).await;
        let (raft, state_machine) = match started {
            Ok(started) => started,
            Err(error) => {
                // The database must be closed before the process ends.
                log.close();
                let _ = tokio::task::spawn_blocking(move || io_thread.join()).await;
                return Err(error);
            }
        };
        let progress = Arc::new(SnapshotProgress::default());
        let rule = spawn_snapshot_rule(&options, &raft, &log, &state_machine, &progress);
        Ok(Self {
            raft,
            log,
            state_machine,
            progress,
            io_thread: Mutex::new(Some(io_thread)),
            rule,
        })
    }

    async fn start_on(
        options: &Options,
        machine: Arc<dyn Machine>,
        log: &LogStore,
    ) -> Result<(Raft<TypeConfig, StateMachine>, StateMachine), StartError> {
        let dir = SnapshotDir::open(&options.data_dir.join("snapshots"), true)?;
        let state_machine =
            StateMachine::open(machine, dir, options.snap_retain_count, log.purged())?;
        let raft = Raft::new(
            options.server_id,
            Arc::new(raft_config()?),
            NoPeers,
            log.clone(),
            state_machine.clone(),
        )
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;
        if let Err(error) = lead_alone(&raft, options.server_id, log.is_empty()).await {
            let _ = raft.shutdown().await;
            return Err(error);
        }
        Ok((raft, state_machine))
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

    /// Returns when this server has applied everything that was committed anywhere before the call.
    ///
    /// # Errors
    /// This server does not lead, or is about to stop.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(_)) => Err(ProposeError::ShuttingDown),
            Err(RaftError::APIError(_)) => Err(ProposeError::NotLeader),
        }
    }

    /// Writes a snapshot now and returns its file when it is durable.
    ///
    /// # Errors
    /// This server is about to stop, or the snapshot could not be written.
    pub async fn snapshot_now(&self) -> Result<PathBuf, ProposeError> {
        let applied = self.status().applied_index;
        self.progress.reset(&self.log, &self.state_machine);
        let stopping = |_| ProposeError::ShuttingDown;
        self.raft
            .trigger()
            .snapshot()
            .await
            .map_err(|_| ProposeError::ShuttingDown)?;
        let id = types::log_id(self.status().term, applied);
        self.raft
            .wait(None)
            .snapshot(id, "asked for")
            .await
            .map(drop)
            .or_else(|_| {
                // A newer one is as good.
                if self.status().snapshot_index >= Some(applied) {
                    Ok(())
                } else {
                    Err(())
                }
            })
            .map_err(stopping)?;
        let file = self.state_machine.shared.snapshot_file();
        file.map(|file| file.path).ok_or(ProposeError::ShuttingDown)
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        Status {
            is_leader: metrics.state == ServerState::Leader,
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
        self.rule.abort();
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

/// Takes a snapshot whenever one is due.
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
        loop {
            timer.tick().await;
            let requests = machine.shared.applied_requests.load(Ordering::Relaxed)
                - progress.requests.load(Ordering::Relaxed);
            let bytes = log.appended_bytes() - progress.log_bytes.load(Ordering::Relaxed);
            let has_grown = bytes >= machine.shared.snapshot_bytes();
            if (requests >= snap_count && has_grown) || bytes >= snap_bytes_max {
                progress.reset(&log, &machine);
                if raft.trigger().snapshot().await.is_err() {
                    return;
                }
            }
        }
    })
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
            return Err(StorageError::Foreign { path });
        }
    }
    Ok(())
}

fn raft_config() -> Result<Config, StartError> {
    Config {
        cluster_name: "meerkat".to_owned(),
        heartbeat_interval: 100,
        election_timeout_min: 500,
        election_timeout_max: 1000,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        max_payload_entries: 1024,
        api_batch_capacity: 4096,
        purge_batch_size: 4096,
        max_in_snapshot_log_to_keep: 0,
        snapshot_policy: SnapshotPolicy::Never,
        ..Config::default()
    }
    .validate()
    .map_err(|error| StartError::Raft(error.to_string()))
}

/// Makes a single voter the leader, and waits until what was committed is applied.
async fn lead_alone(
    raft: &Raft<TypeConfig, StateMachine>,
    server_id: u64,
    is_new: bool,
) -> Result<(), StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Raft(error.to_string());
    if is_new {
        let members = BTreeMap::from([(server_id, BasicNode::default())]);
        match raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    // Asked of the core itself: what it publishes may still be from before it read the log.
    let voters: Vec<u64> = raft
        .with_raft_state(|state| state.membership_state.effective().voter_ids().collect())
        .await
        .map_err(|error| failed(&error))?;
    if !is_new && voters != [server_id] {
        let why = format!(
            "this data directory belongs to server {voters:?}, but the configuration says server {server_id}"
        );
        return Err(StartError::Raft(why));
    }
    // The first initialisation elects by itself.
    if !is_new {
        raft.trigger()
            .elect(false)
            .await
            .map_err(|error| failed(&error))?;
    }
    raft.wait(Some(ELECTION_PATIENCE))
        .state(ServerState::Leader, "a single voter elects itself")
        .await
        .map_err(|error| failed(&error))?;
    raft.write_blank().await.map_err(|error| failed(&error))?;
    Ok(())
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
