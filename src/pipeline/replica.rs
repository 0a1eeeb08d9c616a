//! The replicated state as the ensemble sees it.

use std::sync::Arc;

use crate::ensemble::{Committed, Machine, SnapshotReader, SnapshotSource};
use crate::state::{SnapshotBuilder, SnapshotCut, State};

use super::Core;

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

impl Core {
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
        let old = std::mem::replace(&mut *state, restored);
        self.tracker.lock().clear();
        self.locals
            .lock()
            .forget_known(|session| state.sessions.contains(session));
        self.checkpoints.lock().clear();
        self.announce_configuration(&state);
        drop(state);
        self.close_all();
        self.track_all_sessions();
        self.applied.send_replace(position);
        old
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
        let cut = self.core.state.write().freeze();
        Box::new(Source {
            core: Arc::clone(&self.core),
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
    cut: SnapshotCut,
}

impl SnapshotSource for Source {
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
