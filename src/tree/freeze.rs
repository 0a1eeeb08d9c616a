//! An exact cut through the tree while it keeps changing.
//!
//! [`DataTree::freeze`] marks the moment in O(1), between two changes. A walker then copies the
//! slab chunk by chunk under the read guard. The first change to a slot that the walker has not
//! passed keeps the slot's old image for it; what is behind the walker changes freely. Nothing
//! waits for a snapshot, whatever the size of the tree.
//!
//! ```text
//!   slots  0 ........ cursor ............... end ......
//!          copied     old images are kept    did not exist yet
//! ```
//!
//! Invariant: for each slot in `cursor..end`, the kept image if there is one, else what stands in
//! the slot, is what stood there when the tree was frozen.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Buf as _, BufMut as _};

use super::node::{Node, NodeId, Owner};
use super::{AclEntry, AclId, AclList, AclTable, DataTree, QuotaPaths, len, quota};
use crate::collections::HashMap;

/// Slots that a walker copies under one guard: some hundred microseconds.
pub(crate) const CHUNK_SLOTS: u32 = 1024;

#[derive(Debug, Default)]
pub(crate) struct Freeze {
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    /// Moved by the walker under the read guard, read by changes under the write guard.
    cursor: AtomicU32,
    end: u32,
    kept: HashMap<NodeId, Option<FrozenNode>>,
}

impl Freeze {
    /// Whether a change to this slot must keep an image first.
    pub(crate) fn wants(&self, id: NodeId) -> bool {
        self.active.as_ref().is_some_and(|active| {
            id.0 >= active.cursor.load(Ordering::Relaxed)
                && id.0 < active.end
                && !active.kept.contains_key(&id)
        })
    }

    pub(crate) fn keep(&mut self, id: NodeId, image: FrozenNode) {
        if let Some(active) = &mut self.active {
            active.kept.insert(id, Some(image));
        }
    }

    /// A znode is about to be created in this slot, which may have been free when frozen.
    pub(crate) fn keep_absent(&mut self, id: NodeId) {
        if self.wants(id)
            && let Some(active) = &mut self.active
        {
            active.kept.insert(id, None);
        }
    }
}

/// A znode as it stood when the tree was frozen.
#[derive(Debug, Clone)]
pub(crate) struct FrozenNode(Node);

impl FrozenNode {
    pub(crate) fn of(node: &Node) -> Self {
        Self(node.clone())
    }
}

/// What must be copied at the moment of freezing because it has no old images.
#[derive(Debug)]
pub(crate) struct FrozenTables {
    pub acls: Vec<(AclId, AclList)>,
    /// Slots, free ones included: the ids of all znodes are below.
    pub slots: u32,
    pub node_count: usize,
    pub digest: u64,
}

/// Images that nobody needs any more; dropped outside of the guard.
pub(crate) type KeptImages = HashMap<NodeId, Option<FrozenNode>>;

impl DataTree {
    /// Freezes the tree for one walker.
    pub(crate) fn freeze(&mut self) -> FrozenTables {
        assert!(self.journal.is_none(), "frozen between changes");
        assert!(self.freeze.active.is_none(), "one walker at a time");
        let end = self.slab.end();
        self.freeze.active = Some(Active {
            cursor: AtomicU32::new(0),
            end,
            kept: HashMap::default(),
        });
        FrozenTables {
            acls: self.acls.used().collect(),
            slots: end,
            node_count: self.slab.len(),
            digest: self.digest,
        }
    }

    /// Whether a walker has not finished with it.
    pub(crate) fn is_frozen(&self) -> bool {
        self.freeze.active.is_some()
    }

    /// Ends the freeze.
    pub(crate) fn thaw(&mut self) -> KeptImages {
        self.freeze
            .active
            .take()
            .map(|active| active.kept)
            .unwrap_or_default()
    }

    /// Copies the next slots of the frozen tree; false when all have been copied.
    pub(crate) fn copy_chunk(&self, out: &mut Vec<u8>) -> bool {
        let Some(active) = &self.freeze.active else {
            return false;
        };
        let start = active.cursor.load(Ordering::Relaxed);
        let stop = active.end.min(start.saturating_add(CHUNK_SLOTS));
        for slot in start..stop {
            let id = NodeId(slot);
            match active.kept.get(&id) {
                Some(Some(image)) => put_node(id, &image.0, out),
                Some(None) => {}
                None => {
                    if let Some(node) = self.slab.get(id) {
                        put_node(id, node, out);
                    }
                }
            }
        }
        active.cursor.store(stop, Ordering::Relaxed);
        start < stop
    }
}

/// Bytes of a znode's record beside name and data:
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 12 | id, parent, acl id |
/// | 12 | 8 | path hash |
/// | 20 | 48 | czxid, mzxid, pzxid, ctime, mtime, owner |
/// | 68 | 12 | version, created children, aversion |
/// | 80 | 8 | name length, data length (`0xffff_ffff` for null) |
const NODE_FIXED_LEN: usize = 88;
const NULL_DATA: u32 = u32::MAX;

fn put_node(id: NodeId, node: &Node, out: &mut Vec<u8>) {
    out.put_u32(id.0);
    out.put_u32(node.parent.0);
    out.put_u32(node.acl.0);
    out.put_u64(node.path_hash);
    for value in [
        node.czxid, node.mzxid, node.pzxid, node.ctime, node.mtime, node.owner,
    ] {
        out.put_i64(value);
    }
    for value in [node.version, node.created_children, node.aversion] {
        out.put_i32(value);
    }
    out.put_u32(u32::try_from(node.name.len()).expect("a name fits into a frame"));
    match &node.data {
        None => out.put_u32(NULL_DATA),
        Some(data) => out.put_u32(u32::try_from(data.len()).expect("data fits into a frame")),
    }
    out.put_slice(node.name.as_bytes());
    out.put_slice(node.data.as_deref().unwrap_or_default());
}

