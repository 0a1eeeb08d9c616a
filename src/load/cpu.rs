//! Processor time of the servers and of the load generator while operations are measured.
//!
//! On a machine that does other things too, rates swing; what one operation costs does not. Read
//! from Linux's `/proc`, and only for a server on the same machine.

use std::fs;
use std::io;
use std::process;

use super::LoadError;

/// `USER_HZ`: the unit of times in `/proc/PID/stat`, the same on every Linux machine.
const TICK_US: u64 = 10_000;

/// Microseconds that both have used since they were started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CpuTimes {
    /// Of all servers together; `None` when nobody has told their process ids.
    pub(super) server_us: Option<u64>,
    pub(super) load_us: u64,
}

impl CpuTimes {
    pub(super) fn now(server_pids: &[u32]) -> Result<Self, LoadError> {
        let servers = server_pids.iter().map(|pid| process_us(*pid));
        let servers_us = servers.sum::<Result<u64, LoadError>>()?;
        Ok(Self {
            server_us: (!server_pids.is_empty()).then_some(servers_us),
            load_us: process_us(process::id())?,
        })
    }

    /// What was used since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        let used = |now: u64, before: u64| now.saturating_sub(before);
        Self {
            server_us: self
                .server_us
                .zip(earlier.server_us)
                .map(|(now, before)| used(now, before)),
            load_us: used(self.load_us, earlier.load_us),
        }
    }
}

fn process_us(pid: u32) -> Result<u64, LoadError> {
    let read = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        parse(&stat).ok_or_else(|| io::Error::other("no times in it"))
    };
    read().map_err(|source| LoadError::CpuTime { pid, source })
}

/// User and system time. The name of the process, in parentheses, may hold anything; fields are
/// counted behind it.
fn parse(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 5 0 0 0 123 45 0 0 20 0 9 0 99 1 2";
        assert_eq!(parse(stat), Some(1_680_000));
        assert_eq!(parse("7 (a) S 1"), None);
    }
}
