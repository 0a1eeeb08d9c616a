//! Questions that only the leader can answer. They wait while nobody leads, and are asked again
//! when a link breaks: asking twice changes nothing.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::session::PASSWORD_LEN;
use crate::types::{ConnId, SessionId};

/// A client that comes back with its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reattach {
    pub conn: ConnId,
    pub session: SessionId,
    pub timeout_ms: i32,
    pub password: [u8; PASSWORD_LEN],
}

#[derive(Debug)]
pub(super) enum Ask {
    Attach(Reattach),
    /// The entry that has to be applied before a read that must be fresh.
    ReadIndex(oneshot::Sender<u64>),
}

/// Bounded by the connections: each has at most one question, and read barriers share one.
#[derive(Default)]
pub(super) struct Asks {
    waiting: Mutex<VecDeque<Ask>>,
    wake: Notify,
}

impl Asks {
    pub(super) fn push(&self, ask: Ask) {
        self.waiting.lock().push_back(ask);
        self.wake.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Ask> {
        self.waiting.lock().pop_front()
    }

    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }
}
