//! Upstream's names for what has no counterpart here.
//!
//! They are exported all the same, as counters that stay 0 and summaries of nothing: dashboards and
//! alert rules name them, and a panel that shows nothing is better than one that shows an error.
//! Each says in its help text why it stays empty.

const CACHES: &str = "replies are made from the tree, there is no cache of them";
const COMMIT_PROCESSOR: &str =
    "reads are answered where they arrive, and wait in their connection's own queue";
const DEAD_WATCHERS: &str =
    "watches of a closed connection go with it, none is dead and left behind";
const LEARNER_QUEUES: &str = "Raft's replication has no queue of packets per server";
const OBSERVER_MASTER: &str = "observers follow the leader alone";
const ENSEMBLE_AUTH: &str = "there is no scheme ensemble";
const THROTTLE: &str = "requests wait where they arrive, none is throttled or dropped for its age";
const TLS: &str = "there is no TLS yet";
const ZAB: &str = "Raft replicates, so there is no such step";
const CHANGES: &str = "a write is decided when it is applied, nothing is outstanding before";
const MACHINERY: &str = "there is no such part";

/// Sets, which may have no member: their type is told all the same, as upstream tells it.
pub(super) const SETS: [(&str, &str); 10] = [
    ("ack_latency", "summary"),
    ("learner_handler_qp_size", "summary"),
    ("learner_handler_qp_time_ms", "summary"),
    ("quota_bytes_limit_per_namespace", "gauge"),
    ("quota_bytes_usage_per_namespace", "gauge"),
    ("quota_count_limit_per_namespace", "gauge"),
    ("quota_count_usage_per_namespace", "gauge"),
    ("quota_exceeded_error_per_namespace", "counter"),
    ("read_per_namespace", "summary"),
    ("write_per_namespace", "summary"),
];

const SET_REASONS: [(&str, &str); 1] = [("learner_handler_qp_time_ms", LEARNER_QUEUES)];

const COUNTERS: [(&str, &str); 26] = [
    ("add_dead_watcher_stall_time", DEAD_WATCHERS),
    ("dead_watchers_cleared", DEAD_WATCHERS),
    ("dead_watchers_queued", DEAD_WATCHERS),
    ("diff_count", ZAB),
    ("ensemble_auth_fail", ENSEMBLE_AUTH),
    ("ensemble_auth_skip", ENSEMBLE_AUTH),
    ("ensemble_auth_success", ENSEMBLE_AUTH),
    ("large_requests_rejected", THROTTLE),
    ("outstanding_changes_queued", CHANGES),
    ("outstanding_changes_removed", CHANGES),
    ("quit_leading_due_to_disloyal_voter", ZAB),
    ("request_throttle_wait_count", THROTTLE),
    (
        "requests_not_forwarded_to_commit_processor",
        COMMIT_PROCESSOR,
    ),
    ("response_packet_cache_hits", CACHES),
    ("response_packet_cache_misses", CACHES),
    ("response_packet_get_children_cache_hits", CACHES),
    ("response_packet_get_children_cache_misses", CACHES),
    (
        "skip_learner_request_to_next_processor_count",
        COMMIT_PROCESSOR,
    ),
    ("stale_replies", THROTTLE),
    ("stale_requests", THROTTLE),
    ("stale_requests_dropped", THROTTLE),
    ("throttled_ops", THROTTLE),
    ("tls_handshake_exceeded", TLS),
    ("unsuccessful_handshake", TLS),
    (
        "unrecoverable_error_count",
        "the process ends with such an error, and its exit code tells of it",
    ),
    ("insecure_admin_count", TLS),
];

