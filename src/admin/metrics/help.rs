//! What figures mean that need a word: our own, and those of upstream's that count something else
//! here than their name says. Upstream's help is the name again.

/// Name and text, by name. Of a set the text says what the label tells apart.
pub(super) const TEXTS: [(&str, &str); 46] = [
    (
        "ack_latency",
        "ms from sending a request to a server (key, its id) until that has it on its disk; the leader's",
    ),
    (
        "close_session_prep_time",
        "ms that closing a session takes when it is applied; the leader's",
    ),
    (
        "connection_revalidate_count",
        "sessions that went on by a new connection to this server, if the leader agreed",
    ),
    (
        "election_time",
        "ms from the last sign of life of a quorum until somebody led and was heard",
    ),
    (
        "inflight_snap_count",
        "snapshots on their way to other servers, whenever one is begun",
    ),
    (
        "jvm_pause_time_ms",
        "ms that the server's own timer was late, from 2 ms on",
    ),
    (
        "leader_unavailable_time",
        "ms without a quorum, of outages behind which this server led",
    ),
    (
        "learner_handler_qp_size",
        "log entries that a server (key, its id) did not have yet when some were sent to it; the leader's",
    ),
    (
        "learner_proposal_received_count",
        "requests in log entries that came from the leader",
    ),
    (
        "local_write_committed_time_ms",
        "ms from the leader's stamp until a write of this server's clients was applied",
    ),
    (
        "looking_count",
        "how often contact with a quorum was lost, the start included",
    ),
    (
        "meerkat_applied_index",
        "log entries applied by this server since the ensemble began",
    ),
    (
        "meerkat_apply_queue",
        "log entries that this server has and has not applied yet",
    ),
    (
        "meerkat_audit_failures",
        "audit log lines that could not be written",
    ),
    (
        "meerkat_commit_latency_ms",
        "ms from handing an entry, of many requests, to the log until it was committed and applied; the leader's",
    ),
    (
        "meerkat_digest_checks",
        "comparisons of this server's state with the leader's, see digest_mismatches_count",
    ),
    (
        "meerkat_events_sent",
        "watch events put on their way to clients",
    ),
    (
        "meerkat_forward_latency_ms",
        "ms from sending a batch of requests to the leader until the leader took it; of all servers but the leader",
    ),
    (
        "meerkat_fsync_ms",
        "ms that a write to the log took which was forced to the disk",
    ),
    (
        "meerkat_leadership_changes",
        "how often this server began or ceased to lead",
    ),
    (
        "meerkat_log_bytes_since_snapshot",
        "bytes that the log has grown by since the last snapshot was begun",
    ),
    (
        "meerkat_log_entries_since_snapshot",
        "log entries that were applied since the last snapshot",
    ),
    (
        "meerkat_outbox_overflows",
        "connections closed because their client did not take its events",
    ),
    (
        "meerkat_proposals_waiting",
        "batches of requests that wait for the leader's next entry, or for the way to the leader",
    ),
    (
        "meerkat_queue_limit_hits",
        "how often a limit stopped a connection: in_flight, outstanding and reply_bytes delay its requests, outbox closes it",
    ),
    (
        "meerkat_sessions_expired",
        "sessions that ended by time-out: silent ones that were connected here, ones that were gone or elsewhere, local ones",
    ),
    (
        "meerkat_slow_fsyncs",
        "writes to the log above fsync.warningthresholdms",
    ),
    (
        "meerkat_slow_requests",
        "requests above meerkat.slowRequestMs, by the stage that took longest: writes queue, commit and apply; reads wait and read",
    ),
    (
        "meerkat_tree_digest",
        "the lowest 48 bits of a hash over the whole tree; equal on servers that have applied the same",
    ),
    (
        "meerkat_watch_delivery_ms",
        "ms from applying a change until its event was with the system, the oldest event of each flush of a connection",
    ),
    (
        "observer_sync_time",
        "ms from hearing a leader until everything it had was applied; an observer's",
    ),
    (
        "follower_sync_time",
        "ms from hearing a leader until everything it had was applied; a follower's",
    ),
    (
        "prep_processor_queue_size",
        "requests that waited for the leader's next entry, counted for each that was taken",
    ),
    (
        "prep_processor_queue_time_ms",
        "ms that the first request of an entry waited for it, counted for each of its requests",
    ),
    (
        "quota_bytes_limit_per_namespace",
        "byte limits of quotas, by top-level znode (key)",
    ),
    (
        "read_final_proc_time_ms",
        "ms that evaluating a read takes: a connection's wake-up by its reads",
    ),
    (
        "read_per_namespace",
        "bytes read (path, data or names of children, and a stat), but for multiRead, by top-level znode (key): a thousand of them, all others as /others",
    ),
    (
        "request_commit_queued",
        "requests that were committed and applied here, in an ensemble",
    ),
    (
        "revalidate_count",
        "questions of other servers whether a session may go on there; the leader's",
    ),
    (
        "server_write_committed_time_ms",
        "ms from the leader's stamp until a write of other servers' clients was applied here",
    ),
    (
        "sync_process_time",
        "ms that a write to the log took, counted for each of its requests",
    ),
    (
        "sync_processor_batch_size",
        "requests in one write to the log",
    ),
    (
        "unavailable_time",
        "ms from the last sign of life of a quorum until everything the next leader had was applied here",
    ),
    (
        "write_commitproc_time_ms",
        "ms from the arrival of a write of this server's clients until it was applied",
    ),
    (
        "write_final_proc_time_ms",
        "ms that applying a write takes: an entry's time by its requests",
    ),
    (
        "write_per_namespace",
        "bytes written (path and data), by top-level znode (key): a thousand of them, all others as /others",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once() {
        let names: std::collections::BTreeSet<_> = TEXTS.map(|(name, _)| name).into();
        assert_eq!(names.len(), TEXTS.len());
        for (name, text) in TEXTS {
            assert!(text.len() > 10 && !text.ends_with('.'), "{name}: {text}");
        }
    }
}
