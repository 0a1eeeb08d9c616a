//! The server process: sockets, clocks and their tasks around the pipeline.
//!
//! Tasks: one accepts, one per connection, one proposes entries, one drives the lease clock, one
//! deletes idle containers. All end with the process.

mod agreed;
mod audit;
mod connection;
mod doors;
mod dynamic_file;
mod health;
mod listener;
mod outage;
mod reaper;
mod roles;
#[cfg(simulation)]
pub(crate) mod simulated;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::doors::Door;
use crate::admin::{self, Sources};
use crate::auth::{self, Schemes};
use crate::config::{Config, DigestAlgorithm, HostPort, MetricsProvider, Role, ServerSpec};
use crate::ensemble::{Ensemble, Inbound, Member, Options, Peering, StartError, Tcp, set_aside};
use crate::op::Flags;
use crate::op::audit::Deed;
use crate::pipeline::{
    Audit, Core, LEASE_STEP_MS, LinkService, LocalSessionsMode, OUTBOX_BYTES_MAX, Replica, Service,
    Settings, drive_barriers, drive_proposals,
};
use crate::state::State;
use crate::types::ServerId;

/// A server without a quorum waits at least this long before it offers to read only.
const READ_ONLY_AFTER_MIN: Duration = Duration::from_millis(2000);

/// Upstream's id of a server without an ensemble, which is the top byte of its session ids.
pub const STANDALONE_ID: u64 = 1;

/// Why the server could not start, each a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("My id {0} not in the peer list")]
    NotListed(u64),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: String,
        source: std::io::Error,
    },
    #[error("cannot resolve {0}")]
    Resolve(String),
    #[error("groups and weights of servers are not supported: each server has one vote")]
    Groups,
    #[error("cannot use the peer secret in {path}: {why}")]
    PeerSecret { path: PathBuf, why: String },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot write the audit log: {0}")]
    Audit(std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("Unable to start AdminServer: {0}")]
    Admin(Box<Self>),
}

/// A server that accepts clients.
pub struct Server {
    core: Arc<Core>,
    ensemble: Arc<Ensemble>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    /// Ends with the server.
    _replication: Replication,
    options: Options,
    audit: Option<audit::AuditLog>,
}

/// The thread that replication has for itself: what a write passes there are many short steps one
/// after the other, and each would wake another thread if they were spread.
struct Replication(Option<Runtime>);

