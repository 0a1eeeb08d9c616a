//! What this server knows of the others, beside what Raft knows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{Raft, RaftMetrics, ServerState};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout};

use super::link::LinkHandler;
use super::peer::{Class, Identity, Member, Peer};
use super::state_machine::StateMachine;
use super::types::TypeConfig;
use crate::storage::snapshots::SnapshotDir;

/// Kinds of frames behind the handshake.
pub(crate) mod kind {
    pub(crate) const VOTE: u8 = 10;
    pub(crate) const PRE_VOTE: u8 = 11;
    pub(crate) const TRANSFER: u8 = 12;
    pub(crate) const LEADER_LOST: u8 = 13;
    pub(crate) const STATUS: u8 = 14;
    pub(crate) const PLACE: u8 = 15;
    pub(crate) const ANSWER: u8 = 20;
    pub(crate) const DECLINED: u8 = 21;
    pub(crate) const APPEND: u8 = 30;
    pub(crate) const APPENDED: u8 = 31;
    /// An append of a leader that has not heard a majority lately: what it says may be old.
    pub(crate) const APPEND_ALONE: u8 = 32;
    pub(crate) const OFFER: u8 = 40;
    pub(crate) const FROM: u8 = 41;
    pub(crate) const CHUNK: u8 = 42;
    pub(crate) const END: u8 = 43;
    pub(crate) const INSTALLED: u8 = 44;
}

/// Connections of peers, handshakes under way included. Beyond it new ones are closed.
pub(crate) const INBOUND_MAX: usize = 512;

/// A leader that no majority has answered for so long says so with its appends.
const ALONE_AFTER: Duration = Duration::from_secs(1);

/// When the leader was last heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contact {
    pub leader: u64,
    pub term: u64,
    pub heard: Instant,
    /// When it was last heard and had a majority behind it, if ever.
    pub with_majority: Option<Instant>,
    /// Its connection was reset, and it has not been heard since.
    pub is_lost: bool,
}

pub(crate) struct Peers {
    pub identity: Identity,
    pub raft: OnceLock<Raft<TypeConfig, StateMachine>>,
    pub snapshots: SnapshotDir,
    pub links: Arc<dyn LinkHandler>,
    /// A server that has lost its disk must not vote before it has caught up: it could help to
    /// elect somebody who lacks what it has acknowledged.
    pub may_vote: AtomicBool,
    pub contact: Mutex<Option<Contact>>,
    pub lost: Notify,
    /// Connections that each peer sends its appends by: heartbeats have their own.
    pub appending: Mutex<BTreeMap<u64, usize>>,
    /// When the latest append was sent that each peer has taken.
    pub answered: Mutex<BTreeMap<u64, Instant>>,
    /// The last term that this server has led in, and when that was first looked at.
    led: Mutex<(u64, Instant)>,
    /// Who is a member by the configuration, for the first leader.
    pub configured: Vec<Member>,
    pub places: Arc<Semaphore>,
    /// One snapshot is received at a time.
    pub receiving: tokio::sync::Mutex<()>,
}

impl Peers {
    pub(crate) fn new(
        identity: Identity,
        snapshots: SnapshotDir,
        links: Arc<dyn LinkHandler>,
        may_vote: bool,
        configured: Vec<Member>,
    ) -> Self {
        Self {
            identity,
            raft: OnceLock::new(),
            snapshots,
            links,
            may_vote: may_vote.into(),
            contact: Mutex::default(),
            lost: Notify::new(),
            appending: Mutex::default(),
            answered: Mutex::default(),
            led: Mutex::new((0, Instant::now())),
            configured,
            places: Arc::new(Semaphore::new(INBOUND_MAX)),
            receiving: tokio::sync::Mutex::default(),
        }
    }

    /// Hears a member's address from Raft.
    pub(crate) fn learn(&self, id: u64, spec: &str) {
        if spec.is_empty() {
            return;
        }
        let mut members = self.identity.members.write();
        members
            .entry(id)
            .and_modify(|member| spec.clone_into(&mut member.spec))
            .or_insert_with(|| Member {
                id,
                spec: spec.to_owned(),
                is_voter: true,
            });
    }

    /// Takes over the membership that Raft has.
    pub(crate) fn set_members(&self, members: impl IntoIterator<Item = Member>) {
        *self.identity.members.write() = members
            .into_iter()
            .map(|member| (member.id, member))
            .collect::<BTreeMap<_, _>>();
    }

    /// The leader of a term was heard, with a majority behind it or without.
    pub(crate) fn heard(&self, leader: u64, term: u64, is_alone: bool) {
        let mut contact = self.contact.lock();
        if contact.is_none_or(|contact| contact.term <= term) {
            let heard = Instant::now();
            let before = contact.and_then(|contact| contact.with_majority);
            *contact = Some(Contact {
                leader,
                term,
                heard,
                with_majority: if is_alone { before } else { Some(heard) },
                is_lost: false,
            });
        }
    }

