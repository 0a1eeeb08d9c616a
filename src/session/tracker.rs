//! When sessions expire.
//!
//! As upstream's `ExpiryQueue`, sessions stand in buckets one tick wide, and a whole bucket expires
//! at once: between one time-out and one time-out plus a tick after the last sign of life. Unlike
//! there a touch moves nothing: it stores the time in the session's [`Lease`], and a due bucket
//! looks there before it expires anybody.
//!
//! All times are milliseconds of the *lease clock*, which a server advances only while it is
//! running well: a stall of our own makes every lease longer, never shorter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::collections::{HashMap, HashSet};
use crate::types::SessionId;

/// Shared by a session's connection, which renews it, and the tracker, which reads it.
#[derive(Debug)]
pub struct Lease {
    heard_ms: AtomicI64,
    timeout_ms: AtomicI64,
    closing: AtomicBool,
}

impl Lease {
    fn new(timeout_ms: i64, now_ms: i64) -> Self {
        Self {
            heard_ms: AtomicI64::new(now_ms),
            timeout_ms: AtomicI64::new(timeout_ms),
            closing: AtomicBool::new(false),
        }
    }

    /// The session was heard from.
    pub fn touch(&self, now_ms: i64) {
        self.heard_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// The last sign of life, on the lease clock.
    #[must_use]
    pub fn heard_ms(&self) -> i64 {
        self.heard_ms.load(Ordering::Relaxed)
    }

    /// Expired or being closed: its requests are no longer taken.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// The time-out that its connection has negotiated.
    #[must_use]
    pub fn timeout_ms(&self) -> i64 {
        self.timeout_ms.load(Ordering::Relaxed)
    }

    /// Renews the lease with another time-out. A tracker has to look at it again after that.
    pub(super) fn renew(&self, timeout_ms: i32, now_ms: i64) {
        self.timeout_ms
            .store(i64::from(timeout_ms), Ordering::Relaxed);
        self.touch(now_ms);
    }

    /// When the lease runs out, on the lease clock.
    #[must_use]
    pub fn expires_ms(&self) -> i64 {
        self.heard_ms
            .load(Ordering::Relaxed)
            .saturating_add(self.timeout_ms())
    }
}

/// Invariant: each tracked session stands in exactly one bucket, at or before its expiry.
#[derive(Debug)]
pub struct Tracker {
    tick_ms: i64,
    sessions: HashMap<SessionId, Arc<Lease>>,
    /// Ends of buckets, each with the sessions to look at then.
    buckets: BTreeMap<i64, HashSet<SessionId>>,
    bucket_of: HashMap<SessionId, i64>,
}

impl Tracker {
    /// # Panics
    /// When `tick_ms` is not positive; the configuration refuses that.
    #[must_use]
    pub fn new(tick_ms: i64) -> Self {
        assert!(tick_ms > 0, "a tick of {tick_ms} ms");
        Self {
            tick_ms,
            sessions: HashMap::default(),
            buckets: BTreeMap::new(),
            bucket_of: HashMap::default(),
        }
    }

    /// Starts or renews a session's lease with this time-out. Whoever says so knows that the session
    /// lives: that this server wanted to expire it, when it led, was not decided.
    pub fn track(&mut self, id: SessionId, timeout_ms: i32, now_ms: i64) -> Arc<Lease> {
        if let Some(lease) = self.sessions.get(&id) {
            let lease = Arc::clone(lease);
            lease.renew(timeout_ms, now_ms);
            lease.closing.store(false, Ordering::Release);
            // A shorter time-out can be due before the bucket that the session stands in.
            self.place(id, lease.expires_ms());
            return lease;
        }
        let lease = Arc::new(Lease::new(i64::from(timeout_ms), now_ms));
        self.adopt(id, &lease);
        lease
    }

    /// Goes on with the lease that another tracker has released.
    pub fn adopt(&mut self, id: SessionId, lease: &Arc<Lease>) {
        self.sessions.insert(id, Arc::clone(lease));
        self.place(id, lease.expires_ms());
    }

    /// Lets go of a session that lives on elsewhere.
    pub fn release(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.take_out(id);
    }

