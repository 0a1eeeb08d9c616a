//! Sessions that only this server knows (`UpgradeableSessionTracker.java`).
//!
//! They take no place in the log and none in a snapshot, and this server decides alone when they
//! expire. One that wants to own an ephemeral becomes a session of the ensemble first: a
//! createSession for the same id goes in front of the request.
//!
//! ```text
//!   local --(upgrade: createSession is on its way)--> upgrading --(applied)--> gone from here
//!     ^                                                   |
//!     +--------------(lost with its leader)---------------+
//! ```
//!
//! While a session is upgrading nothing expires it: the ensemble may know it already.

use std::sync::Arc;

use super::{Lease, Session, Tracker, is_password};
use crate::collections::HashMap;
use crate::types::SessionId;

#[derive(Debug)]
struct Local {
    session: Session,
    lease: Arc<Lease>,
    upgrading: bool,
}

/// Bounded by the connections, which make the sessions, and by their time-outs.
///
/// Invariant: exactly the sessions that are not upgrading are tracked.
#[derive(Debug)]
pub struct LocalSessions {
    sessions: HashMap<SessionId, Local>,
    tracker: Tracker,
}

impl LocalSessions {
    /// # Panics
    /// When `tick_ms` is not positive; the configuration refuses that.
    #[must_use]
    pub fn new(tick_ms: i64) -> Self {
        Self {
            sessions: HashMap::default(),
            tracker: Tracker::new(tick_ms),
        }
    }

    pub fn create(&mut self, id: SessionId, session: Session, now_ms: i64) -> Arc<Lease> {
        let lease = self.tracker.track(id, session.timeout_ms, now_ms);
        let local = Local {
            session,
            lease: Arc::clone(&lease),
            upgrading: false,
        };
        self.sessions.insert(id, local);
        lease
    }

    /// Whether this server knows the session and nobody else can.
    #[must_use]
    pub fn is_local(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|local| !local.upgrading)
    }

    #[must_use]
    pub fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// A client comes back. `None` when the password is wrong or the session is about to end.
    pub fn reattach(
        &mut self,
        id: SessionId,
        timeout_ms: i32,
        password: &[u8],
        now_ms: i64,
    ) -> Option<Arc<Lease>> {
        let local = self.sessions.get(&id)?;
        if !is_password(&local.session, Some(password)) || local.lease.is_closing() {
            return None;
        }
        if local.upgrading {
            local.lease.renew(timeout_ms, now_ms);
        } else {
            self.tracker.track(id, timeout_ms, now_ms);
        }
        Some(Arc::clone(&local.lease))
    }

    /// Makes a local session an upgrading one and returns what the ensemble has to be told; `None`
    /// when it is no local session, or not any more.
    pub fn upgrade(&mut self, id: SessionId) -> Option<Session> {
        let local = self.sessions.get_mut(&id)?;
        if std::mem::replace(&mut local.upgrading, true) {
            return None;
        }
        self.tracker.release(id);
        Some(local.session)
    }

    /// The ensemble knows the session now. Returns its lease, which its connection goes on using.
    pub fn upgraded(&mut self, id: SessionId) -> Option<Arc<Lease>> {
        self.tracker.release(id);
        self.sessions.remove(&id).map(|local| local.lease)
    }

    /// Lets go of the sessions that the ensemble knows, as a snapshot from elsewhere tells.
    pub fn forget_known(&mut self, is_known: impl Fn(SessionId) -> bool) {
        let known: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in known.into_iter().filter(|id| is_known(*id)) {
            self.remove(id);
        }
    }

    /// Makes upgrading sessions local again, but for those whose createSession still `waits`.
    pub fn upgrades_lost(&mut self, waits: impl Fn(SessionId) -> bool) {
        for (id, local) in &mut self.sessions {
            if local.upgrading && !waits(*id) {
                local.upgrading = false;
                self.tracker.adopt(*id, &local.lease);
            }
        }
    }

    /// Takes out and returns the sessions that have expired.
    pub fn expire(&mut self, now_ms: i64) -> Vec<SessionId> {
        let expired = self.tracker.expired(now_ms);
        for id in &expired {
            self.remove(*id);
        }
        expired
    }

    /// Ends a session; true when it was local.
    pub fn close(&mut self, id: SessionId) -> bool {
        let is_local = self.is_local(id);
        if is_local {
            self.remove(id);
        }
        is_local
    }

    fn remove(&mut self, id: SessionId) {
        self.tracker.forget(id);
        self.sessions.remove(&id);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Who may expire when.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }
}

#[cfg(test)]
mod tests {
    use super::super::PASSWORD_LEN;
    use super::*;

    const A: SessionId = SessionId(1);
    const SECRET: [u8; PASSWORD_LEN] = [7; PASSWORD_LEN];

    fn with_one() -> LocalSessions {
        let mut sessions = LocalSessions::new(1000);
        let session = Session {
            timeout_ms: 2000,
            password: SECRET,
            attach: 0,
        };
        sessions.create(A, session, 500);
        sessions
    }

    #[test]
    fn expires_here() {
        let mut sessions = with_one();
        assert!(sessions.is_local(A));
        assert_eq!(sessions.expire(2999), []);
        assert_eq!(sessions.expire(3000), [A]);
        assert!(sessions.is_empty());
        assert!(sessions.reattach(A, 2000, &SECRET, 3000).is_none());
    }

    #[test]
    fn comes_back_with_its_password_only() {
        let mut sessions = with_one();
        assert!(sessions.reattach(A, 9000, &[0; 16], 2500).is_none());
        assert!(sessions.reattach(A, 9000, &SECRET[..15], 2500).is_none());
        let lease = sessions.reattach(A, 9000, &SECRET, 2500);
        assert_eq!(lease.map(|lease| lease.expires_ms()), Some(11_500));
        assert_eq!(sessions.expire(11_000), []);
        assert_eq!(sessions.expire(12_000), [A]);
    }

    #[test]
    fn upgrades_once_and_is_not_expired_meanwhile() {
        let mut sessions = with_one();
        assert!(sessions.upgrade(A).is_some());
        assert!(!sessions.is_local(A));
        assert!(sessions.upgrade(A).is_none(), "it is under way");
        assert!(!sessions.close(A), "the ensemble has to close it");
        assert_eq!(sessions.expire(60_000), []);
        let lease = sessions.upgraded(A).expect("it was upgrading");
        assert!(!lease.is_closing());
        assert!(sessions.is_empty());
    }

    #[test]
    fn is_local_again_when_its_upgrade_is_lost() {
        let mut sessions = with_one();
        sessions.upgrade(A);
        sessions.upgrades_lost(|id| id == A);
        assert!(!sessions.is_local(A), "it still waits");
        sessions.upgrades_lost(|_| false);
        assert!(sessions.is_local(A));
        assert_eq!(sessions.expire(3000), [A], "and its lease runs");
    }

    #[test]
    fn closes() {
        let mut sessions = with_one();
        assert!(sessions.close(A));
        assert!(!sessions.close(A));
        assert_eq!(sessions.expire(60_000), []);
    }
}