impl Replication {
    fn start() -> Result<Self, ServeError> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("replication")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(ServeError::Thread)
    }

    /// Runs a task there.
    fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match &self.0 {
            Some(runtime) => runtime.spawn(task),
            None => tokio::spawn(task),
        }
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        // A runtime must not be dropped inside of another.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    /// Recovers the data directory and starts to serve.
    ///
    /// # Errors
    /// What keeps the server from starting; nothing is left running then but by the runtime.
    pub async fn start(config: Config) -> Result<Self, ServeError> {
        let audit = audit::AuditLog::start(&config.audit).map_err(ServeError::Audit)?;
        let log = audit.as_ref().map(|started| started.audit.clone());
        let mut started = Self::start_audited(config, log).await;
        match (&mut started, audit) {
            (Ok(server), audit) => server.audit = audit,
            (Err(_), Some(audit)) => audit.start_failed(),
            (Err(_), None) => {}
        }
        started
    }

    async fn start_audited(config: Config, audit: Option<Audit>) -> Result<Self, ServeError> {
        let has_weight = |server: &ServerSpec| server.group.is_some() || server.weight != 1;
        if config.servers.iter().any(has_weight) {
            return Err(ServeError::Groups);
        }
        let config = Arc::new(config);
        // Ports first: a taken one is found out before the data is touched.
        let listener = match &config.client_listen {
            Some(address) => Some(listen(address, config.client_listen_backlog)?),
            None => None,
        };
        // Nothing is measured before this.
        admin::metrics::install();
        let metrics_listener = match &config.metrics {
            MetricsProvider::Prometheus {
                listen: address, ..
            } => Some(listen(address, None)?),
            MetricsProvider::Default | MetricsProvider::Null => None,
        };
        let admin_listener = admin_listener(&config)?;
        let server = config.my_id.map_or(STANDALONE_ID, u64::from);
        let schemes = Arc::new(schemes(&config));
        let core = Core::new(settings(&config, ServerId(server)), State::new(schemes));
        if let Some(audit) = &audit {
            core.audit_by(audit.clone());
        }
        let peering = Peering {
            members: members(&config),
            inbound: peer_listener(&config, server)?,
            net: Arc::new(Tcp),
            secret: peer_secret(&config)?,
            links: Arc::new(LinkService(Arc::clone(&core))),
        };
        let is_alone = matches!(peering.inbound, Inbound::Alone);
        let replica = Arc::new(Replica::new(Arc::clone(&core)));
        let replication = Replication::start()?;
        let options = options(&config, server);
        let starting = Ensemble::start(options.clone(), replica, peering);
        let ensemble = replication.spawn(starting).await;
        let ensemble = Arc::new(ensemble.map_err(|error| ServeError::Thread(error.into()))??);
        let (stop, stopped) = watch::channel(false);

        replication.spawn(drive_proposals(Arc::clone(&core), Arc::clone(&ensemble)));
        tokio::spawn(drive_barriers(Arc::clone(&core)));
        if is_alone {
            core.serve(Service::Everybody);
        } else {
            let patience = patience(&config);
            tokio::spawn(roles::say(
                Arc::clone(&core),
                Arc::clone(&ensemble),
                Arc::clone(&config),
            ));
            tokio::spawn(health::run(
                Arc::clone(&core),
                Arc::clone(&ensemble),
                patience,
            ));
            tokio::spawn(outage::measure(Arc::clone(&core), Arc::clone(&ensemble)));
        }
        let sources = Sources {
            core: Arc::clone(&core),
            ensemble: Arc::clone(&ensemble),
            config: Arc::clone(&config),
        };
        if let Some(listener) = metrics_listener {
            let (sources, stopped) = (sources.clone(), stopped.clone());
            tokio::spawn(admin::metrics::run(listener, sources, stopped));
        }
        if let Some(listener) = admin_listener {
            let (sources, stopped) = (sources.clone(), stopped.clone());
            tokio::spawn(admin::http::run(listener, sources, stopped));
        }
        tokio::spawn(admin::metrics::drive_windows());
        if let Some(file) = dynamic_file::DynamicFile::open(&config) {
            tokio::spawn(file.follow(Arc::clone(&core)));
        }
        tokio::spawn(drive_leases(Arc::clone(&core)));
        tokio::spawn(reaper::run(Arc::clone(&core), config.container.clone()));
        let mut addresses = Vec::new();
        let shared = listener::Shared::new(sources);
        let until_stop = stopped.clone();
        let accept = move |listener: TcpListener| {
            if let Ok(address) = listener.local_addr() {
                // Scripts look for this line.
                tracing::info!("binding to port /{address}");
            }
            let (shared, stopped) = (Arc::clone(&shared), until_stop.clone());
            tokio::spawn(listener::run(listener, shared, stopped))
        };
        let accepting = listener.map(|listener| {
            addresses.extend(listener.local_addr());
            accept(listener)
        });
        if !is_alone && config.ensemble.reconfig_enabled {
            let version = config.ensemble.config_version;
            let clients = Door {
                name: "client port",
                at: config.client_listen.clone(),
                backlog: config.client_listen_backlog,
                accepting,
                place: Box::new(|line| line.client.clone()),
                sought: ensemble.place(),
                open: Box::new(accept),
            };
            tokio::spawn(clients.follow(Arc::clone(&core), version, stopped.clone()));
            let peers = peer_door(&config, &ensemble);
            replication.spawn(peers.follow(Arc::clone(&core), version, stopped));
        }
        if let Some(audit) = audit {
            let started = Deed::of_server("serverStart", true);
            audit.put_own(started, false);
        }
        Ok(Self {
            core,
            ensemble,
            addresses,
            stop,
            _replication: replication,
            options,
            audit: None,
        })
    }

    /// Where clients may connect.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    #[must_use]
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns when the state was found to differ from the leader's; clients are cut off then.
    pub async fn diverged(&self) {
        self.ensemble.diverged().await;
        self.core.serve(Service::Nobody);
    }

    /// Stops a server that has diverged and sets its data aside: when it is started again it
    /// fetches the state from the leader.
    ///
    /// # Errors
    /// The data cannot be set aside.
    pub async fn set_aside(self) -> Result<(), StartError> {
        let options = self.options.clone();
        self.shutdown().await;
        Ok(set_aside(&options)?)
    }

    /// Stops accepting, ends the connections and closes the storage. Sessions live on: their
    /// clients find them again after the restart.
    pub async fn shutdown(self) {
        let _ = self.stop.send(true);
        self.core.stop_leading().await;
        self.ensemble.hand_over().await;
        for conn in self.core.connections() {
            conn.close(crate::pipeline::Close::AfterFlush);
        }
        self.ensemble.shutdown().await;
        if let Some(audit) = &self.audit {
            audit.stop();
        }
    }
}

