//! Connections between servers, and of clients to servers.
//!
//! Bytes stay in order and arrive late. A cut direction holds them back, as TCP does; a server that
//! crashes resets everything that it had open.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::world;
use crate::ensemble::{Dialing, Net, Stream};

/// Bytes that are on their way in one direction.
const WIRE_BYTES: usize = 64 << 10;

/// Connections that wait to be accepted.
const ACCEPT_MAX: usize = 64;

/// A server or a client.
pub(super) type Place = u64;

/// What arrives at a server.
pub(super) enum Arrival {
    Peer(DuplexStream, Place),
    Client(DuplexStream),
}

struct Wire {
    ends: [Place; 2],
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    listening: BTreeMap<Place, mpsc::Sender<Arrival>>,
    /// From where to where nothing passes.
    cut: BTreeSet<(Place, Place)>,
    wires: Vec<Wire>,
    delay_max_ms: u64,
}

#[derive(Clone)]
pub(super) struct Network {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
}

impl Network {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Begins to accept at a server.
    pub(super) fn listen(&self, place: Place) -> mpsc::Receiver<Arrival> {
        let (sender, receiver) = mpsc::channel(ACCEPT_MAX);
        self.state.lock().listening.insert(place, sender);
        receiver
    }

    /// Resets everything of a server, which is gone.
    pub(super) fn crash(&self, place: Place) {
        let mut state = self.state.lock();
        state.listening.remove(&place);
        state.wires.retain(|wire| {
            let goes = wire.ends.contains(&place);
            if goes {
                wire.task.abort();
            }
            !goes && !wire.task.is_finished()
        });
    }

    pub(super) fn cut(&self, directions: impl IntoIterator<Item = (Place, Place)>) {
        self.state.lock().cut.extend(directions);
    }

    pub(super) fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.delay_max_ms = 0;
        drop(state);
        self.changed.send_replace(());
    }

    /// Everything takes up to so long from now on.
    pub(super) fn slow_down(&self, delay_max_ms: u64) {
        self.state.lock().delay_max_ms = delay_max_ms;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state.lock().cut.is_empty()
    }

    /// Returns when bytes that leave now arrive.
    async fn travel(&self, from: Place, to: Place) {
        let delay_max_ms = self.state.lock().delay_max_ms;
        world::pause(0..delay_max_ms + 2).await;
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if !self.state.lock().cut.contains(&(from, to)) {
                return;
            }
            // The sender lives as long as this.
            let _ = changed.changed().await;
        }
    }

    /// Opens a connection.
    pub(super) async fn connect(
        &self,
        from: Place,
        to: Place,
        arrival: impl FnOnce(DuplexStream) -> Arrival,
    ) -> io::Result<DuplexStream> {
        self.travel(from, to).await;
        self.travel(to, from).await;
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (near, near_wire) = tokio::io::duplex(WIRE_BYTES);
        let (far_wire, far) = tokio::io::duplex(WIRE_BYTES);
        let mut state = self.state.lock();
        let listening = state.listening.get(&to).ok_or_else(refused)?;
        listening.try_send(arrival(far)).map_err(|_| refused())?;
        let network = self.clone();
        let task = tokio::spawn(async move {
            let (near_read, near_write) = tokio::io::split(near_wire);
            let (far_read, far_write) = tokio::io::split(far_wire);
            tokio::select! {
                biased;
                () = network.carry(from, to, near_read, far_write) => {}
                () = network.carry(to, from, far_read, near_write) => {}
            }
        });
        state.wires.push(Wire {
            ends: [from, to],
            task: task.abort_handle(),
        });
        Ok(near)
    }

    /// Carries bytes until the end that sends them is closed.
    async fn carry(
        &self,
        from: Place,
        to: Place,
        mut sender: ReadHalf<DuplexStream>,
        mut receiver: WriteHalf<DuplexStream>,
    ) {
        let mut bytes = vec![0; WIRE_BYTES];
        loop {
            let read = sender.read(&mut bytes).await.unwrap_or(0);
            self.travel(from, to).await;
            if read == 0 || receiver.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    }
}

/// What a server dials by.
pub(super) struct Dialler {
    pub me: Place,
    pub network: Network,
}

impl Net for Dialler {
    fn dial(&self, target: u64, _: &str) -> Dialing {
        let (network, me) = (self.network.clone(), self.me);
        Box::pin(async move {
            let arrival = |stream| Arrival::Peer(stream, me);
            let stream = network.connect(me, target, arrival).await?;
            Ok(wrap(stream))
        })
    }
}

pub(super) fn wrap(stream: DuplexStream) -> Stream {
    let (reader, writer) = tokio::io::split(stream);
    Stream {
        reader: Box::new(reader),
        writer: Box::new(writer),
    }
}

/// More patience than any connection needs that is not cut.
pub(super) const DIAL_PATIENCE: Duration = Duration::from_secs(1);
