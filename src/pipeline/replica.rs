//! The replicated state as the ensemble sees it.

use std::sync::Arc;

use crate::ensemble::{Committed, Machine, SnapshotReader, SnapshotSource};
use crate::state::{SnapshotBuilder, SnapshotCut, State};

use super::{Core, wall_clock_ms};
use crate::types::Zxid;

/// Applies entries to the state of a [`Core`] and copies it for snapshots.
pub struct Replica {
    core: Arc<Core>,
}

impl Replica {
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

/// Each entry whose index is a multiple of this is a checkpoint.
const CHECKPOINT_EVERY: u64 = 32;

/// Checkpoints whose digests are kept.
const CHECKPOINTS_MAX: usize = 1024;

/// The digest behind each transaction whose zxid is a multiple of this is kept for those who ask
/// (`DataTree.DIGEST_LOG_INTERVAL`), and so many of them (`DIGEST_LOG_LIMIT`).
const DIGEST_LOG_EVERY: i64 = 128;
const DIGEST_LOG_MAX: usize = 1024;

/// The state that a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The last entry in it.
    pub index: u64,
    pub zxid: Zxid,
    /// Wall clock, ms; 0 when it was not made by this process.
    pub made_ms: i64,
}

/// Cuts that are remembered.
const CUTS_MAX: usize = 8;

impl Core {
    /// Keeps the digest behind a transaction, if it is one of the chosen.
    pub(super) fn log_digest(&self, state: &State) {
        let zxid = state.zxid();
        // An epoch's first transaction is number 1.
        if zxid.0 % DIGEST_LOG_EVERY != 0 || zxid.0 & 0xffff_ffff == 0 {
            return;
        }
        let mut logged = self.digest_log.lock();
        // Not every request has a zxid of its own.
        if logged.back().is_some_and(|(last, _)| *last == zxid) {
            return;
        }
        logged.push_back((zxid, state.tree.digest()));
        if logged.len() > DIGEST_LOG_MAX {
            logged.pop_front();
        }
    }

    fn note_cut(&self, state: &State, made_ms: i64) {
        let mut snapshots = self.snapshots.lock();
        snapshots.push_back(Cut {
            index: state.position().index,
            zxid: state.zxid(),
            made_ms,
        });
        if snapshots.len() > CUTS_MAX {
            snapshots.pop_front();
        }
    }

    /// The cut of the last snapshot, written or restored.
    #[must_use]
    pub fn last_snapshot(&self) -> Option<Cut> {
        self.snapshots.lock().back().copied()
    }

    /// The cut of the snapshot behind this entry, unless that was many snapshots ago.
    #[must_use]
    pub fn snapshot_at(&self, index: u64) -> Option<Cut> {
        let snapshots = self.snapshots.lock();
        snapshots
            .iter()
            .rev()
            .find(|cut| cut.index == index)
            .copied()
    }

    /// Digests behind some of the last transactions, oldest first.
    #[must_use]
    pub fn logged_digests(&self) -> Vec<(Zxid, u64)> {
        self.digest_log.lock().iter().copied().collect()
    }

    /// Notes the digest behind an entry, if it is a checkpoint.
    pub(super) fn note_checkpoint(&self, state: &State) {
        let index = state.position().index;
        if index.is_multiple_of(CHECKPOINT_EVERY) {
            let mut checkpoints = self.checkpoints.lock();
            checkpoints.push_back((index, state.digest()));
            if checkpoints.len() > CHECKPOINTS_MAX {
                checkpoints.pop_front();
            }
        }
    }

    /// Jumps to another state. Clients that are connected would miss the events in between: they
    /// reconnect, and what they watch is compared then.
    fn replace_state(&self, restored: State) -> State {
        let mut state = self.state.write();
        let position = restored.position();
        self.note_cut(&restored, 0);
        let old = std::mem::replace(&mut *state, restored);
        self.locals
            .lock()
            .forget_known(|session| state.sessions.contains(session));
        self.adopt_state(&state);
        drop(state);
        self.close_all();
        self.applied.send_replace(position);
        old
    }

    /// Forgets what was known of the state that was there before this one.
    pub(super) fn adopt_state(&self, state: &State) {
        self.tracker.lock().clear();
        self.track_sessions(state);
        self.checkpoints.lock().clear();
        self.digest_log.lock().clear();
        self.announce_configuration(state);
    }
}

impl Machine for Replica {
    fn apply(&self, entries: &[Committed]) -> u64 {
        self.core.apply(entries)
    }

    fn checkpoint(&self) -> Option<(u64, u64)> {
        self.core.checkpoints.lock().back().copied()
    }

    fn digest_at(&self, index: u64) -> Option<u64> {
        let checkpoints = self.core.checkpoints.lock();
        let at = checkpoints.iter().rev().find(|(at, _)| *at == index);
        at.map(|(_, digest)| *digest)
    }

    fn freeze(&self) -> Box<dyn SnapshotSource> {
        let mut state = self.core.state.write();
        let cut = state.freeze();
        self.core.note_cut(&state, wall_clock_ms());
        let zxid = state.zxid();
        drop(state);
        Box::new(Source {
            core: Arc::clone(&self.core),
            zxid,
            cut,
        })
    }

    fn restore(&self, source: &mut dyn SnapshotReader) -> Result<(), String> {
        let schemes = self.core.state.read().shared_schemes();
        let mut builder = SnapshotBuilder::new(schemes);
        while let Some(block) = source.next_block().map_err(|error| error.to_string())? {
            builder.add(&block)?;
        }
        let restored = builder.finish()?;
        let old = self.core.replace_state(restored);
        drop(old);
        Ok(())
    }
}

/// Walks the frozen state, one block under one read guard.
struct Source {
    core: Arc<Core>,
    zxid: Zxid,
    cut: SnapshotCut,
}

impl SnapshotSource for Source {
    fn zxid(&self) -> Zxid {
        self.zxid
    }

    fn next_block(&mut self, out: &mut Vec<u8>) -> bool {
        self.core.state.read().next_block(&mut self.cut, out)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let images = self.core.state.write().thaw();
        drop(images);
    }
}