/// The member lines of the configuration as `/zookeeper/config` has them, and their version if they
/// have one.
fn first_members(config: &Config) -> String {
    let members = members(config);
    let mut lines: Vec<String> = members
        .iter()
        .map(|member| format!("server.{}={}", member.id, member.spec))
        .collect();
    lines.sort();
    let version = config.ensemble.config_version;
    if version != 0 && !lines.is_empty() {
        lines.push(format!("version={version:x}"));
    }
    lines.join("\n")
}

/// The members that the configuration lists; none without an ensemble.
#[must_use]
pub fn members(config: &Config) -> Vec<Member> {
    if !config.is_distributed() {
        return Vec::new();
    }
    let member = |server: &ServerSpec| Member {
        id: server.id,
        spec: server.to_string(),
        is_voter: server.role == Role::Participant,
    };
    config.servers.iter().map(member).collect()
}

/// The port that other servers reach this one by, when it is one of several.
fn peer_listener(config: &Config, id: u64) -> Result<Inbound, ServeError> {
    if !config.is_distributed() {
        return Ok(Inbound::Alone);
    }
    let own = config.servers.iter().find(|server| server.id == id);
    let on_all_ips = config.ensemble.listen_on_all_ips;
    let Some(address) = own.and_then(|own| peer_address(own, on_all_ips)) else {
        return Err(ServeError::NotListed(id));
    };
    listen(&address, None).map(Inbound::Tcp)
}

/// Where a server listens to its peers.
fn peer_address(server: &ServerSpec, on_all_ips: bool) -> Option<HostPort> {
    let first = server.addresses.first()?;
    let host = if on_all_ips { "0.0.0.0" } else { &first.host };
    Some(HostPort {
        host: host.to_owned(),
        port: first.quorum_port,
    })
}

/// The port between servers, which the ensemble has opened already.
fn peer_door(config: &Config, ensemble: &Arc<Ensemble>) -> Door {
    let on_all_ips = config.ensemble.listen_on_all_ips;
    let own = config.own_server();
    let ensemble = Arc::clone(ensemble);
    Door {
        name: "port between servers",
        at: own.and_then(|own| peer_address(own, on_all_ips)),
        backlog: None,
        accepting: ensemble.take_listening(),
        place: Box::new(move |line| peer_address(line, on_all_ips)),
        sought: ensemble.place(),
        open: Box::new(move |listener| ensemble.listen(listener)),
    }
}

/// Longest secret; more is surely another file.
const PEER_SECRET_BYTES_MAX: usize = 4096;

/// What the servers of the ensemble prove to each other, without the line end behind it.
fn peer_secret(config: &Config) -> Result<Option<Bytes>, ServeError> {
    let Some(path) = &config.ensemble.peer_secret_file else {
        return Ok(None);
    };
    let refuse = |why: String| ServeError::PeerSecret {
        path: path.clone(),
        why,
    };
    let content = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let secret = content.trim_ascii_end();
    if secret.is_empty() || secret.len() > PEER_SECRET_BYTES_MAX {
        return Err(refuse(format!(
            "a secret has 1 to {PEER_SECRET_BYTES_MAX} bytes"
        )));
    }
    Ok(Some(Bytes::copy_from_slice(secret)))
}

fn patience(config: &Config) -> health::Patience {
    let tick = Duration::from_millis(config.tick_time_ms.into());
    health::Patience {
        serving: tick * config.ensemble.sync_limit_ticks.max(1),
        read_only: config
            .read_only_mode
            .then_some(tick.max(READ_ONLY_AFTER_MIN)),
        leader_serves: config.ensemble.leader_serves,
    }
}

fn resolve(address: &HostPort) -> Result<SocketAddr, ServeError> {
    (address.host.as_str(), address.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| ServeError::Resolve(address.to_string()))
}

/// Java's default where the configuration says nothing.
const BACKLOG_DEFAULT: u32 = 50;

fn listen(address: &HostPort, backlog: Option<u32>) -> Result<TcpListener, ServeError> {
    let failed = |source| ServeError::Listen {
        address: address.to_string(),
        source,
    };
    let resolved = resolve(address)?;
    let socket = match resolved {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }
    .map_err(failed)?;
    // As in Java: a restarted server does not wait for old connections to be forgotten.
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(resolved).map_err(failed)?;
    socket
        .listen(backlog.unwrap_or(BACKLOG_DEFAULT))
        .map_err(failed)
}

