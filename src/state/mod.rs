//! Everything that is replicated: the tree, the sessions and the last zxid.
//!
//! [`State::evaluate`] is the only place where a write is decided, on every server alike. What must
//! be equal everywhere comes from the entry: time, flags, identities, passwords.
//!
//! Invariants: zxids grow by one per request within an epoch; a new Raft term starts a new epoch at
//! its first request; evaluation is total.

pub mod entry;
#[cfg(test)]
mod model_tests;
pub mod restoring;
mod snapshot;

use std::hash::Hasher as _;
use std::sync::Arc;

use jute::ErrorCode;

use crate::auth::Schemes;
use crate::op::reconfig::{BEGIN_CONFIG, END_RECONFIG};
use crate::op::{Apply, Changes, Flags, Reply};
use crate::session::SessionTable;
use crate::tree::DataTree;
use crate::types::Zxid;
use entry::Origin;
use restoring::Staged;

pub use entry::{BatchHeader, Request};
pub use snapshot::{SnapshotBuilder, SnapshotCut};

/// Where the log stood when an entry was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition {
    pub term: u64,
    pub index: u64,
}

/// The outcome of one request.
#[derive(Debug)]
pub struct Applied {
    pub zxid: Zxid,
    pub result: Result<Reply, ErrorCode>,
    pub changes: Changes,
    /// Whose request this answers, when it is not the request's own origin.
    pub answers: Option<Origin>,
}

/// A change of the members that waits for the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconfiguration {
    /// Who waits for its end.
    pub origin: Origin,
    /// The member lines to come.
    pub members: String,
}

pub struct State {
    pub tree: DataTree,
    pub sessions: SessionTable,
    schemes: Arc<Schemes>,
    /// Of the last evaluated request.
    zxid: Zxid,
    /// Of the last applied entry.
    position: LogPosition,
    /// Flags of the last evaluated entry; reads obey them.
    flags: Flags,
    reconfiguration: Option<Reconfiguration>,
    /// A state that is to take this one's place, as far as it has come.
    staged: Option<Staged>,
    /// The tree that a walker copies although another has taken its place.
    replaced: Option<DataTree>,
}

impl State {
    #[must_use]
    pub fn new(schemes: Arc<Schemes>) -> Self {
        Self {
            tree: DataTree::new(),
            sessions: SessionTable::default(),
            schemes,
            zxid: Zxid(0),
            position: LogPosition::default(),
            flags: Flags::default(),
            reconfiguration: None,
            staged: None,
            replaced: None,
        }
    }

    /// The state that another server has left, as of an entry that stands for everything before.
    #[must_use]
    pub fn founded(
        schemes: Arc<Schemes>,
        tree: DataTree,
        sessions: SessionTable,
        zxid: Zxid,
        position: LogPosition,
    ) -> Self {
        let flags = Flags::default().with(Flags::EXTENDED_TYPES, tree.extended_types());
        Self {
            tree,
            sessions,
            schemes,
            zxid,
            position,
            flags,
            reconfiguration: None,
            staged: None,
            replaced: None,
        }
    }

    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// The change of members that is under way.
    #[must_use]
    pub fn reconfiguration(&self) -> Option<&Reconfiguration> {
        self.reconfiguration.as_ref()
    }

    /// Equal on all servers that have applied the same entries.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = siphasher::sip::SipHasher13::new();
        hasher.write_u64(self.tree.digest());
        hasher.write_i64(self.zxid.0);
        hasher.write_usize(self.sessions.len());
        hasher.finish()
    }

    #[must_use]
    pub fn flags(&self) -> Flags {
        self.flags
    }

    #[must_use]
    pub fn schemes(&self) -> &Schemes {
        &self.schemes
    }

    #[must_use]
    pub fn shared_schemes(&self) -> Arc<Schemes> {
        Arc::clone(&self.schemes)
    }

    /// Moves to the entry at `position`. The first request of a new term opens an epoch; the very
    /// first epoch is 0, as that of a standalone ZooKeeper.
    pub fn begin_entry(&mut self, position: LogPosition) {
        let epoch_is_used = self.zxid.0 & 0xffff_ffff != 0;
        if position.term != self.position.term && epoch_is_used {
            self.zxid = Zxid((self.zxid.epoch() + 1) << 32);
        }
        // Whoever sent it does not know what has become of it.
        if position.term != self.position.term {
            self.staged = None;
        }
        self.position = position;
    }

    /// Adopts the settings that an entry was stamped with. An ensemble begins with epoch 1, as
    /// upstream.
    pub fn begin_batch(&mut self, header: &BatchHeader) {
        if header.flags.contains(Flags::ENSEMBLE) && self.zxid.epoch() == 0 {
            self.zxid = Zxid(1 << 32);
        }
        self.flags = header.flags;
        self.tree
            .set_extended_types(header.flags.contains(Flags::EXTENDED_TYPES));
    }

    /// A session's writes come by its newest attachment only.
    fn check_attachment(&mut self, request: &Request<'_>) -> Result<(), ErrorCode> {
        let attach = request.origin.attach;
        if matches!(attach, Origin::UNATTACHED | Origin::LOCAL) {
            return Ok(());
        }
        if let Some(session) = self.sessions.get_mut(request.session) {
            if attach < session.attach {
                return Err(ErrorCode::SESSION_MOVED);
            }
            session.attach = attach;
        }
        Ok(())
    }

    /// Evaluates one request of the batch. Total: whatever the bytes, there is an outcome.
    pub fn evaluate(&mut self, header: &BatchHeader, request: &Request<'_>) -> Applied {
        // The first configuration has the very first zxid of the ensemble, as upstream.
        if request.op != BEGIN_CONFIG {
            self.zxid = self.zxid.next();
        }
        if let Err(code) = self.check_attachment(request) {
            return Applied {
                zxid: self.zxid,
                result: Err(code),
                changes: Changes::new(),
                answers: None,
            };
        }
        if restoring::is_restore(request.op) {
            return self.restore(header, request);
        }
        let identities = request.identities();
        let mut tx = Apply {
            tree: &mut self.tree,
            sessions: &mut self.sessions,
            schemes: &self.schemes,
            flags: header.flags,
            session: request.session,
            session_is_local: request.origin.attach == Origin::LOCAL,
            is_reconfiguring: self.reconfiguration.is_some(),
            identities: &identities,
            zxid: self.zxid,
            time_ms: header.time_ms,
            changes: Changes::new(),
        };
        let mut answers = None;
        let result = if request.op == END_RECONFIG {
            match self.reconfiguration.take() {
                Some(ended) => {
                    answers = Some(ended.origin);
                    tx.end_reconfig(&ended.members, request.body)
                }
                None => Ok(Reply::Empty),
            }
        } else {
            tx.write(request.op, request.body)
        };
        let changes = tx.changes;
        if let Ok(Reply::Reconfigure(members)) = &result {
            self.reconfiguration = Some(Reconfiguration {
                origin: request.origin,
                members: members.clone(),
            });
        }
        Applied {
            zxid: self.zxid,
            result,
            changes,
            answers,
        }
    }
}
