//! The tree of znodes.
//!
//! Pure data: no clock, no I/O, no sessions' time-outs, no watches. Zxid and time are arguments.
//! The operations in `op/` check a request and then call the primitives here, which always
//! succeed. Upstream: `DataTree.java`, `DataNode.java`.
//!
//! Invariants, checked by [`DataTree::check`]:
//! * each znode but the root is in the index, in its parent's list of children and in nothing else
//! * `child_count` is the length of that list
//! * an ephemeral's session lists it, and nothing else
//! * `digest` is the sum over all znodes

mod acl;
pub mod build;
mod check;
#[cfg(test)]
mod cut_tests;
pub(crate) mod freeze;
mod index;
mod journal;
#[cfg(test)]
mod model_tests;
mod node;
pub mod path;
pub(crate) mod quota;

use std::collections::BTreeSet;
use std::hash::Hasher as _;

use jute::proto::Stat;
use siphasher::sip::SipHasher13;

pub use acl::{AclEntry, AclId, AclList, AclTable};
pub use node::{NodeId, Owner, SLOT_BYTES};
pub use quota::{QuotaSums, QuotaVerdict, StatsTrack};

use crate::collections::HashMap;
use crate::types::{SessionId, Zxid};
use freeze::{Freeze, FrozenNode};
use index::Index;
use journal::{Content, Journal, ParentBefore, Undo};
use node::{Node, Slab};
use quota::QuotaPaths;

/// `/zookeeper/config`: the membership, readable by all, written by reconfig only.
pub const CONFIG_PATH: &str = "/zookeeper/config";

/// Znodes that cannot be deleted.
pub const UNDELETABLE: [&str; 4] = ["/", "/zookeeper", quota::QUOTA_ROOT, CONFIG_PATH];

/// What a znode starts with.
#[derive(Debug, Clone, Copy)]
pub struct NewNode<'a> {
    pub data: Option<&'a [u8]>,
    /// Its user count already includes this znode.
    pub acl: AclId,
    pub owner: Owner,
    pub zxid: Zxid,
    pub time_ms: i64,
}

#[derive(Debug)]
pub struct DataTree {
    slab: Slab,
    index: Index,
    acls: AclTable,
    ephemerals: HashMap<SessionId, BTreeSet<NodeId>>,
    /// Containers and TTL znodes: what the reaper looks at.
    reapable: BTreeSet<NodeId>,
    quota_paths: QuotaPaths,
    /// Sum of all data lengths, in bytes.
    data_bytes: u64,
    /// Sum of the lengths of all names with their slash, each counted in every path below it.
    path_bytes: u64,
    /// Order-free sum of the znodes' hashes; equal on all servers at equal zxid.
    digest: u64,
    extended_types: bool,
    journal: Option<Journal>,
    freeze: Freeze,
}

/// Hash of a full path with a fixed key: part of the digest, and seed of the index.
pub(crate) fn path_hash(path: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(path.as_bytes());
    hasher.finish()
}

impl DataTree {
    /// A fresh tree: the root and the reserved znodes, all from zxid 0.
    #[must_use]
    pub fn new() -> Self {
        let mut tree = Self::without_nodes(AclTable::new());
        let root = Node {
            path_hash: path_hash("/"),
            name: "".into(),
            data: Some(Box::default()),
            parent: NodeId::NONE,
            first_child: NodeId::NONE,
            next_sibling: NodeId::NONE,
            prev_sibling: NodeId::NONE,
            child_count: 0,
            acl: AclTable::OPEN,
            czxid: 0,
            mzxid: 0,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            owner: 0,
            version: 0,
            created_children: 0,
            aversion: 0,
        };
        tree.acls.retain(AclTable::OPEN);
        tree.digest = tree.node_digest(&root);
        tree.slab.insert(root);
        let reserved = |acl, data| NewNode {
            data,
            acl,
            owner: Owner::Persistent,
            zxid: Zxid(0),
            time_ms: 0,
        };
        for (path, acl) in [
            ("/zookeeper", AclTable::OPEN),
            (quota::QUOTA_ROOT, AclTable::OPEN),
            (CONFIG_PATH, AclTable::READ_ONLY),
        ] {
            tree.acls.retain(acl);
            tree.create(path, reserved(acl, Some(&[])));
        }
        // Upstream adds these without counting them as created children, so that a fresh root
        // shows cversion -1 and /zookeeper -2, and config starts with aversion -1.
        for path in ["/", "/zookeeper"] {
            let id = tree.find(path).expect("just created");
            tree.update_links(id, |node| node.created_children = 0);
        }
        let config = tree.find(CONFIG_PATH).expect("just created");
        tree.update_links(config, |node| node.aversion = -1);
        tree
    }

