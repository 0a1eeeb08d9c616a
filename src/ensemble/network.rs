//! openraft's way out: each client is one connection to one peer, dialled when it is needed.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use metrics::{Histogram, histogram};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2, alias};
use tokio::time::{Instant, timeout};

use super::log_store::request_count;
use super::peer::{Class, Peer, codec};
use super::peers::{Peers, ask, kind};
use super::transfer;
use super::types::TypeConfig;

/// Append requests that one peer may have unanswered.
const APPENDS_IN_FLIGHT_MAX: usize = 64;

/// How long an append may stay unanswered before the connection is taken for stuck. Longer than a
/// slow fsync, shorter than TCP's own patience after a partition has healed.
const APPEND_PATIENCE: Duration = Duration::from_secs(3);

/// Pause before an unreachable peer is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Makes clients.
pub(crate) struct Network(pub(crate) Arc<Peers>);

/// One client of one peer.
pub(crate) struct Client {
    peers: Arc<Peers>,
    target: u64,
    append: Option<Idle>,
    ask: Option<Peer>,
    measures: Measures,
}

/// What is measured of the entries for one peer.
struct Measures {
    /// From sending requests until the peer has them, in ms.
    ack_latency: Histogram,
    /// Entries that it does not have yet, when some of them are sent.
    behind: Histogram,
}

impl Measures {
    fn of(peer: u64) -> Self {
        let key = peer.to_string();
        Self {
            ack_latency: histogram!("ack_latency", "key" => key.clone()),
            behind: histogram!("learner_handler_qp_size", "key" => key),
        }
    }
}

/// A request without an answer.
struct Sent {
    at: Instant,
    /// Clients' requests in it.
    count: usize,
}

/// A connection for appends between two streams. openraft gives a heartbeat up after 100 ms; a
/// follower whose disk is slow answers later, and hanging up on it would tell it that its leader is
/// gone.
struct Idle {
    peer: Peer,
    sent: VecDeque<Sent>,
    /// How many of them nobody waits for any more.
    abandoned: usize,
}

impl Idle {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            sent: VecDeque::new(),
            abandoned: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.sent.len() >= APPENDS_IN_FLIGHT_MAX
    }

    fn is_stuck(&self) -> bool {
        let oldest = self.sent.front();
        self.is_full() || oldest.is_some_and(|sent| sent.at.elapsed() > APPEND_PATIENCE)
    }

    fn put(&mut self, request: &AppendEntriesRequest<TypeConfig>, peers: &Peers) {
        let body = codec::encode_append(request);
        let kind = if peers.leads_alone() {
            kind::APPEND_ALONE
        } else {
            kind::APPEND
        };
        self.peer.writer.put(kind, &body);
        self.sent.push_back(Sent {
            at: Instant::now(),
            count: request_count(&request.entries),
        });
    }
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

fn unreachable(error: &io::Error) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer that is none")
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Client {
        self.0.learn(target, &node.addr);
        Client {
            peers: Arc::clone(&self.0),
            target,
            append: None,
            ask: None,
            measures: Measures::of(target),
        }
    }
}

impl Client {
    async fn append_connection(&mut self) -> io::Result<Idle> {
        match self.append.take() {
            Some(idle) if !idle.is_stuck() => Ok(idle),
            _ => {
                let identity = &self.peers.identity;
                Ok(Idle::new(
                    identity.connect(self.target, Class::Append).await?,
                ))
            }
        }
    }

    /// Measures how much the peer has yet to get.
    fn note_behind(&self, request: &AppendEntriesRequest<TypeConfig>) {
        if !request.entries.is_empty()
            && let Some(raft) = self.peers.raft.get()
        {
            let last = raft.metrics().borrow_watched().last_log_index;
            let has = request.prev_log_id.map_or(0, |id| id.index);
            let behind = last.unwrap_or(0).saturating_sub(has);
            self.measures.behind.record(behind as f64);
        }
    }

    /// Asks one question. A connection whose answer was not waited for is not used again.
    async fn ask(&mut self, kind: u8, body: &[u8], patience: Duration) -> io::Result<bytes::Bytes> {
        let asking = async {
            let mut peer = match self.ask.take() {
                Some(peer) => peer,
                None => self.peers.identity.connect(self.target, Class::Ask).await?,
            };
            let answer = ask(&mut peer, kind, body).await?;
            self.ask = Some(peer);
            Ok(answer)
        };
        timeout(patience, asking)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// An append stream under way. The connection goes back to the client when it ends well or is
/// given up.
struct Appending<'a, S> {
    client: &'a mut Client,
    /// None once it has failed.
    connection: Option<Idle>,
    input: S,
    /// Whether openraft has no more to send.
    exhausted: bool,
}

impl<S> Drop for Appending<'_, S> {
    fn drop(&mut self) {
        if let Some(mut idle) = self.connection.take() {
            idle.abandoned = idle.sent.len();
            self.client.append = Some(idle);
        }
    }
}

