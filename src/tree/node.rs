//! A znode in memory, and the slab that holds them.

use jute::proto::Stat;

use crate::tree::acl::AclId;
use crate::types::SessionId;

/// Names a znode in the slab. Reused after the znode is gone: whoever keeps one across guards has to find
/// the znode again, by its path and czxid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    pub const ROOT: Self = Self(0);
    /// No znode: the end of a list of siblings.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// Who a znode's life depends on, decoded from the wire's `ephemeralOwner`
/// (`EphemeralType.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Persistent,
    Session(SessionId),
    Container,
    /// Deleted when it has no children and was not written for this many milliseconds.
    Ttl(i64),
}

impl Owner {
    const CONTAINER: i64 = i64::MIN;
    /// Top byte 0xff, two zero bytes, then 40 bits of milliseconds.
    const TTL_MARK: i64 = 0xff << 56;
    pub const TTL_MAX_MS: i64 = (1 << 40) - 1;

    #[must_use]
    pub fn to_raw(self) -> i64 {
        match self {
            Self::Persistent => 0,
            Self::Session(id) => id.0,
            Self::Container => Self::CONTAINER,
            Self::Ttl(ttl_ms) => Self::TTL_MARK | (ttl_ms & Self::TTL_MAX_MS),
        }
    }

    /// With `extended_types` off a TTL node counts as an ordinary ephemeral, as upstream.
    #[must_use]
    pub fn from_raw(raw: i64, extended_types: bool) -> Self {
        match raw {
            0 => Self::Persistent,
            Self::CONTAINER => Self::Container,
            _ if extended_types && raw & Self::TTL_MARK == Self::TTL_MARK => {
                Self::Ttl(raw & Self::TTL_MAX_MS)
            }
            _ => Self::Session(SessionId(raw)),
        }
    }
}

/// One znode: 128 bytes beside its name and data.
///
/// The full path is not stored. Children hang in a doubly linked list of their siblings, so that
/// a znode without children costs nothing for them and a parent with a million stays cheap to
/// change.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// [`super::path_hash`] of the full path: index key and part of the digest.
    pub path_hash: u64,
    pub name: Box<str>,
    /// `None` is null, which clients can tell from empty.
    pub data: Option<Box<[u8]>>,
    pub parent: NodeId,
    pub first_child: NodeId,
    pub next_sibling: NodeId,
    pub prev_sibling: NodeId,
    pub child_count: u32,
    pub acl: AclId,
    pub czxid: i64,
    pub mzxid: i64,
    /// Zxid of the last create or delete of a child.
    pub pzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    /// [`Owner::to_raw`].
    pub owner: i64,
    pub version: i32,
    /// Children ever created: the counter behind sequential names. The wire's cversion is
    /// derived from it.
    pub created_children: i32,
    pub aversion: i32,
}

impl Node {
    /// The Stat that clients see (`DataNode.copyStat`).
    pub(crate) fn stat(&self, extended_types: bool) -> Stat {
        let owner = match Owner::from_raw(self.owner, extended_types) {
            Owner::Session(id) => id.0,
            Owner::Persistent | Owner::Container | Owner::Ttl(_) => 0,
        };
        let num_children = i32::try_from(self.child_count).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self
                .created_children
                .wrapping_mul(2)
                .wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: owner,
            data_length: self
                .data
                .as_ref()
                .map_or(0, |data| i32::try_from(data.len()).unwrap_or(i32::MAX)),
            num_children,
            pzxid: self.pzxid,
        }
    }
}

/// What a slot takes, with a znode in it or without, beside name and data.
pub const SLOT_BYTES: usize = size_of::<Option<Node>>();

/// Znodes by id, in chunks that never move: growth copies nothing and stalls nobody.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    chunks: Vec<Vec<Option<Node>>>,
    free: Vec<NodeId>,
    len: usize,
}

const CHUNK_LEN: usize = 4096;

impl Slab {
    /// Ids below this have been used at some time.
    pub(crate) fn end(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_LEN;
        let last = self.chunks.last().map_or(0, Vec::len);
        u32::try_from(full + last).unwrap_or(u32::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The slot the next [`Self::insert`] takes.
    pub(crate) fn next_id(&self) -> NodeId {
        self.free
            .last()
            .copied()
            .unwrap_or_else(|| NodeId(self.end()))
    }

    pub(crate) fn insert(&mut self, node: Node) -> NodeId {
        self.len += 1;
        if let Some(id) = self.free.pop() {
            *self.slot(id) = Some(node);
            return id;
        }
        let id = NodeId(self.end());
        assert!(id != NodeId::NONE, "the tree holds at most 2^32 - 1 znodes");
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_LEN => chunk.push(Some(node)),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK_LEN);
                chunk.push(Some(node));
                self.chunks.push(chunk);
            }
        }
        id
    }

    /// Takes a znode out; its slot stays reserved until [`Self::free`] or [`Self::put_back`].
    pub(crate) fn take(&mut self, id: NodeId) -> Node {
        self.len -= 1;
        self.slot(id).take().expect("ids in the tree name znodes")
    }

    pub(crate) fn free(&mut self, id: NodeId) {
        self.free.push(id);
    }

    pub(crate) fn put_back(&mut self, id: NodeId, node: Node) {
        self.len += 1;
        *self.slot(id) = Some(node);
    }

    /// Puts a znode into the very slot that a snapshot names; false when that cannot be.
    pub(crate) fn place(&mut self, id: NodeId, node: Node) -> bool {
        if id == NodeId::NONE {
            return false;
        }
        while self.end() <= id.0 {
            match self.chunks.last_mut() {
                Some(chunk) if chunk.len() < CHUNK_LEN => chunk.push(None),
                _ => self.chunks.push(Vec::with_capacity(CHUNK_LEN)),
            }
        }
        if self.get(id).is_some() {
            return false;
        }
        self.put_back(id, node);
        true
    }

    fn slot(&mut self, id: NodeId) -> &mut Option<Node> {
        let at = id.0 as usize;
        &mut self.chunks[at / CHUNK_LEN][at % CHUNK_LEN]
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        let at = id.0 as usize;
        self.chunks
            .get(at / CHUNK_LEN)?
            .get(at % CHUNK_LEN)?
            .as_ref()
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.get(id).expect("ids in the tree name znodes")
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.slot(id).as_mut().expect("ids in the tree name znodes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_to_its_budget() {
        assert_eq!(size_of::<Node>(), 128);
        assert_eq!(SLOT_BYTES, 128, "a free slot needs no flag of its own");
    }

    #[test]
    fn owners_round_trip() {
        for owner in [
            Owner::Persistent,
            Owner::Session(SessionId(0x0100_0000_0000_0001)),
            Owner::Container,
            Owner::Ttl(1),
            Owner::Ttl(Owner::TTL_MAX_MS),
        ] {
            assert_eq!(Owner::from_raw(owner.to_raw(), true), owner);
        }
        let ttl = Owner::Ttl(5).to_raw();
        assert_eq!(Owner::from_raw(ttl, false), Owner::Session(SessionId(ttl)));
    }
}