/// The port of the admin server. One that was not asked for may be another server's: then this one
/// does without, where upstream does not start.
fn admin_listener(config: &Config) -> Result<Option<TcpListener>, ServeError> {
    let admin = &config.admin;
    if !admin.enabled {
        return Ok(None);
    }
    match listen(&admin.listen, None) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if admin.is_port_given => Err(ServeError::Admin(Box::new(error))),
        Err(error) => {
            tracing::warn!(%error, "no admin server: admin.serverPort chooses another port");
            Ok(None)
        }
    }
}

/// What the configuration lets clients prove their identity with.
#[must_use]
pub fn schemes(config: &Config) -> Schemes {
    let mut schemes: Vec<Box<dyn auth::Scheme>> = vec![Box::new(auth::Ip)];
    if config.auth.digest_enabled {
        let algorithm = match config.auth.digest_alg {
            DigestAlgorithm::Sha1 => auth::HashAlgorithm::Sha1,
            DigestAlgorithm::Sha256 => auth::HashAlgorithm::Sha256,
            DigestAlgorithm::Sha384 => auth::HashAlgorithm::Sha384,
            DigestAlgorithm::Sha512 => auth::HashAlgorithm::Sha512,
            DigestAlgorithm::Sha3_256 => auth::HashAlgorithm::Sha3_256,
        };
        let super_digest = config
            .auth
            .super_digest
            .as_ref()
            .map(|secret| secret.reveal().to_owned());
        schemes.push(Box::new(auth::Digest::new(algorithm, super_digest)));
    }
    Schemes::new(schemes)
}

fn settings(config: &Config, server: ServerId) -> Settings {
    let ensemble = &config.ensemble;
    let local_sessions = match ensemble.local_sessions_enabled && config.is_distributed() {
        true if ensemble.local_sessions_upgrading_enabled => LocalSessionsMode::Upgrade,
        true => LocalSessionsMode::Refuse,
        false => LocalSessionsMode::Off,
    };
    Settings {
        server,
        flags: Flags::default()
            .with(Flags::EXTENDED_TYPES, config.extended_types_enabled)
            .with(Flags::ENFORCE_QUOTA, config.enforce_quota)
            .with(Flags::SKIP_ACL, config.auth.skip_acl)
            .with(Flags::RECONFIG_ENABLED, config.ensemble.reconfig_enabled)
            .with(Flags::ENSEMBLE, config.is_distributed())
            .with(Flags::STANDALONE_DISABLED, !ensemble.standalone_enabled),
        tick_ms: i64::from(config.tick_time_ms),
        outstanding_max: u64::from(config.global_outstanding_limit),
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        first_members: first_members(config),
        linearizable_reads: config.ensemble.linearizable_reads,
        local_sessions,
        slow_request_ms: config.slow_request_ms,
    }
}

fn options(config: &Config, server_id: u64) -> Options {
    let storage = &config.storage;
    Options {
        server_id,
        data_dir: PathBuf::clone(&config.data_dir),
        log_dir: PathBuf::clone(&config.data_log_dir),
        autocreate_dirs: storage.autocreate_dirs,
        fsync: storage.force_sync,
        fsync_warn_above: Duration::from_millis(storage.fsync_warning_threshold_ms.into()),
        snap_count: storage.snap_count_txns.into(),
        snap_bytes_max: storage
            .snap_size_limit_kib
            .map_or(u64::MAX, |kib| kib << 10),
        snap_retain_count: storage.snap_retain_count as usize,
    }
}

/// How late the lease clock's timer must be for a pause.
const PAUSE_MIN_MS: u128 = 2;

/// Advances the lease clock and expires sessions.
async fn drive_leases(core: Arc<Core>) {
    let step = Duration::from_millis(LEASE_STEP_MS.unsigned_abs());
    let mut timer = tokio::time::interval(step);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let step_max_ms = 2 * LEASE_STEP_MS;
    let pauses = metrics::histogram!("jvm_pause_time_ms");
    loop {
        timer.tick().await;
        let now = Instant::now();
        let elapsed_ms = now.duration_since(last).as_millis();
        // What is rounded down here is not lost: it is counted with the next step.
        last += Duration::from_millis(u64::try_from(elapsed_ms).unwrap_or(u64::MAX));
        // Upstream measures how late its own timer is, too, and calls it the JVM's pauses. A timer is
        // always a little late.
        let late = elapsed_ms.saturating_sub(step.as_millis());
        if late >= PAUSE_MIN_MS {
            pauses.record(late as f64);
        }
        core.advance_lease_clock(i64::try_from(elapsed_ms).unwrap_or(i64::MAX), step_max_ms);
        core.expire_sessions();
    }
}
