//! Keys that may stand in the file and change nothing here, with the reason that the log gives.

use super::Origin::{Anywhere, File, Property};
use super::{NO_SASL, Row, accepted};

const ONE_HTTP: &str = "the admin server speaks HTTP/1.1 in the clear to everybody alike";
const ROCKSDB_LOG: &str =
    "the transaction log is kept by RocksDB, which sizes and recycles its files itself";
const OWN_SNAPSHOTS: &str = "snapshots have a format of their own, always checked and complete";
const GROUP_COMMIT: &str = "what arrives during one fsync shares the next one, without a timer";
const OWN_TASKS: &str = "the server schedules its own tasks";
const NO_ELECTION_PORT: &str = "servers elect over the quorum port; the election port is not used";
const RAFT: &str = "replication is Raft, which has its own pacing";
const NOT_THROTTLED: &str =
    "this throttle is not there; maxClientCnxns, maxCnxns and globalOutstandingLimit hold";
const NO_CACHE: &str = "replies are written straight from the tree, without a cache of bytes";

pub(super) const ACCEPTED: &[Row] = &[
    accepted(
        Property,
        &[("preAllocSize", "65536 KiB"), ("txnLogSizeLimitInKb", "-1")],
        ROCKSDB_LOG,
    ),
    accepted(
        Property,
        &[
            ("snapshot.compression.method", "none"),
            ("snapshot.trust.empty", "false"),
            ("digest.enabled", "true"),
            ("serializeLastProcessedZxid.enabled", "true"),
        ],
        OWN_SNAPSHOTS,
    ),
    accepted(
        Property,
        &[
            ("flushDelay", "0 ms"),
            ("maxWriteQueuePollTime", "flushDelay / 3"),
            ("maxBatchSize", "1000"),
        ],
        GROUP_COMMIT,
    ),
    accepted(
        Property,
        &[("closeSessionTxn.enabled", "true")],
        "closing a session is one transaction that removes all its ephemerals",
    ),
    accepted(
        Property,
        &[("emulate353TTLNodes", "false")],
        "data of ZooKeeper 3.5.3 cannot be loaded",
    ),
    accepted(
        Property,
        &[
            ("commitLogCount", "500"),
            ("snapshotSizeFactor", "0.33"),
            ("forceSnapshotSync", "false"),
            ("leader.ackLoggingFrequency", "1000"),
            ("leader.maxTimeToWaitForEpoch", "-1"),
            ("leader.maxConcurrentSnapSyncs", "10"),
            ("leader.maxConcurrentDiffSyncs", "100"),
            ("leaderConnectDelayDuringRetryMs", "100 ms"),
            ("learner.asyncSending", "false"),
            ("observer.reconnectDelayMs", "0 ms"),
            ("observer.election.DelayMs", "200 ms"),
            ("observer.syncEnabled", "true"),
            ("observerMaster.sizeLimit", "33554432 bytes"),
            ("follower.skipLearnerRequestToNextProcessor", "false"),
            (
                "forward_learner_requests_to_commit_processor_disabled",
                "false",
            ),
            ("db.autocreate", "true"),
        ],
        RAFT,
    ),
    accepted(
        File,
        &[("syncEnabled", "true"), ("observerMasterPort", "unset")],
        RAFT,
    ),
    accepted(
        Anywhere,
        &[
            ("leader.closeSocketAsync", "false"),
            ("learner.closeSocketAsync", "false"),
            ("leader.nodelay", "true"),
            ("follower.nodelay", "true"),
        ],
        RAFT,
    ),
    accepted(
        Property,
        &[
            ("cnxTimeout", "5000 ms"),
            ("quorumCnxnTimeoutMs", "-1"),
            ("electionPortBindRetry", "3"),
            ("fastleader.minNotificationInterval", "200 ms"),
            ("fastleader.maxNotificationInterval", "60000 ms"),
            ("tcpKeepAlive", "false"),
        ],
        NO_ELECTION_PORT,
    ),
    accepted(
        File,
        &[
            ("multiAddress.reachabilityCheckEnabled", "true"),
            ("multiAddress.reachabilityCheckTimeoutMs", "1000 ms"),
        ],
        "an address is tried by connecting to it",
    ),
    accepted(
        Property,
        &[("serverCnxnFactory", "NIOServerCnxnFactory")],
        "there is one kind of connection",
    ),
    accepted(
        Property,
        &[
            ("nio.numSelectorThreads", "sqrt(cores / 2)"),
            ("nio.numWorkerThreads", "2 x cores"),
            ("nio.directBufferBytes", "65536 bytes"),
            ("nio.shutdownTimeout", "5000 ms"),
            ("commitProcessor.numWorkerThreads", "cores"),
            ("commitProcessor.maxReadBatchSize", "-1"),
            ("commitProcessor.maxCommitBatchSize", "1"),
            ("commitProcessor.shutdownTimeout", "5000 ms"),
            ("request_throttler.shutdownTimeout", "10000 ms"),
            ("intBufferStartingSizeBytes", "1024 bytes"),
        ],
        OWN_TASKS,
    ),
    accepted(
        Property,
        &[
            ("request_throttle_max_requests", "0"),
            ("request_throttle_stall_time", "100 ms"),
            ("request_throttle_drop_stale", "true"),
            ("request_stale_connection_check", "true"),
            ("request_stale_latency_check", "false"),
            ("throttled_op_wait_time", "0 ms"),
            ("largeRequestThreshold", "-1"),
            ("largeRequestMaxBytes", "104857600 bytes"),
            ("connection_throttle_tokens", "0"),
            ("connection_throttle_fill_time", "1 ms"),
            ("connection_throttle_fill_count", "1"),
            ("connection_throttle_freeze_time", "-1"),
            ("connection_throttle_drop_increase", "0.02"),
            ("connection_throttle_drop_decrease", "0.002"),
            ("connection_throttle_decrease_ratio", "0"),
            ("connection_throttle_weight_enabled", "false"),
            ("connection_throttle_global_session_weight", "3"),
            ("connection_throttle_local_session_weight", "1"),
            ("connection_throttle_renew_session_weight", "2"),
        ],
        NOT_THROTTLED,
    ),
    accepted(
        Property,
        &[
            ("maxResponseCacheSize", "400"),
            ("maxGetChildrenResponseCacheSize", "400"),
        ],
        NO_CACHE,
    ),
    accepted(
        Property,
        &[
            ("watchManagerName", "WatchManager"),
            ("watcherCleanThreadsNum", "2"),
            ("watcherCleanThreshold", "1000"),
            ("watcherCleanIntervalInSeconds", "600 s"),
            ("maxInProcessingDeadWatchers", "-1"),
            ("bitHashCacheSize", "10"),
        ],
        "there is one watch table, and it is compact",
    ),
    accepted(
        Property,
        &[("enableEagerACLCheck", "false")],
        "ACLs are checked when a write is applied",
    ),
    accepted(
        Property,
        &[("pathStats.*", "off"), ("messageTracker.*", "off")],
        "this debugging aid is not there",
    ),
    accepted(
        File,
        &[
            ("jvm.pause.monitor", "false"),
            ("jvm.pause.sleep.time.ms", "500 ms"),
            ("jvm.pause.warn-threshold.ms", "10000 ms"),
            ("jvm.pause.info-threshold.ms", "1000 ms"),
        ],
        "there is no JVM to pause",
    ),
    accepted(
        File,
        &[
            ("metricsProvider.numWorkerThreads", "1"),
            ("metricsProvider.maxQueueSize", "1000000"),
            ("metricsProvider.workerShutdownTimeoutMs", "1000 ms"),
        ],
        "metrics are kept without worker threads",
    ),
    accepted(
        File,
        &[("metricsProvider.*", "unset")],
        "the exporter has no such setting",
    ),
    accepted(File, &[("quorum.cnxn.threads.size", "20")], NO_SASL),
    accepted(
        Property,
        &[
            ("admin.httpVersion", "11"),
            ("admin.*", "see ZooKeeper's guide"),
        ],
        ONE_HTTP,
    ),
    accepted(
        Property,
        &[("IPAuthenticationProvider.usexforwardedfor", "false")],
        ONE_HTTP,
    ),
    accepted(
        File,
        &[("autopurge.purgeInterval", "0")],
        "old snapshots go whenever one has been written",
    ),
    accepted(
        Property,
        &[("audit.impl.class", "Slf4jAuditLogger")],
        "the audit log is written as Slf4jAuditLogger writes it",
    ),
    accepted(
        Property,
        &[("fips-mode", "true")],
        "it rules over TLS and SASL, which are not served yet",
    ),
    accepted(
        Property,
        &[
            ("kerberos.*", "see ZooKeeper's guide"),
            ("requireKerberosConfig", "false"),
            ("security.auth_to_local", "DEFAULT"),
        ],
        "it rules over SASL, which is not served yet",
    ),
    accepted(
        Property,
        &[
            ("maxNetworkLatency", "unset"),
            ("testingonly.*", "unset"),
            ("test.*", "unset"),
        ],
        "it serves ZooKeeper's own tests",
    ),
];
