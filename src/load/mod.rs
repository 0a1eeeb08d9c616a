//! The load generator behind `zk-load`. It speaks the protocol to any server.
//!
//! One task per connection, on threads with a runtime each, so that nothing is shared while
//! requests fly: a thread has its own tally, and tallies are added up at the end. Each connection
//! keeps `depth` requests in flight (a closed loop): a slow server is asked less, never queued up
//! against.
//!
//! **Invariant:** every reply is checked, not only counted. An error code, a wrong xid, a body
//! that is not what was asked for, a zxid that goes back: each is a mistake in the [`Report`], and
//! a report with mistakes makes the exit code non-zero.
//!
//! * `crew` starts the threads and lets them go at one moment
//! * `pipelined` is create, set, get, mixed and fill; `lock`, `fan_out` and `sessions` are the rest,
//!   and `gap` is for servers that go away
//! * `cpu` tells what both sides cost
//! * `tally` holds latencies and mistakes, `schedule` says when to measure and when to stop

mod cpu;
mod crew;
mod fan_out;
mod gap;
mod lock;
mod options;
mod pipelined;
mod report;
mod schedule;
mod sessions;
mod set_up;
mod tally;
#[cfg(test)]
mod tests;

pub use crew::run;
pub use gap::Gap;
pub use options::{Options, Workload};
pub use report::{CpuMicros, LatencyMicros, Report};

use crate::client::ClientError;

/// Why a load run has no report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("set-up: {0}")]
    SetUp(ClientError),
    #[error("connecting: {0}")]
    Connect(ClientError),
    #[error("clean-up: {0}")]
    CleanUp(ClientError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("processor time of process {pid}: {source}")]
    CpuTime { pid: u32, source: std::io::Error },
    #[error("a thread has panicked")]
    Panicked,
    /// Another thread could not connect; its error is the one that is reported.
    #[error("another thread has failed")]
    Abandoned,
}
