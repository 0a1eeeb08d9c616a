//! Sessions: the replicated table, and who is still alive.
//!
//! [`SessionTable`] is part of the state and changes by log entries only. [`Tracker`] is the
//! leader's own view of when it last heard from each, in memory alone. [`LocalSessions`] are those
//! that one server keeps to itself. Time is an argument in all of them.

mod local;
mod tracker;

use crate::collections::HashMap;
use crate::types::SessionId;

pub use local::LocalSessions;
pub use tracker::{Lease, Tracker};

pub use jute::proto::PASSWORD_LEN;

/// What every server knows of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// As negotiated when it was created; a reconnect may negotiate another for its connection.
    pub timeout_ms: i32,
    /// Random, chosen by the server that created the session. Upstream derives it from the id.
    pub password: [u8; PASSWORD_LEN],
    /// The newest attachment that a write of it came by, see [`crate::state::entry::Origin`].
    pub attach: u64,
}

/// Sessions that were created and not closed.
#[derive(Debug, Clone, Default)]
pub struct SessionTable {
    sessions: HashMap<SessionId, Session>,
}

impl SessionTable {
    pub fn insert(&mut self, id: SessionId, session: Session) {
        self.sessions.insert(id, session);
    }

    pub fn remove(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }

    #[must_use]
    pub fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// Compares passwords in a time that does not depend on where they differ.
#[must_use]
pub fn is_password(session: &Session, given: Option<&[u8]>) -> bool {
    given.is_some_and(|given| {
        given.len() == PASSWORD_LEN
            && given
                .iter()
                .zip(&session.password)
                .fold(0, |diff, (a, b)| diff | (a ^ b))
                == 0
    })
}
