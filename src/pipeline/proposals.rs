//! Requests that wait for their entry, or for the way to the leader.

use std::collections::VecDeque;
use std::time::Instant;

use jute::OpCode;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::auth::Identity;
use crate::state::entry::{Batch, Origin};
use crate::types::SessionId;

/// Requests in one entry: one is written at a time, and what gathers meanwhile should fit the next.
const BATCH_LEN_MAX: usize = 1024;
/// Bytes of one entry, unless a single request is larger.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Batches that may wait before links from other servers are not read from. The server's own
/// connections stop at `globalOutstandingLimit` and at [`IN_FLIGHT_MAX`](super::IN_FLIGHT_MAX).
pub(super) const WAITING_MAX: usize = 64;

/// A batch, since its first request.
struct Queued {
    batch: Batch,
    since: Instant,
}

impl Queued {
    fn now(batch: Batch) -> Self {
        let since = Instant::now();
        Self { batch, since }
    }
}

/// A batch that was taken out.
pub(super) struct Popped {
    pub batch: Batch,
    /// When the first of its requests came.
    pub since: Instant,
    /// Requests that waited, its own among them.
    pub waiting: usize,
}

#[derive(Default)]
struct Waiting {
    /// Never empty batches; the last one is being filled.
    batches: VecDeque<Queued>,
    /// While the leader stops: how many of the batches it still takes. What comes behind them is
    /// for the next leader, and nothing is accepted from other servers.
    left: Option<usize>,
}

#[derive(Default)]
pub struct Proposals {
    waiting: Mutex<Waiting>,
    wake: Notify,
    room: Notify,
}

impl Proposals {
    pub(super) fn push(
        &self,
        op: OpCode,
        session: SessionId,
        origin: Origin,
        identities: &[Identity],
        body: &[u8],
    ) {
        let mut waiting = self.waiting.lock();
        Self::fill(&mut waiting, 1, body.len(), |batch| {
            batch.push(op, session, origin, identities, body);
        });
        drop(waiting);
        self.wake.notify_one();
    }

    /// Queues requests of another server; false while the leader stops.
    pub(super) fn push_encoded(&self, count: usize, requests: &[u8]) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.left.is_some() {
            return false;
        }
        Self::fill(&mut waiting, count, requests.len(), |batch| {
            batch.push_encoded(count, requests);
        });
        drop(waiting);
        self.wake.notify_one();
        true
    }

    /// Draws a line behind what waits now: only that is popped until [`Self::reopen`].
    pub(super) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.left = Some(waiting.batches.len());
    }

    pub(super) fn reopen(&self) {
        self.waiting.lock().left = None;
        self.wake.notify_one();
    }

    fn fill(guard: &mut Waiting, count: usize, bytes: usize, fill: impl FnOnce(&mut Batch)) {
        let is_open = guard.batches.len() > guard.left.unwrap_or(0);
        let waiting = &mut guard.batches;
        let has_room = |Queued { batch, .. }: &Queued| {
            batch.len() + count <= BATCH_LEN_MAX && batch.byte_len() + bytes <= BATCH_BYTES_MAX
        };
        if !is_open || !waiting.back().is_some_and(has_room) {
            waiting.push_back(Queued::now(Batch::new()));
        }
        if let Some(last) = waiting.back_mut() {
            fill(&mut last.batch);
        }
    }

    pub(super) fn pop(&self) -> Option<Popped> {
        let mut waiting = self.waiting.lock();
        if let Some(left) = &mut waiting.left {
            *left = left.checked_sub(1)?;
        }
        let lengths = waiting.batches.iter().map(|queued| queued.batch.len());
        let requests = lengths.sum();
        let queued = waiting.batches.pop_front();
        drop(waiting);
        self.room.notify_waiters();
        queued.map(|Queued { batch, since }| Popped {
            batch,
            since,
            waiting: requests,
        })
    }

    /// Puts batches back that were taken and not sent, in their order.
    pub(super) fn put_back(&self, batches: impl DoubleEndedIterator<Item = Batch>) {
        let mut waiting = self.waiting.lock();
        for batch in batches.rev() {
            waiting.batches.push_front(Queued::now(batch));
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Replaces what waits.
    pub(super) fn rework(&self, rework: impl FnOnce(VecDeque<Batch>) -> VecDeque<Batch>) {
        let mut waiting = self.waiting.lock();
        let batches = std::mem::take(&mut waiting.batches);
        let batches = rework(batches.into_iter().map(|queued| queued.batch).collect());
        waiting.batches = batches.into_iter().map(Queued::now).collect();
    }

    /// Returns when something may wait.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }

    /// Returns when there is room for requests of other servers.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.len() < WAITING_MAX {
                return;
            }
            room.await;
        }
    }

    /// Batches that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.lock().batches.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
