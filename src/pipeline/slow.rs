//! Requests that took long, with the stage that was slow.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jute::OpCode;
use metrics::{Counter, counter};
use parking_lot::Mutex;

use crate::op;
use crate::types::{SessionId, ms_of};

/// Lines in a second; those that are left out are counted in the next line.
const LINES_PER_SECOND: u32 = 10;

/// Where a request spends its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// A write on its way to the leader's log: behind others here, and to the leader.
    Queue,
    /// From the leader's stamp until it is applied here: log, fsync, quorum. By two clocks when the
    /// leader is another server.
    Commit,
    Apply,
    /// A read behind writes of its session, or behind a barrier.
    Wait,
    Read,
}

const STAGES: [(Stage, &str); 5] = [
    (Stage::Queue, "queue"),
    (Stage::Commit, "commit"),
    (Stage::Apply, "apply"),
    (Stage::Wait, "wait"),
    (Stage::Read, "read"),
];

/// A request that was answered.
pub(super) struct Answered<'a> {
    pub session: SessionId,
    pub client: SocketAddr,
    pub xid: i32,
    pub op: OpCode,
    pub body: &'a [u8],
}

#[derive(Default)]
struct Second {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

pub(super) struct SlowLog {
    above: Duration,
    counters: [Counter; STAGES.len()],
    second: Mutex<Second>,
}

impl SlowLog {
    /// `above` in ms; 0 is never.
    pub(super) fn new(above_ms: u32) -> Self {
        Self {
            above: match above_ms {
                0 => Duration::MAX,
                ms => Duration::from_millis(ms.into()),
            },
            counters: STAGES.map(|(_, name)| counter!("meerkat_slow_requests", "stage" => name)),
            second: Mutex::default(),
        }
    }

    pub(super) fn is_slow(&self, latency_us: u64) -> bool {
        u128::from(latency_us) > self.above.as_micros()
    }

    /// A read that had waited before it was evaluated.
    pub(super) fn say_read(&self, answered: &Answered<'_>, waited_us: u64, evaluated: Duration) {
        let waited = Duration::from_micros(waited_us);
        self.say(answered, &[(Stage::Wait, waited), (Stage::Read, evaluated)]);
    }

    /// Counts the request by its slowest stage, and logs it.
    pub(super) fn say(&self, answered: &Answered<'_>, stages: &[(Stage, Duration)]) {
        let slowest = stages.iter().max_by_key(|(_, took)| *took);
        let Some((slowest, _)) = slowest else {
            return;
        };
        let at = STAGES.iter().position(|(stage, _)| stage == slowest);
        let at = at.unwrap_or_default();
        self.counters[at].increment(1);
        let Some(left_out) = self.second.lock().take(Instant::now()) else {
            return;
        };
        let ms = |wanted| {
            let found = stages.iter().find(|(stage, _)| *stage == wanted);
            found.map(|(_, took)| ms_of(*took))
        };
        let total: Duration = stages.iter().map(|(_, took)| *took).sum();
        tracing::warn!(
            session = format_args!("{:#x}", answered.session.0),
            client = %answered.client,
            xid = answered.xid,
            op = answered.op.name().unwrap_or_default(),
            path = op::path_of(answered.op, answered.body),
            total_ms = ms_of(total),
            slowest = STAGES[at].1,
            queue_ms = ms(Stage::Queue),
            commit_ms = ms(Stage::Commit),
            apply_ms = ms(Stage::Apply),
            wait_ms = ms(Stage::Wait),
            read_ms = ms(Stage::Read),
            left_out,
            "slow request"
        );
    }
}

impl Second {
    /// How many were left out before this line, or `None` when it is left out too.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let is_over = |since: Instant| now.duration_since(since) >= Duration::from_secs(1);
        if self.since.is_none_or(is_over) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_in_the_next_line() {
        let mut second = Second::default();
        let begun = Instant::now();
        let at = |second: &mut Second, ms| second.take(begun + Duration::from_millis(ms));
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(at(&mut second, 0), Some(0));
        }
        assert_eq!(at(&mut second, 999), None);
        assert_eq!(at(&mut second, 999), None);
        assert_eq!(at(&mut second, 1000), Some(2));
        assert_eq!(at(&mut second, 1000), Some(0));
    }

    #[test]
    fn nothing_is_slow_without_a_bound() {
        assert!(!SlowLog::new(0).is_slow(u64::MAX));
        assert!(!SlowLog::new(5).is_slow(5000));
        assert!(SlowLog::new(5).is_slow(5001));
    }
}