impl<S> Appending<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    /// Sends what there is to send until an answer arrives; `None` when all are answered. After an
    /// error or a refusal there is no connection any more.
    async fn next(&mut self) -> io::Result<Option<StreamAppendResult<TypeConfig>>> {
        let answer = self.exchange().await;
        if matches!(answer, Err(_) | Ok(Some(Err(_)))) {
            self.connection = None;
        }
        answer
    }

    async fn exchange(&mut self) -> io::Result<Option<StreamAppendResult<TypeConfig>>> {
        let Some(idle) = &mut self.connection else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        loop {
            if !idle.peer.writer.is_empty() {
                timeout(APPEND_PATIENCE, idle.peer.writer.flush())
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            }
            if self.exhausted && idle.sent.len() == idle.abandoned {
                return Ok(None);
            }
            let may_send = !self.exhausted && !idle.is_full();
            tokio::select! {
                biased;
                answer = timeout(APPEND_PATIENCE, idle.peer.reader.next()), if !idle.sent.is_empty() => {
                    let frame = answer
                        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
                        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
                    let result = codec::decode_append_result(frame.body).ok_or_else(malformed)?;
                    if let Some(sent) = idle.sent.pop_front()
                        && result.is_ok()
                    {
                        self.client.peers.answered(self.client.target, sent.at);
                        let ms = sent.at.elapsed().as_secs_f64() * 1000.0;
                        self.client.measures.ack_latency.record_many(ms, sent.count);
                    }
                    if idle.abandoned > 0 {
                        idle.abandoned -= 1;
                        continue;
                    }
                    return Ok(Some(result));
                }
                request = self.input.next(), if may_send => {
                    let Some(request) = request else {
                        self.exhausted = true;
                        continue;
                    };
                    self.client.note_behind(&request);
                    idle.put(&request, &self.client.peers);
                    // What is ready goes with it.
                    while !idle.is_full() && !idle.peer.writer.is_full() {
                        match self.input.next().now_or_never() {
                            Some(Some(request)) => idle.put(&request, &self.client.peers),
                            Some(None) => {
                                self.exhausted = true;
                                break;
                            }
                            None => break,
                        }
                    }
                }
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = PathBuf;

    /// A stream of one. openraft itself sends everything by [`Self::stream_append`].
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        let one = Box::pin(futures_util::stream::once(async { request }));
        let mut answers = self.stream_append(one, option).await?;
        match answers.next().await {
            Some(result) => Ok(result?.into()),
            None => Err(unreachable(&io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut input = input;
            // openraft waits inside of its stream before it tries an unreachable peer again: dialling
            // before the stream was asked would make that a loop without a pause.
            let Some(first) = input.next().await else {
                let nothing: BoxStream<'s, _> = Box::pin(futures_util::stream::empty());
                return Ok(nothing);
            };
            let connection = self.append_connection().await;
            let mut idle = connection.map_err(|error| unreachable(&error))?;
            self.note_behind(&first);
            idle.put(&first, &self.peers);
            let state = Appending {
                client: self,
                connection: Some(idle),
                input,
                exhausted: false,
            };
            let answers = futures_util::stream::unfold(Some(state), async |state| {
                let mut state = state?;
                match state.next().await {
                    Ok(Some(Err(refused))) => Some((Ok(Err(refused)), None)),
                    Ok(Some(done)) => Some((Ok(done), Some(state))),
                    Ok(None) => None,
                    Err(error) => Some((Err(unreachable(&error)), None)),
                }
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        let body = codec::encode_vote_request(&request);
        self.ask(kind::VOTE, &body, option.soft_ttl())
            .await
            .and_then(|answer| codec::decode_vote_response(answer).ok_or_else(malformed))
            .map_err(|error| unreachable(&error))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        let body = codec::encode_vote_request(&request);
        self.ask(kind::PRE_VOTE, &body, option.soft_ttl())
            .await
            .and_then(|answer| codec::decode_vote_response(answer).ok_or_else(malformed))
            .map_err(|error| unreachable(&error))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let body = codec::encode_transfer(&request);
        self.ask(kind::TRANSFER, &body, option.soft_ttl())
            .await
            .map(|_| Ok(()))
            .map_err(|error| unreachable(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: alias::VoteOf<TypeConfig>,
        snapshot: alias::SnapshotOf<TypeConfig, PathBuf>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sending = transfer::send(&self.peers, self.target, &vote, &snapshot);
        let result = tokio::select! {
            sent = sending => sent,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        match result {
            Ok(vote) => Ok(SnapshotResponse::new(vote)),
            Err(error) => {
                tracing::warn!(server = self.target, %error, "a snapshot could not be sent");
                Err(StreamingError::Network(NetworkError::new(&error)))
            }
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(RETRY)))
    }
}
