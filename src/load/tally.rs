//! What one thread has seen: latencies and mistakes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Gap;

/// Longest latency told apart from longer ones, in nanoseconds.
const LATENCY_MAX_NS: u64 = 120_000_000_000;
/// Descriptions of mistakes that are kept; the others are only counted.
const EXAMPLES_MAX: usize = 10;

/// What was wrong with a reply, or with the lack of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mistake {
    /// An error code where success was due.
    ErrorCode,
    /// A reply to another request than the oldest in flight.
    WrongXid,
    /// A body that is not what was asked for.
    WrongBody,
    /// A zxid lower than one seen before on the same connection.
    ZxidWentBack,
    /// The connection has failed; its requests in flight are lost.
    Connection,
    /// Two held a lock at once.
    TwoHolders,
}

impl Mistake {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ErrorCode => "error_code",
            Self::WrongXid => "wrong_xid",
            Self::WrongBody => "wrong_body",
            Self::ZxidWentBack => "zxid_went_back",
            Self::Connection => "connection",
            Self::TwoHolders => "two_holders",
        }
    }
}

#[derive(Debug)]
pub(super) struct Tally {
    /// In nanoseconds, of measured operations.
    pub(super) latencies: Histogram<u64>,
    pub(super) mistakes: BTreeMap<Mistake, u64>,
    pub(super) examples: Vec<String>,
    pub(super) gaps: Vec<Gap>,
    /// When the last operation was done.
    pub(super) last: Option<Instant>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)
                .expect("the bounds are constant and in order"),
            mistakes: BTreeMap::new(),
            examples: Vec::new(),
            gaps: Vec::new(),
            last: None,
        }
    }
}

impl Tally {
    pub(super) fn record(&mut self, latency: Duration, now: Instant) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanos);
        self.last = Some(now);
    }

    pub(super) fn mistake(&mut self, mistake: Mistake, describe: impl FnOnce() -> String) {
        *self.mistakes.entry(mistake).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples
                .push(format!("{}: {}", mistake.name(), describe()));
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.latencies
            .add(&other.latencies)
            .expect("both have the same bounds");
        for (mistake, count) in &other.mistakes {
            *self.mistakes.entry(*mistake).or_default() += count;
        }
        let room = EXAMPLES_MAX - self.examples.len();
        self.examples
            .extend(other.examples.iter().take(room).cloned());
        self.gaps.extend(other.gaps.iter().cloned());
        self.last = self.last.max(other.last);
    }

    pub(super) fn mistake_count(&self) -> u64 {
        self.mistakes.values().sum()
    }
}
