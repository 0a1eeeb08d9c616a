//! Servers that start, crash, come back, and lose their disks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::net::{Arrival, Dialler, Network, Place, wrap};
use super::world;
use crate::config::{Config, JvmFlags};
use crate::ensemble::LogStore;
use crate::server::simulated::{Simulated, World};
use crate::storage::memory_log::MemoryLog;

/// Bugs that the simulation must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// openraft's default, which loses writes when appends are flushed in the background.
    LeaderRestore,
    /// Entries count as durable before they are.
    EarlyAcknowledgement,
}

/// Connections of peers that wait to be served.
const PEERS_MAX: usize = 64;

struct Disk {
    place: tempfile::TempDir,
    log: Arc<MemoryLog>,
}

struct Running {
    server: Simulated,
    log_task: AbortHandle,
    accept_task: AbortHandle,
}

pub(super) struct Cluster {
    pub network: Network,
    pub servers: Vec<Place>,
    config: String,
    disks: BTreeMap<Place, Disk>,
    running: BTreeMap<Place, Running>,
    /// Longest flush of each server, in ms.
    flush_max_ms: Arc<Mutex<BTreeMap<Place, u64>>>,
}

const FLUSH_MAX_MS: u64 = 4;

impl Cluster {
    pub(super) fn new(count: u64) -> Self {
        let servers: Vec<Place> = (1..=count).collect();
        let lines: String = servers
            .iter()
            .map(|id| format!("server.{id}=127.0.0.1:1{id}:2{id}:participant;127.0.0.1:3{id}\n"))
            .collect();
        let disk = |id: &Place| {
            let place = tempfile::tempdir().expect("a directory");
            (
                *id,
                Disk {
                    place,
                    log: Arc::default(),
                },
            )
        };
        Self {
            network: Network::new(),
            disks: servers.iter().map(disk).collect(),
            config: format!("tickTime=1000\ninitLimit=10\nsyncLimit=5\n{lines}"),
            running: BTreeMap::new(),
            flush_max_ms: Arc::default(),
            servers,
        }
    }

    pub(super) fn is_up(&self, id: Place) -> bool {
        self.running.contains_key(&id)
    }

    pub(super) fn up(&self) -> Vec<Place> {
        self.running.keys().copied().collect()
    }

    pub(super) fn server(&self, id: Place) -> Option<&Simulated> {
        self.running.get(&id).map(|running| &running.server)
    }

    pub(super) fn leader(&self) -> Option<Place> {
        let leads = |running: &Running| running.server.core.is_leading();
        let mut up = self.running.iter();
        up.find(|(_, running)| leads(running)).map(|(id, _)| *id)
    }

    /// Lets a server's flushes take up to so long.
    pub(super) fn flush_slowly(&self, id: Place, max_ms: u64) {
        self.flush_max_ms.lock().insert(id, max_ms);
    }

    pub(super) fn heal(&self) {
        self.flush_max_ms.lock().clear();
        self.network.heal();
    }

    pub(super) async fn start(&mut self, id: Place) {
        let Some(disk) = self.disks.get(&id) else {
            return;
        };
        let root = disk.place.path();
        let data = root.join("data");
        std::fs::create_dir_all(&data).expect("a directory");
        std::fs::write(data.join("myid"), id.to_string()).expect("written");
        let file = root.join("zoo.cfg");
        let text = format!("dataDir={}\n{}", data.display(), self.config);
        std::fs::write(&file, text).expect("written");
        let (config, _) = Config::from_file(&file, &JvmFlags::default()).expect("a configuration");
        let flush_max_ms = Arc::clone(&self.flush_max_ms);
        let flush = move || {
            let max_ms = flush_max_ms.lock().get(&id).copied();
            Duration::from_millis(world::number(0..max_ms.unwrap_or(FLUSH_MAX_MS)))
        };
        let early = world::is_planted(Planted::EarlyAcknowledgement);
        let opened = disk.log.opened();
        let log = Arc::clone(&disk.log);
        let (log, log_task) = LogStore::simulate(log, opened, flush, early).expect("sound");
        let (peers_in, peers) = mpsc::channel(PEERS_MAX);
        let mut arrivals = self.network.listen(id);
        let net = Dialler {
            me: id,
            network: self.network.clone(),
        };
        let world = World {
            log,
            net: Arc::new(net),
            peers,
        };
        let server = Simulated::start(config, world).await.expect("it starts");
        let accept = server.acceptor();
        let accept_task = tokio::spawn(async move {
            while let Some(arrival) = arrivals.recv().await {
                match arrival {
                    Arrival::Peer(stream, from) => {
                        let _ = peers_in.try_send((wrap(stream), from.to_string()));
                    }
                    Arrival::Client(stream) => accept(stream),
                }
            }
        });
        let running = Running {
            server,
            log_task: log_task.abort_handle(),
            accept_task: accept_task.abort_handle(),
        };
        self.running.insert(id, running);
    }

    /// What was not flushed is gone, and everybody who was connected is told by a reset.
    pub(super) fn crash(&mut self, id: Place) {
        let Some(running) = self.running.remove(&id) else {
            return;
        };
        running.log_task.abort();
        running.accept_task.abort();
        self.network.crash(id);
        running.server.crash();
        if let Some(disk) = self.disks.get_mut(&id) {
            // What the dead one still writes stays with it.
            disk.log = Arc::new(disk.log.copy());
        }
    }

    /// An empty disk for a server that is down.
    pub(super) fn wipe(&mut self, id: Place) {
        if let Some(disk) = self.disks.get_mut(&id) {
            disk.place = tempfile::tempdir().expect("a directory");
            disk.log = Arc::default();
        }
    }
}
