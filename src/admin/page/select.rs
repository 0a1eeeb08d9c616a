//! The first or the best of many, without holding more than are wanted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The smallest `max` of what is offered, and how many there were beyond.
pub(super) struct First<T> {
    max: usize,
    kept: BinaryHeap<T>,
    offered: usize,
}

impl<T: Ord> First<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            kept: BinaryHeap::new(),
            offered: 0,
        }
    }

    pub(super) fn offer(&mut self, one: T) {
        self.offered += 1;
        if self.kept.len() < self.max {
            self.kept.push(one);
        } else if self.kept.peek().is_some_and(|last| one < *last) {
            self.kept.pop();
            self.kept.push(one);
        }
    }

    /// As [`Self::offer`] of something that is only made when it is kept.
    pub(super) fn offer_made_of<Q: Ord + ?Sized>(&mut self, one: &Q, make: impl FnOnce() -> T)
    where
        T: std::borrow::Borrow<Q>,
    {
        self.offered += 1;
        if self.kept.len() >= self.max {
            if self.kept.peek().is_none_or(|last| one >= last.borrow()) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(make());
    }

    /// In order, with the number of those that were left out.
    pub(super) fn finish(self) -> (Vec<T>, usize) {
        let more = self.offered - self.kept.len();
        (self.kept.into_sorted_vec(), more)
    }
}

/// The `max` with the largest values above 0.
pub(super) struct Best {
    max: usize,
    kept: BinaryHeap<Reverse<(u64, String)>>,
}

impl Best {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            kept: BinaryHeap::new(),
        }
    }

    /// The name is only made for what is kept.
    pub(super) fn offer(&mut self, value: u64, name: impl FnOnce() -> String) {
        let is_full = self.kept.len() >= self.max;
        let least = self.kept.peek().map_or(0, |Reverse((least, _))| *least);
        if value == 0 || is_full && value <= least {
            return;
        }
        if is_full {
            self.kept.pop();
        }
        self.kept.push(Reverse((value, name())));
    }

    /// Largest first.
    pub(super) fn finish(self) -> Vec<(u64, String)> {
        let sorted = self.kept.into_sorted_vec();
        sorted.into_iter().map(|Reverse(one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_in_order() {
        let mut first = First::new(3);
        [5, 1, 4, 2, 3].into_iter().for_each(|n| first.offer(n));
        assert_eq!(first.finish(), (vec![1, 2, 3], 2));
        let mut names = First::new(2);
        ["c", "a", "d", "b"]
            .into_iter()
            .for_each(|name| names.offer_made_of(name, || name.to_owned()));
        assert_eq!(names.finish(), (vec!["a".to_owned(), "b".to_owned()], 2));
        let mut few = First::new(3);
        few.offer(1);
        assert_eq!(few.finish(), (vec![1], 0));
    }

    #[test]
    fn the_best_are_kept_in_order() {
        let mut best = Best::new(2);
        for value in [0, 5, 1, 7, 5] {
            best.offer(value, || value.to_string());
        }
        assert_eq!(best.finish(), [(7, "7".to_owned()), (5, "5".to_owned())]);
    }
}
