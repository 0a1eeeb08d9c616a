//! zoo.cfg, `-D` words and command line to one typed [`Config`].
//!
//! Reads files and nothing else: no socket is opened and no name resolved here, so that the same
//! text gives the same `Config` everywhere. Upstream: `QuorumPeerConfig.java`, `ServerConfig.java`
//! and the system properties all over.
//!
//! Precedence, weakest first: built-in default, `-D` words of `SERVER_JVMFLAGS`, those of
//! `JVMFLAGS`, zoo.cfg, and for members the dynamic file.
//!
//! Each key that ZooKeeper 3.9 knows is honoured, accepted without effect (one INFO notice) or
//! refused: refused is what somebody may rely on for safety and would miss. Unknown keys are never
//! an error, as upstream. What the operator should hear is returned as [`Notice`]s, because logging
//! starts after the configuration is read.
//!
//! Invariant: `0 < tick_time_ms`, `min_session_timeout_ms <= max_session_timeout_ms`, a listening
//! port is never 0.

mod draft;
mod four_letter_words;
mod jvm_flags;
mod keys;
mod members;
mod properties;
mod rewrite;
mod sample;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use draft::Draft;

pub use four_letter_words::FourLetterWords;
pub use jvm_flags::JvmFlags;
pub use members::{Role, ServerAddress, ServerSpec, member_entries, parse_members};
pub use properties::{MalformedEscape, parse as parse_properties};
pub use rewrite::pointing_at;
pub use sample::sample_file;
pub use value::{DigestAlgorithm, HostPort, Secret};

/// Largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that the operator can decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that this was read from; `None` for the embedded default and for plain arguments.
    pub file: Option<PathBuf>,
    /// Snapshots, log and `myid`. Relative to where the server was started unless absolute.
    pub data_dir: PathBuf,
    /// The transaction log; equal to `data_dir` unless set.
    pub data_log_dir: PathBuf,
    /// The plain client port; `None` means that there is none.
    pub client_listen: Option<HostPort>,
    /// Connections waiting to be accepted; `None` leaves it to the system.
    pub client_listen_backlog: Option<u32>,
    /// The unit of time-outs, never 0.
    pub tick_time_ms: u32,
    /// Shortest session that a client can have.
    pub min_session_timeout_ms: u32,
    /// Longest session that a client can have.
    pub max_session_timeout_ms: u32,
    /// Connections from one address; 0 is no limit.
    pub max_client_cnxns: u32,
    /// Connections in all; 0 is no limit.
    pub max_cnxns: u32,
    /// Requests that may wait to be answered, over all connections; at least 1.
    pub global_outstanding_limit: u32,
    /// How long a connection may stay without a session.
    pub sessionless_cnxn_timeout_ms: u32,
    /// `jute.maxbuffer`: the largest request frame.
    pub max_buffer_bytes: u32,
    /// What a record may be larger than `max_buffer_bytes` when it is read back.
    pub extra_buffer_bytes: u32,
    /// Whether client sockets ask the system to probe idle peers.
    pub client_tcp_keep_alive: bool,
    /// Four-letter words that are answered.
    pub four_letter_words: FourLetterWords,
    /// Where metrics go.
    pub metrics: MetricsProvider,
    /// The HTTP server for operators.
    pub admin: AdminConfig,
    /// Whether there are TTL nodes.
    pub extended_types_enabled: bool,
    /// Whether hard quotas refuse writes.
    pub enforce_quota: bool,
    /// Whether a server without its quorum may serve reads to clients that ask for it.
    pub read_only_mode: bool,
    /// Removal of empty containers and expired TTL nodes.
    pub container: ContainerConfig,
    /// Who may do what.
    pub auth: AuthConfig,
    /// Who wrote what.
    pub audit: AuditConfig,
    /// A request that takes longer is worth a warning; 0 is none.
    pub slow_request_ms: u32,
    /// How data is kept.
    pub storage: StorageConfig,
    /// This server's id; `None` without a `myid` file.
    pub my_id: Option<u8>,
    /// Members by id; empty when the file lists none.
    pub servers: Vec<ServerSpec>,
    /// How servers work together.
    pub ensemble: EnsembleConfig,
    /// What ZooKeeper would show as system properties: unknown keys, pass-through keys and `-D`
    /// words, secrets hidden.
    pub system_properties: BTreeMap<String, String>,
}

/// The reaper of containers and TTL nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Time between two looks.
    pub check_interval_ms: u32,
    /// Removals a minute at most.
    pub max_per_minute: u32,
    /// Age at which a container without any child so far is removed; 0 is never.
    pub max_never_used_interval_ms: u64,
}

