//! openraft's view of the replicated state: a [`Machine`] and its snapshot files.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, Snapshot};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::types::{
    CommittedLeaderId, LogId, Meaning, SnapshotMeta, StoredMembers, TypeConfig, log_id, members_of,
};
use super::{Committed, Machine, SnapshotSource, snapshot};
use crate::storage::StorageError;
use crate::storage::snapshots::{SnapshotDir, SnapshotFile};
use crate::types::ms_of;

/// Entries that are applied in one call.
const APPLY_LEN_MAX: usize = 64;

type RaftSnapshot = Snapshot<CommittedLeaderId, u64, openraft::BasicNode, PathBuf>;

/// The newest durable snapshot.
#[derive(Clone)]
struct Current {
    meta: SnapshotMeta,
    file: SnapshotFile,
    bytes: u64,
}

/// What the state machine shares with snapshot builders and with the policy.
pub(crate) struct Shared {
    pub(crate) machine: Arc<dyn Machine>,
    dir: SnapshotDir,
    retain: usize,
    current: Mutex<Option<Current>>,
    /// Index of the oldest snapshot on disk, when there is a sound one.
    oldest_kept: Mutex<Option<u64>>,
    /// Requests applied since this process began.
    pub(crate) applied_requests: AtomicU64,
    /// The last entry whose content the machine has, from a restored snapshot: entries up to here
    /// are not applied again.
    applied: Mutex<(Option<LogId>, StoredMembers)>,
    /// The cluster's id, 0 until its first leader has named it.
    pub(crate) cluster: Arc<AtomicU64>,
    /// The term of the last applied entry.
    pub(crate) applied_term: watch::Sender<u64>,
    /// Whether the state has been found to differ from the leader's.
    pub(crate) diverged: watch::Sender<bool>,
}

#[derive(Clone)]
pub(crate) struct StateMachine {
    pub(crate) shared: Arc<Shared>,
}

