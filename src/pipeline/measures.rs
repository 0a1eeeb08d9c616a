//! What the pipeline measures for the recorder of metrics: handles that do nothing when there is no
//! recorder. Latencies are in ms.

use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, counter, histogram};

use super::namespaces::Namespaces;

pub struct Measures {
    /// From reading a request to its reply.
    pub(super) read: Histogram,
    pub(super) write: Histogram,
    /// From the leader's stamp to the application here.
    pub(super) propagation: Histogram,
    /// Applying one write: an entry's time, by its requests.
    pub(super) apply: Histogram,
    /// From handing an entry to the log until the leader has applied it: entries under our name,
    /// their requests under upstream's.
    pub(super) commit: Histogram,
    pub(super) quorum_ack: Histogram,
    /// From sending requests to the leader until it has them.
    pub(super) forward: Histogram,
    /// Watches that one change fires.
    pub(super) created_watches: Histogram,
    pub(super) deleted_watches: Histogram,
    pub(super) changed_watches: Histogram,
    pub(super) children_watches: Histogram,
    /// From the application of a change until its event is with the system.
    pub(super) watch_delivery: Histogram,
    /// Evaluating one read, which upstream's servers of an ensemble measure.
    pub(super) read_apply: Histogram,
    /// Applying a close of a session, as the leader.
    pub(super) close_session: Histogram,
    /// From the arrival of a write of this server's until it is applied.
    pub(super) own_write: Histogram,
    /// From the leader's stamp until then; and the same of writes that came by other servers.
    pub(super) own_committed: Histogram,
    pub(super) foreign_committed: Histogram,
    /// Requests that wait for the leader's next entry, and how long they do.
    pub(super) prep_queue_size: Histogram,
    pub(super) prep_queue_time: Histogram,
    pub(super) prep_queued: Counter,
    pub(super) proposed: Counter,
    /// Requests that this leader has committed.
    pub(super) committed: Counter,
    /// Requests that came back committed, in an ensemble.
    pub(super) commits_queued: Counter,
    pub(super) followed: Counter,
    pub(super) namespaces: Namespaces,
    /// Without the length in front of each.
    pub(super) watch_bytes: Counter,
    pub(super) response_bytes: Counter,
    /// Connections that ended without their session, by themselves or for want of a quorum here.
    pub dropped: Counter,
    pub not_served: Counter,
    /// Sessions that were taken up again.
    pub(super) revalidated: Counter,
    /// Such questions of other servers, as their leader.
    pub(super) revalidations: Counter,
    pub(super) expired_connected: Counter,
    pub(super) expired_elsewhere: Counter,
    pub(super) expired_local: Counter,
    /// Limits at which a connection is not read from, or is closed.
    pub(super) in_flight_limit: Counter,
    pub(super) outstanding_limit: Counter,
    pub(super) reply_limit: Counter,
    pub(super) outbox_limit: Counter,
}

impl Default for Measures {
    fn default() -> Self {
        let expired = |cause| counter!("meerkat_sessions_expired", "cause" => cause);
        let limit = |limit| counter!("meerkat_queue_limit_hits", "limit" => limit);
        Self {
            read: histogram!("readlatency"),
            write: histogram!("updatelatency"),
            propagation: histogram!("propagation_latency"),
            apply: histogram!("write_final_proc_time_ms"),
            commit: histogram!("meerkat_commit_latency_ms"),
            quorum_ack: histogram!("quorum_ack_latency"),
            forward: histogram!("meerkat_forward_latency_ms"),
            created_watches: histogram!("node_created_watch_count"),
            deleted_watches: histogram!("node_deleted_watch_count"),
            changed_watches: histogram!("node_changed_watch_count"),
            children_watches: histogram!("node_children_watch_count"),
            watch_delivery: histogram!("meerkat_watch_delivery_ms"),
            read_apply: histogram!("read_final_proc_time_ms"),
            close_session: histogram!("close_session_prep_time"),
            own_write: histogram!("write_commitproc_time_ms"),
            own_committed: histogram!("local_write_committed_time_ms"),
            foreign_committed: histogram!("server_write_committed_time_ms"),
            prep_queue_size: histogram!("prep_processor_queue_size"),
            prep_queue_time: histogram!("prep_processor_queue_time_ms"),
            prep_queued: counter!("prep_processor_request_queued"),
            proposed: counter!("proposal_count"),
            committed: counter!("commit_count"),
            commits_queued: counter!("request_commit_queued"),
            followed: counter!("learner_commit_received_count"),
            namespaces: Namespaces::default(),
            watch_bytes: counter!("watch_bytes"),
            response_bytes: counter!("response_bytes"),
            dropped: counter!("connection_drop_count"),
            not_served: counter!("cnxn_closed_without_zk_server_running"),
            revalidated: counter!("connection_revalidate_count"),
            revalidations: counter!("revalidate_count"),
            // Its client was silent, though connected to this server.
            expired_connected: expired("silent"),
            // Its client was gone, or silent at another server.
            expired_elsewhere: expired("gone"),
            expired_local: expired("local"),
            in_flight_limit: limit("in_flight"),
            outstanding_limit: limit("outstanding"),
            reply_limit: limit("reply_bytes"),
            outbox_limit: limit("outbox"),
        }
    }
}

impl Measures {
    /// Counts an event that is on its way to its client, so long after the change.
    pub fn event_delivered(&self, waited: Duration) {
        self.watch_delivery.record(ms(waited));
    }
}

/// Records a time that `count` things took.
pub(super) fn record_us(histogram: &Histogram, us: u64, count: u64) {
    if count > 0 {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        histogram.record_many(us as f64 / 1000.0, count);
    }
}

/// Milliseconds since then.
pub(super) fn ms_since(since: Instant) -> f64 {
    ms(since.elapsed())
}

pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
