//! Figures by name: what `mntr` prints and Prometheus scrapes, from one place.
//!
//! Names and meanings are upstream's (`ServerMetrics.java`, `ZooKeeperServer.dumpMonitorValues`);
//! ours begin with `meerkat_`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::pipeline::{Core, LatencySummary, Service};

use super::words::Sources;

/// A figure's value; integers and doubles print differently.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Integer(u64),
    Signed(i64),
    Double(f64),
}

impl Value {
    #[must_use]
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Signed(value) => value as f64,
            Self::Double(value) => value,
        }
    }
}

impl std::fmt::Display for Value {
    /// As Java prints them: a double has a point, and no more than four decimals.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Signed(value) => write!(f, "{value}"),
            Self::Double(value) => {
                let rounded = (value * 10_000.0).round() / 10_000.0;
                let text = rounded.to_string();
                if text.contains('.') {
                    f.write_str(&text)
                } else {
                    write!(f, "{text}.0")
                }
            }
        }
    }
}

pub(super) const STANDALONE: &str = "standalone";
pub(super) const LEADER: &str = "leader";
pub(super) const FOLLOWER: &str = "follower";
pub(super) const OBSERVER: &str = "observer";
pub(super) const READ_ONLY: &str = "read-only";

/// What this server is, in upstream's words; nothing while it does not serve.
pub(super) fn role(sources: Sources<'_>) -> Option<&'static str> {
    match sources.core.service() {
        Service::Nobody => return None,
        Service::ReadOnly => return Some(READ_ONLY),
        Service::Everybody => {}
    }
    if !sources.core.settings.is_ensemble() {
        return Some(STANDALONE);
    }
    let status = sources.ensemble.status();
    Some(if status.is_leader {
        LEADER
    } else if status.is_voter || !is_listed_as_observer(sources.core) {
        FOLLOWER
    } else {
        OBSERVER
    })
}

/// Whether the ensemble has this server as an observer. One that has left, or has not come yet, is a
/// follower without a vote, as upstream.
fn is_listed_as_observer(core: &Core) -> bool {
    let own = format!("server.{}=", core.settings.server.0);
    let agreed = core.configuration();
    let agreed = agreed.borrow();
    let mut lines = agreed.lines();
    lines.any(|line| line.starts_with(&own) && line.contains(":observer"))
}

/// A server that has not answered its leader for so long, many heartbeats, is not counted.
const IN_TOUCH: Duration = Duration::from_secs(2);

/// What a server tells of its place among the others.
pub(super) fn peer_facts(sources: Sources<'_>, role: &str) -> Vec<(&'static str, String)> {
    let ensemble = sources.ensemble.status();
    let state = match role {
        LEADER => "leading",
        FOLLOWER => "following",
        OBSERVER => "observing",
        _ => return Vec::new(),
    };
    let mut facts = vec![("peer_state", format!("{state} - broadcast"))];
    if role == OBSERVER {
        let master = ensemble.leader.map_or(-1, u64::cast_signed);
        facts.push(("observer_master_id", master.to_string()));
    }
    facts
}

/// Figures that only servers of an ensemble have, or only its leader.
fn peer_gauges(sources: Sources<'_>) -> Vec<(&'static str, Value)> {
    use Value::Integer;
    let role = role(sources);
    let status = sources.ensemble.status();
    let voters = status.members.iter().filter(|member| member.is_voter);
    let quorum_size = ("quorum_size", Integer(voters.count() as u64));
    match role {
        Some(LEADER) => {}
        Some(FOLLOWER | OBSERVER) => return vec![quorum_size],
        _ => return Vec::new(),
    }
    let synced = |votes: bool| {
        let in_touch = status.heard.iter().filter(|(_, ago)| *ago <= IN_TOUCH);
        let of_this_kind = in_touch.filter(|(id, _)| {
            let mut members = status.members.iter();
            members.any(|member| member.id == *id && member.is_voter == votes)
        });
        of_this_kind.count() as u64
    };
    let (followers, observers) = (synced(true), synced(false));
    let counters = &sources.core.counters;
    let [last, min, max] = counters.elections.proposal_sizes.get();
    vec![
        quorum_size,
        ("learners", Integer(followers + observers)),
        ("synced_followers", Integer(followers)),
        ("synced_observers", Integer(observers)),
        // Voters are all counted above.
        ("synced_non_voting_followers", Integer(0)),
        // A sync waits at the server that was asked, none at the leader.
        ("pending_syncs", Integer(0)),
        ("leader_uptime", Integer(counters.leader_uptime_ms())),
        ("last_proposal_size", Value::Signed(last)),
        ("min_proposal_size", Value::Signed(min)),
        ("max_proposal_size", Value::Signed(max)),
    ]
}

/// Milliseconds, from microseconds.
pub(super) fn whole_ms(us: u64) -> u64 {
    us / 1000
}

/// Average in milliseconds.
pub(super) fn average_ms(latency: LatencySummary) -> f64 {
    if latency.count == 0 {
        0.0
    } else {
        latency.sum_us as f64 / 1000.0 / latency.count as f64
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Znodes as upstream counts them: it keeps the root under two names.
pub(super) fn node_count(core: &Core) -> usize {
    core.look(|state| state.tree.node_count()) + 1
}

/// Figures that go up and down.
#[must_use]
pub(super) fn gauges(sources: Sources<'_>) -> Vec<(&'static str, Value)> {
    use Value::{Double, Integer};
    let core = sources.core;
    let latency = core.counters.latency.summary();
    let status = sources.ensemble.status();
    let (ephemerals, data_bytes, sessions, digest) = core.look(|state| {
        let tree = &state.tree;
        let sizes = tree.data_bytes() + tree.path_bytes();
        (
            tree.ephemeral_count(),
            sizes,
            state.sessions.len(),
            tree.digest(),
        )
    });
    let watches = core.look_at_watches(|table| table.summary());
    let (open_files, max_files) = file_descriptors();
    let mut gauges = vec![
        ("avg_latency", Double(average_ms(latency))),
        ("max_latency", Integer(whole_ms(latency.max_us))),
        ("min_latency", Integer(whole_ms(latency.min_us))),
        (
            "num_alive_connections",
            Integer(core.connection_count() as u64),
        ),
        (
            "outstanding_requests",
            Integer(load(&core.counters.outstanding)),
        ),
        ("znode_count", Integer(node_count(core) as u64)),
        ("watch_count", Integer(watches.watches as u64)),
        ("ephemerals_count", Integer(ephemerals as u64)),
        ("approximate_data_size", Integer(data_bytes)),
        ("global_sessions", Integer(sessions as u64)),
        (
            "local_sessions",
            Integer(core.look_at_locals(|locals| locals.len()) as u64),
        ),
        ("open_file_descriptor_count", Integer(open_files)),
        ("max_file_descriptor_count", Integer(max_files)),
        ("uptime", Integer(uptime_ms(core.started))),
        ("connection_drop_probability", Double(0.0)),
        ("packets_sent", Integer(load(&core.counters.packets_sent))),
        (
            "packets_received",
            Integer(load(&core.counters.packets_received)),
        ),
        (
            "auth_failed_count",
            Integer(load(&core.counters.auth_failed)),
        ),
        ("meerkat_tree_digest", Integer(digest)),
        ("meerkat_applied_index", Integer(status.applied_index)),
        (
            "meerkat_proposals_waiting",
            Integer(core.proposals.len() as u64),
        ),
        (
            "meerkat_log_bytes_since_snapshot",
            Integer(status.log_bytes_since_snapshot),
        ),
    ];
    gauges.extend(peer_gauges(sources));
    gauges
}

/// Figures that only go up.
#[must_use]
pub(super) fn counters(core: &Core) -> Vec<(&'static str, u64)> {
    let counters = &core.counters;
    vec![
        (
            "connection_request_count",
            load(&counters.connections_accepted),
        ),
        ("connection_rejected", load(&counters.connections_rejected)),
        ("meerkat_sessions_expired", load(&counters.sessions_expired)),
        (
            "sessionless_connections_expired",
            load(&counters.sessionless_expired),
        ),
        ("bytes_received_count", load(&counters.bytes_received)),
        ("meerkat_events_sent", load(&counters.events_sent)),
        ("meerkat_outbox_overflows", load(&counters.outbox_overflows)),
    ]
}

pub(super) fn uptime_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Open and allowed file descriptors; 0 where the system does not say.
fn file_descriptors() -> (u64, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let max = limits
        .lines()
        .find_map(|line| {
            line.strip_prefix("Max open files")?
                .split_whitespace()
                .next()
        })
        .and_then(|soft| soft.parse().ok());
    (open as u64, max.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_in_java() {
        let check = |value, expected: &str| assert_eq!(Value::Double(value).to_string(), expected);
        check(0.0, "0.0");
        check(1.5, "1.5");
        check(9.230_769, "9.2308");
        check(14.0, "14.0");
        assert_eq!(Value::Integer(7).to_string(), "7");
    }
}
