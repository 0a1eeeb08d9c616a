//! Accepts connections, within the limits per address and in all.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection;
use crate::admin::Sources;
use crate::collections::HashMap;
use crate::config::Config;
use crate::pipeline::Core;

/// What all connections of a listener share.
pub(super) struct Shared {
    pub sources: Sources,
    /// Open connections by address.
    per_address: Mutex<HashMap<IpAddr, u32>>,
}

impl Shared {
    pub(super) fn new(sources: Sources) -> Arc<Self> {
        Arc::new(Self {
            sources,
            per_address: Mutex::default(),
        })
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.sources.core
    }

    pub(super) fn config(&self) -> &Config {
        &self.sources.config
    }

    /// A place for one more connection, or `None` at `maxClientCnxns` or `maxCnxns`; 0 is no limit.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut per_address = self.per_address.lock();
        let total: u32 = per_address.values().sum();
        let within = |limit: u32, open: u32| limit == 0 || open < limit;
        let open = per_address.get(&address).copied().unwrap_or(0);
        if !within(self.config().max_client_cnxns, open) || !within(self.config().max_cnxns, total)
        {
            return None;
        }
        per_address.insert(address, open + 1);
        Some(Place {
            shared: Arc::clone(self),
            address,
        })
    }
}

/// Counts one open connection while it lives.
pub(super) struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut per_address = self.shared.per_address.lock();
        if let Some(open) = per_address.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                per_address.remove(&self.address);
            }
        }
    }
}

/// Pause after accept has failed, as it does when the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

pub(super) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => match shared.admit(peer.ip()) {
                Some(place) => {
                    let _ = stream.set_nodelay(true);
                    if shared.config().client_tcp_keep_alive {
                        let _ = socket2::SockRef::from(&stream).set_keepalive(true);
                    }
                    tokio::spawn(connection::run(Arc::clone(&shared), stream, peer, place));
                }
                None => refuse(&shared, &stream, peer.ip()),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Closes with a reset, as upstream: no byte is sent and no port lingers.
fn refuse(shared: &Shared, stream: &TcpStream, address: IpAddr) {
    shared
        .core()
        .counters
        .connections_rejected
        .fetch_add(1, Ordering::Relaxed);
    tracing::warn!(%address, "too many connections");
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
