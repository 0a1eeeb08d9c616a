//! What a run prints.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::cpu::CpuTimes;
use super::tally::Tally;
use super::{Gap, Options, Workload};

/// The result of a run, as its JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub workload: Workload,
    pub servers: Vec<String>,
    pub connections: u32,
    pub depth: u32,
    pub data_bytes: u32,
    pub threads: u32,
    /// How long was measured.
    pub seconds: f64,
    /// Measured operations; for fan-out, events delivered.
    pub operations: u64,
    /// Operations per second.
    pub rate: f64,
    pub latency_us: LatencyMicros,
    pub cpu_us: CpuMicros,
    /// What each connection of the workload gap has seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// Mistakes of the server in the whole run, warm-up included.
    pub errors: u64,
    pub error_kinds: BTreeMap<&'static str, u64>,
    pub error_examples: Vec<String>,
}

/// Processor time per measured operation, in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct CpuMicros {
    /// Of all servers; `None` when their process ids were not given.
    pub server: Option<f64>,
    pub load: f64,
}

impl CpuMicros {
    fn of(times: CpuTimes, operations: u64) -> Self {
        let each = |us: u64| match operations {
            0 => 0.0,
            _ => (to_f64(us) * 100.0 / to_f64(operations)).round() / 100.0,
        };
        Self {
            server: times.server_us.map(each),
            load: each(times.load_us),
        }
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct LatencyMicros {
    pub mean: f64,
    pub p50: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl LatencyMicros {
    fn of(latencies: &Histogram<u64>) -> Self {
        let quantile = |q| micros(latencies.value_at_quantile(q));
        Self {
            mean: tenths(latencies.mean() / 1000.0),
            p50: quantile(0.5),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: micros(latencies.max()),
        }
    }
}

impl Report {
    pub(super) fn new(options: &Options, tally: Tally, measured: Duration, cpu: CpuTimes) -> Self {
        let operations = tally.latencies.len();
        let seconds = measured.as_secs_f64();
        let rate = if seconds > 0.0 {
            to_f64(operations) / seconds
        } else {
            0.0
        };
        let kinds = tally.mistakes.iter();
        Self {
            workload: options.workload,
            servers: options.servers.clone(),
            connections: options.connections,
            depth: options.depth,
            data_bytes: options.data_bytes,
            threads: options.threads,
            seconds: (seconds * 1000.0).round() / 1000.0,
            operations,
            rate: tenths(rate),
            latency_us: LatencyMicros::of(&tally.latencies),
            cpu_us: CpuMicros::of(cpu, operations),
            errors: tally.mistake_count(),
            gaps: tally.gaps,
            error_kinds: kinds
                .map(|(mistake, count)| (mistake.name(), *count))
                .collect(),
            error_examples: tally.examples,
        }
    }
}

fn micros(nanos: u64) -> f64 {
    tenths(to_f64(nanos) / 1000.0)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Exact up to 2^53, which no run reaches.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count above 2^53 would take a century"
)]
fn to_f64(value: u64) -> f64 {
    value as f64
}
