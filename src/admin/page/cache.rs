//! Answers that took long to make, for those who ask the same soon after.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The newest answers, so many at most.
pub(super) struct Cache<K, V> {
    max: usize,
    kept: Mutex<VecDeque<(K, Instant, V)>>,
}

impl<K: PartialEq, V: Clone> Cache<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            kept: Mutex::default(),
        }
    }

    /// What was kept under a key, and since when.
    pub(super) fn get(&self, key: &K) -> Option<(V, Duration)> {
        let kept = self.kept.lock();
        let (_, since, value) = kept.iter().find(|(known, ..)| known == key)?;
        Some((value.clone(), since.elapsed()))
    }

    /// The same, if it is not older.
    pub(super) fn get_young(&self, key: &K, age_max: Duration) -> Option<V> {
        let (value, age) = self.get(key)?;
        (age < age_max).then_some(value)
    }

    pub(super) fn put(&self, key: K, value: V) {
        let mut kept = self.kept.lock();
        kept.retain(|(known, ..)| *known != key);
        kept.push_front((key, Instant::now(), value));
        kept.truncate(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let cache = Cache::new(2);
        for (key, value) in [(1, 'a'), (2, 'b'), (1, 'c'), (3, 'd')] {
            cache.put(key, value);
        }
        let young = |key| cache.get_young(&key, Duration::from_secs(3600));
        assert_eq!([1, 2, 3].map(young), [Some('c'), None, Some('d')]);
        assert_eq!(cache.get_young(&1, Duration::ZERO), None);
    }
}
