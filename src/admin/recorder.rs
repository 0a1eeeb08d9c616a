//! The registry of what is counted and measured, behind the `metrics` facade.
//!
//! Any module may say `metrics::counter!("name")` and keep the handle; four-letter words, HTTP
//! commands and Prometheus read what has come together here. Recording is a few atomic additions
//! and never takes a lock; making a handle does, so handles are made once.
//!
//! A histogram becomes a [`Summary`]: count, sum, least and most since the last reset, and quantiles
//! over the last five to ten minutes, as upstream's are over ten. Values are kept in thousandths, so
//! that milliseconds and plain counts go the same way.
//!
//! Of the process, as the facade is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::RwLock;

/// How long a window of the quantiles is filled; the one before it still counts.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

/// Parts of each doubling: quantiles are right within a sixteenth.
const PARTS: usize = 16;
const PARTS_LOG: u32 = PARTS.ilog2();
/// Doublings above the first parts, which are exact; the last one is over half a year of
/// microseconds.
const DOUBLINGS: usize = 40;
const BUCKETS: usize = (DOUBLINGS + 1) * PARTS;

const THOUSAND: f64 = 1000.0;
const THOUSAND_WHOLE: u64 = 1000;

struct Window(Box<[AtomicU64]>);

impl Default for Window {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

/// The bucket of a value.
fn bucket(value: u64) -> usize {
    let Some(doubling) = value.checked_ilog2().filter(|log| *log >= PARTS_LOG) else {
        return usize::try_from(value).unwrap_or(0);
    };
    let part = (value >> (doubling - PARTS_LOG)) & (PARTS as u64 - 1);
    let first = (doubling - PARTS_LOG + 1) as usize * PARTS;
    (first + usize::try_from(part).unwrap_or(0)).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let (doubling, part) = (bucket / PARTS, bucket % PARTS);
    if doubling == 0 {
        return part as f64;
    }
    let width = 1_u64 << (doubling - 1);
    ((PARTS + part) as u64 * width) as f64 + (width - 1) as f64 / 2.0
}

/// What was measured.
#[derive(Default)]
pub(super) struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    /// One more than the least, 0 before anything was measured.
    min: AtomicU64,
    max: AtomicU64,
    windows: [Window; 2],
    /// The window that is filled.
    filled: AtomicU8,
}

/// A [`Summary`] at one moment, in the measured unit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Measured {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Measured {
    pub(super) fn average(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum / self.count as f64
        }
    }
}

impl Summary {
    fn add(&self, value: f64, count: u64) {
        if count == 0 {
            return;
        }
        // Saturates, and what is no number is 0.
        let value = (value * THOUSAND) as u64;
        self.count.fetch_add(count, Ordering::Relaxed);
        self.sum
            .fetch_add(value.saturating_mul(count), Ordering::Relaxed);
        // Most values are neither the least nor the most.
        let least = self.min.load(Ordering::Relaxed);
        if least == 0 || value.saturating_add(1) < least {
            let smaller = |old: u64| {
                let new = value.saturating_add(1);
                (old == 0 || new < old).then_some(new)
            };
            let _ = self
                .min
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, smaller);
        }
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
        let filled = usize::from(self.filled.load(Ordering::Relaxed));
        self.windows[filled].0[bucket(value)].fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn measured(&self) -> Measured {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64 / THOUSAND;
        let least = self.min.load(Ordering::Relaxed).saturating_sub(1);
        Measured {
            count: self.count.load(Ordering::Relaxed),
            sum: load(&self.sum),
            min: least as f64 / THOUSAND,
            max: load(&self.max),
        }
    }

    /// The values below which these shares of the last minutes' values are; not a number when
    /// there was none.
    pub(super) fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|at| {
                let windows = self.windows.iter();
                windows.map(|w| w.0[at].load(Ordering::Relaxed)).sum()
            })
            .collect();
        let total: u64 = counts.iter().sum();
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let (least, most) = (load(&self.min).saturating_sub(1), load(&self.max));
        // Of what is counted in whole numbers, or has been so far, a part says nothing.
        let is_whole = [load(&self.sum), least, most]
            .iter()
            .all(|value| value % THOUSAND_WHOLE == 0);
        shares.map(|share| {
            if total == 0 {
                return f64::NAN;
            }
            let rank = (share * total as f64).ceil().max(1.0) as u64;
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            // The middle of a bucket may lie beyond all that is in it.
            let value = middle(found.unwrap_or(BUCKETS - 1));
            let value = value.min(most as f64).max(least as f64) / THOUSAND;
            if is_whole { value.round() } else { value }
        })
    }

    /// Begins a new window, in place of the older one.
    fn turn(&self) {
        let next = 1 - self.filled.load(Ordering::Relaxed).min(1);
        for count in &self.windows[usize::from(next)].0 {
            count.store(0, Ordering::Relaxed);
        }
        self.filled.store(next, Ordering::Relaxed);
    }

    fn reset(&self) {
        for value in [&self.count, &self.sum, &self.min, &self.max] {
            value.store(0, Ordering::Relaxed);
        }
        self.turn();
        self.turn();
    }
}