/// The HTTP server for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens; port 0 is any that is free.
    pub listen: HostPort,
    /// Whether the file says the port. A port that nobody asked for is no reason not to start.
    pub is_port_given: bool,
    /// The path that commands are below, without a `/` at its end.
    pub command_url: String,
    /// How long a connection may wait for its next request.
    pub idle_timeout_ms: u32,
    /// Whether the page for people is there.
    pub page_enabled: bool,
    /// Names that the page's data may be asked for under, beyond the server's own.
    pub names: Vec<String>,
    /// Whether snapshots may be fetched.
    pub snapshot_enabled: bool,
    /// Whether snapshots may be sent.
    pub restore_enabled: bool,
    /// `admin.rateLimiterIntervalInMS`: the time between two restores. Snapshots, as upstream, may
    /// be a thousand times as frequent.
    pub rate_interval_ms: u32,
}

/// Access control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// No ACL is checked.
    pub skip_acl: bool,
    /// Whether scheme `digest` is there.
    pub digest_enabled: bool,
    /// The hash of scheme `digest`.
    pub digest_alg: DigestAlgorithm,
    /// `user:BASE64(HASH(user:password))` of who may do everything.
    pub super_digest: Option<Secret>,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    pub enabled: bool,
    /// `None` is where all log lines go.
    pub file: Option<PathBuf>,
    /// Where the file is, unless its own name says so.
    pub dir: PathBuf,
}

/// Log, snapshots and their purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// Transactions between two snapshots, at least 2.
    pub snap_count_txns: u32,
    /// Transaction bytes between two snapshots; `None` is no limit.
    pub snap_size_limit_kib: Option<u64>,
    /// Whether writes are on the disk before they are acknowledged.
    pub force_sync: bool,
    /// An fsync that takes longer is worth a warning.
    pub fsync_warning_threshold_ms: u32,
    /// Snapshots that the purge leaves, at least 3.
    pub snap_retain_count: u32,
    /// Whether missing data directories are created.
    pub autocreate_dirs: bool,
}

/// Settings that matter once there are several servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleConfig {
    /// Ticks to connect and catch up; 0 only where there is no ensemble.
    pub init_limit_ticks: u32,
    /// Ticks out of touch with the leader; 0 only where there is no ensemble.
    pub sync_limit_ticks: u32,
    /// Ticks to connect to the leader; 0 is `init_limit_ticks`.
    pub connect_limit_ticks: u32,
    /// Whether this server votes. The server list has the last word.
    pub role: Role,
    /// Whether one voting server is no ensemble.
    pub standalone_enabled: bool,
    /// Whether members may be changed while running.
    pub reconfig_enabled: bool,
    /// Whether the quorum port is bound on all addresses.
    pub listen_on_all_ips: bool,
    /// Whether sessions start as local to their server.
    pub local_sessions_enabled: bool,
    /// Whether a local session becomes global when it needs to.
    pub local_sessions_upgrading_enabled: bool,
    /// Whether the leader takes clients.
    pub leader_serves: bool,
    /// Whether every read is as fresh as one behind a `sync`.
    pub linearizable_reads: bool,
    /// What all servers of the ensemble know and prove to each other.
    pub peer_secret_file: Option<PathBuf>,
    /// Where the members came from, if not from the static file.
    pub dynamic_config_file: Option<PathBuf>,
    /// The version of the membership: hexadecimal suffix of the dynamic file's name, 0 without.
    pub config_version: u64,
}

/// Where metrics go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsProvider {
    /// `mntr` alone, under the classical names.
    Default,
    /// `mntr` and an HTTP exporter.
    Prometheus {
        /// The exporter's address.
        listen: HostPort,
        /// Whether figures of the process are shown, as a Java process shows them with its JVM's.
        process: bool,
    },
    /// Nothing is kept.
    Null,
}

/// Something to log once logging is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub level: NoticeLevel,
    /// The key or property as its author wrote it.
    pub key: String,
    /// What there is to say about it.
    pub text: String,
}

/// How much a [`Notice`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeLevel {
    /// Good to know.
    Info,
    /// Someone should look.
    Warn,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// Why there is no configuration. Exit code 2, as upstream, but for what
