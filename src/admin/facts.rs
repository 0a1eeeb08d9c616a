//! Figures by name: what `mntr` prints and Prometheus scrapes, from one place.
//!
//! Names and meanings are upstream's (`ServerMetrics.java`, `ZooKeeperServer.dumpMonitorValues`);
//! ours begin with `meerkat_`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::formatting::sanitize_label_value;

use crate::config::MetricsProvider;
use crate::pipeline::{Core, LatencySummary, Service};
use crate::tree::{NodeId, QuotaSums};
use crate::types::SessionId;

use super::Sources;
use super::recorder::{self, Series};

/// Ephemerals whose paths are put together while writes wait.
const SLICE_EPHEMERALS: usize = 1000;

/// Sessions that own ephemerals.
pub(super) fn owners(core: &Core) -> Vec<SessionId> {
    core.look(|state| state.tree.ephemeral_owners().map(|(id, _)| id).collect())
}

/// Tells of each ephemeral of a session, until an error; writes get their turn in between.
pub(super) fn each_ephemeral<E>(
    core: &Core,
    session: SessionId,
    mut tell: impl FnMut(String) -> Result<(), E>,
) -> Result<(), E> {
    let mut from = Some(NodeId::ROOT);
    while let Some(begin) = from {
        let (paths, next) = ephemerals_slice(core, session, begin);
        paths.into_iter().try_for_each(&mut tell)?;
        from = next;
    }
    Ok(())
}

/// Some paths of a session's ephemerals, and where the next ones begin.
pub(super) fn ephemerals_slice(
    core: &Core,
    session: SessionId,
    begin: NodeId,
) -> (Vec<String>, Option<NodeId>) {
    core.look(|state| {
        let mut rest = state.tree.ephemerals_from(session, begin);
        let slice = rest.by_ref().take(SLICE_EPHEMERALS);
        let paths = slice.map(|id| state.tree.path_of(id)).collect();
        (paths, rest.next())
    })
}

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
                f.write_str(&java_double(rounded))
            }
        }
    }
}

/// A double as Java prints it: always with a point, and with an exponent from ten millions on.
pub(super) fn java_double(value: f64) -> String {
    let size = value.abs();
    if (1e-3..1e7).contains(&size) || size == 0.0 || !size.is_finite() {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

pub(super) const STANDALONE: &str = "standalone";
pub(super) const LEADER: &str = "leader";
pub(super) const FOLLOWER: &str = "follower";
pub(super) const OBSERVER: &str = "observer";
pub(super) const READ_ONLY: &str = "read-only";

/// What this server is, in upstream's words; nothing while it does not serve.
pub(super) fn role(sources: &Sources) -> Option<&'static str> {
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
    } else if status.is_voter
        || !is_listed_as_observer(&sources.core, sources.core.settings.server.0)
    {
        FOLLOWER
    } else {
        OBSERVER
    })
}

/// Whether the ensemble has this server as an observer. One that has left, or has not come yet, is a
/// follower without a vote, as upstream.
fn is_listed_as_observer(core: &Core, id: u64) -> bool {
    let own = format!("server.{id}=");
    let agreed = core.configuration();
    let agreed = agreed.borrow();
    let mut lines = agreed.lines();
    lines.any(|line| line.starts_with(&own) && line.contains(":observer"))
}

/// A server that has not answered its leader for so long, many heartbeats, is not counted.
pub(super) const IN_TOUCH: Duration = Duration::from_secs(2);

