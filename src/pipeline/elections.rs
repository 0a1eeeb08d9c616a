//! What four-letter words tell of elections and of what a leader proposes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Counters, measures};
use crate::ensemble::Leadership;

/// Since when this server has no leader, or is the leader.
#[derive(Debug, Default)]
struct Since {
    looking: Option<Instant>,
    leading: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct Elections {
    since: Mutex<Since>,
    pub proposal_sizes: Sizes,
    /// Elections that had an end.
    held: AtomicU64,
}

impl Elections {
    /// Who leads has changed.
    pub(super) fn note(&self, now: Leadership) {
        let mut since = self.since.lock();
        let begins = Instant::now();
        let led = since.leading.take().is_some();
        let leads = matches!(now, Leadership::Leading { .. });
        if led != leads {
            metrics::counter!("meerkat_leadership_changes").increment(1);
        }
        match now {
            Leadership::Unknown => {
                if since.looking.is_none() {
                    metrics::counter!("looking_count").increment(1);
                    since.looking = Some(begins);
                }
                return;
            }
            Leadership::Leading { .. } => {
                since.leading = Some(begins);
                self.proposal_sizes.reset();
            }
            Leadership::Following { .. } => {}
        }
        if let Some(looking) = since.looking.take() {
            let took = measures::ms(begins.duration_since(looking));
            metrics::histogram!("election_time").record(took);
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long this server has led; `None` when it does not.
    #[must_use]
    pub fn leading_for(&self) -> Option<Duration> {
        self.since.lock().leading.map(|since| since.elapsed())
    }
}

impl Counters {
    /// How long this server has led, in ms; 0 when it does not.
    #[must_use]
    pub fn leader_uptime_ms(&self) -> u64 {
        let led = self.elections.leading_for().unwrap_or_default();
        u64::try_from(led.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Bytes of what was measured last, least and most; -1 before that (`BufferStats.java`).
#[derive(Debug)]
pub struct Sizes {
    last: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
}

const NEVER: i64 = -1;

impl Default for Sizes {
    fn default() -> Self {
        Self {
            last: AtomicI64::new(NEVER),
            min: AtomicI64::new(NEVER),
            max: AtomicI64::new(NEVER),
        }
    }
}

impl Sizes {
    pub(super) fn record(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.last.store(bytes, Ordering::Relaxed);
        self.max.fetch_max(bytes, Ordering::Relaxed);
        let less = |min: i64| (min == NEVER || bytes < min).then_some(bytes);
        let _ = self
            .min
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn reset(&self) {
        for size in [&self.last, &self.min, &self.max] {
            size.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Last, least and most.
    #[must_use]
    pub fn get(&self) -> [i64; 3] {
        [&self.last, &self.min, &self.max].map(|size| size.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elections_are_timed_from_the_first_moment_without_a_leader() {
        let elections = Elections::default();
        let follow = Leadership::Following { leader: 2, term: 1 };
        elections.note(follow);
        assert_eq!(
            elections.held.load(Ordering::Relaxed),
            0,
            "nothing was missed"
        );
        for now in [
            Leadership::Unknown,
            Leadership::Unknown,
            Leadership::Leading { term: 2 },
        ] {
            elections.note(now);
        }
        assert_eq!(elections.held.load(Ordering::Relaxed), 1);
        assert!(elections.leading_for().is_some());
        elections.note(follow);
        assert!(elections.leading_for().is_none());
        assert_eq!(elections.held.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn sizes_begin_with_the_first_proposal() {
        let sizes = Sizes::default();
        assert_eq!(sizes.get(), [-1, -1, -1]);
        sizes.record(50);
        sizes.record(20);
        sizes.record(40);
        assert_eq!(sizes.get(), [40, 20, 50]);
    }
}
