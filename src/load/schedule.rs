//! When a run sends, when it measures and when it stops.

use std::time::{Duration, Instant};

use super::Options;

/// How long any one wait for the server may last before the connection is given up.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(60);

/// The moments of one run, the same for all of its connections.
///
/// Invariant: start <= measure_from <= until
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    pub(super) start: Instant,
    pub(super) measure_from: Instant,
    /// `None` when operations are counted instead.
    until: Option<Instant>,
}

impl Schedule {
    /// The schedule of a run that begins now.
    pub(super) fn begin(options: &Options) -> Self {
        let start = Instant::now();
        if options.total().is_some() {
            return Self {
                start,
                measure_from: start,
                until: None,
            };
        }
        let measure_from = start + seconds(options.warm_up);
        Self {
            start,
            measure_from,
            until: Some(measure_from + seconds(options.duration)),
        }
    }

    /// When measuring ends, unless a count ends it.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether new requests may be sent.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether a reply that arrives now counts.
    pub(super) fn is_measured(&self, now: Instant) -> bool {
        now >= self.measure_from && self.is_open(now)
    }

    /// How long was measured when the last reply has arrived at `last`.
    pub(super) fn measured(&self, last: Instant) -> Duration {
        self.until.unwrap_or(last) - self.measure_from
    }
}

/// Seconds from the command line; what is no length of time is none.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}
