//! What four-letter words tell of the leader and of what it proposes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Counters;
use crate::ensemble::Leadership;

#[derive(Debug, Default)]
pub struct Elections {
    /// Since when this server leads.
    leading: Mutex<Option<Instant>>,
    pub proposal_sizes: Sizes,
}

impl Elections {
    /// Who leads has changed.
    pub(super) fn note(&self, now: Leadership) {
        let mut leading = self.leading.lock();
        let leads = matches!(now, Leadership::Leading { .. });
        if leading.is_some() != leads {
            metrics::counter!("meerkat_leadership_changes").increment(1);
        }
        *leading = leads.then(Instant::now);
        if leads {
            self.proposal_sizes.reset();
        }
    }

    /// How long this server has led; `None` when it does not.
    #[must_use]
    pub fn leading_for(&self) -> Option<Duration> {
        self.leading.lock().map(|since| since.elapsed())
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
        self.record_all(std::iter::once(bytes));
    }

    pub(super) fn record_all(&self, sizes: impl Iterator<Item = usize>) {
        let sizes = sizes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let seen = sizes.fold(None, |seen, bytes| {
            let (least, most) = seen.map_or((bytes, bytes), |(least, most, _)| (least, most));
            Some((bytes.min(least), bytes.max(most), bytes))
        });
        let Some((least, most, last)) = seen else {
            return;
        };
        self.last.store(last, Ordering::Relaxed);
        self.max.fetch_max(most, Ordering::Relaxed);
        let less = |min: i64| (min == NEVER || least < min).then_some(least);
        let _ = self
            .min
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub fn reset(&self) {
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
    fn whoever_leads_no_more_says_so() {
        let elections = Elections::default();
        assert!(elections.leading_for().is_none());
        elections.note(Leadership::Leading { term: 2 });
        assert!(elections.leading_for().is_some());
        elections.note(Leadership::Following { leader: 2, term: 3 });
        assert!(elections.leading_for().is_none());
    }

    #[test]
    fn sizes_begin_with_the_first_proposal() {
        let sizes = Sizes::default();
        assert_eq!(sizes.get(), [-1, -1, -1]);
        sizes.record(50);
        sizes.record(20);
        sizes.record(40);
        assert_eq!(sizes.get(), [40, 20, 50]);
        sizes.record_all([60, 10, 30].into_iter());
        sizes.record_all(std::iter::empty());
        assert_eq!(sizes.get(), [30, 10, 60]);
    }
}