    /// Forgets all sessions, whose connections end.
    pub fn clear(&mut self) {
        for lease in self.sessions.values() {
            lease.close();
        }
        self.sessions.clear();
        self.buckets.clear();
        self.bucket_of.clear();
    }

    #[must_use]
    pub fn lease(&self, id: SessionId) -> Option<&Arc<Lease>> {
        self.sessions.get(&id)
    }

    /// The session is gone.
    pub fn forget(&mut self, id: SessionId) {
        if let Some(lease) = self.sessions.remove(&id) {
            lease.close();
        }
        self.take_out(id);
    }

    /// Sessions that have expired by now, marked as closing. Each stays tracked until
    /// [`Self::forget`], and is returned again when that takes longer than its time-out.
    pub fn expired(&mut self, now_ms: i64) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(bucket) = self
            .buckets
            .first_entry()
            .filter(|entry| *entry.key() <= now_ms)
        {
            for id in bucket.remove() {
                self.bucket_of.remove(&id);
                let Some(lease) = self.sessions.get(&id) else {
                    continue;
                };
                let expires_ms = lease.expires_ms();
                if self.round_up(expires_ms) > now_ms {
                    self.place(id, expires_ms);
                } else {
                    lease.close();
                    // Looked at again if what closes it should get lost.
                    let again_ms = now_ms.saturating_add(lease.timeout_ms());
                    expired.push(id);
                    self.place(id, again_ms);
                }
            }
        }
        expired
    }

    /// Buckets with the sessions that stand in them, soonest first.
    pub fn buckets(&self) -> impl Iterator<Item = (i64, &HashSet<SessionId>)> {
        self.buckets.iter().map(|(end_ms, ids)| (*end_ms, ids))
    }

    fn round_up(&self, time_ms: i64) -> i64 {
        (time_ms.div_euclid(self.tick_ms) + 1).saturating_mul(self.tick_ms)
    }

    fn place(&mut self, id: SessionId, expires_ms: i64) {
        self.take_out(id);
        let end_ms = self.round_up(expires_ms);
        self.buckets.entry(end_ms).or_default().insert(id);
        self.bucket_of.insert(id, end_ms);
    }

    fn take_out(&mut self, id: SessionId) {
        if let Some(end_ms) = self.bucket_of.remove(&id)
            && let Some(ids) = self.buckets.get_mut(&end_ms)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.buckets.remove(&end_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);

    #[test]
    fn expiry_lies_between_one_timeout_and_one_more_tick() {
        let mut tracker = Tracker::new(1000);
        tracker.track(A, 2000, 500);
        assert_eq!(tracker.expired(2999), []);
        assert_eq!(tracker.expired(3000), [A]);
        assert_eq!(tracker.expired(4999), [], "it is being closed");
        assert_eq!(tracker.expired(6000), [A], "closing it took too long");
        tracker.forget(A);
        assert_eq!(tracker.expired(60_000), []);
    }

    #[test]
    fn a_touch_postpones() {
        let mut tracker = Tracker::new(1000);
        let lease = tracker.track(A, 2000, 0);
        lease.touch(2900);
        assert_eq!(tracker.expired(4000), []);
        assert_eq!(tracker.expired(4999), []);
        assert_eq!(tracker.expired(5000), [A]);
        assert!(lease.is_closing());
    }

    #[test]
    fn an_expiry_that_was_not_decided_leaves_no_trace() {
        let mut tracker = Tracker::new(1000);
        let lease = tracker.track(A, 2000, 0);
        assert_eq!(tracker.expired(3000), [A]);
        tracker.track(A, 2000, 3500);
        assert!(!lease.is_closing());
        assert_eq!(tracker.expired(5000), []);
        assert_eq!(tracker.expired(6000), [A]);
    }

    #[test]
    fn a_reconnect_may_shorten_the_timeout() {
        let mut tracker = Tracker::new(1000);
        tracker.track(A, 60_000, 0);
        tracker.track(A, 2000, 100);
        assert_eq!(tracker.expired(3000), [A]);
        tracker.forget(A);
        assert_eq!(tracker.buckets().count(), 0);
    }
}
