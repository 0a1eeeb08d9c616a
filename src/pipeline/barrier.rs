//! Reads that must see everything acknowledged before they arrived: `sync`, and every read when the
//! server is configured so.
//!
//! They gather in rounds. While one round finds out which entry has to be applied, and waits for
//! it, the next one gathers; so any number of them costs one question to the leader at a time.
//!
//! A write behind such a read may be committed before the round is over. Then the read need not
//! wait: what was acknowledged before it arrived is in front of that write in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Core;
use super::asks::Ask;
use super::conn::Conn;
use super::prep::WatchAccess;
use crate::collections::HashSet;
use crate::types::ConnId;

/// A round of barriers; 0 is always over.
pub(super) type Round = u64;

pub(super) struct Barriers {
    gathering: Mutex<Gathering>,
    /// The last round that anybody has joined.
    joined: AtomicU64,
    over: AtomicU64,
    /// The last round whose reads have been answered.
    answered: AtomicU64,
    wake: Notify,
}

struct Gathering {
    round: Round,
    waiting: HashSet<ConnId>,
}

impl Default for Barriers {
    fn default() -> Self {
        Self {
            gathering: Mutex::new(Gathering {
                round: 1,
                waiting: HashSet::default(),
            }),
            joined: AtomicU64::new(0),
            over: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }
}

impl Barriers {
    /// The round that a read of this connection has to wait for.
    pub(super) fn join(&self, conn: ConnId) -> Round {
        let mut gathering = self.gathering.lock();
        gathering.waiting.insert(conn);
        self.joined.store(gathering.round, Ordering::Release);
        self.wake.notify_one();
        gathering.round
    }

    /// Whether any read may be waiting.
    pub(super) fn is_any_open(&self) -> bool {
        // Between the end of a round and its answers a write must still find the reads before it.
        self.answered.load(Ordering::Acquire) < self.joined.load(Ordering::Acquire)
    }

    pub(super) fn is_over(&self, round: Round) -> bool {
        round <= self.over.load(Ordering::Acquire)
    }
}

/// Runs the rounds until the process ends.
pub async fn drive_barriers(core: Arc<Core>) {
    loop {
        core.barriers.wake.notified().await;
        let (round, waiting) = {
            let mut gathering = core.barriers.gathering.lock();
            if gathering.waiting.is_empty() {
                continue;
            }
            gathering.round += 1;
            (gathering.round - 1, std::mem::take(&mut gathering.waiting))
        };
        if !core.catch_up().await {
            return;
        }
        core.barriers.over.store(round, Ordering::Release);
        for id in waiting {
            let conn = core.connections.lock().by_id.get(&id).map(Arc::clone);
            if let Some(conn) = conn {
                core.go_on(&conn);
            }
        }
        core.barriers.answered.store(round, Ordering::Release);
    }
}

impl Core {
    /// Returns when this server has applied all that was acknowledged anywhere before the call;
    /// false when it is about to stop. Waits for a leader when there is none.
    pub async fn catch_up(&self) -> bool {
        let (answer, index) = oneshot::channel();
        self.asks.push(Ask::ReadIndex(answer));
        let Ok(index) = index.await else {
            return false;
        };
        let mut applied = self.applied();
        applied.wait_for(|at| at.index >= index).await.is_ok()
    }

    /// Answers what a connection's queue begins with and need not wait any more.
    fn go_on(&self, conn: &Arc<Conn>) {
        // Not under a read guard: a turn of the connection that runs beside this has counted what is
        // in flight, and would queue a read behind nothing, which nobody answers then.
        let state = self.state.write();
        let mut inner = conn.lock();
        let mut watches = WatchAccess::Shared(&self.watches);
        self.answer_reads(&state, conn, &mut inner, &mut watches, false);
        drop(inner);
        conn.wake.notify_one();
    }
}
