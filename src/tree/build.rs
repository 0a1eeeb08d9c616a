//! A tree from znodes that another server kept.

use super::node::{Node, NodeId};
use super::{AclEntry, AclTable, DataTree, path, path_hash, quota};

/// A znode with everything that it remembers.
#[derive(Debug, Clone, Copy)]
pub struct KeptNode<'a> {
    pub data: Option<&'a [u8]>,
    pub acl: &'a [AclEntry],
    /// As [`super::Owner::to_raw`] has it.
    pub owner: i64,
    pub czxid: i64,
    pub mzxid: i64,
    pub pzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub created_children: i32,
    pub aversion: i32,
}

/// Takes znodes one by one, parents first, beginning with the root.
pub struct Builder {
    tree: DataTree,
}

impl Builder {
    #[must_use]
    pub fn new(extended_types: bool, root: &KeptNode<'_>) -> Self {
        let mut tree = DataTree::without_nodes(AclTable::new());
        tree.set_extended_types(extended_types);
        let root = node(&mut tree, "/", "", NodeId::NONE, root);
        tree.count_bytes(0, super::len(root.data.as_deref()));
        tree.digest = tree.node_digest(&root);
        tree.slab.insert(root);
        Self { tree }
    }

    /// # Errors
    /// A sentence: the parent is missing, or there is such a znode already.
    pub fn add(&mut self, path: &str, kept: &KeptNode<'_>) -> Result<(), String> {
        let (parent, name) = path::split(path)
            .filter(|(_, name)| !name.is_empty())
            .ok_or_else(|| format!("{path} is no path"))?;
        let tree = &mut self.tree;
        let parent = tree
            .find(parent)
            .ok_or_else(|| format!("{path} has no parent"))?;
        if tree.find(path).is_some() {
            return Err(format!("{path} is there twice"));
        }
        let node = node(tree, path, name, parent, kept);
        tree.attach(None, node);
        if let Some(subject) = quota::subject(path, quota::LIMITS) {
            tree.quota_paths.insert(subject);
        }
        Ok(())
    }

    #[must_use]
    pub fn finish(self) -> DataTree {
        self.tree
    }
}

fn node(tree: &mut DataTree, path: &str, name: &str, parent: NodeId, kept: &KeptNode<'_>) -> Node {
    Node {
        path_hash: path_hash(path),
        name: name.into(),
        data: kept.data.map(Into::into),
        parent,
        first_child: NodeId::NONE,
        next_sibling: NodeId::NONE,
        prev_sibling: NodeId::NONE,
        child_count: 0,
        acl: tree.acls.acquire(kept.acl),
        czxid: kept.czxid,
        mzxid: kept.mzxid,
        pzxid: kept.pzxid,
        ctime: kept.ctime,
        mtime: kept.mtime,
        owner: kept.owner,
        version: kept.version,
        created_children: kept.created_children,
        aversion: kept.aversion,
    }
}