    /// A peer begins to send appends by one more connection.
    pub(crate) fn called(&self, peer: u64) {
        *self.appending.lock().entry(peer).or_default() += 1;
    }

    /// A connection that a peer sent its appends by has ended. A leader is gone when it has closed
    /// the last of them and was not refused: one that gives up a slow connection still has another.
    pub(crate) fn hung_up(&self, peer: u64, closed_by_peer: bool) {
        let mut appending = self.appending.lock();
        let left = appending
            .get(&peer)
            .map_or(0, |count| count.saturating_sub(1));
        if left > 0 {
            appending.insert(peer, left);
            return;
        }
        appending.remove(&peer);
        drop(appending);
        let mut contact = self.contact.lock();
        if let Some(contact) = contact.as_mut()
            && contact.leader == peer
            && !contact.is_lost
            && closed_by_peer
        {
            contact.is_lost = true;
            self.lost.notify_one();
        }
    }

    /// A peer has taken an append that was sent then. openraft itself does not count answers that
    /// come later than its heartbeat interval.
    pub(crate) fn answered(&self, peer: u64, sent: Instant) {
        let mut answered = self.answered.lock();
        let latest = answered.entry(peer).or_insert(sent);
        *latest = sent.max(*latest);
    }

    /// How long this leader has been without an answer of a majority, or of one of two while the
    /// members change. It was elected by one.
    pub(crate) fn silence_of_majority(&self, metrics: &RaftMetrics<TypeConfig>) -> Duration {
        let elected = {
            let mut led = self.led.lock();
            if led.0 != metrics.current_term {
                *led = (metrics.current_term, Instant::now());
            }
            led.1
        };
        let configs = metrics.membership_config.membership().get_joint_config();
        let answered = configs.iter().map(|voters| self.majority_answered(voters));
        // None is less than any time.
        answered
            .min()
            .flatten()
            .max(Some(elected))
            .map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Whether this server leads, and no majority is behind it.
    pub(crate) fn leads_alone(&self) -> bool {
        self.raft.get().is_some_and(|raft| {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.state == ServerState::Leader && self.silence_of_majority(&metrics) > ALONE_AFTER
        })
    }

    /// When a majority of these voters had last taken an append of this leader, which is one of
    /// them. None before it has.
    pub(crate) fn majority_answered(&self, voters: &BTreeSet<u64>) -> Option<Instant> {
        let answered = self.answered.lock();
        let me = self.identity.me;
        let mut times: Vec<Instant> = voters
            .iter()
            .filter_map(|id| {
                if *id == me {
                    Some(Instant::now())
                } else {
                    answered.get(id).copied()
                }
            })
            .collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(voters.len() / 2).copied()
    }

    /// The term whose leader has hung up.
    pub(crate) fn lost_term(&self) -> Option<u64> {
        let contact = self.contact.lock();
        contact.filter(|contact| contact.is_lost).map(|c| c.term)
    }

    pub(crate) fn may_vote(&self) -> bool {
        self.may_vote.load(Ordering::Acquire)
    }

    /// Asks a member one question over a connection of its own.
    pub(crate) async fn ask(
        &self,
        target: u64,
        kind: u8,
        body: &[u8],
        patience: Duration,
    ) -> io::Result<Bytes> {
        let asking = async {
            let mut peer = self.identity.connect(target, Class::Ask).await?;
            ask(&mut peer, kind, body).await
        };
        timeout(patience, asking)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Sends one question and waits for its answer.
pub(crate) async fn ask(peer: &mut Peer, kind: u8, body: &[u8]) -> io::Result<Bytes> {
    peer.writer.send(kind, body).await?;
    match peer.reader.next().await? {
        Some(frame) if frame.kind == kind::ANSWER => Ok(frame.body),
        Some(_) => Err(io::Error::other("the other server declines")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What a server says of itself to one that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerStatus {
    /// It has nothing yet that could be lost.
    pub is_fresh: bool,
    pub is_leading: bool,
    pub last_index: u64,
    pub cluster: u64,
}

impl PeerStatus {
    pub(crate) fn encode(self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(u8::from(self.is_fresh));
        out.put_u8(u8::from(self.is_leading));
        out.put_u64(self.last_index);
        out.put_u64(self.cluster);
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        Some(Self {
            is_fresh: bytes.try_get_u8().ok()? != 0,
            is_leading: bytes.try_get_u8().ok()? != 0,
            last_index: bytes.try_get_u64().ok()?,
            cluster: bytes.try_get_u64().ok()?,
        })
    }
}

/// Where a server is to be found, as the one that is asked knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The entry of the log that says so: of two answers the later one holds.
    pub index: u64,
    /// Its `server.N` value.
    pub spec: String,
}

impl Place {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64(self.index);
        out.put_slice(self.spec.as_bytes());
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        Some(Self {
            index: bytes.try_get_u64().ok()?,
            spec: String::from_utf8(bytes.into()).ok()?,
        })
    }
}
