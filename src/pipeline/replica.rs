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

impl Core {
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