/// Builds a tree from the records of a snapshot, in any order.
pub(crate) struct Loader {
    tree: DataTree,
    acls: HashMap<AclId, AclList>,
    /// A damaged id must not make the slab as large as the id.
    slots: u32,
}

impl Loader {
    pub(crate) fn new(extended_types: bool, slots: u32, acls: Vec<(AclId, Vec<AclEntry>)>) -> Self {
        let acls = acls
            .into_iter()
            .map(|(id, list)| (id, list.into()))
            .collect();
        let mut tree = DataTree::without_nodes(AclTable::new());
        tree.set_extended_types(extended_types);
        Self { tree, acls, slots }
    }

    /// Adds the znodes of one block.
    pub(crate) fn add(&mut self, mut block: &[u8]) -> Result<(), String> {
        while !block.is_empty() {
            let id = self
                .add_one(&mut block)
                .ok_or("a znode's record is cut short")?;
            if id == NodeId::NONE {
                return Err("a znode's record names no slot, list or name".to_owned());
            }
        }
        Ok(())
    }

    fn add_one(&mut self, block: &mut &[u8]) -> Option<NodeId> {
        if block.len() < NODE_FIXED_LEN {
            return None;
        }
        let id = NodeId(block.get_u32());
        let parent = NodeId(block.get_u32());
        let list = self.acls.get(&AclId(block.get_u32())).cloned();
        let mut node = Node {
            path_hash: block.get_u64(),
            name: "".into(),
            data: None,
            parent,
            first_child: NodeId::NONE,
            next_sibling: NodeId::NONE,
            prev_sibling: NodeId::NONE,
            child_count: 0,
            acl: AclTable::OPEN,
            czxid: block.get_i64(),
            mzxid: block.get_i64(),
            pzxid: block.get_i64(),
            ctime: block.get_i64(),
            mtime: block.get_i64(),
            owner: block.get_i64(),
            version: block.get_i32(),
            created_children: block.get_i32(),
            aversion: block.get_i32(),
        };
        let name_len = block.get_u32() as usize;
        let data_len = block.get_u32();
        let name = block.split_off(..name_len)?;
        node.name = str::from_utf8(name).ok()?.into();
        if data_len != NULL_DATA {
            node.data = Some(block.split_off(..data_len as usize)?.into());
        }
        let Some(list) = list else {
            return Some(NodeId::NONE);
        };
        node.acl = self.tree.acls.acquire(&list);
        self.tree.data_bytes += len(node.data.as_deref()) as u64;
        if id.0 >= self.slots || !self.tree.slab.place(id, node) {
            return Some(NodeId::NONE);
        }
        Some(id)
    }

    /// Links the znodes into a tree.
    pub(crate) fn finish(mut self, digest: u64) -> Result<DataTree, String> {
        let tree = &mut self.tree;
        let root = tree.slab.get(NodeId::ROOT).ok_or("the root is missing")?;
        if root.parent != NodeId::NONE {
            return Err("the root has a parent".to_owned());
        }
        for slot in 0..tree.slab.end() {
            let id = NodeId(slot);
            let Some(node) = tree.slab.get(id) else {
                tree.slab.free(id);
                continue;
            };
            tree.digest = tree.digest.wrapping_add(tree.node_digest(node));
            if id == NodeId::ROOT {
                continue;
            }
            let (parent, path_hash, raw_owner) = (node.parent, node.path_hash, node.owner);
            let parent_node = tree.slab.get(parent).ok_or("a znode's parent is missing")?;
            let first = parent_node.first_child;
            tree.slab.node_mut(id).next_sibling = first;
            if first != NodeId::NONE {
                tree.slab.node_mut(first).prev_sibling = id;
            }
            let parent_node = tree.slab.node_mut(parent);
            parent_node.first_child = id;
            parent_node.child_count += 1;
            tree.index.insert(id, path_hash, &tree.slab);
            tree.list_owned(id, Owner::from_raw(raw_owner, tree.extended_types));
        }
        if tree.digest != digest {
            return Err(format!(
                "the digest is {:x} instead of {digest:x}",
                tree.digest
            ));
        }
        // Each parent exists and each znode has one; all hang on the root unless some form a ring.
        if tree.count_below(NodeId::ROOT).0 + 1 != tree.slab.len() {
            return Err("some znodes do not hang on the root".to_owned());
        }
        for slot in 0..tree.slab.end() {
            let id = NodeId(slot);
            if tree.slab.get(id).is_none() {
                continue;
            }
            let path = tree.path_of(id);
            // The digest has the stored hash of the path, not the path: a wrong parent or name
            // would pass it.
            if tree.find(&path) != Some(id) {
                return Err(format!("the znode {path} is not where its hash says"));
            }
            tree.path_bytes += tree.path_len(id) as u64;
        }
        tree.quota_paths = find_quota_paths(tree);
        Ok(self.tree)
    }
}

fn find_quota_paths(tree: &DataTree) -> QuotaPaths {
    let mut paths = QuotaPaths::default();
    let mut stack: Vec<NodeId> = tree.find(quota::QUOTA_ROOT).into_iter().collect();
    while let Some(id) = stack.pop() {
        for child in tree.child_ids(id) {
            if &*tree.slab.node(child).name == quota::LIMITS
                && let Some(subject) = quota::subject(&tree.path_of(child), quota::LIMITS)
            {
                paths.insert(subject);
            }
            stack.push(child);
        }
    }
    paths
}
