//! A leader's connection to a follower that is slow, and who is told that it is gone.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use openraft::network::RPCOption;
use openraft::raft::AppendEntriesRequest;
use openraft::{BasicNode, RaftNetworkFactory as _, RaftNetworkV2 as _};
use parking_lot::RwLock;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout};

use super::link::{Link, LinkHandler};
use super::network::{Client, Network};
use super::peer::{Complaints, Dialing, Identity, Member, Net, Peer, Stream, codec};
use super::peers::{Peers, kind};
use super::types::TypeConfig;
use crate::storage::snapshots::SnapshotDir;

/// More connections than any test here dials.
const DIALS_MAX: usize = 16;

/// Each dialled connection's other end.
struct Dialled(Sender<Stream>);

impl Net for Dialled {
    fn dial(&self, _: u64, _: &str) -> Dialing {
        let (near, far) = tokio::io::duplex(64 << 10);
        let sent = self.0.try_send(stream(far));
        Box::pin(async move {
            sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok(stream(near))
        })
    }
}

fn stream(end: tokio::io::DuplexStream) -> Stream {
    let (reader, writer) = tokio::io::split(end);
    Stream {
        reader: Box::new(reader),
        writer: Box::new(writer),
    }
}

struct NoLinks;

impl LinkHandler for NoLinks {
    fn serve(&self, _: Link) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

fn identity(me: u64, net: Arc<dyn Net>) -> Identity {
    let members = (1..=3).map(|id| {
        let spec = format!("127.0.0.1:{id}:{id}");
        let member = Member {
            id,
            spec,
            is_voter: true,
        };
        (id, member)
    });
    Identity {
        me,
        secret: None,
        cluster: Arc::default(),
        members: RwLock::new(members.collect()),
        net,
        complaints: Complaints::default(),
    }
}

/// Server 1's view of the others, the connections that it dials, and a place for its files.
fn leader() -> (Arc<Peers>, Receiver<Stream>, tempfile::TempDir) {
    let place = tempfile::tempdir().expect("a directory");
    let snapshots = SnapshotDir::open(&place.path().join("snapshots"), true).expect("empty");
    let (dialled, connections) = channel(DIALS_MAX);
    let identity = identity(1, Arc::new(Dialled(dialled)));
    let peers = Peers::new(identity, snapshots, Arc::new(NoLinks), true, Vec::new());
    (Arc::new(peers), connections, place)
}

/// Server 2, which has taken a connection.
async fn accept(connections: &mut Receiver<Stream>) -> Peer {
    let stream = connections.recv().await.expect("dialled");
    let (nobody, _) = channel(DIALS_MAX);
    let follower = identity(2, Arc::new(Dialled(nobody)));
    follower.accept(stream).await.expect("a member")
}

const HEARTBEAT: Duration = Duration::from_millis(100);

fn heartbeat() -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest {
        vote: openraft::impls::Vote::new_committed(3, 1),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    }
}

/// As openraft's heartbeat worker: one request, and no more patience than one interval.
async fn beat(client: &mut Client) -> bool {
    let answer = timeout(HEARTBEAT, async {
        let one = Box::pin(futures_util::stream::once(async { heartbeat() }));
        let mut answers = client.stream_append(one, RPCOption::new(HEARTBEAT)).await?;
        answers.next().await.transpose()
    });
    matches!(answer.await, Ok(Ok(Some(Ok(_)))))
}

async fn read_append(follower: &mut Peer) {
    let frame = follower.reader.next().await.expect("open").expect("open");
    assert_eq!(frame.kind, kind::APPEND);
}

async fn answer(follower: &mut Peer) {
    let body = codec::encode_append_result(&Ok(None));
    let sent = follower.writer.send(kind::APPENDED, &body).await;
    sent.expect("open");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_answers_late_keeps_its_connection() {
    let (peers, mut connections, _place) = leader();
    let mut client = Network(Arc::clone(&peers))
        .new_client(2, &BasicNode::default())
        .await;
    let (given_up, mut follower) = tokio::join!(
        async { [beat(&mut client).await, beat(&mut client).await] },
        accept(&mut connections)
    );
    assert_eq!(given_up, [false, false]);
    let began = Instant::now();
    for _ in 0..2 {
        read_append(&mut follower).await;
        answer(&mut follower).await;
    }
    // The late answers are not taken for this request's.
    assert!(!beat(&mut client).await, "nobody has answered this one");
    let late = peers.majority_answered(&BTreeSet::from([1, 2, 3]));
    assert!(
        late.is_some_and(|at| at < began),
        "late answers count as of when they were asked for"
    );
    read_append(&mut follower).await;
    answer(&mut follower).await;
    let (answered, ()) = tokio::join!(beat(&mut client), async {
        read_append(&mut follower).await;
        answer(&mut follower).await;
    });
    assert!(answered);
    assert!(peers.majority_answered(&BTreeSet::from([1, 2, 3])) > Some(began));
    assert!(connections.try_recv().is_err(), "one connection was enough");
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_never_answers_is_dialled_anew() {
    let (peers, mut connections, _place) = leader();
    let mut client = Network(peers).new_client(2, &BasicNode::default()).await;
    let (_, _stuck) = tokio::join!(beat(&mut client), accept(&mut connections));
    let mut beats = 0;
    while connections.try_recv().is_err() {
        assert!(!beat(&mut client).await);
        beats += 1;
        assert!(beats < 100, "the stuck connection is kept for ever");
    }
}

/// openraft's pause before it tries again is inside of the stream.
#[tokio::test(start_paused = true)]
async fn nobody_is_dialled_before_there_is_something_to_send() {
    let (peers, mut connections, _place) = leader();
    let mut client = Network(peers).new_client(2, &BasicNode::default()).await;
    let nothing_yet = futures_util::stream::pending();
    let trying = client.stream_append(nothing_yet, RPCOption::new(HEARTBEAT));
    assert!(timeout(HEARTBEAT, trying).await.is_err());
    assert!(connections.try_recv().is_err());
}

#[tokio::test]
async fn a_leader_is_gone_when_its_last_connection_is() {
    let (peers, _, _place) = leader();
    let is_lost = || peers.lost_term() == Some(7);
    peers.heard(2, 7, false);
    peers.called(2);
    peers.called(2);
    peers.called(3);
    peers.hung_up(2, true);
    assert!(!is_lost(), "it has another connection");
    peers.hung_up(3, true);
    assert!(!is_lost(), "that was not the leader");
    peers.hung_up(2, true);
    assert!(is_lost());
    peers.heard(2, 7, false);
    peers.called(2);
    peers.hung_up(2, false);
    assert!(!is_lost(), "this side has ended it");
}