impl StateMachine {
    /// Restores the newest snapshot. A damaged one is passed over as long as the log, which begins
    /// behind `purged`, reaches back to an older one.
    ///
    /// # Errors
    /// No snapshot is sound from which the log goes on.
    pub(crate) fn open(
        machine: Arc<dyn Machine>,
        dir: SnapshotDir,
        retain: usize,
        purged: Option<LogId>,
        cluster: Arc<AtomicU64>,
    ) -> Result<Self, StorageError> {
        let mut current = None;
        let mut damage = None;
        let files = dir.list()?;
        let oldest = files.last().map(|file| file.index);
        for file in files {
            if purged.is_some_and(|purged| file.index < purged.index) {
                break;
            }
            match restore(&*machine, &file) {
                Ok((restored, id)) => {
                    cluster.store(id, Ordering::Relaxed);
                    current = Some(restored);
                    break;
                }
                Err(error @ StorageError::Corrupt { .. }) => {
                    tracing::error!(%error, "passing over a snapshot");
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if current.is_none() && purged.is_some() {
            let missing = || {
                let why = "no snapshot reaches the beginning of the log";
                StorageError::corrupt(dir.path(), why)
            };
            return Err(damage.unwrap_or_else(missing));
        }
        let applied = current.as_ref().map_or_else(
            || (None, StoredMembers::default()),
            |current: &Current| {
                (
                    current.meta.last_log_id,
                    current.meta.last_membership.clone(),
                )
            },
        );
        let shared = Shared {
            machine,
            dir,
            retain,
            oldest_kept: Mutex::new(current.as_ref().and(oldest)),
            current: Mutex::new(current),
            applied_requests: AtomicU64::new(0),
            applied_term: watch::Sender::new(term_of(applied.0)),
            applied: Mutex::new(applied),
            diverged: watch::Sender::new(false),
            cluster,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }
}

impl Shared {
    /// Length of the newest snapshot in bytes, 0 without one.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.current
            .lock()
            .as_ref()
            .map_or(0, |current| current.bytes)
    }

    pub(crate) fn snapshot_index(&self) -> Option<u64> {
        self.current
            .lock()
            .as_ref()
            .map(|current| current.file.index)
    }

    pub(crate) fn receiving(&self, name: &str) -> PathBuf {
        self.dir.receiving(name)
    }

    pub(crate) fn snapshot_file(&self) -> Option<SnapshotFile> {
        self.current
            .lock()
            .as_ref()
            .map(|current| current.file.clone())
    }

    /// The first name stays: two leaders may have proposed one each.
    fn name_cluster(&self, id: u64) {
        let _ = self
            .cluster
            .compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Compares with the leader's digest, when that of the same entry is still known here.
    fn compare(&self, index: u64, digest: u64) {
        let Some(own) = self.machine.digest_at(index) else {
            return;
        };
        metrics::counter!("meerkat_digest_checks").increment(1);
        if own != digest {
            metrics::counter!("digest_mismatches_count").increment(1);
            tracing::error!(
                index,
                own = format!("{own:x}"),
                leader = format!("{digest:x}"),
                "this server's state differs from the leader's"
            );
            self.diverged.send_replace(true);
        }
    }

    fn note_term(&self, last: Option<LogId>) {
        let term = term_of(last);
        self.applied_term.send_if_modified(|noted| {
            let is_newer = *noted < term;
            *noted = term.max(*noted);
            is_newer
        });
    }

    fn keep(&self, current: Current) -> Result<(), StorageError> {
        *self.current.lock() = Some(current);
        let oldest = self.dir.purge(self.retain)?;
        *self.oldest_kept.lock() = oldest;
        Ok(())
    }

    /// Where the log may begin: behind the oldest snapshot, so that newer ones that are damaged can be
    /// passed over, and any state since then be restored. `None`: leave it as it is.
    pub(crate) fn oldest_kept(&self) -> Option<u64> {
        *self.oldest_kept.lock()
    }
}

fn term_of(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| *id.leader_id)
}

/// Restores a file; returns the cluster's id with it.
fn restore(machine: &dyn Machine, file: &SnapshotFile) -> Result<(Current, u64), StorageError> {
    let begun = std::time::Instant::now();
    let (meta, cluster) = snapshot::read(file, &mut |reader| machine.restore(reader))?;
    let bytes = std::fs::metadata(&file.path)
        .map_err(|source| StorageError::io(&file.path, source))?
        .len();
    let took_ms = ms_of(begun.elapsed());
    tracing::info!(index = file.index, bytes, took_ms, "snapshot restored");
    metrics::histogram!("startup_snap_load_time").record(begun.elapsed().as_secs_f64() * 1000.0);
    let current = Current {
        meta,
        file: file.clone(),
        bytes,
    };
    Ok((current, cluster))
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = PathBuf;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembers), io::Error> {
        Ok(self.shared.applied.lock().clone())
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_LEN_MAX);
        while let Some(chunk) = chunks.next().await {
            let mut committed = Vec::with_capacity(chunk.len());
            let mut responders = Vec::new();
            let mut last = None;
            let mut members = None;
            for item in chunk {
                let (entry, responder) = item?;
                let id = entry.log_id;
                last = Some(id);
                responders.extend(responder);
                let mut changed = None;
                let mut payload = Bytes::new();
                match Meaning::from(entry.payload) {
                    Meaning::Requests(bytes) => payload = bytes,
                    Meaning::ClusterId(id) => self.shared.name_cluster(id),
                    Meaning::Checkpoint { index, digest } => self.shared.compare(index, digest),
                    Meaning::Members(found) => {
                        changed = Some(members_of(&found));
                        members = Some(StoredMembers::new(Some(id), found));
                    }
                    Meaning::Blank => {}
                }
                committed.push(Committed {
                    term: *id.leader_id,
                    index: id.index,
                    payload,
                    members: changed,
                });
            }
            let requests = self.shared.machine.apply(&committed);
            self.shared
                .applied_requests
                .fetch_add(requests, Ordering::Relaxed);
            let mut applied = self.shared.applied.lock();
            applied.0 = last.or(applied.0);
            if let Some(members) = members {
                applied.1 = members;
            }
            drop(applied);
            self.shared.note_term(last);
            for responder in responders {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Called between two apply batches: what is frozen here is an exact cut.
        let source = self.shared.machine.freeze();
        let (last, members) = self.shared.applied.lock().clone();
        let meta = SnapshotMeta {
            last_log_id: last,
            last_membership: members,
        };
        Builder {
            shared: Arc::clone(&self.shared),
            work: Some((source, meta)),
            cluster: self.shared.cluster.load(Ordering::Relaxed),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: PathBuf,
    ) -> Result<(), io::Error> {
        let id = meta.last_log_id.unwrap_or_else(|| log_id(0, 0));
        let file = SnapshotFile {
            path: snapshot,
            term: *id.leader_id,
            index: id.index,
        };
        let shared = Arc::clone(&self.shared);
        let work = move || restore(&*shared.machine, &file);
        let (current, cluster) = blocking(work).await?;
        self.shared.name_cluster(cluster);
        *self.shared.applied.lock() = (meta.last_log_id, meta.last_membership.clone());
        self.shared.note_term(meta.last_log_id);
        self.shared.keep(current).map_err(io::Error::other)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let current = self.shared.current.lock().clone();
        Ok(current.map(|current| Snapshot {
            meta: current.meta,
            snapshot: current.file.path,
        }))
    }
}

/// Writes one snapshot, beside everything else that goes on.
pub(crate) struct Builder {
    shared: Arc<Shared>,
    work: Option<(Box<dyn SnapshotSource>, SnapshotMeta)>,
    cluster: u64,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = PathBuf;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let work = self.work.take();
        let (source, meta) = work.ok_or_else(|| io::Error::other("built already"))?;
        let shared = Arc::clone(&self.shared);
        let cluster = self.cluster;
        let current = blocking(move || write(&shared.dir, source, meta, cluster)).await?;
        self.shared
            .keep(current.clone())
            .map_err(io::Error::other)?;
        Ok(Snapshot {
            meta: current.meta,
            snapshot: current.file.path,
        })
    }
}

fn write(
    dir: &SnapshotDir,
    mut source: Box<dyn SnapshotSource>,
    meta: SnapshotMeta,
    cluster: u64,
) -> Result<Current, StorageError> {
    let begun = std::time::Instant::now();
    let (file, bytes) = snapshot::write(dir, &mut *source, &meta, cluster)?;
    let took_ms = ms_of(begun.elapsed());
    // Scripts look for this line.
    tracing::info!(index = file.index, bytes, "Snapshot taken in {took_ms} ms");
    metrics::histogram!("snapshottime").record(begun.elapsed().as_secs_f64() * 1000.0);
    Ok(Current { meta, file, bytes })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, io::Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)
}
