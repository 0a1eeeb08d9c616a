//! What other servers ask of this one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::AppendEntriesRequest;
use openraft::{Raft, ServerState};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::link::Link;
use super::log_store::request_count;
use super::peer::{Class, FrameReader, HandshakeError, Peer, Stream, codec, tcp_stream};
use super::peers::{PeerStatus, Peers, Place, kind};
use super::state_machine::StateMachine;
use super::transfer;
use super::types::TypeConfig;

/// Accepts peers until the server stops.
pub(crate) async fn listen(
    listener: TcpListener,
    peers: Arc<Peers>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                accept(
                    &peers,
                    tcp_stream(stream),
                    address.to_string(),
                    stopped.clone(),
                );
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

/// Serves one connection in a task of its own, within the limit.
pub(crate) fn accept(
    peers: &Arc<Peers>,
    stream: Stream,
    address: String,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(place) = Arc::clone(&peers.places).try_acquire_owned() else {
        tracing::warn!(address, "too many connections of servers");
        return;
    };
    let peers = Arc::clone(peers);
    tokio::spawn(async move {
        tokio::select! {
            () = serve(&peers, stream, &address) => {}
            _ = stopped.changed() => {}
        }
        drop(place);
    });
}

async fn serve(peers: &Arc<Peers>, stream: Stream, address: &str) {
    let peer = match peers.identity.accept(stream).await {
        Ok(peer) => peer,
        // Port scanners and health checks come by every few seconds.
        Err(HandshakeError::Io(error)) => {
            tracing::debug!(address, %error, "a connection to the peer port ended early");
            return;
        }
        Err(error) => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            if peers.identity.complaints.is_due(format!("{host} {error}")) {
                tracing::warn!(address, %error, "a connection to the peer port was refused");
            }
            return;
        }
    };
    let (id, class) = (peer.id, peer.class);
    let Some(raft) = peers.raft.get() else {
        return;
    };
    let ended = match class {
        Class::Append => serve_appends(peers, raft, peer).await,
        Class::Ask => serve_questions(peers, raft, peer).await,
        Class::Snapshot => transfer::receive(peers, raft, peer).await,
        Class::Link => {
            peers.links.serve(Link::new(peer)).await;
            Ok(())
        }
    };
    if let Err(error) = ended {
        tracing::debug!(server = id, ?class, %error, "a connection of a server ended");
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a request that is none")
}

/// A connection that a peer sends its appends by.
struct Caller {
    peers: Arc<Peers>,
    id: u64,
    reader: FrameReader,
    refused: Arc<AtomicBool>,
    closed_by_peer: bool,
    /// Clients' requests that came.
    received: metrics::Counter,
}

impl Caller {
    fn new(peers: &Arc<Peers>, id: u64, reader: FrameReader, refused: &Arc<AtomicBool>) -> Self {
        peers.called(id);
        Self {
            peers: Arc::clone(peers),
            id,
            reader,
            refused: Arc::clone(refused),
            closed_by_peer: false,
            received: metrics::counter!("learner_proposal_received_count"),
        }
    }

    async fn next(&mut self) -> Option<AppendEntriesRequest<TypeConfig>> {
        match next_append(&mut self.reader).await {
            Ok(Some((request, is_alone))) => {
                let leader = request.vote.leader_id;
                if request.vote.committed && leader.voted_for == self.id {
                    self.peers.heard(self.id, leader.term, is_alone);
                }
                let requests = request_count(&request.entries) as u64;
                self.received.increment(requests);
                Some(request)
            }
            ended => {
                if let Err(error) = ended {
                    tracing::debug!(server = self.id, %error, "appends ended");
                }
                // Whoever is refused hangs up, and means nothing by it.
                self.closed_by_peer = !self.refused.load(Ordering::Acquire);
                None
            }
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.peers.hung_up(self.id, self.closed_by_peer);
    }
}

/// Appends in order, many at a time; answers in the same order.
async fn serve_appends(
    peers: &Arc<Peers>,
    raft: &Raft<TypeConfig, StateMachine>,
    peer: Peer,
) -> io::Result<()> {
    let mut writer = peer.writer;
    let refused = Arc::new(AtomicBool::new(false));
    let caller = Caller::new(peers, peer.id, peer.reader, &refused);
    // Read by openraft's own task: one less between the socket and the log.
    let requests = futures_util::stream::unfold(caller, async |mut caller| {
        let request = caller.next().await?;
        Some((request, caller))
    });
    let mut results = std::pin::pin!(raft.stream_append(requests).fuse());
    while let Some(result) = results.next().await {
        let mut next = Some(result);
        while let Some(result) = next {
            let result = result.map_err(|error| io::Error::other(error.to_string()))?;
            if result.is_err() {
                refused.store(true, Ordering::Release);
            }
            writer.put(kind::APPENDED, &codec::encode_append_result(&result));
            next = results.next().now_or_never().flatten();
        }
        writer.flush().await?;
    }
    Ok(())
}

/// The next append, and whether its sender has no majority behind it.
async fn next_append(
    reader: &mut FrameReader,
) -> io::Result<Option<(AppendEntriesRequest<TypeConfig>, bool)>> {
    let Some(frame) = reader.next().await? else {
        return Ok(None);
    };
    let is_alone = match frame.kind {
        kind::APPEND => false,
        kind::APPEND_ALONE => true,
        _ => return Err(malformed()),
    };
    let request = codec::decode_append(frame.body).ok_or_else(malformed)?;
    Ok(Some((request, is_alone)))
}

async fn serve_questions(
    peers: &Arc<Peers>,
    raft: &Raft<TypeConfig, StateMachine>,
    mut peer: Peer,
) -> io::Result<()> {
    while let Some(frame) = peer.reader.next().await? {
        match answer(peers, raft, peer.id, frame.kind, frame.body).await? {
            Some(body) => peer.writer.send(kind::ANSWER, &body).await?,
            None => peer.writer.send(kind::DECLINED, &[]).await?,
        }
    }
    Ok(())
}

async fn answer(
    peers: &Arc<Peers>,
    raft: &Raft<TypeConfig, StateMachine>,
    asking: u64,
    kind: u8,
    body: Bytes,
) -> io::Result<Option<Bytes>> {
    let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    match kind {
        kind::VOTE | kind::PRE_VOTE => {
            let request = codec::decode_vote_request(body).ok_or_else(malformed)?;
            if !peers.may_vote() {
                return Ok(None);
            }
            let response = if kind == kind::VOTE {
                raft.vote(request).await
            } else {
                raft.pre_vote(request).await
            };
            let response = response.map_err(|error| failed(&error))?;
            Ok(Some(codec::encode_vote_response(&response)))
        }
        kind::TRANSFER => {
            let request = codec::decode_transfer(body).ok_or_else(malformed)?;
            if *request.to_node_id() == peers.identity.me && !peers.may_vote() {
                return Ok(None);
            }
            let done = raft.handle_transfer_leader(request).await;
            let done = done.map_err(|error| failed(&error))?;
            Ok(done.is_ok().then(Bytes::new))
        }
        kind::LEADER_LOST => {
            let term = body.first_chunk::<8>().ok_or_else(malformed)?;
            let agrees = peers.lost_term() == Some(u64::from_be_bytes(*term));
            Ok(agrees.then(Bytes::new))
        }
        kind::PLACE => Ok(place(raft, asking).map(|place| place.encode())),
        kind::STATUS => Ok(Some(status(peers, raft).encode())),
        _ => Err(malformed()),
    }
}

/// Where a member is to be found, as far as this server knows.
pub(crate) fn place(raft: &Raft<TypeConfig, StateMachine>, id: u64) -> Option<Place> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = &metrics.membership_config;
    let mut nodes = membership.nodes();
    let (_, node) = nodes.find(|(member, _)| **member == id)?;
    Some(Place {
        index: membership.log_id().as_ref()?.index,
        spec: node.addr.clone(),
    })
}

/// What this server says of itself.
pub(crate) fn status(peers: &Peers, raft: &Raft<TypeConfig, StateMachine>) -> PeerStatus {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    PeerStatus {
        is_fresh: metrics.last_log_index.unwrap_or(0) == 0 && metrics.snapshot.is_none(),
        is_leading: metrics.state == ServerState::Leader,
        last_index: metrics.last_log_index.unwrap_or(0),
        cluster: peers.identity.cluster.load(Ordering::Relaxed),
    }
}