    /// For [`freeze::Loader`]: not yet a tree, the root is missing.
    fn without_nodes(acls: AclTable) -> Self {
        Self {
            slab: Slab::default(),
            index: Index::new(),
            acls,
            ephemerals: HashMap::default(),
            reapable: BTreeSet::new(),
            quota_paths: QuotaPaths::default(),
            data_bytes: 0,
            path_bytes: 0,
            digest: 0,
            extended_types: false,
            journal: None,
            freeze: Freeze::default(),
        }
    }

    // ---- looking -------------------------------------------------------------------------

    /// The znode at `path`. `""` is an alias of the root; a malformed path names nothing.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<NodeId> {
        if path.is_empty() || path == "/" {
            return Some(NodeId::ROOT);
        }
        self.index.find(path, path_hash(path), &self.slab)
    }

    #[must_use]
    pub fn stat(&self, id: NodeId) -> Stat {
        self.slab.node(id).stat(self.extended_types)
    }

    /// `None` is null data, not a missing znode.
    #[must_use]
    pub fn data(&self, id: NodeId) -> Option<&[u8]> {
        self.slab.node(id).data.as_deref()
    }

    #[must_use]
    pub fn acl(&self, id: NodeId) -> &AclList {
        self.acls.list(self.slab.node(id).acl)
    }

    #[must_use]
    pub fn owner(&self, id: NodeId) -> Owner {
        Owner::from_raw(self.slab.node(id).owner, self.extended_types)
    }

    #[must_use]
    pub fn parent(&self, id: NodeId) -> NodeId {
        match self.slab.node(id).parent {
            NodeId::NONE => NodeId::ROOT,
            parent => parent,
        }
    }

    /// Children ever created below this znode: the next sequential suffix.
    #[must_use]
    pub fn created_children(&self, id: NodeId) -> i32 {
        self.slab.node(id).created_children
    }

    #[must_use]
    pub fn child_count(&self, id: NodeId) -> usize {
        self.slab.node(id).child_count as usize
    }

    /// Names of the children, newest first.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = &str> {
        self.child_ids(id).map(|child| &*self.slab.node(child).name)
    }

    /// Children with their names, newest first.
    pub fn children_by_id(&self, id: NodeId) -> impl Iterator<Item = (NodeId, &str)> {
        self.child_ids(id)
            .map(|child| (child, &*self.slab.node(child).name))
    }

    fn child_ids(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let mut next = self.slab.node(id).first_child;
        std::iter::from_fn(move || {
            let current = (next != NodeId::NONE).then_some(next)?;
            next = self.slab.node(current).next_sibling;
            Some(current)
        })
    }

    #[must_use]
    pub fn name(&self, id: NodeId) -> &str {
        &self.slab.node(id).name
    }

    /// The newest child.
    #[must_use]
    pub fn first_child(&self, id: NodeId) -> Option<NodeId> {
        self.slab.node(id).first_child.some()
    }

    /// The child of the same parent that was created before this one.
    #[must_use]
    pub fn next_sibling(&self, id: NodeId) -> Option<NodeId> {
        self.slab.node(id).next_sibling.some()
    }

    /// The child of the same parent that was created after this one.
    #[must_use]
    pub fn previous_sibling(&self, id: NodeId) -> Option<NodeId> {
        self.slab.node(id).prev_sibling.some()
    }

    /// Znodes below this one, itself not counted.
    #[must_use]
    pub fn descendants(&self, id: NodeId) -> usize {
        if id == NodeId::ROOT {
            return self.slab.len() - 1;
        }
        self.count_below(id).0
    }

    /// Count and bytes of everything below a znode, depth first without recursion.
    fn count_below(&self, top: NodeId) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        let mut stack = vec![top];
        while let Some(id) = stack.pop() {
            for child in self.child_ids(id) {
                count += 1;
                bytes += self.data(child).map_or(0, <[u8]>::len);
                stack.push(child);
            }
        }
        (count, bytes)
    }

    #[must_use]
    pub fn path_of(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut current = id;
        while current != NodeId::ROOT {
            let node = self.slab.node(current);
            names.push(&*node.name);
            current = node.parent;
        }
        if names.is_empty() {
            return "/".to_owned();
        }
        names
            .iter()
            .rev()
            .fold(String::new(), |path, name| path + "/" + name)
    }

    /// Length of [`Self::path_of`], the root's counted as none.
    fn path_len(&self, id: NodeId) -> usize {
        let (mut len, mut current) = (0, id);
        while current != NodeId::ROOT {
            let node = self.slab.node(current);
            len += node.name.len() + 1;
            current = node.parent;
        }
        len
    }

    /// The ephemerals of one session, in no order that means anything.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = NodeId> {
        self.ephemerals.get(&session).into_iter().flatten().copied()
    }

    /// The same from one of them on.
    pub fn ephemerals_from(
        &self,
        session: SessionId,
        from: NodeId,
    ) -> impl Iterator<Item = NodeId> {
        let all = self.ephemerals.get(&session).into_iter();
        all.flat_map(move |ids| ids.range(from..)).copied()
    }

    /// How many ephemerals a session has.
    #[must_use]
    pub fn ephemeral_count_of(&self, session: SessionId) -> usize {
        self.ephemerals.get(&session).map_or(0, BTreeSet::len)
    }

    /// Sessions that own ephemerals, with theirs.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = (SessionId, &BTreeSet<NodeId>)> {
        self.ephemerals.iter().map(|(session, ids)| (*session, ids))
    }

    #[must_use]
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// Containers and TTL znodes without children, as candidates for the reaper.
    pub fn reapable(&self) -> impl Iterator<Item = NodeId> {
        self.reapable
            .iter()
            .copied()
            .filter(|&id| self.slab.node(id).child_count == 0)
    }

    /// Paths that have a quota.
    #[must_use]
    pub fn quota_count(&self) -> usize {
        self.quota_paths.len()
    }

    #[must_use]
    pub fn node_count(&self) -> usize {
        self.slab.len()
    }

    /// Bytes of all paths; with those of the data it is upstream's `approximate_data_size`.
    #[must_use]
    pub fn path_bytes(&self) -> u64 {
        self.path_bytes
    }

    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    #[must_use]
    pub fn extended_types(&self) -> bool {
        self.extended_types
    }

    /// Decides whether owners with the TTL mark are TTL znodes or sessions, and sorts the znodes
    /// that have one into the right table.
    pub fn set_extended_types(&mut self, extended_types: bool) {
        if self.extended_types == extended_types {
            return;
        }
        self.extended_types = extended_types;
        self.ephemerals.clear();
        self.reapable.clear();
        for slot in 0..self.slab.end() {
            let id = NodeId(slot);
            if let Some(node) = self.slab.get(id) {
                let owner = Owner::from_raw(node.owner, extended_types);
                self.list_owned(id, owner);
            }
        }
    }

    fn list_owned(&mut self, id: NodeId, owner: Owner) {
        match owner {
            Owner::Session(session) => {
                self.ephemerals.entry(session).or_default().insert(id);
            }
            Owner::Container | Owner::Ttl(_) => {
                self.reapable.insert(id);
            }
            Owner::Persistent => {}
        }
    }

    pub fn acls(&mut self) -> &mut AclTable {
        &mut self.acls
    }

    // ---- changing ------------------------------------------------------------------------

    /// Adds a znode. The caller has checked that the parent exists and the path does not.
    pub fn create(&mut self, path: &str, new: NewNode<'_>) -> NodeId {
        let (parent_path, name) = path::split(path).expect("a valid path has a slash");
        let parent = self.find(parent_path).expect("the caller found the parent");
        let node = Node {
            path_hash: path_hash(path),
            name: name.into(),
            data: new.data.map(Into::into),
            parent,
            first_child: NodeId::NONE,
            next_sibling: NodeId::NONE,
            prev_sibling: NodeId::NONE,
            child_count: 0,
            acl: new.acl,
            czxid: new.zxid.0,
            mzxid: new.zxid.0,
            pzxid: new.zxid.0,
            ctime: new.time_ms,
            mtime: new.time_ms,
            owner: new.owner.to_raw(),
            version: 0,
            created_children: 0,
            aversion: 0,
        };
        self.freeze.keep_absent(self.slab.next_id());
        let id = self.attach(None, node);
        let before = self.count_child_created(parent, new.zxid);
        self.record(Undo::Created(id, before));
        self.after_create(path, name, new.data.map_or(0, <[u8]>::len));
        id
    }

    /// Removes a znode without children. The caller has checked that.
    pub fn delete(&mut self, id: NodeId, zxid: Zxid) {
        let path = (!self.quota_paths.is_empty()).then(|| self.path_of(id));
        self.keep_image(id);
        let node = self.detach(id);
        let parent = node.parent;
        let before = self.parent_before(parent);
        self.update_links(parent, |node| node.pzxid = zxid.0);
        let data_len = len(node.data.as_deref());
        if self.journal.is_some() {
            self.record(Undo::Deleted(id, Box::new(node), before));
        } else {
            self.acls.release(node.acl);
            self.slab.free(id);
        }
        if let Some(path) = path {
            if let Some(subject) = quota::subject(&path, quota::LIMITS) {
                self.quota_paths.remove(subject);
                self.record(Undo::QuotaRemoved(subject.into()));
            }
            self.count_quota(&path, -1, -signed(data_len));
        }
    }

    /// Replaces a znode's data.
    pub fn set_data(&mut self, id: NodeId, data: Option<&[u8]>, zxid: Zxid, time_ms: i64) {
        let version = self.slab.node(id).version.wrapping_add(1);
        let content = Content {
            data: data.map(Into::into),
            mzxid: zxid.0,
            mtime: time_ms,
            version,
        };
        let old_len = self.replace_content(id, content);
        if !self.quota_paths.is_empty() {
            let path = self.path_of(id);
            self.count_quota(
                &path,
                0,
                signed(data.map_or(0, <[u8]>::len)) - signed(old_len),
            );
        }
    }

    /// Replaces the ensemble's configuration, whose version is always -1.
    pub fn set_config(&mut self, id: NodeId, data: &[u8], zxid: Zxid, time_ms: i64) {
        let content = Content {
            data: Some(data.into()),
            mzxid: zxid.0,
            mtime: time_ms,
            version: -1,
        };
        self.replace_content(id, content);
    }

    /// Replaces a znode's access control list, whose user count already includes it.
    pub fn set_acl(&mut self, id: NodeId, acl: AclId) {
        let before = self.slab.node(id);
        let (old, aversion) = (before.acl, before.aversion);
        self.update_links(id, |node| {
            node.acl = acl;
            node.aversion = aversion.wrapping_add(1);
        });
        if self.journal.is_some() {
            self.record(Undo::AclSet {
                id,
                acl: old,
                aversion,
            });
        } else {
            self.acls.release(old);
        }
    }

    // ---- shared by all changes -----------------------------------------------------------

    /// Returns the length of the data that was replaced.
    fn replace_content(&mut self, id: NodeId, content: Content) -> usize {
        self.keep_image(id);
        let new_len = len(content.data.as_deref());
        let before = content_digest(self.slab.node(id));
        let node = self.slab.node_mut(id);
        let old = Content {
            data: std::mem::replace(&mut node.data, content.data),
            mzxid: std::mem::replace(&mut node.mzxid, content.mzxid),
            mtime: std::mem::replace(&mut node.mtime, content.mtime),
            version: std::mem::replace(&mut node.version, content.version),
        };
        let after = content_digest(node);
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
        let old_len = len(old.data.as_deref());
        self.count_bytes(old_len, new_len);
        self.record(Undo::ContentSet(id, old));
        old_len
    }

    fn count_bytes(&mut self, old_len: usize, new_len: usize) {
        self.data_bytes = self.data_bytes + new_len as u64 - old_len as u64;
    }

    fn parent_before(&self, parent: NodeId) -> ParentBefore {
        let node = self.slab.node(parent);
        ParentBefore {
            created_children: node.created_children,
            pzxid: node.pzxid,
        }
    }

    fn restore_parent(&mut self, parent: NodeId, before: ParentBefore) {
        self.update_links(parent, |node| {
            node.created_children = before.created_children;
            node.pzxid = before.pzxid;
        });
    }

    /// Counts a created child. A full counter stays where it is, and pzxid with it
    /// (`DataTree.createNode` applies only what is larger).
    fn count_child_created(&mut self, parent: NodeId, zxid: Zxid) -> ParentBefore {
        let before = self.parent_before(parent);
        if before.created_children < i32::MAX {
            self.update_links(parent, |node| {
                node.created_children += 1;
                node.pzxid = zxid.0;
            });
        }
        before
    }

    /// Puts a znode into slab, index, its parent's list and the tables. `slot` is the reserved
    /// slot of a znode that comes back.
    fn attach(&mut self, slot: Option<NodeId>, mut node: Node) -> NodeId {
        let (parent, path_hash) = (node.parent, node.path_hash);
        let owner = Owner::from_raw(node.owner, self.extended_types);
        let first = self.slab.node(parent).first_child;
        node.next_sibling = first;
        node.prev_sibling = NodeId::NONE;
        self.count_bytes(0, len(node.data.as_deref()));
        let digest = self.node_digest(&node);
        self.digest = self.digest.wrapping_add(digest);
        let id = match slot {
            None => self.slab.insert(node),
            Some(id) => {
                self.slab.put_back(id, node);
                id
            }
        };
        if first != NodeId::NONE {
            self.slab.node_mut(first).prev_sibling = id;
        }
        let parent = self.slab.node_mut(parent);
        parent.first_child = id;
        parent.child_count += 1;
        self.index.insert(id, path_hash, &self.slab);
        self.list_owned(id, owner);
        self.path_bytes += self.path_len(id) as u64;
        id
    }

    /// The reverse of [`Self::attach`]; the slot stays reserved.
    fn detach(&mut self, id: NodeId) -> Node {
        self.index.remove(id, self.slab.node(id).path_hash);
        self.path_bytes -= self.path_len(id) as u64;
        let node = self.slab.take(id);
        match node.prev_sibling {
            NodeId::NONE => self.slab.node_mut(node.parent).first_child = node.next_sibling,
            prev => self.slab.node_mut(prev).next_sibling = node.next_sibling,
        }
        if node.next_sibling != NodeId::NONE {
            self.slab.node_mut(node.next_sibling).prev_sibling = node.prev_sibling;
        }
        self.slab.node_mut(node.parent).child_count -= 1;
        self.count_bytes(len(node.data.as_deref()), 0);
        let digest = self.node_digest(&node);
        self.digest = self.digest.wrapping_sub(digest);
        match Owner::from_raw(node.owner, self.extended_types) {
            Owner::Session(session) => {
                if let Some(ids) = self.ephemerals.get_mut(&session) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Owner::Container | Owner::Ttl(_) => {
                self.reapable.remove(&id);
            }
            Owner::Persistent => {}
        }
        node
    }

    /// Changes what is not content: counters, zxids, access control. The data is not hashed again,
    /// or a parent with a megabyte of data would pay for it at each child.
    fn update_links(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        self.keep_image(id);
        let before = self.link_digest(self.slab.node(id));
        change(self.slab.node_mut(id));
        let after = self.link_digest(self.slab.node(id));
        self.digest = self.digest.wrapping_sub(before).wrapping_add(after);
    }

    fn keep_image(&mut self, id: NodeId) {
        if self.freeze.wants(id) {
            let image = FrozenNode::of(self.slab.node(id));
            self.freeze.keep(id, image);
        }
    }

    fn node_digest(&self, node: &Node) -> u64 {
        content_digest(node).wrapping_add(self.link_digest(node))
    }

    fn link_digest(&self, node: &Node) -> u64 {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(node.path_hash);
        hasher.write_i64(node.czxid);
        hasher.write_i64(node.ctime);
        hasher.write_i64(node.pzxid);
        hasher.write_i64(node.owner);
        hasher.write_i32(node.created_children);
        hasher.write_i32(node.aversion);
        hasher.write_u64(self.acls.digest(node.acl));
        hasher.finish()
    }
}

fn content_digest(node: &Node) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u64(!node.path_hash);
    hasher.write_i64(node.mzxid);
    hasher.write_i64(node.mtime);
    hasher.write_i32(node.version);
    match &node.data {
        None => hasher.write_u8(0),
        Some(data) => {
            hasher.write_u8(1);
            hasher.write(data);
        }
    }
    hasher.finish()
}

fn len(data: Option<&[u8]>) -> usize {
    data.map_or(0, <[u8]>::len)
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

impl Default for DataTree {
    fn default() -> Self {
        Self::new()
    }
}