impl HistogramFn for Summary {
    fn record(&self, value: f64) {
        self.add(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.add(value, count as u64);
    }
}

/// A counter's cell. The facade has one too, in a crate that is not needed otherwise.
#[derive(Default)]
struct Cell(AtomicU64);

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// A name, and the label when it is one of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) label: Option<(String, String)>,
}

impl From<&Key> for Series {
    fn from(key: &Key) -> Self {
        let label = key.labels().next();
        Self {
            name: key.name().to_owned(),
            label: label.map(|label| (label.key().to_owned(), label.value().to_owned())),
        }
    }
}

#[derive(Default)]
struct Registry {
    counters: RwLock<BTreeMap<Series, Arc<Cell>>>,
    summaries: RwLock<BTreeMap<Series, Arc<Summary>>>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::default);

struct Handle;

impl Recorder for Handle {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = REGISTRY.counters.write();
        Counter::from_arc(Arc::clone(counters.entry(key.into()).or_default()))
    }

    /// Gauges are read where they are when somebody asks.
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut summaries = REGISTRY.summaries.write();
        Histogram::from_arc(Arc::clone(summaries.entry(key.into()).or_default()))
    }
}

/// Takes what is recorded from now on. Handles that were made before stay without effect, so this
/// comes first.
pub(super) fn install() {
    // There is one already when another server runs in this process.
    let _ = metrics::set_global_recorder(Handle);
}

/// All counters.
pub(super) fn counters() -> Vec<(Series, u64)> {
    let counters = REGISTRY.counters.read();
    counters
        .iter()
        .map(|(series, cell)| (series.clone(), cell.0.load(Ordering::Relaxed)))
        .collect()
}

/// One counter, 0 when nobody has counted.
pub(super) fn counter(name: &str) -> u64 {
    let series = Series {
        name: name.to_owned(),
        label: None,
    };
    let counters = REGISTRY.counters.read();
    let cell = counters.get(&series);
    cell.map_or(0, |cell| cell.0.load(Ordering::Relaxed))
}

/// All summaries.
pub(super) fn summaries() -> Vec<(Series, Arc<Summary>)> {
    let summaries = REGISTRY.summaries.read();
    summaries
        .iter()
        .map(|(series, summary)| (series.clone(), Arc::clone(summary)))
        .collect()
}

/// Begins new windows for the quantiles.
pub(super) fn turn_windows() {
    for (_, summary) in summaries() {
        summary.turn();
    }
}

/// Forgets everything.
pub(super) fn reset() {
    for cell in REGISTRY.counters.read().values() {
        cell.0.store(0, Ordering::Relaxed);
    }
    for (_, summary) in summaries() {
        summary.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_as_narrow_as_promised() {
        let mut last = 0;
        for value in (0..100_000).chain((20..50).map(|log| 1_u64 << log)) {
            let at = bucket(value);
            assert!(at >= last && at < BUCKETS, "{value} is in {at}");
            last = at;
            if at < BUCKETS - 1 {
                let off = (middle(at) - value as f64).abs();
                assert!(off <= value as f64 / 16.0, "{value} as {}", middle(at));
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn summaries_tell_what_was_measured() {
        let summary = Summary::default();
        assert_eq!(summary.measured(), Measured::default());
        assert!(summary.quantiles([0.5])[0].is_nan());
        for value in 1..=100 {
            summary.record(f64::from(value));
        }
        summary.record_many(0.0, 0);
        let measured = summary.measured();
        assert_eq!(
            measured,
            Measured {
                count: 100,
                sum: 5050.0,
                min: 1.0,
                max: 100.0
            }
        );
        let [half, most] = summary.quantiles([0.5, 0.99]);
        assert!((46.0..=54.0).contains(&half), "{half}");
        assert!((93.0..=105.0).contains(&most), "{most}");
        summary.record(0.0);
        assert_eq!(summary.measured().min, 0.0);
    }

    #[test]
    fn quantiles_are_among_what_was_measured() {
        let summary = Summary::default();
        for _ in 0..3 {
            summary.record(1001.0);
        }
        assert_eq!(summary.quantiles([0.5, 0.99]), [1001.0, 1001.0]);
        summary.record(100.0);
        let [least] = summary.quantiles([0.01]);
        assert_eq!(least, least.round(), "a count has no parts");
        summary.record(0.25);
        let [least] = summary.quantiles([0.01]);
        assert!((0.25..0.27).contains(&least), "{least}");
        assert!(summary.quantiles([0.99])[0] <= 1001.0);
    }

    #[test]
    fn quantiles_forget_what_is_two_windows_old() {
        let summary = Summary::default();
        summary.record_many(1000.0, 10);
        summary.turn();
        summary.record(1.0);
        assert!(summary.quantiles([0.9])[0] > 900.0, "one window old");
        summary.turn();
        assert!(summary.quantiles([0.9])[0] < 2.0, "two windows old");
        assert_eq!(summary.measured().count, 11);
        summary.reset();
        assert_eq!(summary.measured(), Measured::default());
        assert!(summary.quantiles([0.5])[0].is_nan());
    }
}
