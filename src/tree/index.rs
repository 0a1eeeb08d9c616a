//! From a full path to its znode in one hash and, nearly always, one probe.
//!
//! The table stores ids only. The hash stands in the node; a candidate is verified by walking up
//! its ancestors, which are few and warm. Split into shards so that growing stalls for one shard's
//! share only: with ten million znodes a doubling moves forty thousand ids at a time.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use crate::tree::node::{NodeId, Slab};

const SHARDS: usize = 256;

#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<HashTable<u32>>,
    /// Mixed into the public path hash, so that a client cannot aim at one bucket.
    seed: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self {
            shards,
            seed: RandomState::new().hash_one(0u8) | 1,
        }
    }

    fn mix(&self, path_hash: u64) -> u64 {
        mix(path_hash, self.seed)
    }

    pub(crate) fn find(&self, path: &str, path_hash: u64, slab: &Slab) -> Option<NodeId> {
        let hash = self.mix(path_hash);
        self.shards[shard(hash)]
            .find(hash, |&id| {
                let node = slab.node(NodeId(id));
                node.path_hash == path_hash && is_path_of(path, NodeId(id), slab)
            })
            .map(|&id| NodeId(id))
    }

    pub(crate) fn insert(&mut self, id: NodeId, path_hash: u64, slab: &Slab) {
        let hash = self.mix(path_hash);
        let seed = self.seed;
        self.shards[shard(hash)]
            .insert_unique(hash, id.0, |&id| mix(slab.node(NodeId(id)).path_hash, seed));
    }

    pub(crate) fn remove(&mut self, id: NodeId, path_hash: u64) {
        let hash = self.mix(path_hash);
        if let Ok(entry) = self.shards[shard(hash)].find_entry(hash, |&found| found == id.0) {
            entry.remove();
        }
    }
}

/// A bijection, so distinct path hashes stay distinct.
fn mix(path_hash: u64, seed: u64) -> u64 {
    let mixed = (path_hash ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// The table uses the top seven and the low bits; take the shard from between.
fn shard(hash: u64) -> usize {
    usize::from((hash >> 40).to_le_bytes()[0])
}

/// Compares from the last component up, without building the path.
fn is_path_of(path: &str, mut id: NodeId, slab: &Slab) -> bool {
    let mut rest = path;
    while id != NodeId::ROOT {
        let node = slab.node(id);
        let Some((parent, name)) = rest.rsplit_once('/') else {
            return false;
        };
        if name != &*node.name {
            return false;
        }
        rest = parent;
        id = node.parent;
    }
    rest.is_empty()
}