/// [is found at the start](Self::is_found_at_start).
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// The file that it is about.
    pub file: Option<PathBuf>,
    /// The key that it is about, when it is about one.
    pub key: Option<String>,
    /// What is wrong.
    pub kind: ConfigErrorKind,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrorKind {
    /// There is no such file.
    #[error("file is missing")]
    Missing,
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// A rule that ZooKeeper has too is broken.
    #[error("{0}")]
    Invalid(String),
    /// This server is none of those that are listed.
    #[error("My id {0} not in the peer list")]
    NotListed(u8),
    /// ZooKeeper would take this; here it would promise what cannot be kept.
    #[error("not supported: {0}")]
    Unsupported(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "Error processing {}: ", file.display())?;
        }
        match &self.key {
            Some(key) => write!(f, "{key}: {}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

impl ConfigError {
    /// Whether upstream takes the configuration for a good one and only fails to start with it,
    /// which ends in another exit code.
    #[must_use]
    pub fn is_found_at_start(&self) -> bool {
        match &self.kind {
            ConfigErrorKind::NotListed(_) => true,
            // Its default connection factory has no TLS either.
            ConfigErrorKind::Unsupported(_) => self.key.as_deref() == Some("secureClientPort"),
            _ => false,
        }
    }

    fn new(kind: ConfigErrorKind) -> Self {
        Self {
            file: None,
            key: None,
            kind,
        }
    }

    fn invalid(why: impl Into<String>) -> Self {
        Self::new(ConfigErrorKind::Invalid(why.into()))
    }

    fn in_key(key: &str, kind: ConfigErrorKind) -> Self {
        Self {
            file: None,
            key: Some(key.to_owned()),
            kind,
        }
    }

    fn in_file(mut self, path: &Path) -> Self {
        self.file.get_or_insert_with(|| path.to_owned());
        self
    }
}

impl Default for Config {
    /// What holds where nothing is set: no client port, data in `data`.
    fn default() -> Self {
        Self {
            file: None,
            data_dir: PathBuf::from("data"),
            data_log_dir: PathBuf::from("data"),
            client_listen: None,
            client_listen_backlog: None,
            tick_time_ms: 3000,
            min_session_timeout_ms: 6000,
            max_session_timeout_ms: 60_000,
            max_client_cnxns: 60,
            max_cnxns: 0,
            global_outstanding_limit: 1000,
            sessionless_cnxn_timeout_ms: 10_000,
            max_buffer_bytes: 0xf_ffff,
            extra_buffer_bytes: 0xf_ffff,
            client_tcp_keep_alive: false,
            four_letter_words: FourLetterWords::parse("", false),
            metrics: MetricsProvider::Default,
            admin: AdminConfig {
                enabled: true,
                listen: HostPort {
                    host: "0.0.0.0".to_owned(),
                    port: 8080,
                },
                is_port_given: false,
                command_url: "/commands".to_owned(),
                idle_timeout_ms: 30_000,
                page_enabled: true,
                names: Vec::new(),
                snapshot_enabled: true,
                restore_enabled: true,
                rate_interval_ms: 300_000,
            },
            extended_types_enabled: false,
            enforce_quota: false,
            read_only_mode: false,
            container: ContainerConfig {
                check_interval_ms: 60_000,
                max_per_minute: 10_000,
                max_never_used_interval_ms: 0,
            },
            auth: AuthConfig {
                skip_acl: false,
                digest_enabled: true,
                digest_alg: DigestAlgorithm::Sha1,
                super_digest: None,
            },
            audit: AuditConfig {
                enabled: false,
                file: None,
                dir: ".".into(),
            },
            slow_request_ms: 1000,
            storage: StorageConfig {
                snap_count_txns: 100_000,
                snap_size_limit_kib: Some(4 << 20),
                force_sync: true,
                fsync_warning_threshold_ms: 1000,
                snap_retain_count: 3,
                autocreate_dirs: true,
            },
            my_id: None,
            servers: Vec::new(),
            ensemble: EnsembleConfig {
                init_limit_ticks: 0,
                sync_limit_ticks: 0,
                connect_limit_ticks: 0,
                role: Role::Participant,
                standalone_enabled: true,
                reconfig_enabled: false,
                listen_on_all_ips: false,
                local_sessions_enabled: false,
                local_sessions_upgrading_enabled: false,
                leader_serves: true,
                linearizable_reads: false,
                peer_secret_file: None,
                dynamic_config_file: None,
                config_version: 0,
            },
            system_properties: BTreeMap::new(),
        }
    }
}

impl Config {
    /// What runs with no file at all: `127.0.0.1:2181`, data in `data` beside where the server was
    /// started.
    #[must_use]
    pub fn embedded_default() -> Self {
        let mut config = Self {
            client_listen: Some(embedded_listen()),
            ..Self::default()
        };
        config.admin.listen.host = embedded_listen().host;
        config
    }

    /// The embedded default as `-D` words change it.
    ///
    /// # Errors
    /// The first word that breaks a rule.
    pub fn embedded(flags: &JvmFlags) -> Result<(Self, Vec<Notice>), ConfigError> {
        let mut draft = Draft::new();
        let listen = embedded_listen();
        // Nobody else is to reach what nobody has configured.
        draft.config.admin.listen.host.clone_from(&listen.host);
        draft.take_flags(flags)?;
        draft.data_dir = Some(Self::default().data_dir);
        draft.client_port = listen.port;
        draft.client_port_address = Some(listen.host);
        draft.check_static()?;
        Ok(draft.finish())
    }

    /// The short command line: `port dataDir [tickTime] [maxClientCnxns]`.
    ///
    /// # Errors
    /// The number of arguments, or the first that breaks a rule.
    pub fn from_args(
        args: &[String],
        flags: &JvmFlags,
    ) -> Result<(Self, Vec<Notice>), ConfigError> {
        if !(2..=4).contains(&args.len()) {
            let why = format!(
                "expected port dataDir [tickTime] [maxClientCnxns], not {} arguments",
                args.len()
            );
            return Err(ConfigError::invalid(why));
        }
        let mut draft = Draft::new();
        draft.take_flags(flags)?;
        draft.take_args(args)?;
        draft.check_static()?;
        Ok(draft.finish())
    }

    /// A configuration file as ZooKeeper 3.9 reads it, with the dynamic file and `myid` that it
    /// leads to.
    ///
    /// # Errors The first rule that is broken, in upstream's order and words, or the key that asks
    /// for what is not there.
    pub fn from_file(path: &Path, flags: &JvmFlags) -> Result<(Self, Vec<Notice>), ConfigError> {
        let mut draft = Draft::new();
        draft.take_flags(flags)?;
        draft.config.file = Some(path.to_owned());
        let entries = read_properties(path)?;
        let taken = draft
            .take_file(&entries)
            .and_then(|()| draft.check_static());
        taken.map_err(|error| error.in_file(path))?;

        let mut members_file = path.to_owned();
        if let Some(dynamic) = draft.config.ensemble.dynamic_config_file.clone() {
            let entries = read_properties(&dynamic)?;
            draft
                .take_dynamic(&dynamic, &entries)
                .map_err(|error| error.in_file(&dynamic))?;
            members_file = dynamic;
        } else {
            draft
                .take_members(&entries)
                .map_err(|error| error.in_file(path))?;
        }
        let my_id = draft.config.data_dir.join("myid");
        if my_id.is_file() {
            let content = read(&my_id)?;
            draft
                .take_my_id(&String::from_utf8_lossy(&content))
                .map_err(|error| error.in_file(&my_id))?;
        }
        draft
            .check_members()
            .map_err(|error| error.in_file(&members_file))?;
        Ok(draft.finish())
    }

    /// Members that vote.
    pub fn voters(&self) -> impl Iterator<Item = &ServerSpec> {
        self.servers
            .iter()
            .filter(|server| server.role == Role::Participant)
    }

    /// This server's own line, when it has an id and the list has it.
    #[must_use]
    pub fn own_server(&self) -> Option<&ServerSpec> {
        let my_id = u64::from(self.my_id?);
        self.servers.iter().find(|server| server.id == my_id)
    }

    /// Whether more than one server has a vote.
    #[must_use]
    pub fn is_quorum(&self) -> bool {
        self.voters().nth(1).is_some()
    }

    /// Whether ZooKeeper would run this in its quorum mode rather than its standalone mode.
    #[must_use]
    pub fn is_distributed(&self) -> bool {
        !self.ensemble.standalone_enabled || self.is_quorum()
    }
}

/// Only this machine can reach a server that nobody configured.
fn embedded_listen() -> HostPort {
    HostPort {
        host: "127.0.0.1".to_owned(),
        port: 2181,
    }
}

fn read_properties(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let bytes = read(path)?;
    properties::parse(&bytes).map_err(|error| ConfigError::invalid(error.to_string()).in_file(path))
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let fail = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ConfigErrorKind::Missing,
            _ => ConfigErrorKind::Unreadable(error),
        };
        ConfigError::new(kind).in_file(path)
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fail)?;
    // One byte more than allowed tells a file of exactly the limit from a larger one.
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(
            ConfigError::invalid(format!("larger than {FILE_BYTES_MAX} bytes")).in_file(path),
        );
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
