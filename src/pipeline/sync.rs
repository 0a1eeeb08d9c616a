//! Writes become log entries.
//!
//! Batching is natural, not timed: while entries are being written, requests gather in the next
//! one. With a single client in flight an entry is one request and waits for nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use jute::OpCode;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::{Close, Core, wall_clock_ms};
use crate::auth::Identity;
use crate::ensemble::Ensemble;
use crate::state::BatchHeader;
use crate::state::entry::{Batch, Origin};
use crate::types::{ConnId, SessionId};

/// Requests in one entry.
const BATCH_LEN_MAX: usize = 256;
/// Bytes of one entry, unless a single request is larger.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Entries that may be written at the same time.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;

/// Requests that wait for their entry. Its length is bounded by what connections may have in
/// flight: they stop reading at `globalOutstandingLimit` and at
/// [`IN_FLIGHT_MAX`](super::IN_FLIGHT_MAX).
#[derive(Default)]
pub struct Proposals {
    /// Never empty batches; the last one is being filled.
    waiting: Mutex<VecDeque<Batch>>,
    wake: Notify,
}

impl Proposals {
    fn push(
        &self,
        op: OpCode,
        session: SessionId,
        origin: Origin,
        identities: &[Identity],
        body: &[u8],
    ) {
        let mut waiting = self.waiting.lock();
        let has_room = |batch: &Batch| {
            batch.len() < BATCH_LEN_MAX && batch.byte_len() + body.len() <= BATCH_BYTES_MAX
        };
        if !waiting.back().is_some_and(has_room) {
            waiting.push_back(Batch::new());
        }
        if let Some(batch) = waiting.back_mut() {
            batch.push(op, session, origin, identities, body);
        }
        let first = waiting.len() == 1 && waiting[0].len() == 1;
        drop(waiting);
        if first {
            self.wake.notify_one();
        }
    }

    fn pop(&self) -> Option<Batch> {
        self.waiting.lock().pop_front()
    }

    /// Batches that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Core {
    /// Queues a connection's write. Called in the order of its requests.
    pub(super) fn propose(
        &self,
        op: OpCode,
        session: SessionId,
        origin: Origin,
        identities: &[Identity],
        body: &[u8],
    ) {
        self.proposals.push(op, session, origin, identities, body);
    }

    /// Queues a write of the server's own, which nobody waits for.
    pub(super) fn propose_own(&self, op: OpCode, session: SessionId, body: &[u8]) {
        let origin = Origin {
            server: self.settings.server,
            conn: ConnId(0),
            xid: 0,
        };
        self.proposals.push(op, session, origin, &[], body);
    }

    pub(super) fn propose_close(&self, session: SessionId) {
        self.propose_own(OpCode::CLOSE_SESSION, session, &[]);
    }

    /// Ends every connection that waits for a write: its outcome is unknown, and nothing is ever
    /// proposed a second time.
    fn outcome_unknown(&self) {
        for conn in self.connections() {
            if conn.in_flight() > 0 {
                conn.close(Close::Now);
            }
        }
    }
}

/// Turns waiting requests into entries until the process ends.
pub async fn drive_proposals(core: Arc<Core>, ensemble: Arc<Ensemble>) {
    let room = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let batch = loop {
            match core.proposals.pop() {
                Some(batch) => break batch,
                None => core.proposals.wake.notified().await,
            }
        };
        let header = BatchHeader {
            flags: core.settings.flags,
            time_ms: wall_clock_ms(),
        };
        let proposed = ensemble.propose(batch.seal(header)).await;
        let core = Arc::clone(&core);
        tokio::spawn(async move {
            let applied = match proposed {
                Ok(applied) => applied.await,
                Err(error) => Err(error),
            };
            if let Err(error) = applied {
                tracing::warn!(%error, "the outcome of writes is unknown; their clients reconnect");
                core.outcome_unknown();
            }
            drop(permit);
        });
    }
}
