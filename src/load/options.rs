//! What to run: the command line of `zk-load`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::client::ConnectOptions;

/// What each connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Create znodes, below a parent per connection.
    Create,
    /// Set the data of random keys.
    Set,
    /// Read random keys.
    Get,
    /// Read and set random keys; --read-percent says how often which.
    Mixed,
    /// Take and release one lock: ephemeral sequential node, watch on the predecessor.
    Lock,
    /// One writer changes a znode that every connection watches; latency is the delay of events.
    FanOut,
    /// Connect and close sessions.
    Sessions,
    /// Create --count znodes below --parents parents, and leave them there.
    Fill,
    /// Set a znode again and again through lost connections; the longest wait of each connection.
    Gap,
}

/// Options of a run.
#[derive(Debug, Clone, Args)]
pub struct Options {
    #[arg(value_enum)]
    pub workload: Workload,
    /// Servers to load, separated by commas; connections are spread over them in turn.
    #[arg(
        long = "server",
        default_value = "127.0.0.1:2181",
        value_delimiter = ',',
        value_name = "SERVERS"
    )]
    pub servers: Vec<String>,
    /// Connections, each with a session of its own.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Requests that each connection keeps in flight.
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub depth: u32,
    /// Bytes of data in each znode.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub data_bytes: u32,
    /// Seconds to measure, when there is no --count.
    #[arg(long, default_value_t = 10.0)]
    pub duration: f64,
    /// Seconds to run before measuring, when there is no --count.
    #[arg(long, default_value_t = 2.0)]
    pub warm_up: f64,
    /// Operations in all, instead of a duration; all are measured. For fan-out, changes.
    #[arg(long)]
    pub count: Option<u64>,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Znodes that get, set and mixed choose from.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub keys: u32,
    /// Share of reads in mixed.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub read_percent: u8,
    /// Parents that fill spreads its znodes over.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub parents: u32,
    /// Everything happens below this path.
    #[arg(long, default_value = "/zk-load")]
    pub root: String,
    /// Leave the znodes behind; fill always does.
    #[arg(long)]
    pub keep: bool,
    /// Process ids of the servers on this machine, to tell what an operation costs them all.
    #[arg(long = "server-pid", value_delimiter = ',', value_name = "PIDS")]
    pub server_pids: Vec<u32>,
    /// Session timeout to ask for, in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    pub session_timeout_ms: u32,
}

impl Options {
    /// Operations of a fill without --count.
    pub const FILL_COUNT_DEFAULT: u64 = 1_000_000;

    pub(super) fn connect(&self) -> ConnectOptions {
        ConnectOptions {
            session_timeout: Duration::from_millis(self.session_timeout_ms.into()),
            connect_timeout: Duration::from_secs(30),
            ..ConnectOptions::default()
        }
    }

    /// Which of the servers a connection begins with.
    pub(super) fn server_index(&self, connection: u32) -> usize {
        usize::try_from(connection).unwrap_or(0) % self.servers.len()
    }

    /// The server that a connection begins with.
    pub(super) fn server_of(&self, connection: u32) -> &str {
        &self.servers[self.server_index(connection)]
    }

    /// Operations in all, if they are counted.
    pub(super) fn total(&self) -> Option<u64> {
        match self.workload {
            Workload::Fill => Some(self.count.unwrap_or(Self::FILL_COUNT_DEFAULT)),
            _ => self.count,
        }
    }

    /// Operations of one connection, if they are counted.
    pub(super) fn share(&self, connection: u32) -> Option<u64> {
        let connections = u64::from(self.connections);
        let one_more = |total: u64| u64::from(u64::from(connection) < total % connections);
        self.total()
            .map(|total| total / connections + one_more(total))
    }

    pub(super) fn key_path(&self, key: u32) -> String {
        format!("{}/k{key:07}", self.root)
    }

    /// Paths that the workload chooses from.
    pub(super) fn key_paths(&self) -> Vec<String> {
        match self.workload {
            Workload::Set | Workload::Get | Workload::Mixed => {
                (0..self.keys).map(|key| self.key_path(key)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Parent of what `create` makes on a connection, and what `gap` sets.
    pub(super) fn lane_path(&self, connection: u32) -> String {
        format!("{}/c{connection:05}", self.root)
    }

    /// Parent of a part of what `fill` makes.
    pub(super) fn parent_path(&self, parent: u32) -> String {
        format!("{}/p{parent:06}", self.root)
    }

    /// The data of every znode.
    pub(super) fn data(&self) -> Vec<u8> {
        data(usize::try_from(self.data_bytes).unwrap_or(usize::MAX))
    }
}

/// Bytes that do not compress, so that no server gets a discount.
pub(super) fn data(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = || {
        state = next_random(state);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// xorshift64: the state is the number. Never zero for a seed that is not.
pub(super) fn next_random(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    state
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn shares_add_up_to_the_count() {
        let line = ["zk-load", "create", "--count", "10", "--connections", "4"];
        let options = Line::parse_from(line).options;
        let shares: Vec<_> = (0..4).map(|lane| options.share(lane)).collect();
        assert_eq!(shares, [Some(3), Some(3), Some(2), Some(2)]);
    }
}
