//! Sends a whole state through the log, for a backup to take the place of what is there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jute::{ErrorCode, OpCode};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Close, Connections, Core};
use crate::ensemble::Leadership;
use crate::state::entry::Origin;
use crate::state::restoring::{
    Cutter, RESTORE_BEGIN, RESTORE_DROP, RESTORE_END, RESTORE_PIECE, STAGED_BYTES_MAX,
};
use crate::state::{Applied, State};
use crate::types::{ConnId, SessionId, Zxid};

/// Pieces on their way at the same time.
const ON_THE_WAY_MAX: usize = 8;

/// How long nothing may come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a state did not take the place of the other.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("another one is being restored")]
    Busy,
    #[error(
        "it is larger than {} MiB: `zk-server restore` makes data directories from it",
        STAGED_BYTES_MAX >> 20
    )]
    TooLarge,
    #[error("there was no leader, or another one came; nothing has changed")]
    LeaderLost,
    #[error("no answer from the leader; look whether it has been restored")]
    Unknown,
    #[error("refused with {0:?}: see the server's log; nothing has changed")]
    Refused(ErrorCode),
}

/// What has become of a request of a restore.
type Told = Result<Zxid, ErrorCode>;

/// Those that are on their way, the one that is sent, and the one that gives it up.
const TOLD_MAX: usize = ON_THE_WAY_MAX + 2;

/// The restore that this server is about, if any.
#[derive(Default)]
pub(super) struct Restores {
    current: Mutex<Option<(ConnId, mpsc::Sender<Told>)>>,
}

/// One restore; dropped, it leaves room for the next.
struct Sending<'a> {
    core: &'a Core,
    conn: ConnId,
    told: mpsc::Receiver<Told>,
    leadership: tokio::sync::watch::Receiver<Leadership>,
    /// Requests without an answer yet.
    on_the_way: usize,
    is_over: bool,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.propose(RESTORE_DROP, 0, &[]);
        }
        *self.core.restores.current.lock() = None;
    }
}

impl Sending<'_> {
    fn propose(&self, op: OpCode, place: i32, body: &[u8]) {
        let origin = Origin {
            server: self.core.settings.server,
            conn: self.conn,
            xid: place,
            attach: Origin::UNATTACHED,
        };
        let proposals = &self.core.proposals;
        proposals.push(op, SessionId(0), origin, &[], body);
    }

    /// Sends a request, and waits until at most so many have no answer.
    async fn send(
        &mut self,
        op: OpCode,
        place: i32,
        body: &[u8],
        on_the_way_max: usize,
    ) -> Result<Zxid, RestoreError> {
        self.propose(op, place, body);
        self.on_the_way += 1;
        let mut zxid = Zxid(0);
        while self.on_the_way > on_the_way_max {
            let told = tokio::select! {
                told = timeout(PATIENCE, self.told.recv()) => told,
                _ = self.leadership.changed() => {
                    return Err(lost(op));
                }
            };
            let Ok(Some(outcome)) = told else {
                return Err(RestoreError::Unknown);
            };
            zxid = outcome.map_err(RestoreError::Refused)?;
            self.on_the_way -= 1;
        }
        Ok(zxid)
    }
}

/// Until its end is sent, a restore whose leader is lost has changed nothing.
fn lost(op: OpCode) -> RestoreError {
    if op == RESTORE_END {
        RestoreError::Unknown
    } else {
        RestoreError::LeaderLost
    }
}

impl Core {
    /// Makes `restored` the state of all servers, and returns the zxid behind which it goes on. It
    /// must have no sessions: all that there are end. Until then the old state goes on; a state
    /// that is refused, or whose leader is lost, changes nothing.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn restore(&self, mut restored: State) -> Result<Zxid, RestoreError> {
        let leadership = self.leadership.subscribe();
        if *leadership.borrow() == Leadership::Unknown {
            return Err(RestoreError::LeaderLost);
        }
        let conn = ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed));
        let (sender, told) = mpsc::channel(TOLD_MAX);
        {
            let mut current = self.restores.current.lock();
            if current.is_some() {
                return Err(RestoreError::Busy);
            }
            *current = Some((conn, sender));
        }
        let mut sending = Sending {
            core: self,
            conn,
            told,
            leadership,
            on_the_way: 0,
            is_over: false,
        };
        sending.send(RESTORE_BEGIN, 0, &[], 0).await?;
        let mut cut = restored.freeze();
        let mut cutter = Cutter::default();
        let (mut place, mut bytes) = (0, 0);
        let mut block = Vec::new();
        while restored.next_block(&mut cut, &mut block) {
            bytes += block.len() + size_of::<u64>();
            if bytes > STAGED_BYTES_MAX {
                return Err(RestoreError::TooLarge);
            }
            for piece in cutter.push(&block) {
                sending
                    .send(RESTORE_PIECE, place, &piece, ON_THE_WAY_MAX)
                    .await?;
                place += 1;
            }
            block.clear();
        }
        sending
            .send(RESTORE_PIECE, place, &cutter.end(), ON_THE_WAY_MAX)
            .await?;
        place += 1;
        let ended = sending.send(RESTORE_END, place, &[], 0).await;
        sending.is_over = ended.is_ok();
        ended
    }

    /// A request of a restore has been applied.
    pub(super) fn restore_applied(&self, origin: Origin, applied: &Applied) {
        if origin.server != self.settings.server {
            return;
        }
        if let Some((conn, told)) = &*self.restores.current.lock()
            && *conn == origin.conn
        {
            let outcome = applied.result.as_ref().map(|_| applied.zxid);
            let _ = told.try_send(outcome.map_err(|code| *code));
        }
    }

    /// Another state has taken the place of the one that clients know: they all begin anew.
    pub(super) fn state_was_restored(&self, state: &State, connections: &Connections) {
        tracing::warn!(zxid = %state.zxid(), znodes = state.tree.node_count(), "the state was restored");
        self.locals.lock().forget_known(|_| true);
        self.adopt_state(state);
        for conn in connections.by_id.values() {
            conn.close(Close::Now);
        }
    }
}