/// What a server tells of its place among the others.
pub(super) fn peer_facts(sources: &Sources, role: &str) -> Vec<(&'static str, String)> {
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
fn peer_gauges(sources: &Sources) -> Vec<(&'static str, Value)> {
    use Value::Integer;
    let role = role(sources);
    let status = sources.ensemble.status();
    let voters = status.members.iter().filter(|member| member.is_voter);
    let quorum_size = ("quorum_size", Integer(voters.count() as u64));
    match role {
        Some(LEADER) => {}
        // Upstream's follower has it with the Prometheus provider only. Observers follow the leader.
        Some(FOLLOWER) if is_scraped(sources) => {
            return vec![quorum_size, ("synced_observers", Integer(0))];
        }
        Some(FOLLOWER | OBSERVER) => return vec![quorum_size],
        _ => return Vec::new(),
    }
    let in_touch = status.heard.iter().filter(|(_, ago)| *ago <= IN_TOUCH);
    let (mut followers, mut non_voting, mut observers) = (0, 0, 0);
    for (id, _) in in_touch {
        let Some(member) = status.members.iter().find(|member| member.id == *id) else {
            continue;
        };
        if !member.is_voter && is_listed_as_observer(&sources.core, *id) {
            observers += 1;
        } else {
            followers += 1;
            non_voting += u64::from(!member.is_voter);
        }
    }
    let counters = &sources.core.counters;
    let [last, min, max] = counters.elections.proposal_sizes.get();
    vec![
        quorum_size,
        ("learners", Integer(followers + observers)),
        ("synced_followers", Integer(followers)),
        ("synced_observers", Integer(observers)),
        // They are among the followers.
        ("synced_non_voting_followers", Integer(non_voting)),
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

/// What is shown of the tree's digest: a double has no room for all of it, and some collectors read
/// signed integers.
const DIGEST_SHOWN: u64 = (1 << 48) - 1;

/// Figures that go up and down.
#[must_use]
pub(super) fn gauges(sources: &Sources) -> Vec<(&'static str, Value)> {
    use Value::{Double, Integer};
    let core = &sources.core;
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
    let [last, min, max] = core.counters.client_responses.get();
    let log_entries = status.snapshot_index.unwrap_or(0);
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
        ("last_client_response_size", Value::Signed(last)),
        ("min_client_response_size", Value::Signed(min)),
        ("max_client_response_size", Value::Signed(max)),
        // No connection is encrypted, and none of those is behind a TLS listener.
        ("outstanding_tls_handshake", Integer(0)),
        ("non_mtls_remote_conn_count", Integer(0)),
        ("non_mtls_local_conn_count", Integer(0)),
        ("packets_sent", Integer(load(&core.counters.packets_sent))),
        (
            "packets_received",
            Integer(load(&core.counters.packets_received)),
        ),
        (
            "auth_failed_count",
            Integer(load(&core.counters.auth_failed)),
        ),
        ("meerkat_tree_digest", Integer(digest & DIGEST_SHOWN)),
        ("meerkat_applied_index", Integer(status.applied_index)),
        (
            "meerkat_apply_queue",
            Integer(status.last_index.saturating_sub(status.applied_index)),
        ),
        (
            "meerkat_log_entries_since_snapshot",
            Integer(status.applied_index.saturating_sub(log_entries)),
        ),
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

/// Quotas that are looked at for their figures, and top-level znodes that are told apart.
const QUOTAS_MAX: usize = 10_000;
const QUOTA_NAMES_MAX: usize = 1000;

/// Figures that go up and down, by top-level znode.
pub(super) fn labelled_gauges(core: &Core) -> Vec<(Series, Value)> {
    let sums = core.look(|state| state.tree.quota_sums(QUOTAS_MAX));
    type Sum = fn(&QuotaSums) -> i64;
    let sets: [(&str, Sum); 4] = [
        ("quota_count_limit_per_namespace", |sums| sums.count_limit),
        ("quota_bytes_limit_per_namespace", |sums| sums.bytes_limit),
        ("quota_count_usage_per_namespace", |sums| sums.count_usage),
        ("quota_bytes_usage_per_namespace", |sums| sums.bytes_usage),
    ];
    let mut all = Vec::new();
    for (name, sum) in sets {
        for (key, sums) in sums.iter().take(QUOTA_NAMES_MAX) {
            let series = Series {
                name: name.to_owned(),
                label: Some(("key".to_owned(), key.clone())),
            };
            all.push((series, Value::Signed(sum(sums))));
        }
    }
    all
}

/// Figures that only go up and are counted where they are needed anyway.
fn own_counters(core: &Core) -> Vec<(&'static str, u64)> {
    let counters = &core.counters;
    vec![
        ("connection_request_count", load(&counters.connect_requests)),
        ("connection_rejected", load(&counters.connections_rejected)),
        ("stale_sessions_expired", load(&counters.sessions_expired)),
        (
            "sessionless_connections_expired",
            load(&counters.sessionless_expired),
        ),
        ("bytes_received_count", load(&counters.bytes_received)),
        ("meerkat_events_sent", load(&counters.events_sent)),
        ("meerkat_outbox_overflows", load(&counters.outbox_overflows)),
    ]
}

/// Figures that only go up.
pub(super) fn counters(core: &Core) -> Vec<(Series, u64)> {
    let own = own_counters(core).into_iter().map(|(name, value)| {
        let series = Series {
            name: name.to_owned(),
            label: None,
        };
        (series, value)
    });
    own.chain(recorder::counters()).collect()
}

/// Whether a summary's quantiles are shown beyond the median (`DetailLevel.ADVANCED`).
pub(super) fn is_advanced(name: &str) -> bool {
    ADVANCED.contains(&name) || name.starts_with("meerkat_")
}

/// Upstream's summaries with more quantiles than the median.
const ADVANCED: [&str; 25] = [
    "ack_latency",
    "close_session_prep_time",
    "commit_propagation_latency",
    "dead_watchers_cleaner_latency",
    "jvm_pause_time_ms",
    "learner_handler_qp_time_ms",
    "local_write_committed_time_ms",
    "om_commit_process_time_ms",
    "om_proposal_process_time_ms",
    "prep_processor_queue_time_ms",
    "propagation_latency",
    "proposal_ack_creation_latency",
    "proposal_latency",
    "quorum_ack_latency",
    "read_commitproc_time_ms",
    "read_final_proc_time_ms",
    "readlatency",
    "request_throttle_queue_time_ms",
    "server_write_committed_time_ms",
    "sync_processor_queue_and_flush_time_ms",
    "sync_processor_queue_flush_time_ms",
    "sync_processor_queue_time_ms",
    "updatelatency",
    "write_commitproc_time_ms",
    "write_final_proc_time_ms",
];

/// Whether the Prometheus provider is on.
fn is_scraped(sources: &Sources) -> bool {
    matches!(sources.config.metrics, MetricsProvider::Prometheus { .. })
}

/// All figures as `mntr` and the command `monitor` show them. The names depend on who else reads
/// them: with the Prometheus provider they are the scraped ones, and all numbers are doubles.
pub(super) fn monitored(sources: &Sources) -> Vec<(String, Value)> {
    let scraped = is_scraped(sources);
    let mut all = Vec::new();
    if sources.config.metrics == MetricsProvider::Null {
        return all;
    }
    let mut put = |name: String, value: Value| {
        let shown = match scraped {
            true => Value::Double(value.as_f64()),
            false => value,
        };
        all.push((name, shown));
    };
    for (name, value) in gauges(sources) {
        put(name.to_owned(), value);
    }
    for (series, value) in labelled_gauges(&sources.core) {
        put(labelled(&series, scraped, None), value);
    }
    for (series, value) in counters(&sources.core) {
        put(labelled(&series, scraped, None), Value::Integer(value));
    }
    for (series, summary) in recorder::summaries() {
        let is_advanced = is_advanced(&series.name);
        let measured = summary.measured();
        if scraped {
            let shares: &[f64] = if is_advanced {
                &[0.5, 0.9, 0.99]
            } else {
                &[0.5]
            };
            let quantiles = summary.quantiles([0.5, 0.9, 0.99]);
            for (share, quantile) in shares.iter().zip(quantiles) {
                let name = labelled(&series, true, Some(*share));
                put(name, Value::Double(quantile));
            }
            let of = |suffix: &str| {
                let name = format!("{}_{suffix}", series.name);
                labelled(
                    &Series {
                        name,
                        ..series.clone()
                    },
                    true,
                    None,
                )
            };
            put(of("count"), Value::Integer(measured.count));
            put(of("sum"), Value::Double(measured.sum));
            continue;
        }
        let name = labelled(&series, false, None);
        // Upstream counts whole milliseconds.
        let whole = |value: f64| Value::Integer(value as u64);
        put(format!("avg_{name}"), Value::Double(measured.average()));
        put(format!("min_{name}"), whole(measured.min));
        put(format!("max_{name}"), whole(measured.max));
        put(format!("cnt_{name}"), Value::Integer(measured.count));
        put(format!("sum_{name}"), whole(measured.sum));
        if is_advanced {
            let quantiles = summary.quantiles([0.5, 0.95, 0.99, 0.999]);
            for (share, quantile) in ["p50", "p95", "p99", "p999"].iter().zip(quantiles) {
                put(format!("{share}_{name}"), whole(quantile.round()));
            }
        }
    }
    all
}

/// A name with its labels, as Prometheus has them, or with the label's value as a part of the name:
/// in front of it, but for our own names, which all begin alike.
fn labelled(series: &Series, scraped: bool, quantile: Option<f64>) -> String {
    let Series { name, label } = series;
    let quantile = quantile.map(|quantile| format!("quantile=\"{quantile}\""));
    match (label, quantile) {
        (None, None) => name.clone(),
        (None, Some(quantile)) => format!("{name}{{{quantile}}}"),
        (Some((_, value)), _) if !scraped && name.starts_with("meerkat_") => {
            format!("{name}_{value}")
        }
        (Some((_, value)), _) if !scraped => format!("{value}_{name}"),
        (Some((key, value)), quantile) => {
            let value = sanitize_label_value(value);
            let quantile = quantile.map_or_else(String::new, |quantile| format!(",{quantile}"));
            format!("{name}{{{key}=\"{value}\"{quantile}}}")
        }
    }
}

/// What the four-letter word `srst` resets.
pub(super) fn reset_all(sources: &Sources) {
    reset(sources);
    if role(sources) == Some(LEADER) {
        sources.core.counters.elections.proposal_sizes.reset();
    }
}

/// What the command `stat_reset` resets: with the default provider everything that is counted.
pub(super) fn reset(sources: &Sources) {
    sources.core.counters.reset();
    if !is_scraped(sources) {
        sources.core.counters.reset_metrics();
        recorder::reset();
    }
}

pub(super) fn uptime_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Open and allowed file descriptors; 0 where the system does not say.
pub(super) fn file_descriptors() -> (u64, u64) {
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
        check(f64::NAN, "NaN");
        check(9_999_999.5, "9999999.5");
        check(1e7, "1.0E7");
        check(15_000_124.0, "1.5000124E7");
        check(-2.5e9, "-2.5E9");
        assert_eq!(java_double(0.000_25), "2.5E-4");
        assert_eq!(Value::Integer(7).to_string(), "7");
    }
}
