//! openraft's type parameters, and their bytes.
//!
//! A record of the log, behind its index:
//!
//! | size | field |
//! |---|---|
//! | 1 | kind: 0 blank, 1 normal, 2 membership |
//! | 8 | term |
//! | n | payload, or membership |
//!
//! A membership: 4 bytes count of configurations, each 4 bytes count and 8 bytes per voter; 4 bytes
//! count of members, each 8 bytes id, 4 bytes length and the address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use openraft::{BasicNode, EntryPayload, Membership, StoredMembership};

use super::peer::Member;

/// The payload of an entry, opaque to Raft.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// openraft formats entries for its traces: keep it short.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Where openraft's tasks run, and the source of its random time-outs.
#[cfg(not(simulation))]
pub(crate) type Executor = openraft::TokioRuntime;
#[cfg(simulation)]
pub(crate) use super::executor::Executor;

openraft::declare_raft_types!(
    pub(crate) TypeConfig:
        D = Payload,
        R = (),
        NodeId = u64,
        Node = BasicNode,
        AsyncRuntime = Executor,
        // One leader per term: zxid epochs are taken from terms.
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Members = Membership<u64, BasicNode>;
pub(crate) type StoredMembers = StoredMembership<CommittedLeaderId, u64, BasicNode>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// A membership as the rest of the server sees it.
pub(crate) fn members_of(members: &Members) -> Vec<Member> {
    let voters: BTreeSet<u64> = members.voter_ids().collect();
    members
        .nodes()
        .map(|(id, node)| Member {
            id: *id,
            spec: node.addr.clone(),
            is_voter: voters.contains(id),
        })
        .collect()
}

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: CommittedLeaderId::new(term),
        index,
    }
}

pub(crate) fn encode_entry(entry: &Entry) -> Bytes {
    let mut out = BytesMut::new();
    let term = *entry.log_id.leader_id;
    match &entry.payload {
        EntryPayload::Blank => {
            out.put_u8(BLANK);
            out.put_u64(term);
        }
        EntryPayload::Normal(payload) => {
            out.reserve(9 + payload.0.len());
            out.put_u8(NORMAL);
            out.put_u64(term);
            out.put_slice(&payload.0);
        }
        EntryPayload::Membership(members) => {
            out.put_u8(MEMBERSHIP);
            out.put_u64(term);
            put_members(members, &mut out);
        }
    }
    out.freeze()
}

pub(crate) fn decode_entry(index: u64, mut record: Bytes) -> Option<Entry> {
    let kind = record.try_get_u8().ok()?;
    let term = record.try_get_u64().ok()?;
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Payload(record)),
        MEMBERSHIP => EntryPayload::Membership(get_members(&mut record)?),
        _ => return None,
    };
    Some(Entry {
        log_id: log_id(term, index),
        payload,
    })
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(17);
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
    out.freeze()
}

pub(crate) fn decode_vote(mut bytes: Bytes) -> Option<Vote> {
    let term = bytes.try_get_u64().ok()?;
    let voted_for = bytes.try_get_u64().ok()?;
    let committed = bytes.try_get_u8().ok()? != 0;
    Some(Vote {
        leader_id: LeaderId { term, voted_for },
        committed,
    })
}

pub(crate) fn encode_log_id(id: &LogId) -> Bytes {
    let mut out = BytesMut::with_capacity(16);
    put_log_id(id, &mut out);
    out.freeze()
}

pub(crate) fn put_log_id(id: &LogId, out: &mut BytesMut) {
    out.put_u64(*id.leader_id);
    out.put_u64(id.index);
}

pub(crate) fn decode_log_id(bytes: &mut Bytes) -> Option<LogId> {
    let term = bytes.try_get_u64().ok()?;
    Some(log_id(term, bytes.try_get_u64().ok()?))
}

/// The header block of a snapshot file: last log id, then the log id of the membership (behind a
/// byte that says whether there is one) and the membership; at the end the cluster's id.
pub(crate) fn encode_snapshot_header(meta: &SnapshotMeta, cluster: u64) -> Bytes {
    let mut out = BytesMut::new();
    put_log_id(&meta.last_log_id.unwrap_or_else(|| log_id(0, 0)), &mut out);
    match meta.last_membership.log_id() {
        None => out.put_u8(0),
        Some(id) => {
            out.put_u8(1);
            put_log_id(id, &mut out);
        }
    }
    put_members(meta.last_membership.membership(), &mut out);
    out.put_u64(cluster);
    out.freeze()
}

pub(crate) fn decode_snapshot_header(mut bytes: Bytes) -> Option<(SnapshotMeta, u64)> {
    let last = decode_log_id(&mut bytes)?;
    let membership_at = match bytes.try_get_u8().ok()? {
        0 => None,
        _ => Some(decode_log_id(&mut bytes)?),
    };
    let last_membership = StoredMembers::new(membership_at, get_members(&mut bytes)?);
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership,
    };
    Some((meta, bytes.try_get_u64().ok()?))
}