const SUMMARIES: [(&str, &str); 29] = [
    ("commit_commit_proc_req_queued", COMMIT_PROCESSOR),
    ("commit_process_time", COMMIT_PROCESSOR),
    ("commit_propagation_latency", ZAB),
    (
        "concurrent_request_processing_in_commit_processor",
        COMMIT_PROCESSOR,
    ),
    ("connection_token_deficit", THROTTLE),
    ("dead_watchers_cleaner_latency", DEAD_WATCHERS),
    ("inflight_diff_count", ZAB),
    ("learner_request_processor_queue_size", LEARNER_QUEUES),
    ("netty_queued_buffer_capacity", MACHINERY),
    ("om_commit_process_time_ms", OBSERVER_MASTER),
    ("om_proposal_process_time_ms", OBSERVER_MASTER),
    ("pending_session_queue_size", COMMIT_PROCESSOR),
    ("prep_process_time", CHANGES),
    ("proposal_ack_creation_latency", ZAB),
    ("proposal_latency", ZAB),
    ("proposal_process_time", ZAB),
    ("read_commit_proc_issued", COMMIT_PROCESSOR),
    ("read_commit_proc_req_queued", COMMIT_PROCESSOR),
    ("read_commitproc_time_ms", COMMIT_PROCESSOR),
    ("reads_after_write_in_session_queue", COMMIT_PROCESSOR),
    ("reads_issued_from_session_queue", COMMIT_PROCESSOR),
    ("request_throttle_queue_time_ms", THROTTLE),
    ("requests_in_session_queue", COMMIT_PROCESSOR),
    ("session_queues_drained", COMMIT_PROCESSOR),
    ("socket_closing_time", MACHINERY),
    (
        "time_waiting_empty_pool_in_commit_processor_read_ms",
        COMMIT_PROCESSOR,
    ),
    ("write_batch_time_in_commit_processor", COMMIT_PROCESSOR),
    ("write_commit_proc_issued", COMMIT_PROCESSOR),
    ("write_commit_proc_req_queued", COMMIT_PROCESSOR),
];

/// Names that are counted or measured when it happens, which may be never: they are there from the
/// start, so that a rate over them is known.
const RARE_COUNTERS: [&str; 23] = [
    "cnxn_closed_without_zk_server_running",
    "commit_count",
    "connection_drop_count",
    "connection_revalidate_count",
    "digest_mismatches_count",
    "learner_commit_received_count",
    "learner_proposal_received_count",
    "looking_count",
    "meerkat_digest_checks",
    "meerkat_leadership_changes",
    "meerkat_slow_fsyncs",
    "prep_processor_request_queued",
    "proposal_count",
    "request_commit_queued",
    "response_bytes",
    "restore_error_count",
    "restore_rate_limited_count",
    "revalidate_count",
    "snap_count",
    "snapshot_error_count",
    "snapshot_rate_limited_count",
    "sync_processor_request_queued",
    "watch_bytes",
];

const RARE_SUMMARIES: [&str; 32] = [
    "close_session_prep_time",
    "dbinittime",
    "election_time",
    "follower_sync_time",
    "fsynctime",
    "inflight_snap_count",
    "jvm_pause_time_ms",
    "leader_unavailable_time",
    "local_write_committed_time_ms",
    "meerkat_commit_latency_ms",
    "meerkat_forward_latency_ms",
    "meerkat_fsync_ms",
    "observer_sync_time",
    "prep_processor_queue_size",
    "prep_processor_queue_time_ms",
    "propagation_latency",
    "quorum_ack_latency",
    "read_final_proc_time_ms",
    "restore_time",
    "server_write_committed_time_ms",
    "snapshottime",
    "startup_snap_load_time",
    "startup_txns_load_time",
    "startup_txns_loaded",
    "sync_process_time",
    "sync_processor_batch_size",
    "sync_processor_queue_and_flush_time_ms",
    "sync_processor_queue_flush_time_ms",
    "sync_processor_queue_size",
    "sync_processor_queue_time_ms",
    "unavailable_time",
    "write_commitproc_time_ms",
];

/// Makes all names known to the recorder.
pub(super) fn register() {
    let counters = COUNTERS.iter().map(|(name, _)| *name);
    for name in counters.chain(RARE_COUNTERS) {
        let _ = metrics::counter!(name);
    }
    let summaries = SUMMARIES.iter().map(|(name, _)| *name);
    for name in summaries.chain(RARE_SUMMARIES) {
        let _ = metrics::histogram!(name);
    }
}

/// Why a name stays empty.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    let tables = [&COUNTERS[..], &SUMMARIES[..], &SET_REASONS[..]];
    let mut rows = tables.into_iter().flatten();
    let found = rows.find(|(absent, _)| *absent == name);
    found.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_in_two_tables() {
        let mut seen = std::collections::BTreeSet::new();
        let absent = [&COUNTERS[..], &SUMMARIES[..], &SET_REASONS[..]];
        let absent = absent.into_iter().flatten().map(|(name, _)| *name);
        for name in absent.chain(RARE_COUNTERS).chain(RARE_SUMMARIES) {
            assert!(seen.insert(name), "{name}");
        }
        let sets = SETS.map(|(name, _)| name);
        for (name, _) in SET_REASONS {
            assert!(sets.contains(&name), "{name}");
        }
    }
}
