//! A server of the simulation: everything but sockets, disks and the process.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::listener::Shared;
use super::{
    ServeError, connection, drive_leases, health, members, options, patience, schemes, settings,
};
use crate::admin::Sources;
use crate::config::Config;
use crate::ensemble::{Ensemble, Inbound, LogStore, Net, Peering, Stream};
use crate::pipeline::{Core, LinkService, Replica, drive_barriers, drive_proposals};
use crate::state::State;
use crate::types::ServerId;

/// What the world outside is made of.
pub(crate) struct World {
    pub log: LogStore,
    pub net: Arc<dyn Net>,
    pub peers: mpsc::Receiver<(Stream, String)>,
}

pub(crate) struct Simulated {
    pub core: Arc<Core>,
    pub ensemble: Arc<Ensemble>,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

impl Simulated {
    pub(crate) async fn start(config: Config, world: World) -> Result<Self, ServeError> {
        let config = Arc::new(config);
        let server = config.my_id.map_or(1, u64::from);
        let schemes = Arc::new(schemes(&config));
        let core = Core::new(settings(&config, ServerId(server)), State::new(schemes));
        let peering = Peering {
            members: members(&config),
            inbound: Inbound::Streams(world.peers),
            net: world.net,
            secret: None,
            links: Arc::new(LinkService(Arc::clone(&core))),
        };
        let replica = Arc::new(Replica::new(Arc::clone(&core)));
        let options = options(&config, server);
        let ensemble = Ensemble::start_on(&options, replica, peering, &world.log).await?;
        let ensemble = Arc::new(ensemble);
        let proposals = drive_proposals(Arc::clone(&core), Arc::clone(&ensemble));
        let watched = (Arc::clone(&core), Arc::clone(&ensemble));
        let tasks = vec![
            tokio::spawn(proposals).abort_handle(),
            tokio::spawn(drive_barriers(Arc::clone(&core))).abort_handle(),
            tokio::spawn(health::run(watched.0, watched.1, patience(&config))).abort_handle(),
            tokio::spawn(drive_leases(Arc::clone(&core))).abort_handle(),
        ];
        let shared = Shared::new(Sources {
            core: Arc::clone(&core),
            ensemble: Arc::clone(&ensemble),
            config,
        });
        Ok(Self {
            core,
            ensemble,
            shared,
            tasks,
        })
    }

    /// Serves clients' connections.
    pub(crate) fn acceptor(&self) -> impl Fn(DuplexStream) + Send + 'static {
        let shared = Arc::clone(&self.shared);
        move |stream| {
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            if let Some(place) = shared.admit(peer.ip()) {
                let shared = Arc::clone(&shared);
                tokio::spawn(connection::run(shared, stream, peer, place));
            }
        }
    }

    /// Hands leadership over, as a server does that is stopped in good order.
    pub(crate) async fn hand_over(&self) {
        self.core.stop_leading().await;
        self.ensemble.hand_over().await;
    }

    /// Nothing more comes from this server; whatever it still does stays in it.
    pub(crate) fn crash(self) {
        for task in &self.tasks {
            task.abort();
        }
        self.core.close_all();
        tokio::spawn(async move { self.ensemble.shutdown().await });
    }
}