/// First bytes of entries of the ensemble's own; the machine's payloads begin otherwise.
const CLUSTER_ID: u8 = 0xc1;
const CHECKPOINT: u8 = 0xc2;

/// Index of an earlier entry, and the digest of the leader's state behind it.
pub(crate) fn encode_checkpoint((index, digest): (u64, u64)) -> Payload {
    let mut out = BytesMut::new();
    out.put_u8(CHECKPOINT);
    out.put_u64(index);
    out.put_u64(digest);
    Payload(out.freeze())
}

pub(crate) fn decode_checkpoint(payload: &[u8]) -> Option<(u64, u64)> {
    let (index, digest) = payload.strip_prefix(&[CHECKPOINT])?.split_first_chunk()?;
    let digest = digest.try_into().ok()?;
    Some((u64::from_be_bytes(*index), u64::from_be_bytes(digest)))
}

pub(crate) fn encode_cluster_id(id: u64) -> Payload {
    let mut out = BytesMut::new();
    out.put_u8(CLUSTER_ID);
    out.put_u64(id);
    Payload(out.freeze())
}

pub(crate) fn decode_cluster_id(payload: &[u8]) -> Option<u64> {
    let id = payload.strip_prefix(&[CLUSTER_ID])?;
    Some(u64::from_be_bytes(id.try_into().ok()?))
}

/// What an entry means to whoever applies it.
pub(crate) enum Meaning {
    /// Requests of clients, as the pipeline wrote them.
    Requests(Bytes),
    /// The id of the cluster: the first one holds.
    ClusterId(u64),
    /// The leader's digest behind the entry of this index.
    Checkpoint {
        index: u64,
        digest: u64,
    },
    Members(Members),
    /// A leader's first.
    Blank,
}

impl From<EntryPayload<Payload, u64, BasicNode>> for Meaning {
    fn from(payload: EntryPayload<Payload, u64, BasicNode>) -> Self {
        match payload {
            EntryPayload::Blank => Self::Blank,
            EntryPayload::Membership(members) => Self::Members(members),
            EntryPayload::Normal(Payload(bytes)) => {
                if let Some(id) = decode_cluster_id(&bytes) {
                    Self::ClusterId(id)
                } else if let Some((index, digest)) = decode_checkpoint(&bytes) {
                    Self::Checkpoint { index, digest }
                } else {
                    Self::Requests(bytes)
                }
            }
        }
    }
}

fn put_count(count: usize, out: &mut BytesMut) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_members(members: &Members, out: &mut BytesMut) {
    put_count(members.get_joint_config().len(), out);
    for voters in members.get_joint_config() {
        put_count(voters.len(), out);
        for id in voters {
            out.put_u64(*id);
        }
    }
    let nodes: Vec<_> = members.nodes().collect();
    put_count(nodes.len(), out);
    for (id, node) in nodes {
        out.put_u64(*id);
        put_count(node.addr.len(), out);
        out.put_slice(node.addr.as_bytes());
    }
}

fn get_members(bytes: &mut Bytes) -> Option<Members> {
    let mut configs = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        let mut voters = BTreeSet::new();
        for _ in 0..bytes.try_get_u32().ok()? {
            voters.insert(bytes.try_get_u64().ok()?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        let id = bytes.try_get_u64().ok()?;
        let len = bytes.try_get_u32().ok()? as usize;
        if len > bytes.len() {
            return None;
        }
        let addr = String::from_utf8(bytes.split_to(len).to_vec()).ok()?;
        nodes.insert(id, BasicNode { addr });
    }
    // The membership of a server that was never part of anything has no configuration at all.
    if configs.is_empty() {
        Some(Members::default())
    } else {
        Members::new(configs, nodes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Members {
        let node = |addr: &str| BasicNode {
            addr: addr.to_owned(),
        };
        let nodes = BTreeMap::from([(1, node("a:1")), (2, node("b:2")), (3, node("c:3"))]);
        Members::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2])], nodes).expect("sound")
    }

    #[test]
    fn entries_round_trip_and_no_cut_panics() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Payload(Bytes::from_static(b"payload"))),
            EntryPayload::Membership(members()),
        ];
        for payload in payloads {
            let entry = Entry {
                log_id: log_id(7, 9),
                payload,
            };
            let record = encode_entry(&entry);
            assert_eq!(decode_entry(9, record.clone()), Some(entry));
            for cut in 0..record.len() {
                let _ = decode_entry(9, record.slice(..cut));
            }
        }
    }

    #[test]
    fn snapshot_headers_round_trip() {
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(3, 4)),
            last_membership: StoredMembers::new(Some(log_id(1, 1)), members()),
        };
        assert_eq!(
            decode_snapshot_header(encode_snapshot_header(&meta, 7)),
            Some((meta, 7))
        );
    }

    #[test]
    fn votes_round_trip() {
        let vote = Vote {
            leader_id: LeaderId {
                term: 5,
                voted_for: 2,
            },
            committed: true,
        };
        assert_eq!(decode_vote(encode_vote(&vote)), Some(vote));
    }
}
