//! Keys that do what their documentation says, and how each finds its field.

use super::Absent::{Default, Unset};
use super::Origin::{Anywhere, File, Flag, Property};
use super::{NO_SASL, NO_TLS, Row, honoured};
use crate::config::draft::Draft;
use crate::config::members::Role;
use crate::config::value::{DigestAlgorithm, Rejected, Secret, Setting};

/// Longest time that a key in ms can ask for: what fits into the `int` of a client's time-out.
const MS_MAX: i64 = i32::MAX as i64;
/// 20 ticks, the longest session by default, must still fit.
const TICK_TIME_MS_MAX: i64 = MS_MAX / 20;
/// Largest number that Java's `int` keys take.
const INT_MAX: i64 = i32::MAX as i64;

/// An honoured key in one line of names.
macro_rules! key {
    ($origin:expr, $name:literal, $unit:literal, $absent:expr, $meaning:literal, $set:expr) => {
        honoured($origin, &[($name, "")], $unit, $absent, $meaning, $set)
    };
}

pub(super) const BASICS: &[Row] = &[
    key!(
        File,
        "dataDir",
        "path",
        Unset("/var/lib/zookeeper"),
        "Where snapshots, the log and the file myid live. Required. Created when absent.",
        |draft, setting| {
            draft.data_dir = Some(draft.path(setting));
            Ok(())
        }
    ),
    key!(
        File,
        "dataLogDir",
        "path",
        Unset("/var/lib/zookeeper-log"),
        "Where the transaction log lives; dataDir when absent. A disk of its own makes writes steadier.",
        |draft, setting| {
            draft.data_log_dir = Some(draft.path(setting));
            Ok(())
        }
    ),
    key!(
        File,
        "clientPort",
        "port",
        Unset("2181"),
        "Where clients connect. Absent or 0: no plain client port.",
        |draft, setting| {
            draft.client_port = setting.port()?;
            Ok(())
        }
    ),
    key!(
        File,
        "clientPortAddress",
        "host",
        Unset("127.0.0.1"),
        "The address that clientPort is bound to; all addresses when absent.",
        |draft, setting| {
            draft.client_port_address = Some(setting.text.to_owned());
            Ok(())
        }
    ),
    key!(
        File,
        "clientPortListenBacklog",
        "connections",
        Default("-1"),
        "Connections that wait to be accepted; -1 leaves it to the system.",
        |draft, setting| {
            draft.config.client_listen_backlog =
                u32::try_from(setting.whole::<i32>(-1, INT_MAX)?).ok();
            Ok(())
        }
    ),
    key!(
        File,
        "tickTime",
        "ms",
        Default("3000"),
        "The unit of time-outs: sessions last 2 to 20 ticks unless said otherwise.",
        |draft, setting| {
            draft.config.tick_time_ms = setting.whole(0, TICK_TIME_MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        File,
        "minSessionTimeout",
        "ms",
        Default("-1"),
        "The shortest session that a client can have; -1 is 2 ticks.",
        |draft, setting| {
            draft.min_session_timeout_ms = setting.whole(-1, MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        File,
        "maxSessionTimeout",
        "ms",
        Default("-1"),
        "The longest session that a client can have; -1 is 20 ticks.",
        |draft, setting| {
            draft.max_session_timeout_ms = setting.whole(-1, MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        Property,
        "4lw.commands.whitelist",
        "words",
        Unset("stat, ruok, conf, isro"),
        "Four-letter words that are answered, with commas between; * for all. srvr is always answered.",
        |draft, setting| {
            draft.whitelist = setting.text.to_owned();
            Ok(())
        }
    ),
];

pub(super) const LIMITS: &[Row] = &[
    key!(
        File,
        "maxClientCnxns",
        "connections",
        Default("60"),
        "Connections from one address; 0 is no limit.",
        |draft, setting| {
            draft.config.max_client_cnxns = setting
                .whole::<i64>(-INT_MAX, INT_MAX)?
                .try_into()
                .unwrap_or(0);
            Ok(())
        }
    ),
    key!(
        Property,
        "maxCnxns",
        "connections",
        Default("0"),
        "Connections in all; 0 is no limit.",
        |draft, setting| {
            draft.config.max_cnxns = setting
                .whole::<i64>(-INT_MAX, INT_MAX)?
                .try_into()
                .unwrap_or(0);
            Ok(())
        }
    ),
    key!(
        Property,
        "globalOutstandingLimit",
        "requests",
        Default("1000"),
        "Requests that may wait to be answered, over all connections; beyond it the server stops reading.",
        |draft, setting| {
            draft.config.global_outstanding_limit = setting.whole(1, INT_MAX)?;
            Ok(())
        }
    ),
    key!(
        Property,
        "nio.sessionlessCnxnTimeout",
        "ms",
        Default("10000"),
        "How long a connection may stay without a session.",
        |draft, setting| {
            draft.config.sessionless_cnxn_timeout_ms = setting.whole(1, MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        Flag,
        "jute.maxbuffer",
        "bytes",
        Default("1048575"),
        "The largest request, and with it the most data in a znode. Clients have the same setting.",
        |draft, setting| {
            draft.config.max_buffer_bytes = setting.decoded(1, INT_MAX)?;
            Ok(())
        }
    ),
    key!(
        Property,
        "jute.maxbuffer.extrasize",
        "bytes",
        Unset("1048575"),
        "What a record may be larger than jute.maxbuffer when it is read back; jute.maxbuffer when absent, never below 1024.",
        |draft, setting| {
            draft.extra_buffer_bytes = Some(
                setting
                    .decoded::<i32>(-INT_MAX, INT_MAX)?
                    .max(1024)
                    .unsigned_abs(),
            );
            Ok(())
        }
    ),
];

pub(super) const STORAGE: &[Row] = &[
    key!(
        Property,
        "snapCount",
        "transactions",
        Default("100000"),
        "Transactions between two snapshots (a random share of the upper half, so that servers take turns); at least 2.",
        |draft, setting| {
            let asked: u32 = setting
                .whole::<i64>(-INT_MAX, INT_MAX)?
                .try_into()
                .unwrap_or(0);
            if asked < 2 {
                draft.warn(
                    setting.key,
                    "snapCount should be 2 or more; it is taken as 2",
                );
            }
            draft.config.storage.snap_count_txns = asked.max(2);
            Ok(())
        }
    ),
    key!(
        Property,
        "snapSizeLimitInKb",
        "KiB",
        Default("4194304"),
        "Bytes of transactions between two snapshots, likewise; 0 or less: only their number counts.",
        |draft, setting| {
            let limit: i64 = setting.whole(i64::MIN, i64::MAX / 1024)?;
            draft.config.storage.snap_size_limit_kib =
                u64::try_from(limit).ok().filter(|limit| *limit > 0);
            Ok(())
        }
    ),
    key!(
        Property,
        "forceSync",
        "yes or no",
        Default("yes"),
        "Whether a write is on the disk before it is acknowledged. Exactly no gives that up: a power cut then loses writes.",
        |draft, setting| {
            draft.config.storage.force_sync = setting.text != "no";
            if !draft.config.storage.force_sync {
                draft.warn(
                    setting.key,
                    "forceSync=no: acknowledged writes can be lost when the machine stops",
                );
            }
            Ok(())
        }
    ),
    key!(
        Property,
        "audit.enable",
        "true/false",
        Default("false"),
        "Whether each write is said in the audit log, in ZooKeeper's format: who, from where, what, and whether it was done.",
        |draft, setting| {
            draft.config.audit.enabled = setting.is_true();
            Ok(())
        }
    ),
    key!(
        Property,
        "auditlog.file",
        "path",
        Unset("zookeeper_audit.log"),
        "The audit log's own file, which is rolled at 10 MiB, ten times; without it the lines go where all others go.",
        |draft, setting| {
            draft.config.audit.file = Some(setting.text.into());
            Ok(())
        }
    ),
    key!(
        Property,
        "auditlog.dir",
        "path",
        Default("."),
        "Where that file is.",
        |draft, setting| {
            draft.config.audit.dir = setting.text.into();
            Ok(())
        }
    ),
    key!(
        Anywhere,
        "meerkat.slowRequestMs",
        "ms",
        Default("1000"),
        "A request that takes longer, from reading it to its reply, is logged as a warning with the time of each stage, and counted; 0 is never.",
        |draft, setting| {
            draft.config.slow_request_ms = setting.whole(0, MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        Anywhere,
        "fsync.warningthresholdms",
        "ms",
        Default("1000"),
        "An fsync that takes longer is logged as a warning and counted.",
        |draft, setting| {
            draft.config.storage.fsync_warning_threshold_ms = setting.whole(0, MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        File,
        "autopurge.snapRetainCount",
        "snapshots",
        Default("3"),
        "Snapshots that are kept, and the log behind the oldest of them; at least 3. What is older goes whenever one has been written.",
        |draft, setting| {
            let asked: i32 = setting.whole(-INT_MAX, INT_MAX)?;
            if asked < 3 {
                draft.warn(
                    setting.key,
                    &format!("Invalid autopurge.snapRetainCount: {asked}. Defaulting to 3"),
                );
            }
            draft.config.storage.snap_retain_count = asked.max(3).unsigned_abs();
            Ok(())
        }
    ),
    key!(
        Property,
        "datadir.autocreate",
        "true/false",
        Default("true"),
        "Whether missing data directories are created. If not, the server does not start without them.",
        |draft, setting| {
            draft.config.storage.autocreate_dirs = draft.lenient_bool(setting);
            Ok(())
        }
    ),
];

pub(super) const BEHAVIOUR: &[Row] = &[
    key!(
        Property,
        "extendedTypesEnabled",
        "true/false",
        Default("false"),
        "Whether there are TTL nodes.",
        |draft, setting| {
            draft.config.extended_types_enabled = draft.lenient_bool(setting);
            Ok(())
        }
    ),
    key!(
        Property,
        "enforceQuota",
        "true/false",
        Default("false"),
        "Whether hard quotas refuse writes; otherwise quotas only warn.",
        |draft, setting| {
            draft.config.enforce_quota = draft.lenient_bool(setting);
            Ok(())
        }
    ),
    key!(
        Property,
        "clientTcpKeepAlive",
        "true/false",
        Default("false"),
        "Whether client sockets ask the system to probe idle peers.",
        |draft, setting| {
            draft.config.client_tcp_keep_alive = draft.lenient_bool(setting);
            Ok(())
        }
    ),
    key!(
        Flag,
        "readonlymode.enabled",
        "true/false",
        Default("false"),
        "Whether a server without its quorum may serve reads to clients that ask for it.",
        |draft, setting| {
            draft.config.read_only_mode = draft.lenient_bool(setting);
            Ok(())
        }
    ),
    key!(
        Flag,
        "znode.container.checkIntervalMs",
        "ms",
        Default("60000"),
        "Time between looks for empty containers and expired TTL nodes.",
        |draft, setting| {
            draft.config.container.check_interval_ms = setting.whole(1, MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        Flag,
        "znode.container.maxPerMinute",
        "znodes",
        Default("10000"),
        "How many of them are removed in a minute at most.",
        |draft, setting| {
            draft.config.container.max_per_minute = setting.whole(1, INT_MAX)?;
            Ok(())
        }
    ),
    key!(
        Flag,
        "znode.container.maxNeverUsedIntervalMs",
        "ms",
        Default("0"),
        "A container that never had a child is removed when it is older than this; 0 is never.",
        |draft, setting| {
            draft.config.container.max_never_used_interval_ms = setting.whole(0, i64::MAX)?;
            Ok(())
        }
    ),
];

pub(super) const AUTH: &[Row] = &[
    key!(
        Property,
        "skipACL",
        "yes or no",
        Default("no"),
        "Exactly yes switches all access control off.",
        |draft, setting| {
            draft.config.auth.skip_acl = setting.text == "yes";
            if draft.config.auth.skip_acl {
                draft.warn(
                    setting.key,
                    "zookeeper.skipACL==\"yes\", ACL checks will be skipped",
                );
            }
            Ok(())
        }
    ),
    key!(
        Property,
        "DigestAuthenticationProvider.enabled",
        "true/false",
        Default("true"),
        "Whether scheme digest is there.",
        |draft, setting| {
            draft.config.auth.digest_enabled = draft.lenient_bool(setting);
            Ok(())
        }
    ),
    key!(
        Property,
        "DigestAuthenticationProvider.superDigest",
        "id",
        Unset("super:xQJmxLMiHGwaqBvst5y6rkB6HQs="),
        "Who authenticates as this user may do everything: super:BASE64(SHA1(super:PASSWORD)).",
        |draft, setting| {
            draft.config.auth.super_digest =
                (!setting.text.is_empty()).then(|| Secret::new(setting.text));
            Ok(())
        }
    ),
    key!(
        Property,
        "DigestAuthenticationProvider.digestAlg",
        "hash",
        Default("SHA1"),
        "The hash of scheme digest: SHA1, SHA-256, SHA-384, SHA-512 or SHA3-256. Ids made with another one no longer match.",
        |draft, setting| {
            draft.config.auth.digest_alg = digest_algorithm(setting)?;
            Ok(())
        }
    ),
    honoured(
        Property,
        &[("authProvider.*", "")],
        "class",
        Unset("org.apache.zookeeper.server.auth.DigestAuthenticationProvider"),
        "Further authentication providers by their Java class, under any suffix. DigestAuthenticationProvider and \
         IPAuthenticationProvider are built in; SASL, X509 and others are refused.",
        auth_provider,
    ),
];

pub(super) const METRICS: &[Row] = &[
    key!(
        File,
        "metricsProvider.className",
        "class",
        Default("org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"),
        "Where metrics go: org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider serves them over HTTP, \
         DefaultMetricsProvider and NullMetricsProvider (in org.apache.zookeeper.metrics.impl) do not.",
        |draft, setting| {
            draft.metrics_class = setting.text.to_owned();
            Ok(())
        }
    ),
    key!(
        File,
        "metricsProvider.httpHost",
        "host",
        Default("0.0.0.0"),
        "The address of the Prometheus exporter.",
        |draft, setting| {
            draft.metrics_http.host = setting.text.to_owned();
            Ok(())
        }
    ),
    key!(
        File,
        "metricsProvider.httpPort",
        "port",
        Default("7000"),
        "The port of the Prometheus exporter.",
        |draft, setting| {
            draft.metrics_http.port = setting.port()?;
            Ok(())
        }
    ),
    key!(
        File,
        "metricsProvider.exportJvmInfo",
        "true/false",
        Default("true"),
        "Whether the Prometheus exporter shows figures of the process (process_*). There is no JVM to report on.",
        |draft, setting| {
            draft.metrics_process = setting.is_true();
            Ok(())
        }
    ),
];

pub(super) const ADMIN: &[Row] = &[
    key!(
        Property,
        "admin.enableServer",
        "true/false",
        Default("true"),
        "Whether operators are served over HTTP. Only the word false says no.",
        |draft, setting| {
            draft.config.admin.enabled = setting.text != "false";
            Ok(())
        }
    ),
    key!(
        Property,
        "admin.serverAddress",
        "host",
        Default("0.0.0.0"),
        "The address of the admin server. It asks nobody who they are: whoever reaches it may look at everything but data, \
         and by the page for people at the data that world:anyone may read as well.",
        |draft, setting| {
            draft.config.admin.listen.host = setting.text.to_owned();
            Ok(())
        }
    ),
    key!(
        Property,
        "admin.serverPort",
        "port",
        Unset("8080"),
        "The port of the admin server; 8080 when absent, and when that is taken there is a warning and no admin server. A \
         port that is asked for must be free.",
        |draft, setting| {
            draft.config.admin.listen.port = setting.port()?;
            draft.config.admin.is_port_given = true;
            Ok(())
        }
    ),
    key!(
        Property,
        "admin.commandURL",
        "path",
        Default("/commands"),
        "The path below which the admin server has its commands.",
        |draft, setting| {
            let path = setting.text.trim_end_matches('/');
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
            if !path.starts_with('/') || !path.chars().all(is_plain) {
                return Err(format!("no path of a URL: {}", setting.text).into());
            }
            let of_page = ["/api", "/page"];
            let is_of_page = |own| {
                path.strip_prefix(own)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if of_page.into_iter().any(is_of_page) {
                return Err(format!("the page for people is there: {path}").into());
            }
            draft.config.admin.command_url = path.to_owned();
            Ok(())
        }
    ),
    key!(
        Property,
        "admin.idleTimeout",
        "ms",
        Default("30000"),
        "How long a connection to the admin server may wait for its next request.",
        |draft, setting| {
            draft.config.admin.idle_timeout_ms = setting.whole(1, MS_MAX)?;
            Ok(())
        }
    ),
    key!(
        Anywhere,
        "meerkat.adminPage",
        "true/false",
        Default("true"),
        "Whether the admin server has the page for people. Without it the port shows no data of znodes.",
        |draft, setting| {
            draft.config.admin.page_enabled = draft.lenient_bool(setting);
            Ok(())
        }
    ),
    key!(
        Anywhere,
        "meerkat.adminNames",
        "hosts, with commas",
        Unset("zookeeper.example.org"),
        "Names that lead to this server beyond those that its configuration has, such as a proxy's: under any other name \
         with a dot the page's data is refused.",
        |draft, setting| {
            let names = setting.text.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            draft.config.admin.names = names.map(str::to_owned).collect();
            Ok(())
        }
    ),
    key!(
        Property,
        "admin.snapshot.enabled",
        "true/false",
        Default("true"),
        "Whether the admin server hands out snapshots, to those who have every permission on the root znode.",
        |draft, setting| {
            draft.config.admin.snapshot_enabled = setting.is_true();
            Ok(())
        }
    ),
    key!(
        Property,
        "admin.restore.enabled",
        "true/false",
        Default("true"),
        "Whether the command restore answers, which makes a snapshot the state of all servers and ends all sessions.",
        |draft, setting| {
            draft.config.admin.restore_enabled = setting.is_true();
            Ok(())
        }
    ),
    key!(
        Property,
        "admin.rateLimiterIntervalInMS",
        "ms",
        Default("300000"),
        "Time between two calls of restore; a thousandth of it between two snapshots, as ZooKeeper 3.9 has it.",
        |draft, setting| {
            draft.config.admin.rate_interval_ms = setting.whole(0, MS_MAX)?;
            Ok(())
        }
    ),
];

pub(super) const ENSEMBLE: &[Row] = &[
    honoured(
        File,
        &[("server.*", "")],
        "server",
        Unset("zk1.example.org:2888:3888:participant;2181"),
        "A server of the ensemble: host:quorumPort:electionPort[:participant|observer][;[host:]clientPort]. N is what its \
         file dataDir/myid holds. One such line is a server on its own.",
        |_, _| Ok(()),
    ),
    honoured(
        File,
        &[("group.*", "")],
        "ids",
        Unset("1:2:3"),
        "Servers that vote as a group, ids with colons between.",
        |_, _| Ok(()),
    ),
    honoured(
        File,
        &[("weight.*", "")],
        "votes",
        Unset("1"),
        "Votes of server N in its group; 0 never counts.",
        |_, _| Ok(()),
    ),
    key!(
        File,
        "dynamicConfigFile",
        "path",
        Unset("/etc/zookeeper/zoo.cfg.dynamic"),
        "The file that holds server, group and weight lines, which are then forbidden here.",
        |draft, setting| {
            draft.config.ensemble.dynamic_config_file = Some(setting.text.into());
            Ok(())
        }
    ),
    key!(
        File,
        "initLimit",
        "ticks",
        Default("0"),
        "How long a server may take to connect to its leader and catch up. Required in an ensemble.",
        |draft, setting| {
            draft.config.ensemble.init_limit_ticks = setting.whole(0, INT_MAX)?;
            Ok(())
        }
    ),
    key!(
        File,
        "syncLimit",
        "ticks",
        Default("0"),
        "How long a server may be out of touch with its leader. Required in an ensemble.",
        |draft, setting| {
            draft.config.ensemble.sync_limit_ticks = setting.whole(0, INT_MAX)?;
            Ok(())
        }
    ),
    key!(
        File,
        "connectToLearnerMasterLimit",
        "ticks",
        Default("0"),
        "How long a server may take to connect to its leader; 0 is initLimit.",
        |draft, setting| {
            draft.config.ensemble.connect_limit_ticks = setting.whole(0, INT_MAX)?;
            Ok(())
        }
    ),
    key!(
        File,
        "electionAlg",
        "number",
        Default("3"),
        "3 is the only one.",
        |_, setting| {
            let algorithm: i64 = setting.whole(-INT_MAX, INT_MAX)?;
            let why = "Invalid electionAlg value. Only 3 is supported.";
            if algorithm == 3 {
                Ok(())
            } else {
                Err(Rejected::Invalid(why.to_owned()))
            }
        }
    ),
    key!(
        File,
        "peerType",
        "role",
        Default("participant"),
        "participant or observer; the server line wins where they differ.",
        |draft, setting| {
            draft.config.ensemble.role = Role::parse(setting.text)?;
            Ok(())
        }
    ),
    key!(
        File,
        "standaloneEnabled",
        "true/false",
        Default("true"),
        "Whether one voting server runs on its own; false makes it an ensemble of one.",
        |draft, setting| {
            draft.config.ensemble.standalone_enabled = setting.strict_bool()?;
            Ok(())
        }
    ),
    key!(
        File,
        "reconfigEnabled",
        "true/false",
        Default("false"),
        "Whether members may be changed while running. They are kept beside this file then, in FILE.dynamic.VERSION, and this file points at them; as it was it stays in FILE.bak.",
        |draft, setting| {
            draft.config.ensemble.reconfig_enabled = setting.strict_bool()?;
            Ok(())
        }
    ),
    key!(
        File,
        "quorumListenOnAllIPs",
        "true/false",
        Default("false"),
        "Whether the quorum port is bound on all addresses instead of that of the server line.",
        |draft, setting| {
            draft.config.ensemble.listen_on_all_ips = setting.strict_bool()?;
            Ok(())
        }
    ),
    key!(
        Property,
        "multiAddress.enabled",
        "true/false",
        Default("false"),
        "Whether a server line may list several addresses with | between.",
        |draft, setting| {
            draft.multi_address = setting.strict_bool()?;
            Ok(())
        }
    ),
    key!(
        File,
        "localSessionsEnabled",
        "true/false",
        Default("false"),
        "Whether sessions start as local to their server.",
        |draft, setting| {
            draft.config.ensemble.local_sessions_enabled = setting.strict_bool()?;
            Ok(())
        }
    ),
    key!(
        File,
        "localSessionsUpgradingEnabled",
        "true/false",
        Default("false"),
        "Whether a local session becomes a global one when it creates an ephemeral.",
        |draft, setting| {
            draft.config.ensemble.local_sessions_upgrading_enabled = setting.strict_bool()?;
            Ok(())
        }
    ),
    key!(
        Property,
        "leaderServes",
        "yes or no",
        Default("yes"),
        "Exactly no keeps clients off the leader.",
        |draft, setting| {
            draft.config.ensemble.leader_serves = setting.text != "no";
            Ok(())
        }
    ),
    key!(
        Anywhere,
        "meerkat.linearizableReads",
        "true/false",
        Default("false"),
        "Whether every read of this server sees all that was acknowledged before it, as behind a sync; each costs a round trip to the leader and its quorum.",
        |draft, setting| {
            draft.config.ensemble.linearizable_reads = draft.lenient_bool(setting);
            Ok(())
        }
    ),
    key!(
        Anywhere,
        "meerkat.peerSecretFile",
        "path",
        Unset("/etc/meerkat/peer-secret"),
        "A file whose content all servers of the ensemble know and prove to each other; a server that has one refuses those that have none or another.",
        |draft, setting| {
            draft.config.ensemble.peer_secret_file = Some(setting.text.into());
            Ok(())
        }
    ),
];

fn digest_algorithm(setting: Setting<'_>) -> Result<DigestAlgorithm, Rejected> {
    match setting.text.to_ascii_uppercase().as_str() {
        "SHA" | "SHA1" | "SHA-1" => Ok(DigestAlgorithm::Sha1),
        "SHA-256" => Ok(DigestAlgorithm::Sha256),
        "SHA-384" => Ok(DigestAlgorithm::Sha384),
        "SHA-512" => Ok(DigestAlgorithm::Sha512),
        "SHA3-256" => Ok(DigestAlgorithm::Sha3_256),
        _ => Err(Rejected::Unsupported(format!(
            "hash {} is not built in; SHA1, SHA-256, SHA-384, SHA-512 and SHA3-256 are",
            setting.text
        ))),
    }
}

/// Leaving out a provider would leave its users unauthenticated, or worse, so an unknown one is no
/// mere warning.
fn auth_provider(draft: &mut Draft, setting: Setting<'_>) -> Result<(), Rejected> {
    let class = setting
        .text
        .strip_prefix("org.apache.zookeeper.server.auth.");
    match class {
        Some("DigestAuthenticationProvider") => draft.digest_listed = true,
        // Always there.
        Some("IPAuthenticationProvider") => {}
        Some("SASLAuthenticationProvider") => {
            return Err(Rejected::Unsupported(NO_SASL.to_owned()));
        }
        Some("X509AuthenticationProvider") => return Err(Rejected::Unsupported(NO_TLS.to_owned())),
        _ => {
            let why = format!("authentication provider {} is not built in", setting.text);
            return Err(Rejected::Unsupported(why));
        }
    }
    Ok(())
}
